/*
 * Attention of one head, forward and backward, whose scores never leave the cache. Tiles of MR
 * query rows (forward), or blocks of a few tiles (backward), are multiplied with all keys. First
 * the keys and values of the head are packed into panels; the backward pass also packs the queries
 * and the output gradients. It computes the probabilities again, and needs neither the output nor
 * its log-sum.
 *
 * Scratch widths: Tp and Dp are T and D rounded up to whole vectors.
 */
#ifndef GN_CPU_ATTENTION_KERNEL_H
#define GN_CPU_ATTENTION_KERNEL_H

#include "backend/cpu/gemm_kernel.h"

#define BLOCK (4 * MR) /* query rows of a backward block */

static inline int whole_vectors(int n)
{
	return (n + VL - 1) / VL * VL;
}

/* Columns of the panel that starts at column j of n. */
static inline int panel_width(int n, int j)
{
	return n - j > VL ? NR : VL;
}

/* Packs b into panels. The last panel has a single vector if that is enough. Panel j (a multiple of
 * NR) starts at out + j * K. */
static void pack_panels(float *out, const float *b, ptrdiff_t ldb, bool transposed, int K, int cols)
{
	for (int j = 0; j < cols; j += NR)
		pack_panel(out + (ptrdiff_t)j * K, panel_width(cols, j), b + (transposed ? j * ldb : j), ldb,
		           transposed, K, cols - j);
}

/* c[rows, cols rounded up] = (+=) a b, b packed by pack_panels with `K_all` rows, of which K from
 * row k0 on take part. */
static inline void multiply(float *c, ptrdiff_t ldc, bool add, const float *a, ptrdiff_t a_row, ptrdiff_t a_k,
                            const float *b, int rows, int cols, int K_all, int k0, int K)
{
	for (int j = 0; j < cols; j += NR) {
		int width = panel_width(cols, j);
		const float *panel = b + (ptrdiff_t)j * K_all + (ptrdiff_t)k0 * width;
		tiles[rows][width / VL - 1](c + j, ldc, add, a, a_row, a_k, panel, K);
	}
}

/* s[T] becomes exp(scale (s - max s)); returns the sum. *max_out = scale max s. */
static inline float softmax_row(float *s, int T, float scale, float *max_out)
{
	vf m0 = vset1(-INFINITY), m1 = m0;
	int j = 0;
	for (; j + 2 * VL <= T; j += 2 * VL) {
		m0 = vmax(m0, vload(s + j));
		m1 = vmax(m1, vload(s + j + VL));
	}
	float max = vmax_lanes(vmax(m0, m1));
	for (; j < T; j++)
		max = s[j] > max ? s[j] : max;
	*max_out = scale * max;
	float binary = scale * 1.44269504F;
	vf shift = vset1(-binary * max), factor = vset1(binary), sum = vzero();
	for (j = 0; j + VL <= T; j += VL) {
		vf e = vexp2(vfma(vload(s + j), factor, shift));
		vstore(s + j, e);
		sum += e;
	}
	float tail = 0;
	if (j < T) {
		float rest[VL];
		vstore(rest, vexp2(vfma(vload_n(s + j, T - j), factor, shift)));
		for (int i = 0; i < T - j; i++)
			tail += s[j + i] = rest[i];
	}
	return vsum(sum) + tail;
}

static inline void scale_row(float *out, const float *in, float factor, int n)
{
	for (int j = 0; j < n; j += VL)
		vstore_upto(out + j, vload_upto(in + j, n - j) * vset1(factor), n - j);
}

static inline float attention_scale(int D)
{
	return (float)(1.0 / sqrt((double)D));
}

static size_t attention_floats(int T, int D)
{
	size_t Tp = (size_t)whole_vectors(T), Dp = (size_t)whole_vectors(D);
	return (size_t)D * Tp + (size_t)T * Dp + MR * (Tp + Dp);
}

/* Scratch: keys transposed [D, Tp] | values [T, Dp] | scores [MR, Tp] | output rows [MR, Dp]. */
static void attention_load(const struct gn_head *h)
{
	pack_panels(h->scratch, h->k, h->stride, true, h->D, h->T);
	pack_panels(h->scratch + (ptrdiff_t)h->D * whole_vectors(h->T), h->v, h->stride, false, h->T, h->D);
}

/* Tokens first .. last-1 of the next head's q, k and v. */
static inline void prefetch_head(const struct gn_head *h, int first, int last)
{
	for (int t = first; h->next && t < last; t++)
		for (const float *p = h->next + t * h->stride; p < h->next + t * h->stride + h->D; p += 16) {
			__builtin_prefetch(p, 0, 2);
			__builtin_prefetch(p + (h->k - h->q), 0, 2);
			__builtin_prefetch(p + (h->v - h->q), 0, 2);
		}
}

static void attention_tile(float *out, float *lse, const struct gn_head *h, int first, int last)
{
	int T = h->T, D = h->D, Tp = whole_vectors(T), Dp = whole_vectors(D);
	const float *keys = h->scratch, *values = keys + (ptrdiff_t)D * Tp;
	float *scores = h->scratch + (ptrdiff_t)D * Tp + (ptrdiff_t)T * Dp, *result = scores + (ptrdiff_t)MR * Tp;
	float scale = attention_scale(D), sums[MR];
	for (int t = first; t < last; t++) {
		int r = tile_start(h->Q, t), rows = tile_start(h->Q, t + 1) - r;
		prefetch_head(h, (int)((int64_t)h->T * (t - first) / (last - first)),
		              (int)((int64_t)h->T * (t - first + 1) / (last - first)));
		multiply(scores, Tp, false, h->q + r * h->stride, h->stride, 1, keys, rows, T, D, 0, D);
		for (int i = 0; i < rows; i++) {
			float max;
			sums[i] = softmax_row(scores + (ptrdiff_t)i * Tp, T, scale, &max);
			if (lse)
				lse[r + i] = max + logf(sums[i]);
		}
		multiply(result, Dp, false, scores, Tp, 1, values, rows, D, T, 0, T);
		for (int i = 0; i < rows; i++)
			scale_row(out + (r + i) * h->out_stride, result + (ptrdiff_t)i * Dp, 1.0F / sums[i], D);
	}
}

/* The scratch memory of a backward pass. */
struct backward {
	float *keys_t, *values_t;     /* [D, Tp] panels of columns t */
	float *keys, *queries, *dout; /* [T or Q, Dp] panels of columns d */
	float *dkeys, *dvalues;       /* [T, Dp] */
	float *p, *ds;                /* [BLOCK, Tp] */
	float *row;                   /* [MR, Dp] */
};

static size_t attention_backward_floats(int T, int D)
{
	size_t Tp = (size_t)whole_vectors(T), Dp = (size_t)whole_vectors(D);
	return 2 * (size_t)D * Tp + 5 * (size_t)T * Dp + 2 * BLOCK * Tp + MR * Dp;
}

static void backward_load(struct backward *w, const struct gn_head *h, const float *dout)
{
	ptrdiff_t wide = (ptrdiff_t)h->D * whole_vectors(h->T), tall = (ptrdiff_t)h->T * whole_vectors(h->D);
	w->keys_t = h->scratch;
	w->values_t = w->keys_t + wide;
	w->keys = w->values_t + wide;
	w->queries = w->keys + tall;
	w->dout = w->queries + tall;
	w->dkeys = w->dout + tall;
	w->dvalues = w->dkeys + tall;
	w->p = w->dvalues + tall;
	w->ds = w->p + (ptrdiff_t)BLOCK * whole_vectors(h->T);
	w->row = w->ds + (ptrdiff_t)BLOCK * whole_vectors(h->T);
	pack_panels(w->keys_t, h->k, h->stride, true, h->D, h->T);
	pack_panels(w->values_t, h->v, h->stride, true, h->D, h->T);
	pack_panels(w->keys, h->k, h->stride, false, h->T, h->D);
	pack_panels(w->queries, h->q, h->stride, false, h->Q, h->D);
	pack_panels(w->dout, dout, h->out_stride, false, h->Q, h->D);
}

/* p = softmax row of scores p; ds = scale p (dp - sum p dp), where ds holds dp. */
static inline void backward_row(float *p, float *ds, int T, float scale)
{
	float max;
	float sum = softmax_row(p, T, scale, &max);
	vf inverse = vset1(1.0F / sum), dot = vzero();
	for (int j = 0; j < T; j += VL) {
		vf x = vload_upto(p + j, T - j) * inverse;
		vstore_upto(p + j, x, T - j);
		dot = vfma(x, vload_upto(ds + j, T - j), dot);
	}
	vf mean = vset1(vsum(dot)), factor = vset1(scale);
	for (int j = 0; j < T; j += VL) {
		vf x = vload_upto(p + j, T - j) * factor * (vload_upto(ds + j, T - j) - mean);
		vstore_upto(ds + j, x, T - j);
	}
}

/* Query rows r .. r+rows-1: their dq, and their share of dk and dv. */
static void backward_block(float *dq, const struct backward *w, const struct gn_head *h, const float *dout, int r,
                           int rows)
{
	int T = h->T, D = h->D, Tp = whole_vectors(T), Dp = whole_vectors(D);
	float scale = attention_scale(D);
	for (int t = 0; t < tile_count(rows); t++) {
		int i = tile_start(rows, t), n = tile_start(rows, t + 1) - i;
		float *p = w->p + (ptrdiff_t)i * Tp, *ds = w->ds + (ptrdiff_t)i * Tp;
		multiply(p, Tp, false, h->q + (r + i) * h->stride, h->stride, 1, w->keys_t, n, T, D, 0, D);
		multiply(ds, Tp, false, dout + (r + i) * h->out_stride, h->out_stride, 1, w->values_t, n, T, D, 0, D);
		for (int row = 0; row < n; row++)
			backward_row(p + (ptrdiff_t)row * Tp, ds + (ptrdiff_t)row * Tp, T, scale);
		multiply(w->row, Dp, false, ds, Tp, 1, w->keys, n, D, T, 0, T);
		for (int row = 0; row < n; row++)
			scale_row(dq + (r + i + row) * h->stride, w->row + (ptrdiff_t)row * Dp, 1.0F, D);
	}
	for (int t = 0; t < tile_count(T); t++) {
		int i = tile_start(T, t), n = tile_start(T, t + 1) - i;
		multiply(w->dvalues + (ptrdiff_t)i * Dp, Dp, r > 0, w->p + i, 1, Tp, w->dout, n, D, h->Q, r, rows);
		multiply(w->dkeys + (ptrdiff_t)i * Dp, Dp, r > 0, w->ds + i, 1, Tp, w->queries, n, D, h->Q, r, rows);
	}
}

static void attention_backward(float *dq, float *dk, float *dv, const float *dout, const struct gn_head *h)
{
	struct backward w;
	int Dp = whole_vectors(h->D);
	backward_load(&w, h, dout);
	for (int r = 0; r < h->Q; r += BLOCK) {
		int rows = h->Q - r < BLOCK ? h->Q - r : BLOCK;
		prefetch_head(h, (int)((int64_t)h->T * r / h->Q), (int)((int64_t)h->T * (r + rows) / h->Q));
		backward_block(dq, &w, h, dout, r, rows);
	}
	for (int t = 0; t < h->T; t++) {
		scale_row(dk + t * h->stride, w.dkeys + (ptrdiff_t)t * Dp, 1.0F, h->D);
		scale_row(dv + t * h->stride, w.dvalues + (ptrdiff_t)t * Dp, 1.0F, h->D);
		if (t >= h->Q)
			memset(dq + t * h->stride, 0, (size_t)h->D * sizeof(float));
	}
}

#endif
