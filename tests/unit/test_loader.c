/* Batches: the right images in the right order, the same for any number of threads, kept pixels or
 * not; errors name the image. */
#include "data/loader.h"
#include "data/transform.h"
#include "tests/support/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 16, IMAGES = 40, PIXELS = 3 * SIDE * SIDE };

static const struct gn_image_limits limits = {.max_pixels = 1 << 20};

static const struct gn_preprocess preprocess = {{0.5f, 0.4f, 0.3f}, {0.2f, 0.3f, 0.4f}, 0.9f, GN_BICUBIC};

struct fixture {
	char folder[64];
	struct gn_dataset *dataset;
	int32_t order[IMAGES];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct maker *maker = maker_new("tar");
	struct gn_ingest_options options = ingest_defaults();
	struct gn_ingest_report report = {0};
	struct gn_error err = {0};
	struct blob archive;

	for (int i = 0; i < IMAGES; i++) {
		char name[32];
		struct blob picture = i % 3 ? picture_jpeg(40 + i, 30, i) : picture_png(20, 24 + i, i);

		snprintf(name, sizeof name, "%s/%02d.img", i % 2 ? "dog" : "cat", i);
		maker_add(maker, name, picture.bytes, picture.size);
		blob_release(&picture);
	}
	archive = maker_end(maker);
	folder_make(f->folder);
	if (ingest_bytes(f->folder, &archive, 0, options, &report, &err) ||
	    gn_dataset_open(&f->dataset, f->folder, &err))
		fail_msg("%s", err.text);
	assert_int_equal(f->dataset->sample_count, IMAGES);
	for (int i = 0; i < IMAGES; i++)
		f->order[i] = (i * 7 + 3) % IMAGES;
	gn_ingest_report_release(&report);
	blob_release(&archive);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	gn_dataset_close(f->dataset);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static struct gn_loader *loader_new(const struct fixture *f, enum gn_augment augment, int threads, uint64_t cache)
{
	struct gn_loader *loader = NULL;
	struct gn_error err = {0};

	if (gn_loader_new(&loader, f->dataset, &preprocess, SIDE, augment, 9, threads, cache, 1 << 20, &err))
		fail_msg("%s", err.text);
	return loader;
}

/*
 * One epoch over f->order, gathered into out [IMAGES, PIXELS]; checks labels, samples and sizes of
 * batches.
 */
static void run_epoch(const struct fixture *f, struct gn_loader *loader, int batch, int epoch, bool train, uint8_t *out)
{
	struct gn_error err = {0};
	int done = 0, end, n;
	const int32_t *samples;
	int32_t *labels;
	const uint8_t *images;

	assert_int_equal(gn_loader_begin(loader, f->order, IMAGES, batch, epoch, train, &err), 0);
	while ((end = gn_loader_next(loader, &images, &labels, &samples, &n, &err)) == 0) {
		assert_int_equal(n, done + batch <= IMAGES ? batch : IMAGES - done);
		for (int i = 0; i < n; i++) {
			assert_int_equal(samples[i], f->order[done + i]);
			assert_int_equal(labels[i], f->dataset->samples[samples[i]].label);
		}
		memcpy(out + (size_t)done * PIXELS, images, (size_t)n * PIXELS * sizeof *out);
		done += n;
	}
	if (end != 1)
		fail_msg("%s", err.text);
	assert_int_equal(done, IMAGES);
	assert_int_equal(gn_loader_next(loader, &images, &labels, &samples, &n, &err), 1);
}

static uint8_t *pixels_new(void)
{
	uint8_t *out = calloc(IMAGES * PIXELS, sizeof *out);

	assert_non_null(out);
	return out;
}

static void images_are_those_of_evaluation(void **state)
{
	const struct fixture *f = *state;
	struct gn_loader *loader = loader_new(f, GN_AUGMENT_STANDARD, 2, 0);
	uint8_t *out = pixels_new();

	run_epoch(f, loader, 7, 0, false, out);
	for (int i = 0; i < IMAGES; i++) {
		const struct gn_sample *sample = &f->dataset->samples[f->order[i]];
		struct gn_error err = {0};
		uint8_t pixels[PIXELS];

		assert_int_equal(gn_image_eval(pixels, f->dataset->pack + sample->offset, sample->bytes, &limits, SIDE,
		                               &preprocess, &err),
		                 0);
		assert_memory_equal(out + i * PIXELS, pixels, sizeof pixels);
	}
	gn_loader_free(loader);
	free(out);
}

/* Threads, batch size and kept pixels change nothing; the epoch changes augmented images only. */
static void nothing_depends_on_threads_or_the_cache(void **state)
{
	static const enum gn_augment augments[] = {GN_AUGMENT_NONE, GN_AUGMENT_FLIP, GN_AUGMENT_STANDARD};
	static const uint64_t caches[] = {0, 10 * PIXELS, 1 << 20};
	const struct fixture *f = *state;
	uint8_t *first = pixels_new(), *other = pixels_new();

	for (size_t a = 0; a < 3; a++) {
		struct gn_loader *alone = loader_new(f, augments[a], 1, 0);

		run_epoch(f, alone, 8, 1, true, first);
		for (int threads = 1; threads <= 4; threads += 3)
			for (size_t c = 0; c < 3; c++) {
				struct gn_loader *loader = loader_new(f, augments[a], threads, caches[c]);

				run_epoch(f, loader, 5, 0, false, other);
				run_epoch(f, loader, 5, 0, true, other);
				assert_int_equal(memcmp(first, other, IMAGES * PIXELS * sizeof *first) == 0,
				                 augments[a] == GN_AUGMENT_NONE);
				run_epoch(f, loader, 16, 1, true, other);
				assert_memory_equal(first, other, IMAGES * PIXELS * sizeof *first);
				gn_loader_free(loader);
			}
		gn_loader_free(alone);
	}
	free(first);
	free(other);
}

/* With room for all, a second epoch needs the files no more. */
static void kept_pixels_spare_the_decoding(void **state)
{
	struct fixture *f = *state;
	struct gn_loader *loader = loader_new(f, GN_AUGMENT_NONE, 2, 1 << 20);
	uint8_t *first = pixels_new(), *second = pixels_new();
	struct gn_dataset bare = *f->dataset, kept = *f->dataset;

	run_epoch(f, loader, 8, 0, true, first);
	bare.pack = (const uint8_t *)"";
	bare.samples = calloc(IMAGES, sizeof *bare.samples);
	assert_non_null(bare.samples);
	for (int i = 0; i < IMAGES; i++)
		bare.samples[i] = (struct gn_sample){.path = "gone", .label = kept.samples[i].label};
	*f->dataset = bare;
	run_epoch(f, loader, 8, 1, true, second);
	*f->dataset = kept;
	assert_memory_equal(first, second, IMAGES * PIXELS * sizeof *first);
	gn_loader_free(loader);
	free(bare.samples);
	free(first);
	free(second);
}

static void stopping_in_the_middle_is_clean(void **state)
{
	const struct fixture *f = *state;
	struct gn_loader *loader = loader_new(f, GN_AUGMENT_STANDARD, 4, 0);
	uint8_t *first = pixels_new(), *second = pixels_new();

	run_epoch(f, loader, 8, 3, true, first);
	for (int batches = 0; batches < 5; batches++) {
		struct gn_error err = {0};
		const int32_t *samples;
		int32_t *labels;
		const uint8_t *images;
		int n;

		assert_int_equal(gn_loader_begin(loader, f->order, IMAGES, 8, batches, true, &err), 0);
		for (int i = 0; i < batches; i++)
			assert_int_equal(gn_loader_next(loader, &images, &labels, &samples, &n, &err), 0);
		if (batches % 2)
			gn_loader_stop(loader);
	}
	gn_loader_stop(loader);
	gn_loader_stop(loader);
	run_epoch(f, loader, 8, 3, true, second);
	assert_memory_equal(first, second, IMAGES * PIXELS * sizeof *first);
	gn_loader_begin(loader, f->order, IMAGES, 8, 0, true, NULL); /* freed while it works */
	gn_loader_free(loader);
	free(first);
	free(second);
}

static void an_empty_order_ends_at_once(void **state)
{
	struct gn_loader *loader = loader_new(*state, GN_AUGMENT_NONE, 2, 0);
	struct gn_error err = {0};
	const int32_t *samples;
	int32_t *labels;
	const uint8_t *images;
	int n;

	assert_int_equal(gn_loader_begin(loader, NULL, 0, 8, 0, true, &err), 0);
	assert_int_equal(gn_loader_next(loader, &images, &labels, &samples, &n, &err), 1);
	gn_loader_free(loader);
}

/* Two images are damaged after ingest: the first in the order is named, whatever the threads do. */
static void a_damaged_image_is_named(void **state)
{
	const struct fixture *f = *state;
	struct gn_dataset damaged = *f->dataset;
	uint8_t *pack = malloc(damaged.pack_bytes);

	assert_non_null(pack);
	memcpy(pack, damaged.pack, damaged.pack_bytes);
	memset(pack + damaged.samples[f->order[13]].offset, 0, 16);
	memset(pack + damaged.samples[f->order[12]].offset, 0, 16);
	damaged.pack = pack;
	for (int threads = 1; threads <= 4; threads++) {
		struct gn_loader *loader = NULL;
		struct gn_error err = {0};
		const int32_t *samples;
		int32_t *labels;
		const uint8_t *images;
		int n;

		assert_int_equal(
		    gn_loader_new(&loader, &damaged, &preprocess, SIDE, GN_AUGMENT_NONE, 1, threads, 0, 1 << 20, &err),
		    0);
		assert_int_equal(gn_loader_begin(loader, f->order, IMAGES, 8, 0, true, &err), 0);
		assert_int_equal(gn_loader_next(loader, &images, &labels, &samples, &n, &err), 0);
		assert_int_equal(gn_loader_next(loader, &images, &labels, &samples, &n, &err), -1);
		assert_string_equal(err.where, damaged.samples[f->order[12]].path);
		assert_non_null(strstr(err.text, "cannot be used"));
		gn_loader_free(loader);
	}
	free(pack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(images_are_those_of_evaluation), cmocka_unit_test(nothing_depends_on_threads_or_the_cache),
	    cmocka_unit_test(kept_pixels_spare_the_decoding), cmocka_unit_test(stopping_in_the_middle_is_clean),
	    cmocka_unit_test(an_empty_order_ends_at_once),    cmocka_unit_test(a_damaged_image_is_named),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
