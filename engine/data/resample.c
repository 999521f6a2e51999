/*
 * Pillow's resampling (libImaging/Resample.c): each output pixel is a weighted mean of the input
 * pixels under the kernel, the kernel is stretched by the factor of reduction, the weights are
 * rounded to 22 bits, each pass rounds to 8 bits. The horizontal pass comes first and covers only
 * the rows that the vertical one reads.
 */
#include "data/resample.h"

#include "base/files.h"

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
	*w = (struct weights){0};
}

/* One axis: length input pixels from start become size output pixels, of which [from, from + count)
 * are wanted. */
struct axis {
	int in_size, count;
	int64_t size, from;
	double start, length;
};

/* Input pixels for each output pixel. Pillow's box is of floats. */
static double axis_scale(const struct axis *axis)
{
	return (double)((float)(axis->start + axis->length) - (float)axis->start) / (double)axis->size;
}

static double axis_stretch(const struct axis *axis)
{
	return fmax(axis_scale(axis), 1.0);
}

static double axis_support(const struct axis *axis, enum gn_interpolation how)
{
	return (how == GN_BICUBIC ? 2.0 : 1.0) * axis_stretch(axis);
}

/*
 * The centre lies inside of the picture, because the box does and because a float holds every
 * coordinate up to GN_IMAGE_SIDE_MAX to 1/256. The support is at least 1. So there is always a tap,
 * and never more than the row has room for.
 */
static void weigh_position(struct weights *w, int i, const struct axis *axis, enum gn_interpolation how, double *row)
{
	double (*kernel)(double) = how == GN_BICUBIC ? bicubic : bilinear;
	double scale = axis_scale(axis), support = axis_support(axis, how), narrow = 1.0 / axis_stretch(axis);
	double centre = (double)(float)axis->start + ((double)(axis->from + i) + 0.5) * scale, sum = 0.0;
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

/* The input positions that any output position reads: [*low, *high). Both ends of a position's span
 * grow with it. */
static void weights_span(const struct weights *w, int *low, int *high)
{
	*low = w->first[0];
	*high = w->first[w->count - 1] + w->taps[w->count - 1];
}

static int most_taps(const struct weights *w)
{
	int most = 0;

	for (int i = 0; i < w->count; i++)
		most = w->taps[i] > most ? w->taps[i] : most;
	return most;
}

enum { PIXEL = 3 * GROUP }; /* a pixel of GROUP rows, transposed */

/*
 * Rows after the horizontal pass stay in `middle` until the last output row that needs them is
 * done; then the later ones move up. Only these few rows are kept, so that a picture goes from the
 * decoder to the square within the processor's cache.
 */
struct gn_resampler {
	uint8_t *out;
	int in_width;
	struct weights across, down;
	int column_low, column_high, row_low, row_high;
	uint8_t *columns, *sums; /* [columns read, 3, GROUP], [columns made, 3, GROUP] */
	uint8_t *middle;         /* [room, columns made, 3] */
	int room, from, count;   /* rows from, from + 1, ... of the input are in it */
	int made;                /* output rows that are done */
};

static int reserve(struct gn_resampler *r, struct gn_error *err)
{
	weights_span(&r->across, &r->column_low, &r->column_high);
	weights_span(&r->down, &r->row_low, &r->row_high);
	r->from = r->row_low;
	r->room = most_taps(&r->down) + 2 * GROUP;
	r->columns = gn_alloc((size_t)(r->column_high - r->column_low), PIXEL, err);
	r->sums = gn_alloc((size_t)r->across.count, PIXEL, err);
	r->middle = gn_alloc((size_t)r->room, (size_t)r->across.count * 3, err);
	return r->columns && r->sums && r->middle ? 0 : -1;
}

/* Checks the conditions that the arithmetic of weigh_position needs. */
static int check_axis(const struct axis *axis, struct gn_error *err)
{
	if (axis->in_size < 1 || axis->in_size > GN_IMAGE_SIDE_MAX)
		return gn_fail(err, GN_INVALID, "", "a side of %d pixels cannot be resized: at most %d are taken",
		               axis->in_size, GN_IMAGE_SIDE_MAX);
	if (!(axis->start >= 0 && axis->length > 0 && axis->start + axis->length <= axis->in_size))
		return gn_fail(err, GN_INVALID, "", "the box does not lie in the image");
	gn_assert(axis->count >= 1 && axis->from >= 0 && axis->from <= axis->size - axis->count);
	return 0;
}

int gn_resampler_new(struct gn_resampler **made, uint8_t *out, int in_width, int in_height,
                     const struct gn_resample *job, struct gn_error *err)
{
	struct axis across = {in_width, job->window.width, job->width, job->window.x, job->box[0], job->box[2]};
	struct axis down = {in_height, job->window.height, job->height, job->window.y, job->box[1], job->box[3]};
	struct gn_resampler *r;

	if (check_axis(&across, err) || check_axis(&down, err))
		return -1;
	r = gn_alloc(1, sizeof *r, err);
	if (!r)
		return -1;
	r->out = out;
	r->in_width = in_width;
	if (weights_init(&r->across, &across, job->interpolation, err) ||
	    weights_init(&r->down, &down, job->interpolation, err) || reserve(r, err)) {
		gn_resampler_free(r);
		return -1;
	}
	*made = r;
	return 0;
}

void gn_resampler_free(struct gn_resampler *r)
{
	if (!r)
		return;
	weights_release(&r->across);
	weights_release(&r->down);
	free(r->columns);
	free(r->sums);
	free(r->middle);
	free(r);
}

/* The horizontal pass of up to GROUP rows, whose columns are transposed so that neighbours in a row
 * become rows. */
static void horizontal(struct gn_resampler *r, const uint8_t *rgb, int count)
{
	const struct weights *w = &r->across;
	size_t stride = (size_t)r->in_width * 3, out_stride = (size_t)w->count * 3;
	const uint8_t *from[GROUP];
	uint8_t *to[GROUP];

	for (int i = 0; i < GROUP; i++) {
		int row = i < count ? i : count - 1;

		from[i] = rgb + (size_t)row * stride + (size_t)r->column_low * 3;
		to[i] = r->middle + (size_t)(r->count + row) * out_stride;
	}
	gn_transpose_in(r->columns, GROUP, from, (size_t)(r->column_high - r->column_low) * 3);
	for (int x = 0; x < w->count; x++)
		w->weigh->rows(r->sums + (size_t)x * PIXEL, r->columns + (size_t)(w->first[x] - r->column_low) * PIXEL,
		               PIXEL, weights_of(w, x), w->taps[x], PIXEL);
	gn_transpose_out(to, count, r->sums, GROUP, out_stride);
	r->count += count;
}

/* The output rows whose input is complete. */
static void vertical(struct gn_resampler *r)
{
	const struct weights *w = &r->down;
	size_t stride = (size_t)r->across.count * 3;

	for (; r->made < w->count && w->first[r->made] + w->taps[r->made] <= r->from + r->count; r->made++)
		w->weigh->rows(r->out + (size_t)r->made * stride,
		               r->middle + (size_t)(w->first[r->made] - r->from) * stride, stride,
		               weights_of(w, r->made), w->taps[r->made], stride);
}

/* Drops the rows that no later output row reads. */
static void move_up(struct gn_resampler *r)
{
	size_t stride = (size_t)r->across.count * 3;
	int needed = r->made < r->down.count ? r->down.first[r->made] : r->from + r->count;
	int drop = needed - r->from < r->count ? needed - r->from : r->count;

	memmove(r->middle, r->middle + (size_t)drop * stride, (size_t)(r->count - drop) * stride);
	r->from += drop;
	r->count -= drop;
}

void gn_resampler_take(struct gn_resampler *r, const uint8_t *rgb, int y, int count)
{
	int end = y + count < r->row_high ? y + count : r->row_high;

	for (int row = y > r->row_low ? y : r->row_low; row < end; row += GROUP) {
		int rows = end - row < GROUP ? end - row : GROUP;

		gn_assert(row == r->from + r->count);
		if (r->count + rows > r->room)
			move_up(r);
		horizontal(r, rgb + (size_t)(row - y) * (size_t)r->in_width * 3, rows);
		vertical(r);
	}
}

int gn_resample(uint8_t *out, const struct gn_image *in, const struct gn_resample *job, struct gn_error *err)
{
	struct gn_resampler *resampler;

	if (gn_resampler_new(&resampler, out, in->width, in->height, job, err))
		return -1;
	gn_resampler_take(resampler, in->rgb, 0, in->height);
	gn_assert(resampler->made == resampler->down.count);
	gn_resampler_free(resampler);
	return 0;
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
	image.rgb = gn_alloc((size_t)out_width * (size_t)out_height, 3, err);
	if (!image.rgb || gn_resample(image.rgb, in, &job, err)) {
		gn_image_release(&image);
		return -1;
	}
	*out = image;
	return 0;
}
