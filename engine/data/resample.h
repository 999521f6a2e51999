/*
 * Resampling as Pillow's Image.resize does it: antialiased, two passes of 8-bit pixels with 22-bit
 * weights, so that the results are those of Pillow, bit for bit.
 */
#ifndef GN_RESAMPLE_H
#define GN_RESAMPLE_H

#include "gonio.h"

/* The box (x, y, w, h; in source pixels) becomes width x height; of that only the window is
 * computed, which must lie inside. The whole may be far larger than any picture: a row of pixels,
 * resized to a square's height, is millions of pixels wide. */
struct gn_resample {
	double box[4];
	int64_t width, height;
	enum gn_interpolation interpolation;
	struct {
		int64_t x, y;
		int width, height;
	} window;
};

/* A resampling in progress. It gets rows of the input from the top, and makes rows of the window as
 * soon as possible. */
struct gn_resampler;
/* out: [window.height, window.width, 3], the caller's. GN_INVALID for a picture with a side over
 * GN_IMAGE_SIDE_MAX, or a box that does not lie in it. */
int gn_resampler_new(struct gn_resampler **made, uint8_t *out, int in_width, int in_height,
                     const struct gn_resample *job, struct gn_error *err);
/* rgb: [count, in_width, 3], from row y on. Every row must come once, in order; 32 at a time are
 * fastest. */
void gn_resampler_take(struct gn_resampler *resampler, const uint8_t *rgb, int y, int count);
void gn_resampler_free(struct gn_resampler *resampler);

/* The same at once, from a whole image. */
int gn_resample(uint8_t *out, const struct gn_image *in, const struct gn_resample *job, struct gn_error *err);

/* ----------------------------------------------------- the inner loops (resample_kernels.c) --- */

#define GN_WEIGHT_BITS 22

/* One way to compute a weighted sum of rows; all give the same bits. */
struct gn_weigh {
	/* Turns count weights (an even number) into the form that rows() reads, in place. */
	void (*prepare)(int32_t *weights, int count);
	/* out[i] = clamp(round(sum over t of weights[t] * rows[t * stride + i])), i < n; taps >= 1,
	 * its weights padded to an even number. */
	void (*rows)(uint8_t *out, const uint8_t *rows, size_t stride, const int32_t *weights, int taps, size_t n);
};
extern const struct gn_weigh gn_weigh_portable;
const struct gn_weigh *gn_weigh_best(void); /* on this processor */

/* out[x * out_stride + y] = in[y][x] for y < 32, x < n. rows: 32 pointers, any of them equal;
 * out_stride >= 32. */
void gn_transpose_in(uint8_t *out, size_t out_stride, const uint8_t *const *rows, size_t n);
/* rows[y][x] = in[x * in_stride + y] for y < count <= 32, x < n. */
void gn_transpose_out(uint8_t *const *rows, int count, const uint8_t *in, size_t in_stride, size_t n);

#endif
