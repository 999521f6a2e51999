/*
 * Kernels over rows of C floats: layer norm, layer scale, sums. Mean and variance take two passes
 * over a row that is in L1.
 */
#ifndef GN_CPU_ROWS_KERNEL_H
#define GN_CPU_ROWS_KERNEL_H

#include "backend/cpu/simd.h"

/* Mean of x[C] and 1 / sqrt(var + eps). */
static inline void row_moments(const float *x, int C, float eps, float *mean_out, float *rstd_out)
{
	vf s0 = vzero(), s1 = vzero(), q0 = vzero(), q1 = vzero();
	int j = 0;
	for (; j + 2 * VL <= C; j += 2 * VL) {
		s0 += vload(x + j);
		s1 += vload(x + j + VL);
	}
	for (; j < C; j += VL)
		s0 += vload_upto(x + j, C - j);
	float mean = vsum(s0 + s1) / (float)C;
	vf m = vset1(mean);
	for (j = 0; j + 2 * VL <= C; j += 2 * VL) {
		vf a = vload(x + j) - m, b = vload(x + j + VL) - m;
		q0 = vfma(a, a, q0);
		q1 = vfma(b, b, q1);
	}
	float tail = 0;
	for (; j + VL <= C; j += VL) {
		vf a = vload(x + j) - m;
		q0 = vfma(a, a, q0);
	}
	for (; j < C; j++)
		tail += (x[j] - mean) * (x[j] - mean);
	*mean_out = mean;
	*rstd_out = 1.0F / sqrtf((vsum(q0 + q1) + tail) / (float)C + eps);
}

static void layernorm(float *out, const float *x, const float *w, const float *b, float eps, int rows, int C)
{
	for (int i = 0; i < rows; i++, x += C, out += C) {
		float mean, rstd;
		row_moments(x, C, eps, &mean, &rstd);
		vf m = vset1(mean), r = vset1(rstd);
		int j = 0;
		for (; j + VL <= C; j += VL)
			vstore(out + j, vfma((vload(x + j) - m) * r, vload(w + j), vload(b + j)));
		if (j < C)
			vstore_n(out + j,
			         vfma((vload_n(x + j, C - j) - m) * r, vload_n(w + j, C - j), vload_n(b + j, C - j)),
			         C - j);
	}
}

/* dx of one row: rstd (g - mean(g) - xhat mean(g xhat)), g = dout w. */
static inline void layernorm_dx(float *dx, const float *add, const float *dout, const float *x, const float *w,
                                float mean, float rstd, int C)
{
	vf m = vset1(mean), r = vset1(rstd), sum = vzero(), dot = vzero();
	for (int j = 0; j < C; j += VL) {
		int n = C - j;
		vf g = vload_upto(dout + j, n) * vload_upto(w + j, n);
		sum += g;
		dot = vfma(g, (vload_upto(x + j, n) - m) * r, dot);
	}
	vf mean_g = vset1(vsum(sum) / (float)C), mean_gx = vset1(vsum(dot) / (float)C);
	for (int j = 0; j < C; j += VL) {
		int n = C - j;
		vf xhat = (vload_upto(x + j, n) - m) * r;
		vf g = vload_upto(dout + j, n) * vload_upto(w + j, n);
		vf d = vfnma(xhat, mean_gx, g - mean_g) * r;
		if (add)
			d += vload_upto(add + j, n);
		vstore_upto(dx + j, d, n);
	}
}

static void layernorm_backward(float *dx, float *dw, float *db, const float *add, const float *dout, const float *x,
                               const float *w, float eps, int rows, int C)
{
	for (int i = 0; i < rows; i++, x += C, dout += C) {
		float mean, rstd;
		row_moments(x, C, eps, &mean, &rstd);
		vf m = vset1(mean), r = vset1(rstd);
		for (int j = 0; (dw || db) && j < C; j += VL) {
			int n = C - j;
			vf g = vload_upto(dout + j, n);
			if (dw)
				vstore_upto(dw + j, vfma(g, (vload_upto(x + j, n) - m) * r, vload_upto(dw + j, n)), n);
			if (db)
				vstore_upto(db + j, vload_upto(db + j, n) + g, n);
		}
		if (dx)
			layernorm_dx(dx + (ptrdiff_t)i * C, add ? add + (ptrdiff_t)i * C : NULL, dout, x, w, mean, rstd,
			             C);
	}
}

static void scale_backward(float *dbranch, float *dgamma, const float *dout, const float *branch, const float *gamma,
                           int rows, int C)
{
	for (ptrdiff_t i = 0; i < rows; i++) {
		for (int j = 0; j < C; j += VL) {
			int n = C - j;
			vf g = vload_upto(dout + i * C + j, n);
			if (dgamma)
				vstore_upto(dgamma + j,
				            vfma(g, vload_upto(branch + i * C + j, n), vload_upto(dgamma + j, n)), n);
			if (dbranch)
				vstore_upto(dbranch + i * C + j, g * vload_upto(gamma + j, n), n);
		}
	}
}

static void axpy(float *out, float factor, const float *in, size_t n)
{
	vf f = vset1(factor);
	size_t j = 0;
	for (; j + VL <= n; j += VL)
		vstore(out + j, vfma(f, vload(in + j), vload(out + j)));
	if (j < n)
		vstore_n(out + j, vfma(f, vload_n(in + j, (int)(n - j)), vload_n(out + j, (int)(n - j))), (int)(n - j));
}

static void add(float *out, const float *in, size_t n)
{
	axpy(out, 1.0F, in, n);
}

#endif
