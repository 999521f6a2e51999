/*
 * Draws labelled pictures for the demo: shapes filled with textures, as JPEGs in CLASS folders.
 *
 * There are two domains, made of the same shapes and textures in different pairings, so that what a
 * network learns on one helps on the other without answering it. Domain a is clean: bright colours
 * on calm backgrounds. Domain b is what a small lab has: dull colours, cluttered backgrounds, noise
 * and blur. In both, place, size, angle and colours say nothing about the class.
 *
 * Each picture depends on (seed, domain, split, class, number) alone: the same command gives the
 * same bytes.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jpeglib.h>

enum { MAX_SIZE = 512, PATH_SIZE = 4096, SAMPLES = 3 };

static const double pi = 3.14159265358979323846;

/* ---------------------------------------------------------------- random numbers -------------- */

/* SplitMix64 (Steele, Lea and Flood, 2014): one 64-bit state, passes BigCrush, two lines. */
struct rng {
	uint64_t state;
};

static uint64_t rng_next(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static double rng_between(struct rng *rng, double low, double high)
{
	return low + (high - low) * (double)(rng_next(rng) >> 11) * 0x1p-53;
}

static int rng_below(struct rng *rng, int n)
{
	return (int)(rng_next(rng) % (uint64_t)n);
}

/* Nearly normal, mean 0 and variance 1: the sum of twelve uniform numbers. */
static double rng_normal(struct rng *rng)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += rng_between(rng, 0, 1);
	return sum;
}

static void rng_init(struct rng *rng, const uint64_t *keys, int count)
{
	rng->state = 0;
	for (int i = 0; i < count; i++) {
		rng->state ^= keys[i];
		rng->state = rng_next(rng);
	}
}

/* ---------------------------------------------------------------- shapes and textures --------- */

/* A shape in its own coordinates, where it fills about the unit circle: is (x, y) inside? */
typedef bool shape_fn(double x, double y);

static bool disc(double x, double y)
{
	return x * x + y * y < 0.9;
}

static bool square(double x, double y)
{
	return fabs(x) < 0.8 && fabs(y) < 0.8;
}

static bool triangle(double x, double y)
{
	return y > -0.6 && y < 1.0 - 1.7320508 * fabs(x);
}

static bool star(double x, double y)
{
	const double fifth = 2 * pi / 5, angle = fabs(remainder(atan2(x, y), fifth));

	/* The straight edge from a tip at radius 1 to the notch at radius 0.42, half a fifth
	 * further round. */
	const double nx = 0.42 * sin(fifth / 2), ny = 0.42 * cos(fifth / 2), r = hypot(x, y);
	return r * cos(angle) * nx + (r * sin(angle)) * (1 - ny) < nx;
}

static bool cross(double x, double y)
{
	return (fabs(x) < 0.3 && fabs(y) < 1) || (fabs(y) < 0.3 && fabs(x) < 1);
}

static bool ring(double x, double y)
{
	const double r = hypot(x, y);

	return r > 0.55 && r < 1;
}

static bool crescent(double x, double y)
{
	return hypot(x, y) < 1 && hypot(x - 0.5, y) > 0.75;
}

static bool arrow(double x, double y)
{
	return (y > 0 && y < 1 - 1.2 * fabs(x)) || (y <= 0 && y > -0.9 && fabs(x) < 0.28);
}

static const struct {
	const char *name;
	shape_fn *inside;
} shapes[] = {{"disc", disc},   {"square", square}, {"triangle", triangle}, {"star", star},
              {"cross", cross}, {"ring", ring},     {"crescent", crescent}, {"arrow", arrow}};

/* A texture in the shape's coordinates: 0 or 1, which of the two inks. */
typedef int texture_fn(double x, double y);

static int plain(double x, double y)
{
	(void)x, (void)y;
	return 0;
}

static int stripes(double x, double y)
{
	(void)y;
	return sin(x * 9) > 0;
}

static int dots(double x, double y)
{
	return hypot(remainder(x, 0.5), remainder(y, 0.5)) < 0.15;
}

static int checks(double x, double y)
{
	return (sin(x * 7) > 0) != (sin(y * 7) > 0);
}

static const struct {
	const char *name;
	texture_fn *ink;
} textures[] = {{"plain", plain}, {"striped", stripes}, {"dotted", dots}, {"checked", checks}};

enum { PLAIN, STRIPED, DOTTED, CHECKED };
enum { DISC, SQUARE, TRIANGLE, STAR, CROSS, RING, CRESCENT, ARROW };

struct domain {
	const char *name;
	struct {
		int texture, shape;
	} classes[10];
	int class_count;
	/* of the colours; contrast is the least distance in lightness to the background */
	double saturation, contrast;
	double noise, blur; /* at most: standard deviation in levels, number of passes */
	int clutter;        /* at most so many blots behind the shape */
};

static const struct domain domains[] = {
    {"a",
     {{PLAIN, DISC},
      {STRIPED, SQUARE},
      {DOTTED, TRIANGLE},
      {CHECKED, STAR},
      {PLAIN, CROSS},
      {STRIPED, RING},
      {DOTTED, CRESCENT},
      {CHECKED, ARROW},
      {PLAIN, TRIANGLE},
      {STRIPED, DISC}},
     10,
     0.8,
     0.35,
     8,
     1,
     0},
    {"b",
     {{DOTTED, DISC},
      {PLAIN, SQUARE},
      {STRIPED, TRIANGLE},
      {PLAIN, STAR},
      {DOTTED, CROSS},
      {CHECKED, RING},
      {PLAIN, CRESCENT},
      {STRIPED, ARROW}},
     8,
     0.35,
     0.25,
     12,
     2,
     4},
};

/* ---------------------------------------------------------------- drawing --------------------- */

struct colour {
	double rgb[3]; /* 0 to 1 */
};

/* A random hue of the given saturation and lightness. */
static struct colour colour_random(struct rng *rng, double saturation, double lightness)
{
	const double hue = rng_between(rng, 0, 6);
	struct colour out;

	for (int c = 0; c < 3; c++) {
		const double distance = fabs(remainder(hue - 2 * c, 6));
		const double pure = fmin(fmax(2 - distance, 0), 1);
		out.rgb[c] = fmin(fmax(lightness + saturation * (pure - 0.5) * 0.6, 0), 1);
	}
	return out;
}

struct blot {
	double x, y, radius;
	struct colour ink;
};

/* Everything that varies in one picture. Places are in units of half the picture, from its
 * centre. */
struct scene {
	shape_fn *inside;
	texture_fn *texture;
	double x, y, scale, sine, cosine;
	struct colour inks[2], back[2];
	double slope_x, slope_y; /* of the background, from back[0] to back[1] */
	struct blot blots[8];
	int blot_count;
};

static void scene_init(struct scene *scene, const struct domain *domain, int class, struct rng *rng)
{
	const double angle = rng_between(rng, -0.6, 0.6);
	const bool dark = rng_below(rng, 2);
	const double back = dark ? rng_between(rng, 0.1, 0.4) : rng_between(rng, 0.6, 0.9);
	const double front =
	    dark ? rng_between(rng, back + domain->contrast, 1) : rng_between(rng, 0, back - domain->contrast);
	const double second = front > 0.5 ? front - 0.4 : front + 0.4;

	*scene = (struct scene){
	    .inside = shapes[domain->classes[class].shape].inside,
	    .texture = textures[domain->classes[class].texture].ink,
	    .scale = rng_between(rng, 0.6, 0.9),
	    .sine = sin(angle),
	    .cosine = cos(angle),
	};
	const double room = 1 - scene->scale * 0.9;
	scene->x = rng_between(rng, -room, room);
	scene->y = rng_between(rng, -room, room);
	scene->inks[0] = colour_random(rng, domain->saturation, front);
	scene->inks[1] = colour_random(rng, domain->saturation, second);
	scene->back[0] = colour_random(rng, domain->saturation, back);
	scene->back[1] = colour_random(rng, domain->saturation, back);
	scene->slope_x = rng_between(rng, -0.5, 0.5);
	scene->slope_y = rng_between(rng, -0.5, 0.5);
	scene->blot_count = rng_below(rng, domain->clutter + 1);
	for (int i = 0; i < scene->blot_count; i++)
		scene->blots[i] =
		    (struct blot){rng_between(rng, -1, 1), rng_between(rng, -1, 1), rng_between(rng, 0.08, 0.25),
		                  colour_random(rng, domain->saturation, rng_between(rng, back - 0.1, back + 0.1))};
}

/* The colour at (x, y) in units of half the picture. */
static struct colour scene_at(const struct scene *scene, double x, double y)
{
	const double u = (x - scene->x) / scene->scale, v = (y - scene->y) / scene->scale;
	const double sx = scene->cosine * u + scene->sine * v, sy = scene->cosine * v - scene->sine * u;
	struct colour out;

	if (scene->inside(sx, sy))
		return scene->inks[scene->texture(sx, sy)];
	for (int i = 0; i < scene->blot_count; i++)
		if (hypot(x - scene->blots[i].x, y - scene->blots[i].y) < scene->blots[i].radius)
			return scene->blots[i].ink;
	const double mix = fmin(fmax(0.5 + scene->slope_x * x + scene->slope_y * y, 0), 1);
	for (int c = 0; c < 3; c++)
		out.rgb[c] = scene->back[0].rgb[c] * (1 - mix) + scene->back[1].rgb[c] * mix;
	return out;
}

/* Averages SAMPLES x SAMPLES points of each pixel: out [size, size, 3], 0 to 255. */
static void scene_draw(double *out, const struct scene *scene, int size)
{
	const double step = 2.0 / size / SAMPLES;

	for (int i = 0; i < size * size; i++) {
		double sum[3] = {0};
		for (int s = 0; s < SAMPLES * SAMPLES; s++) {
			const double x = -1 + step * (i % size * SAMPLES + s % SAMPLES + 0.5);
			const double y = -1 + step * (i / size * SAMPLES + s / SAMPLES + 0.5);
			const struct colour colour = scene_at(scene, x, y);
			for (int c = 0; c < 3; c++)
				sum[c] += colour.rgb[c];
		}
		for (int c = 0; c < 3; c++)
			out[i * 3 + c] = sum[c] * 255 / (SAMPLES * SAMPLES);
	}
}

/* One pass of a 3 x 3 box, the border repeated. */
static void blur(double *out, const double *in, int size)
{
	for (int y = 0; y < size; y++)
		for (int x = 0; x < size; x++)
			for (int c = 0; c < 3; c++) {
				double sum = 0;
				for (int k = 0; k < 9; k++) {
					const int sx = x + k % 3 - 1, sy = y + k / 3 - 1;
					const int cx = sx < 0 ? 0 : sx >= size ? size - 1 : sx;
					const int cy = sy < 0 ? 0 : sy >= size ? size - 1 : sy;
					sum += in[(cy * size + cx) * 3 + c];
				}
				out[(y * size + x) * 3 + c] = sum / 9;
			}
}

/* A whole picture: rgb [size, size, 3]. */
static void picture(uint8_t *rgb, const struct domain *domain, int class, int size, struct rng *rng)
{
	static double planes[2][MAX_SIZE * MAX_SIZE * 3];
	struct scene scene;
	int at = 0;

	scene_init(&scene, domain, class, rng);
	scene_draw(planes[0], &scene, size);
	for (int pass = rng_below(rng, (int)domain->blur + 1); pass > 0; pass--, at = !at)
		blur(planes[!at], planes[at], size);
	const double noise = rng_between(rng, 0, domain->noise);
	for (int i = 0; i < size * size * 3; i++)
		rgb[i] = (uint8_t)lrint(fmin(fmax(planes[at][i] + noise * rng_normal(rng), 0), 255));
}

/* ---------------------------------------------------------------- files ----------------------- */

static void fail(const char *what)
{
	fprintf(stderr, "shapes: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_jpeg(const char *path, uint8_t *rgb, int size, int quality)
{
	struct jpeg_compress_struct jpeg;
	struct jpeg_error_mgr errors;
	FILE *file = fopen(path, "wb");

	if (!file)
		fail(path);
	jpeg.err = jpeg_std_error(&errors); /* ends the program on an error */
	jpeg_create_compress(&jpeg);
	jpeg_stdio_dest(&jpeg, file);
	jpeg.image_width = jpeg.image_height = (JDIMENSION)size;
	jpeg.input_components = 3;
	jpeg.in_color_space = JCS_RGB;
	jpeg_set_defaults(&jpeg);
	jpeg_set_quality(&jpeg, quality, TRUE);
	jpeg_start_compress(&jpeg, TRUE);
	while (jpeg.next_scanline < jpeg.image_height) {
		JSAMPROW row = rgb + (size_t)jpeg.next_scanline * (size_t)size * 3;
		jpeg_write_scanlines(&jpeg, &row, 1);
	}
	jpeg_finish_compress(&jpeg);
	jpeg_destroy_compress(&jpeg);
	if (fclose(file) != 0)
		fail(path);
}

struct options {
	const struct domain *domain;
	const char *out;
	long train, val, size, quality;
	uint64_t seed;
};

static void make_folder(const char *path)
{
	if (mkdir(path, 0777) != 0 && errno != EEXIST)
		fail(path);
}

static void draw_class(const struct options *options, int split, int class)
{
	static uint8_t rgb[MAX_SIZE * MAX_SIZE * 3];
	const long count = split ? options->val : options->train;
	const char *texture = textures[options->domain->classes[class].texture].name;
	const char *shape = shapes[options->domain->classes[class].shape].name;
	char folder[PATH_SIZE], path[PATH_SIZE + 32];

	if (snprintf(folder, sizeof folder, "%s/%s/%s-%s", options->out, split ? "val" : "train", texture, shape) >=
	    PATH_SIZE) {
		errno = ENAMETOOLONG;
		fail(options->out);
	}
	make_folder(folder);
	for (long i = 0; i < count; i++) {
		const uint64_t keys[] = {options->seed, (uint64_t)options->domain->name[0], (uint64_t)split,
		                         (uint64_t) class, (uint64_t)i};
		struct rng rng;

		rng_init(&rng, keys, 5);
		picture(rgb, options->domain, class, (int)options->size, &rng);
		snprintf(path, sizeof path, "%s/%05ld.jpg", folder, i);
		write_jpeg(path, rgb, (int)options->size, (int)options->quality);
	}
}

static void draw_all(const struct options *options)
{
	char folder[PATH_SIZE];

	make_folder(options->out);
	for (int split = 0; split < 2; split++) {
		if (snprintf(folder, sizeof folder, "%s/%s", options->out, split ? "val" : "train") >= PATH_SIZE) {
			errno = ENAMETOOLONG;
			fail(options->out);
		}
		make_folder(folder);
		for (int class = 0; class < options->domain->class_count; class ++)
			draw_class(options, split, class);
	}
}

/* ---------------------------------------------------------------- command line ---------------- */

static const char usage[] =
    "usage: shapes --domain a|b [options] FOLDER\n"
    "Draws labelled pictures as FOLDER/train/CLASS/NUMBER.jpg and FOLDER/val/CLASS/NUMBER.jpg.\n"
    "\n"
    "  --domain a|b    a: 10 classes, clean pictures; b: 8 other classes of the same shapes and\n"
    "                  textures in other pairings, with clutter, noise and blur\n"
    "  --train N       pictures per class for training (default 200)\n"
    "  --val N         pictures per class for validation (default 50)\n"
    "  --size PIXELS   side of a picture, 16 to 512 (default 64)\n"
    "  --quality Q     JPEG quality, 1 to 100 (default 90)\n"
    "  --seed S        another seed, other pictures (default 0)\n"
    "  --help          this text\n";

static long number(const char *name, const char *text, long low, long high)
{
	char *end;

	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < low || value > high) {
		fprintf(stderr, "shapes: --%s must be a number between %ld and %ld\n", name, low, high);
		exit(2);
	}
	return value;
}

static const struct domain *domain_named(const char *name)
{
	for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++)
		if (strcmp(domains[i].name, name) == 0)
			return &domains[i];
	fprintf(stderr, "shapes: there is no domain '%s'; a and b are there\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"domain", required_argument, NULL, 'd'},  {"train", required_argument, NULL, 't'},
	    {"val", required_argument, NULL, 'v'},     {"size", required_argument, NULL, 's'},
	    {"quality", required_argument, NULL, 'q'}, {"seed", required_argument, NULL, 'r'},
	    {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
	struct options options = {.train = 200, .val = 50, .size = 64, .quality = 90};
	int index, letter;

	while ((letter = getopt_long(argc, argv, "", longs, &index)) != -1) {
		switch (letter) {
		case 'd':
			options.domain = domain_named(optarg);
			break;
		case 't':
			options.train = number("train", optarg, 1, 99999);
			break;
		case 'v':
			options.val = number("val", optarg, 1, 99999);
			break;
		case 's':
			options.size = number("size", optarg, 16, MAX_SIZE);
			break;
		case 'q':
			options.quality = number("quality", optarg, 1, 100);
			break;
		case 'r':
			options.seed = (uint64_t)number("seed", optarg, 0, INT32_MAX);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!options.domain || optind + 1 != argc) {
		fputs(usage, stderr);
		return 2;
	}
	options.out = argv[optind];
	draw_all(&options);
	return 0;
}
