/*
 * How fast one thread decodes and resizes a photograph: 348 x 464 pixels, shorter side to 248 (what
 * a ViT at 224 asks for).
 */
#include "bench/bench.h"

#include "data/image.h"
#include "data/loader.h"
#include "data/transform.h"
#include "base/files.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH   348
#define HEIGHT  464
#define SIDE    248
#define TALL    (SIDE * HEIGHT / WIDTH)
#define SECTION "images"

struct bench {
	uint8_t *jpeg;
	size_t jpeg_size;
	struct gn_image photo;
	uint8_t small[TALL * SIDE * 3];
};

/*
 * Waves of many lengths under a little noise compress as a photograph does, to about 2 bits a
 * pixel.
 */
static void draw(struct gn_image *image)
{
	struct gn_random random;

	gn_random_init(&random, 1, GN_RANDOM_BENCH, 0, 0);
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++)
			for (int c = 0; c < 3; c++) {
				double level = 128 + 50 * sin(0.01 * x + 0.02 * y + c) + 30 * sin(0.07 * x - 0.05 * y) +
				               15 * sin(0.3 * x + 0.2 * c) + 10 * sin(0.41 * y) +
				               12 * (gn_random_uniform(&random) - 0.5);

				image->rgb[(y * WIDTH + x) * 3 + c] = (uint8_t)fmin(255, fmax(0, level));
			}
}

static int decode(struct bench *b, struct gn_error *err)
{
	struct gn_image image;

	if (gn_image_decode(&image, b->jpeg, b->jpeg_size, UINT64_MAX, 0, NULL, NULL, err))
		return -1;
	gn_image_release(&image);
	return 0;
}

static int resize(struct bench *b, struct gn_error *err)
{
	struct gn_resample job = {{0, 0, WIDTH, HEIGHT}, SIDE, TALL, GN_BICUBIC, {0, 0, SIDE, TALL}};

	return gn_resample(b->small, &b->photo, &job, err);
}

static int decode_and_resize(struct bench *b, struct gn_error *err)
{
	struct gn_resample job = {{0, 0, WIDTH, HEIGHT}, SIDE, TALL, GN_BICUBIC, {0, 0, SIDE, TALL}};
	struct gn_image_info info;

	if (gn_image_probe(&info, b->jpeg, b->jpeg_size, UINT64_MAX, err))
		return -1;
	return gn_image_decode_resampled(b->small, b->jpeg, b->jpeg_size, &info, 1, &job, NULL, err);
}

static int measure(const struct gn_bench_options *options, struct bench *b, const char *name,
                   int (*work)(struct bench *b, struct gn_error *err), struct gn_error *err)
{
	double start, spent;
	int64_t done = 0;

	if (!gn_bench_wants(options, SECTION, name))
		return 0;
	if (work(b, err)) /* warm */
		return -1;
	start = gn_clock();
	do {
		if (work(b, err))
			return -1;
		done++;
		spent = gn_clock() - start;
	} while (spent < options->seconds);
	gn_bench_row(options, SECTION, name, "images/s", (double)done / spent, NAN);
	return 0;
}

int gn_bench_images(const struct gn_bench_options *options, struct gn_error *err)
{
	struct bench b = {.photo = {.width = WIDTH, .height = HEIGHT}};
	int rc = -1;

	b.photo.rgb = gn_alloc((size_t)WIDTH * HEIGHT, 3, err);
	if (b.photo.rgb) {
		draw(&b.photo);
		if (!gn_jpeg_encode(&b.jpeg, &b.jpeg_size, &b.photo, 90, err) &&
		    !measure(options, &b, "decode 348x464 JPEG, one thread", decode, err) &&
		    !measure(options, &b, "resize 348x464 to 248, one thread", resize, err) &&
		    !measure(options, &b, "decode and resize 348x464 to 248, one thread", decode_and_resize, err))
			rc = 0;
	}
	free(b.jpeg);
	gn_image_release(&b.photo);
	return rc;
}

/* ---------------------------------------------------------------- the loader
 * ------------------------------------- */

/* Images a second that come out, after the first batch. */
static int drain(double *rate, struct gn_loader *loader, double budget, struct gn_error *err)
{
	double start = 0, spent = 0;
	const int32_t *samples;
	int32_t *labels;
	const uint8_t *images;
	int64_t done = 0;
	int n;

	do {
		if (gn_loader_next(loader, &images, &labels, &samples, &n, err))
			return -1;
		if (start > 0)
			done += n;
		else
			start = gn_clock();
		spent = gn_clock() - start;
	} while (done == 0 || spent < budget);
	*rate = (double)done / spent;
	return 0;
}

static int time_loader(double *rate, const struct gn_bench_options *options, const struct bench *b,
                       struct gn_error *err)
{
	enum { BATCH = 128, ORDER = 1 << 22 }; /* more images than are made in the time of any figure */
	const struct gn_preprocess preprocess = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, 0.9f, GN_BICUBIC};
	struct gn_sample sample = {.bytes = b->jpeg_size, .path = "photograph", .width = WIDTH, .height = HEIGHT};
	const struct gn_dataset dataset = {
	    .class_count = 1, .sample_count = 1, .samples = &sample, .pack = b->jpeg, .pack_bytes = b->jpeg_size};
	int32_t *order = gn_alloc(ORDER, sizeof *order, err); /* all of the one sample */
	struct gn_loader *loader = NULL;
	int result = -1;

	if (order &&
	    !gn_loader_new(&loader, &dataset, &preprocess, 224, GN_AUGMENT_STANDARD, 1, options->threads, 0,
	                   (uint64_t)WIDTH * HEIGHT, err) &&
	    !gn_loader_begin(loader, order, ORDER, options->batch ? options->batch : BATCH, 0, true, err)) {
		result = drain(rate, loader, options->seconds, err);
		gn_loader_stop(loader);
	}
	gn_loader_free(loader);
	free(order);
	return result;
}

int gn_bench_loader(double *rate, const struct gn_bench_options *options, struct gn_error *err)
{
	static const char name[] = "loader: 348x464 JPEG, random crop, 224";
	struct bench b = {.photo = {.width = WIDTH, .height = HEIGHT}};
	int rc = -1;

	/* Steps are set against it. */
	if (!gn_bench_wants(options, SECTION, name) && strncmp(options->only, "step", 4) != 0)
		return 0;
	b.photo.rgb = gn_alloc((size_t)WIDTH * HEIGHT, 3, err);
	if (b.photo.rgb) {
		draw(&b.photo);
		rc = gn_jpeg_encode(&b.jpeg, &b.jpeg_size, &b.photo, 90, err) || time_loader(rate, options, &b, err);
	}
	if (rc == 0)
		gn_bench_row(options, SECTION, name, "images/s", *rate, NAN);
	free(b.jpeg);
	gn_image_release(&b.photo);
	return rc;
}
