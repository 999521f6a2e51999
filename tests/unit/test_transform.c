/* Evaluation and training preprocessing: sizes and crops as torchvision rounds them, the same draws
 * for the same stream. */
#include "data/transform.h"
#include "tests/support/pictures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct gn_image_limits limits = {.max_pixels = 1000000};

static const struct gn_preprocess plain = {{0}, {1, 1, 1}, 1.0f, GN_BICUBIC};

static void the_shorter_side_is_cut_down(void **state)
{
	(void)state;
	assert_int_equal(gn_image_eval_side(224, 0.9f), 248);
	assert_int_equal(gn_image_eval_side(224, 0.875f), 256);
	/* 0.8f is more than 0.8: 279.99 without care */
	assert_int_equal(gn_image_eval_side(224, 0.8f), 280);
	assert_int_equal(gn_image_eval_side(224, 0.95f), 235);
	assert_int_equal(gn_image_eval_side(96, 0.96f), 100);
	assert_int_equal(gn_image_eval_side(112, 1.0f), 112);
	assert_int_equal(gn_image_eval_side(32, 2.0f), 32);
}

/* (width, height, S, crop_pct) -> the resized size and the crop's corner, from torchvision's Resize
 * and CenterCrop. */
static void the_crop_lies_where_torchvision_puts_it(void **state)
{
	static const struct {
		int width, height, side;
		float crop_pct;
		int resized[2], corner[2];
	} cases[] = {
	    /* 35 * 100 / 60 = 58.3; (58 - 32) / 2 = 13; 1.5 rounds to 2 */
	    {100, 60, 32, 0.9f, {58, 35}, {13, 2}},
	    {60, 100, 32, 0.9f, {35, 58}, {2, 13}},
	    /* 3.5 rounds to 4 */
	    {64, 64, 32, 1.0f, {32, 32}, {0, 0}},
	    {61, 47, 24, 1.0f, {31, 24}, {4, 0}},
	    /* 0.5 rounds to 0 */
	    {50, 47, 24, 1.0f, {25, 24}, {0, 0}},
	    {3000, 1, 16, 1.0f, {48000, 16}, {23992, 0}},
	    {1, 3000, 20, 1.0f, {20, 60000}, {0, 29990}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct blob png = picture_png(cases[i].width, cases[i].height, (int)i);
		struct gn_image picture = picture_make(cases[i].width, cases[i].height, (int)i), whole = {0};
		struct gn_preprocess preprocess = plain;
		struct gn_error err = {0};
		int side = cases[i].side;
		uint8_t *found = malloc((size_t)side * (size_t)side * 3);

		assert_non_null(found);
		preprocess.crop_pct = cases[i].crop_pct;
		assert_int_equal(gn_image_eval(found, png.bytes, png.size, &limits, side, &preprocess, &err), 0);
		assert_int_equal(gn_image_resize(&whole, &picture, (double[4]){0, 0, picture.width, picture.height},
		                                 cases[i].resized[0], cases[i].resized[1], GN_BICUBIC, &err),
		                 0);
		for (int y = 0; y < side; y++)
			assert_memory_equal(found + y * side * 3,
			                    whole.rgb +
			                        ((y + cases[i].corner[1]) * whole.width + cases[i].corner[0]) * 3,
			                    (size_t)side * 3);
		gn_image_release(&picture);
		gn_image_release(&whole);
		blob_release(&png);
		free(found);
	}
}

/* No side is too long for any square: the resized whole would have up to five billion pixels in a
 * row. */
static void the_longest_sides_are_taken(void **state)
{
	static const int sides[][2] = {{GN_IMAGE_SIDE_MAX, 1}, {1, GN_IMAGE_SIDE_MAX}, {GN_IMAGE_SIDE_MAX, 15}};
	struct gn_preprocess preprocess = plain;
	struct gn_random random;

	(void)state;
	preprocess.crop_pct = 0.05f;
	for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
		for (int side = 1; side <= 4096; side *= 16) {
			struct blob png = picture_png(sides[i][0], sides[i][1], (int)i), jpeg = {0};
			struct gn_error err = {0};
			uint8_t *found = malloc((size_t)side * (size_t)side * 3);

			assert_non_null(found);
			gn_random_init(&random, 1, GN_RANDOM_AUGMENT, 0, (uint32_t)side);
			if (gn_image_eval(found, png.bytes, png.size, &limits, side, &preprocess, &err) ||
			    gn_image_random_crop(found, png.bytes, png.size, &limits, side, &plain, &random, &err) ||
			    gn_image_thumbnail(&jpeg.bytes, &jpeg.size, png.bytes, png.size, &limits, side, &err))
				fail_msg("%d x %d to %d: %s", sides[i][0], sides[i][1], side, err.text);
			blob_release(&jpeg);
			blob_release(&png);
			free(found);
		}
}

static void longer_sides_are_refused(void **state)
{
	struct blob png = picture_png(GN_IMAGE_SIDE_MAX + 1, 1, 1);
	struct gn_error err = {0};
	uint8_t pixels[3];

	(void)state;
	assert_int_equal(gn_image_eval(pixels, png.bytes, png.size, &limits, 1, &plain, &err), -1);
	assert_int_equal(err.code, GN_UNSUPPORTED);
	assert_non_null(strstr(err.text, "65536 x 1 pixels: a side may have 65535"));
	blob_release(&png);
}

static void normalising_rounds_as_torch(void **state)
{
	const struct gn_preprocess preprocess = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}, 1.0f, GN_BICUBIC};
	uint8_t pixels[4 * 4 * 3];
	float out[3 * 4 * 4];

	(void)state;
	for (int i = 0; i < 48; i++)
		pixels[i] = (uint8_t)(5 * i);
	gn_image_normalise(out, pixels, 4, &preprocess);
	for (int i = 0; i < 16; i++)
		for (int c = 0; c < 3; c++) {
			volatile float unit = (float)pixels[3 * i + c] / 255.0f, centred = unit - preprocess.mean[c];

			assert_true(out[16 * c + i] == centred / preprocess.std[c]);
		}
}

static void flipping_twice_gives_the_same(void **state)
{
	struct gn_image image = picture_make(9, 9, 1), before = picture_make(9, 9, 1);

	(void)state;
	gn_image_flip(image.rgb, 9);
	assert_memory_equal(image.rgb, before.rgb + 8 * 3, 3);
	assert_memory_equal(image.rgb + (9 * 4 + 2) * 3, before.rgb + (9 * 4 + 6) * 3, 3);
	gn_image_flip(image.rgb, 9);
	assert_memory_equal(image.rgb, before.rgb, 9 * 9 * 3);
	gn_image_release(&image);
	gn_image_release(&before);
}

static void random_crop(uint8_t *out, const struct blob *blob, int side, uint32_t epoch, uint32_t sample)
{
	struct gn_random random;
	struct gn_error err = {0};

	gn_random_init(&random, 7, GN_RANDOM_AUGMENT, epoch, sample);
	if (gn_image_random_crop(out, blob->bytes, blob->size, &limits, side, &plain, &random, &err))
		fail_msg("%s", err.text);
}

static void crops_follow_their_stream(void **state)
{
	struct blob png = picture_png(80, 60, 3);
	uint8_t first[32 * 32 * 3], again[32 * 32 * 3], other[32 * 32 * 3];

	(void)state;
	random_crop(first, &png, 32, 1, 5);
	random_crop(again, &png, 32, 1, 5);
	random_crop(other, &png, 32, 2, 5);
	assert_memory_equal(first, again, sizeof first);
	assert_memory_not_equal(first, other, sizeof first);
	blob_release(&png);
}

/* A picture whose red is its column and whose green is its row tells where a crop was taken and how
 * large it was. */
static void crops_have_the_promised_areas_and_shapes(void **state)
{
	enum { W = 200, H = 150, S = 16, TRIES = 400 };
	double least = 1, most = 0, narrow = 9, wide = 0;
	struct gn_image map = picture_make(W, H, 0);
	struct blob png;

	(void)state;
	for (int i = 0; i < W * H; i++)
		memcpy(map.rgb + 3 * i, (uint8_t[3]){(uint8_t)(i % W), (uint8_t)(i / W), 0}, 3);
	png = picture_png_of(&map);
	for (int i = 0; i < TRIES; i++) {
		double area, shape, width, height;
		uint8_t out[S * S * 3];

		random_crop(out, &png, S, 0, (uint32_t)i);
		/* the centres of the first and last pixel are (S - 1) / S of the crop apart */
		width = (out[(S * S / 2 + S - 1) * 3] - out[(S * S / 2) * 3]) * (double)S / (S - 1);
		height = (out[((S - 1) * S + S / 2) * 3 + 1] - out[(S / 2) * 3 + 1]) * (double)S / (S - 1);
		area = width * height / (W * H);
		shape = width / height;
		least = fmin(least, area);
		most = fmax(most, area);
		narrow = fmin(narrow, shape);
		wide = fmax(wide, shape);
	}
	blob_release(&png);
	gn_image_release(&map);
	print_message("areas %.3f to %.3f, shapes %.3f to %.3f\n", least, most, narrow, wide);
	assert_true(least > 0.22 && least < 0.30 && most > 0.90 && most < 1.05);
	assert_true(narrow > 0.70 && narrow < 0.80 && wide > 1.27 && wide < 1.42);
}

static void long_pictures_fall_back_to_the_centre(void **state)
{
	struct blob wide = picture_png(300, 4, 2), tall = picture_png(4, 300, 2);
	uint8_t out[8 * 8 * 3];

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		random_crop(out, &wide, 8, 0, i);
		random_crop(out, &tall, 8, 0, i);
	}
	blob_release(&wide);
	blob_release(&tall);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_shorter_side_is_cut_down),
	    cmocka_unit_test(the_crop_lies_where_torchvision_puts_it),
	    cmocka_unit_test(the_longest_sides_are_taken),
	    cmocka_unit_test(longer_sides_are_refused),
	    cmocka_unit_test(normalising_rounds_as_torch),
	    cmocka_unit_test(flipping_twice_gives_the_same),
	    cmocka_unit_test(crops_follow_their_stream),
	    cmocka_unit_test(crops_have_the_promised_areas_and_shapes),
	    cmocka_unit_test(long_pictures_fall_back_to_the_centre),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
