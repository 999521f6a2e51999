/* Optimiser kernels: every element of weight, gradient and moments is read once and written
 * once. */
#ifndef GN_CPU_OPTIMIZER_KERNEL_H
#define GN_CPU_OPTIMIZER_KERNEL_H

#include "backend/cpu/simd.h"

struct adamw_factors {
	vf shrink, grad_scale, beta1, beta2, one_beta1, one_beta2, step, root, eps;
};

static inline void adamw_vector(const struct adamw_factors *f, float *weight, const float *grad, float *m, float *v,
                                int n)
{
	vf g = vload_upto(grad, n) * f->grad_scale;
	vf m1 = vfma(f->one_beta1, g, vload_upto(m, n) * f->beta1);
	vf v1 = vfma(f->one_beta2 * g, g, vload_upto(v, n) * f->beta2);
	vf w = vload_upto(weight, n) * f->shrink;
	w = vfnma(f->step, m1 / (vsqrt(v1) * f->root + f->eps), w);
	vstore_upto(m, m1, n);
	vstore_upto(v, v1, n);
	vstore_upto(weight, w, n);
}

static void adamw(const struct gn_opt_tensor *t, const struct gn_adamw *how, const struct gn_step_numbers *step,
                  size_t first, size_t n)
{
	float lr = (float)(step->lr * t->lr_scale);
	struct adamw_factors f = {
	    .shrink = vset1((float)(1.0 - (double)lr * (double)t->decay)),
	    .grad_scale = vset1(step->grad_scale),
	    .beta1 = vset1(how->beta1),
	    .beta2 = vset1(how->beta2),
	    .one_beta1 = vset1((float)(1.0 - (double)how->beta1)),
	    .one_beta2 = vset1((float)(1.0 - (double)how->beta2)),
	    .step = vset1((float)((double)lr / step->correct1)),
	    .root = vset1((float)(1.0 / sqrt(step->correct2))),
	    .eps = vset1(how->eps),
	};
	size_t j = first, end = first + n;
	for (; j + VL <= end; j += VL)
		adamw_vector(&f, t->weight + j, t->grad + j, t->m + j, t->v + j, VL);
	if (j < end)
		adamw_vector(&f, t->weight + j, t->grad + j, t->m + j, t->v + j, (int)(end - j));
}

static inline void sgd_vector(float *weight, const float *grad, float *m, vf lr, vf decay, vf momentum, vf grad_scale,
                              bool first_step, int n)
{
	vf w = vload_upto(weight, n);
	vf g = vfma(decay, w, vload_upto(grad, n) * grad_scale);
	if (!first_step)
		g = vfma(momentum, vload_upto(m, n), g);
	vstore_upto(m, g, n);
	vstore_upto(weight, vfnma(lr, g, w), n);
}

static void sgd(const struct gn_opt_tensor *t, float momentum, const struct gn_step_numbers *step, size_t first,
                size_t n)
{
	vf lr = vset1((float)(step->lr * t->lr_scale)), decay = vset1(t->decay), mu = vset1(momentum),
	   s = vset1(step->grad_scale);
	bool first_step = step->step <= 1;
	size_t j = first, end = first + n;
	for (; j + VL <= end; j += VL)
		sgd_vector(t->weight + j, t->grad + j, t->m + j, lr, decay, mu, s, first_step, VL);
	if (j < end)
		sgd_vector(t->weight + j, t->grad + j, t->m + j, lr, decay, mu, s, first_step, (int)(end - j));
}

/* Eight sums in double side by side: a float's square is exact in double. */
static double sumsq(const float *x, size_t n)
{
	double s[8] = {0};
	size_t j = 0;
	for (; j + 8 <= n; j += 8)
		for (int i = 0; i < 8; i++)
			s[i] += (double)x[j + (size_t)i] * (double)x[j + (size_t)i];
	for (int i = 0; j < n; i++, j++)
		s[i] += (double)x[j] * (double)x[j];
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

#endif
