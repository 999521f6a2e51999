/* Layer scale, backward; the forward is part of a linear layer's epilogue. */
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu.h"

void gn_cpu_scale_backward(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout, const gn_act *branch,
                           const float *gamma, int M, int C)
{
	size_t stride = gn_pad32((size_t)C);
	int used = 1;
	float *work = gn_cpu_work(ctx, GN_SLOT_PRODUCT, stride * (size_t)ctx->threads);
	if (!work)
		return;
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last;
		float *mine = work + stride * (size_t)omp_get_thread_num();
		gn_share(M, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
#pragma omp master
		used = omp_get_num_threads();
		memset(mine, 0, stride * sizeof(float));
		ctx->kernels->scale_backward(dbranch ? (float *)dbranch + first * C : NULL, dgamma ? mine : NULL,
		                             (const float *)dout + first * C,
		                             branch ? (const float *)branch + first * C : NULL, gamma,
		                             (int)(last - first), C);
	}
	for (int t = 0; dgamma && t < used; t++)
		ctx->kernels->add(dgamma, work + stride * (size_t)t, (size_t)C);
}
