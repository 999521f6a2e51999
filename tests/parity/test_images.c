/*
 * Decoding, resampling and evaluation preprocessing against Pillow and timm (golden/images; see
 * README.md). The listings have the expected pixels of each file and the allowed difference of a
 * level.
 */
#include "gonio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER     GN_SOURCE_DIR "/tests/parity/golden/images/"
#define MAX_PIXELS 1000000

static const struct gn_image_limits limits = {.max_pixels = MAX_PIXELS};

struct difference {
	int largest;
	double mean;
};

static uint8_t *read_whole(const char *name, size_t *size)
{
	char path[512];
	uint8_t *bytes = malloc(1 << 20);
	FILE *file;

	snprintf(path, sizeof path, FOLDER "%s", name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_non_null(bytes);
	*size = fread(bytes, 1, 1 << 20, file);
	assert_true(*size > 0 && *size < 1 << 20);
	fclose(file);
	return bytes;
}

/* A binary PPM as make_golden.py writes it. */
static struct gn_image read_expected(const char *name)
{
	struct gn_image image = {0};
	size_t size;
	uint8_t *bytes = read_whole(name, &size);
	size_t pixels;

	assert_int_equal(sscanf((char *)bytes, "P6\n%d %d\n255", &image.width, &image.height), 2);
	pixels = (size_t)image.width * (size_t)image.height * 3;
	assert_true(size > pixels);
	image.rgb = malloc(pixels);
	assert_non_null(image.rgb);
	memcpy(image.rgb, bytes + size - pixels, pixels);
	free(bytes);
	return image;
}

static struct gn_image decode(const char *name)
{
	struct gn_image image = {0};
	struct gn_error err = {0};
	size_t size;
	uint8_t *bytes = read_whole(name, &size);

	if (gn_image_decode(&image, bytes, size, MAX_PIXELS, 0, NULL, NULL, &err))
		fail_msg("%s: %s", name, err.text);
	free(bytes);
	return image;
}

static struct difference compare(const uint8_t *found, const uint8_t *wanted, int width, int height)
{
	struct difference d = {0};
	int count = width * height * 3;

	for (int i = 0; i < count; i++) {
		int off = abs(found[i] - wanted[i]);

		d.mean += (double)off / count;
		if (off > d.largest)
			d.largest = off;
	}
	return d;
}

/* The next line of a listing that is no comment. */
static bool next_line(FILE *listing, char *line, int size)
{
	while (fgets(line, size, listing))
		if (line[0] != '#')
			return true;
	return false;
}

static FILE *open_listing(const char *name)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof path, FOLDER "%s", name);
	file = fopen(path, "r");
	assert_non_null(file);
	return file;
}

static void decodes_as_pillow(void **state)
{
	FILE *listing = open_listing("decode.txt");
	char line[256], name[64], expected[64];
	int allowed, cases = 0, wrong = 0;

	(void)state;
	while (next_line(listing, line, sizeof line)) {
		struct gn_image found, wanted;
		struct difference d = {.largest = 256};

		assert_int_equal(sscanf(line, "%63s %63s %d", name, expected, &allowed), 3);
		found = decode(name);
		wanted = read_expected(expected);
		if (found.width == wanted.width && found.height == wanted.height)
			d = compare(found.rgb, wanted.rgb, wanted.width, wanted.height);
		print_message("%-20s %dx%d, largest difference %d (allowed %d), mean %.4f\n", name, found.width,
		              found.height, d.largest, allowed, d.mean);
		wrong += d.largest > allowed;
		cases++;
		gn_image_release(&found);
		free(wanted.rgb);
	}
	fclose(listing);
	assert_true(cases >= 29);
	assert_int_equal(wrong, 0);
}

static void resizes_as_pillow(void **state)
{
	FILE *listing = open_listing("resize.txt");
	char line[256], name[64], kernel[16], expected[64];
	int width, height, cases = 0, wrong = 0;
	double b[4];

	(void)state;
	while (next_line(listing, line, sizeof line)) {
		struct gn_image in, out = {0}, wanted;
		struct gn_error err = {0};
		struct difference d;

		assert_int_equal(sscanf(line, "%63s %15s %lf %lf %lf %lf %d %d %63s", name, kernel, &b[0], &b[1], &b[2],
		                        &b[3], &width, &height, expected),
		                 9);
		in = decode(name);
		wanted = read_expected(expected);
		if (gn_image_resize(&out, &in, (double[4]){b[0], b[1], b[2] - b[0], b[3] - b[1]}, width, height,
		                    strcmp(kernel, "bicubic") ? GN_BILINEAR : GN_BICUBIC, &err))
			fail_msg("%s: %s", expected, err.text);
		assert_int_equal(out.width, wanted.width);
		assert_int_equal(out.height, wanted.height);
		d = compare(out.rgb, wanted.rgb, width, height);
		print_message("%-24s largest difference %d, mean %.4f\n", expected, d.largest, d.mean);
		wrong += d.largest > 1;
		cases++;
		gn_image_release(&in);
		gn_image_release(&out);
		free(wanted.rgb);
	}
	fclose(listing);
	assert_true(cases >= 20);
	assert_int_equal(wrong, 0);
}

/* Lossless sources: within 1 level. A JPEG may be decoded at a smaller DCT scale first, which
 * filters a little differently. */
static void prepares_as_timm(void **state)
{
	FILE *listing = open_listing("eval.txt");
	char line[256], name[64], expected[64];
	struct gn_preprocess preprocess = {.std = {1, 1, 1}, .interpolation = GN_BICUBIC};
	int side, cases = 0, wrong = 0;

	(void)state;
	while (next_line(listing, line, sizeof line)) {
		struct gn_image wanted;
		struct gn_error err = {0};
		struct difference d;
		size_t size;
		uint8_t *bytes, *found;
		bool jpeg;

		assert_int_equal(sscanf(line, "%63s %d %f %63s", name, &side, &preprocess.crop_pct, expected), 4);
		jpeg = strstr(name, ".jpg") != NULL;
		bytes = read_whole(name, &size);
		wanted = read_expected(expected);
		found = malloc((size_t)side * (size_t)side * 3);
		assert_non_null(found);
		if (gn_image_eval(found, bytes, size, &limits, side, &preprocess, &err))
			fail_msg("%s: %s", expected, err.text);
		d = compare(found, wanted.rgb, side, side);
		print_message("%s %s to %d, crop %.3f: largest difference %d, mean %.4f\n", expected, name, side,
		              (double)preprocess.crop_pct, d.largest, d.mean);
		wrong += d.largest > (jpeg ? 4 : 1) || !(d.mean <= 1.0);
		cases++;
		free(bytes);
		free(found);
		free(wanted.rgb);
	}
	fclose(listing);
	assert_true(cases >= 9);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(decodes_as_pillow),
	    cmocka_unit_test(resizes_as_pillow),
	    cmocka_unit_test(prepares_as_timm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
