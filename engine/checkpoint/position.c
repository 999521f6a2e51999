/*
 * Bicubic resampling of a position map, as PyTorch computes it
 * (aten/src/ATen/native/cpu/UpSampleKernel.cpp): the weights of both axes are equal, so one table
 * of (first, count, weights) per output coordinate serves both passes, along x and then along y.
 * Sample points and weights are computed in float32 where PyTorch does, so that the taps are the
 * same.
 */
#include "checkpoint/position.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"

struct taps {
	int stride;    /* weights per output coordinate */
	int *index;    /* [grid_out, stride] input coordinates, clamped to the map */
	float *weight; /* [grid_out, stride] */
	int *count;    /* [grid_out] */
};

/* Keys' cubic convolution kernel (IEEE Trans. ASSP 29, 1981, eq. 4 with free a). */
static float keys(float x, float a)
{
	x = fabsf(x);
	if (x < 1.0f)
		return ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f;
	if (x < 2.0f)
		return ((a * x - 5.0f * a) * x + 8.0f * a) * x - 4.0f * a;
	return 0.0f;
}

/* Four taps around each sample point; border values repeat. */
static void plain_taps(struct taps *taps, int out, int in, enum gn_pos_resample how)
{
	float scale = (float)in / (float)out;

	if (how == GN_POS_DINOV2)
		scale = (float)(1.0 / (((double)out + 0.1) / (double)in));
	else if (how == GN_POS_TORCHVISION)
		scale = out > 1 ? (float)(in - 1) / (float)(out - 1) : 0.0f;
	for (int o = 0; o < out; o++) {
		float x = how == GN_POS_TORCHVISION ? scale * (float)o : scale * ((float)o + 0.5f) - 0.5f;
		float floor_x = floorf(x), t = x - floor_x;

		taps->count[o] = 4;
		for (int k = 0; k < 4; k++) {
			int i = (int)floor_x + k - 1;

			taps->index[o * taps->stride + k] = i < 0 ? 0 : i >= in ? in - 1 : i;
			taps->weight[o * taps->stride + k] = keys((float)(k - 1) - t, -0.75f);
		}
	}
}

/* The kernel stretched by the scale when the map shrinks; taps outside the map are left out and the
 * rest sums to 1. */
static void antialiased_taps(struct taps *taps, int out, int in)
{
	float scale = (float)in / (float)out, stretch = scale >= 1.0f ? scale : 1.0f, support = 2.0f * stretch;

	for (int o = 0; o < out; o++) {
		float centre = scale * ((float)o + 0.5f), total = 0.0f;
		int first = (int)(centre - support + 0.5f), last = (int)(centre + support + 0.5f);

		first = first < 0 ? 0 : first;
		last = last > in ? in : last;
		taps->count[o] = last - first;
		for (int k = 0; k < last - first; k++) {
			float w = keys(((float)(k + first) - centre + 0.5f) / stretch, -0.5f);

			taps->index[o * taps->stride + k] = first + k;
			taps->weight[o * taps->stride + k] = w;
			total += w;
		}
		for (int k = 0; k < taps->count[o]; k++)
			taps->weight[o * taps->stride + k] /= total;
	}
}

static void taps_release(struct taps *taps)
{
	free(taps->index);
	free(taps->weight);
	free(taps->count);
}

static int taps_init(struct taps *taps, int out, int in, enum gn_pos_resample how, struct gn_error *err)
{
	int wide = how == GN_POS_TIMM && in > out ? 4 * (in / out + 1) + 3 : 5;

	*taps = (struct taps){.stride = wide};
	taps->index = gn_alloc((size_t)out * (size_t)wide, sizeof *taps->index, err);
	taps->weight = gn_alloc((size_t)out * (size_t)wide, sizeof *taps->weight, err);
	taps->count = gn_alloc((size_t)out, sizeof *taps->count, err);
	if (!taps->index || !taps->weight || !taps->count) {
		taps_release(taps);
		return -1;
	}
	if (how == GN_POS_TIMM)
		antialiased_taps(taps, out, in);
	else
		plain_taps(taps, out, in, how);
	return 0;
}

/* out[n] = sum over the taps of output coordinate o of weight * in[index * step .. + n]. */
static void blend(float *out, const float *in, const struct taps *taps, int o, size_t step, size_t n)
{
	memset(out, 0, n * sizeof *out);
	for (int k = 0; k < taps->count[o]; k++) {
		const float *row = in + (size_t)taps->index[o * taps->stride + k] * step;
		float w = taps->weight[o * taps->stride + k];

		for (size_t c = 0; c < n; c++)
			out[c] += w * row[c];
	}
}

int gn_position_resample(float *out, const float *in, int grid_out, int grid_in, int dim, enum gn_pos_resample how,
                         struct gn_error *err)
{
	size_t row_in = (size_t)grid_in * (size_t)dim, row_out = (size_t)grid_out * (size_t)dim;
	struct taps taps;
	float *wide; /* [grid_in, grid_out, dim]: resampled along x */

	if (grid_out == grid_in) {
		memcpy(out, in, (size_t)grid_in * row_in * sizeof *out);
		return 0;
	}
	if (taps_init(&taps, grid_out, grid_in, how, err))
		return -1;
	wide = gn_alloc((size_t)grid_in * row_out, sizeof *wide, err);
	for (int y = 0; wide && y < grid_in; y++)
		for (int x = 0; x < grid_out; x++)
			blend(wide + (size_t)y * row_out + (size_t)x * (size_t)dim, in + (size_t)y * row_in, &taps, x,
			      (size_t)dim, (size_t)dim);
	for (int y = 0; wide && y < grid_out; y++)
		blend(out + (size_t)y * row_out, wide, &taps, y, row_out, row_out);
	taps_release(&taps);
	if (!wide)
		return -1;
	free(wide);
	return 0;
}
