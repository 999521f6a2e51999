/*
 * Pillow's resampling (libImaging/Resample.c): each output pixel is a weighted mean of the input pixels under the kernel, the kernel
 * is stretched by the factor of reduction, the weights are rounded to 22 bits, each pass rounds to 8 bits. The horizontal pass
 * comes first and covers only the rows that the vertical one reads.
 */
#include "data/resample.h"

#include "fileio.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 32 /* rows that are transposed together */

/* The weights of count output positions along one axis. */
struct weights {
	const struct gn_weigh *weigh; /* who reads the values */
	int count, room;              /* room: weights kept for each position, even */
	int *first, *taps;
	int32_t *values; /* [count, room] */
};

static double bilinear(double x)
{
	x = fabs(x);
	return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys' kernel with a = -0.5. */
static double bicubic(double x)
{
	const double a = -0.5;

	x = fabs(x);
	if (x < 1.0)
		return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
	if (x < 2.0)
		return (((x - 5) * x + 8) * x - 4) * a;
	return 0.0;
}

static void weights_release(struct weights *w)
{
	free(w->first);
	free(w->taps);
	free(w->values);
}

/* One axis: length input pixels from start become size output pixels, of which [from, from + count) are wanted. */
struct axis {
	int in_size, size, from, count;
	double start, length;
};

/* Input pixels for each output pixel. Pillow's box is of floats. */
static double axis_scale(const struct axis *axis)
{
	return (double)((float)(axis->start + axis->length) - (float)axis->start) / axis->size;
}

static double axis_stretch(const struct axis *axis)
{
	return fmax(axis_scale(axis), 1.0);
}

static double axis_support(const struct axis *axis, enum gn_interpolation how)
{
	return (how == GN_BICUBIC ? 2.0 : 1.0) * axis_stretch(axis);
}

static void weigh_position(struct weights *w, int i, const struct axis *axis, enum gn_interpolation how, double *row)
{
	double (*kernel)(double) = how == GN_BICUBIC ? bicubic : bilinear;
	double scale = axis_scale(axis), support = axis_support(axis, how), narrow = 1.0 / axis_stretch(axis);
	double centre = (double)(float)axis->start + (axis->from + i + 0.5) * scale, sum = 0.0;
	int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);

	first = first < 0 ? 0 : first;
	end = end > axis->in_size ? axis->in_size : end;
	for (int x = first; x < end; x++)
		sum += row[x - first] = kernel((x - centre + 0.5) * narrow);
	for (int x = 0; x < end - first; x++) {
		double value = sum != 0.0 ? row[x] / sum : row[x];

		w->values[(size_t)i * (size_t)w->room + (size_t)x] =
		    (int32_t)((value < 0 ? -0.5 : 0.5) + value * (1 << GN_WEIGHT_BITS));
	}
	gn_assert(first < end && end - first <= w->room);
	w->first[i] = first;
	w->taps[i] = end - first;
}

static int weights_init(struct weights *w, const struct axis *axis, enum gn_interpolation how, struct gn_error *err)
{
	int most = 2 * (int)ceil(axis_support(axis, how)) + 1, room = most < axis->in_size ? most : axis->in_size;
	double *row;

	*w = (struct weights){.weigh = gn_weigh_best(), .count = axis->count, .room = room + room % 2};
	row = gn_alloc((size_t)w->room, sizeof *row, err);
	w->first = gn_alloc((size_t)w->count, sizeof *w->first, err);
	w->taps = gn_alloc((size_t)w->count, sizeof *w->taps, err);
	w->values = gn_alloc((size_t)w->count * (size_t)w->room, sizeof *w->values, err);
	if (!row || !w->first || !w->taps || !w->values) {
		free(row);
		weights_release(w);
		return -1;
	}
	for (int i = 0; i < w->count; i++)
		weigh_position(w, i, axis, how, row);
	w->weigh->prepare(w->values, w->count * w->room);
	free(row);
	return 0;
}

static const int32_t *weights_of(const struct weights *w, int i)
{
	return w->values + (size_t)i * (size_t)w->room;
}

/* The input positions that any output position reads: [*low, *high). */
static void weights_span(const struct weights *w, int *low, int *high)
{
	*low = w->first[0];
	*high = w->first[0] + w->taps[0];
	for (int i = 1; i < w->count; i++) {
		if (w->first[i] < *low)
			*low = w->first[i];
		if (w->first[i] + w->taps[i] > *high)
			*high = w->first[i] + w->taps[i];
	}
}

/* out [rows, w->count, 3] from the rows first_row... of in. */
static int horizontal(uint8_t *out, const struct gn_image *in, int first_row, int rows, const struct weights *w,
                      struct gn_error *err)
{
	enum { PIXEL = 3 * GROUP }; /* a pixel of GROUP rows, transposed */
	size_t stride = (size_t)in->width * 3, out_stride = (size_t)w->count * 3;
	int low, high;
	uint8_t *columns, *sums;

	weights_span(w, &low, &high);
	columns = gn_alloc((size_t)(high - low), PIXEL, err);
	sums = gn_alloc((size_t)w->count, PIXEL, err);
	for (int y = 0; columns && sums && y < rows; y += GROUP) {
		int count = rows - y < GROUP ? rows - y : GROUP;
		const uint8_t *from[GROUP];
		uint8_t *to[GROUP];

		for (int i = 0; i < GROUP; i++) {
			int row = y + (i < count ? i : count - 1);

			from[i] = in->rgb + (size_t)(first_row + row) * stride + (size_t)low * 3;
			to[i] = out + (size_t)row * out_stride;
		}
		gn_transpose_in(columns, GROUP, from, (size_t)(high - low) * 3);
		for (int x = 0; x < w->count; x++)
			w->weigh->rows(sums + (size_t)x * PIXEL, columns + (size_t)(w->first[x] - low) * PIXEL, PIXEL,
			               weights_of(w, x), w->taps[x], PIXEL);
		gn_transpose_out(to, count, sums, GROUP, out_stride);
	}
	free(columns);
	free(sums);
	return columns && sums ? 0 : -1;
}

static int run(uint8_t *out, const struct gn_image *in, const struct weights *across, const struct weights *down,
               struct gn_error *err)
{
	size_t stride = (size_t)across->count * 3;
	int low, high;
	uint8_t *middle;

	weights_span(down, &low, &high);
	middle = gn_alloc((size_t)(high - low), stride, err);
	if (!middle || horizontal(middle, in, low, high - low, across, err)) {
		free(middle);
		return -1;
	}
	for (int y = 0; y < down->count; y++)
		down->weigh->rows(out + (size_t)y * stride, middle + (size_t)(down->first[y] - low) * stride, stride,
		                  weights_of(down, y), down->taps[y], stride);
	free(middle);
	return 0;
}

int gn_resample(uint8_t *out, const struct gn_image *in, const struct gn_resample *job, struct gn_error *err)
{
	struct axis across = {in->width, job->width, job->window.x, job->window.width, job->box[0], job->box[2]};
	struct axis down = {in->height, job->height, job->window.y, job->window.height, job->box[1], job->box[3]};
	struct weights w_across, w_down;
	int rc;

	if (weights_init(&w_across, &across, job->interpolation, err))
		return -1;
	if (weights_init(&w_down, &down, job->interpolation, err)) {
		weights_release(&w_across);
		return -1;
	}
	rc = run(out, in, &w_across, &w_down, err);
	weights_release(&w_across);
	weights_release(&w_down);
	return rc;
}

static bool box_fits(const double box[4], const struct gn_image *in)
{
	return box[0] >= 0 && box[1] >= 0 && box[2] > 0 && box[3] > 0 && box[0] + box[2] <= in->width &&
	       box[1] + box[3] <= in->height;
}

int gn_image_resize(struct gn_image *out, const struct gn_image *in, const double box[4], int out_width, int out_height,
                    enum gn_interpolation interpolation, struct gn_error *err)
{
	struct gn_image image = {.width = out_width, .height = out_height};
	struct gn_resample job = {
	    .box = {box[0], box[1], box[2], box[3]},
	    .width = out_width,
	    .height = out_height,
	    .interpolation = interpolation,
	    .window = {0, 0, out_width, out_height},
	};

	if (out_width < 1 || out_height < 1 || out_width > UINT16_MAX || out_height > UINT16_MAX)
		return gn_fail(err, GN_INVALID, "", "cannot resize to %d x %d pixels", out_width, out_height);
	if (!box_fits(box, in))
		return gn_fail(err, GN_INVALID, "", "the box does not lie in the image");
	image.rgb = gn_alloc((size_t)out_width * (size_t)out_height, 3, err);
	if (!image.rgb || gn_resample(image.rgb, in, &job, err)) {
		gn_image_release(&image);
		return -1;
	}
	*out = image;
	return 0;
}
