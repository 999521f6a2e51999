/*
 * Resampling against a plain referee: the same weights by their definition, in double, one pixel at
 * a time, both roundings of 8 bits included. (Against Pillow itself: tests/parity/test_images.c.)
 */
#include "data/resample.h"
#include "tests/support/pictures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double kernel(double x, bool cubic)
{
	x = fabs(x);
	if (!cubic)
		return x < 1 ? 1 - x : 0;
	return x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

/* One output value along an axis: in[0], in[step], ... are the n input values. */
static uint8_t referee(const uint8_t *in, int n, int step, double start, double length, int size, int at, bool cubic)
{
	double scale = length / size, stretch = scale > 1 ? scale : 1, reach = (cubic ? 2 : 1) * stretch;
	double centre = start + (at + 0.5) * scale, sum = 0, weights = 0;

	for (int x = 0; x < n; x++) {
		double w = x >= (int)(fmax(0, centre - reach + 0.5)) && x < (int)(centre + reach + 0.5)
		               ? kernel((x + 0.5 - centre) / stretch, cubic)
		               : 0;

		sum += w * in[x * step];
		weights += w;
	}
	return (uint8_t)fmin(255, fmax(0, floor(sum / weights + 0.5)));
}

/* How far the resized image is from the referee's, at most. */
static int compare(const struct gn_image *in, const double box[4], int width, int height, enum gn_interpolation how)
{
	struct gn_image middle = {malloc((size_t)width * (size_t)in->height * 3), width, in->height}, out = {0};
	struct gn_error err = {0};
	int largest = 0;

	assert_non_null(middle.rgb);
	for (int y = 0; y < in->height; y++)
		for (int x = 0; x < width * 3; x++)
			middle.rgb[y * width * 3 + x] =
			    referee(in->rgb + (size_t)y * (size_t)in->width * 3 + x % 3, in->width, 3, box[0], box[2],
			            width, x / 3, how == GN_BICUBIC);
	if (gn_image_resize(&out, in, box, width, height, how, &err))
		fail_msg("%s", err.text);
	assert_int_equal(out.width, width);
	assert_int_equal(out.height, height);
	for (int y = 0; y < height; y++)
		for (int x = 0; x < width * 3; x++) {
			int wanted = referee(middle.rgb + x, in->height, width * 3, box[1], box[3], height, y,
			                     how == GN_BICUBIC);
			int off = abs(wanted - out.rgb[y * width * 3 + x]);

			largest = off > largest ? off : largest;
		}
	gn_image_release(&middle);
	gn_image_release(&out);
	return largest;
}

static struct gn_image noise(int width, int height)
{
	struct gn_image image = picture_make(width, height, 1);
	uint32_t x = 12345;

	for (int i = 0; i < width * height * 3; i++) {
		x = x * 1664525 + 1013904223;
		/* many extremes: sums leave 0..255 */
		image.rgb[i] = x >> 31 ? (uint8_t)(x >> 20) : x >> 30 ? 255 : 0;
	}
	return image;
}

static void every_shape_agrees_with_the_referee(void **state)
{
	static const int shapes[][4] = {
	    {1, 1, 1, 1},    {1, 1, 7, 5},    {5, 3, 1, 1},       {10, 11, 10, 11}, {40, 33, 17, 50}, {97, 61, 31, 64},
	    {3, 200, 64, 9}, {200, 3, 9, 64}, {348, 70, 248, 50}, {16, 16, 32, 32}, {33, 34, 32, 33}, {11, 10, 12, 40},
	};

	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct gn_image in = noise(shapes[i][0], shapes[i][1]);
		double w = in.width, h = in.height;
		const double whole[4] = {0, 0, w, h}, part[4] = {w * 0.2, h * 0.1, w * 0.55, h * 0.7};

		for (enum gn_interpolation how = GN_BICUBIC; how <= GN_BILINEAR; how++) {
			int off = compare(&in, whole, shapes[i][2], shapes[i][3], how),
			    off_part = compare(&in, part, shapes[i][2], shapes[i][3], how);

			print_message("%dx%d to %dx%d, %s: off by %d, a part by %d\n", in.width, in.height,
			              shapes[i][2], shapes[i][3], how == GN_BICUBIC ? "bicubic" : "bilinear", off,
			              off_part);
			assert_true(off <= 1 && off_part <= 1);
		}
		gn_image_release(&in);
	}
}

/* A window of the result is the same pixels as in the whole. */
static void a_window_is_cut_from_the_whole(void **state)
{
	struct gn_image in = noise(90, 70), whole = {0};
	struct gn_resample job = {{0, 0, 90, 70}, 41, 33, GN_BICUBIC, {9, 5, 24, 20}};
	struct gn_error err = {0};
	uint8_t window[20 * 24 * 3];

	(void)state;
	assert_int_equal(gn_image_resize(&whole, &in, job.box, 41, 33, GN_BICUBIC, &err), 0);
	assert_int_equal(gn_resample(window, &in, &job, &err), 0);
	for (int y = 0; y < 20; y++)
		assert_memory_equal(window + y * 24 * 3, whole.rgb + ((y + 5) * 41 + 9) * 3, 24 * 3);
	gn_image_release(&in);
	gn_image_release(&whole);
}

static void same_size_is_the_same_image(void **state)
{
	struct gn_image in = noise(45, 31), out = {0};
	struct gn_error err = {0};

	(void)state;
	assert_int_equal(gn_image_resize(&out, &in, (double[4]){0, 0, 45, 31}, 45, 31, GN_BICUBIC, &err), 0);
	assert_memory_equal(in.rgb, out.rgb, 45 * 31 * 3);
	gn_image_release(&in);
	gn_image_release(&out);
}

/* What this processor runs and what every processor can run give the same bits. */
static void kernels_agree(void **state)
{
	enum { ROWS = 40, N = 333 };
	static const int lengths[] = {1, 5, 31, 32, 33, 64, 96, 200, N};
	struct gn_image in = noise(N / 3, ROWS);

	(void)state;
	for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
		for (int taps = 1; taps <= ROWS; taps++) {
			int32_t weights[2][ROWS];
			uint8_t out[2][N];

			/* of both signs, and every tenth as large as they get */
			for (int t = 0; t < ROWS; t++)
				weights[0][t] = weights[1][t] =
				    t >= taps ? 0 : (t % 10 ? 7919 * (t % 2 ? -t : t) : 1 << 21) / (1 + t / 10);
			gn_weigh_portable.prepare(weights[0], ROWS);
			gn_weigh_best()->prepare(weights[1], ROWS);
			gn_weigh_portable.rows(out[0], in.rgb, N, weights[0], taps, (size_t)lengths[l]);
			gn_weigh_best()->rows(out[1], in.rgb, N, weights[1], taps, (size_t)lengths[l]);
			assert_memory_equal(out[0], out[1], (size_t)lengths[l]);
		}
	gn_image_release(&in);
}

static void impossible_sizes_are_refused(void **state)
{
	struct gn_image in = noise(8, 8), out = {0};
	static const struct {
		double box[4];
		int width, height;
	} cases[] = {
	    {{0, 0, 8, 8}, 0, 4},  {{0, 0, 8, 8}, 4, -1}, {{0, 0, 8, 8}, 70000, 4}, {{0, 0, 9, 8}, 4, 4},
	    {{-1, 0, 4, 4}, 4, 4}, {{0, 0, 0, 8}, 4, 4},  {{4, 4, 5, 2}, 4, 4},     {{NAN, 0, 4, 4}, 4, 4},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct gn_error err = {0};

		assert_int_equal(
		    gn_image_resize(&out, &in, cases[i].box, cases[i].width, cases[i].height, GN_BICUBIC, &err), -1);
		assert_int_equal(err.code, GN_INVALID);
	}
	gn_image_release(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_shape_agrees_with_the_referee), cmocka_unit_test(a_window_is_cut_from_the_whole),
	    cmocka_unit_test(same_size_is_the_same_image),         cmocka_unit_test(kernels_agree),
	    cmocka_unit_test(impossible_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
