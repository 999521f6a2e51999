/* Layer norm: threads share the rows. Each sums its own weight and bias gradients; the sums are
 * then added thread by thread. */
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu.h"

/* up to this many elements, waking the other threads costs more time than it saves */
#define SERIAL 16384

void gn_cpu_layernorm(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const float *w, const float *b, float eps,
                      int M, int C)
{
#pragma omp parallel num_threads(ctx->threads) if ((int64_t)M * C > SERIAL)
	{
		ptrdiff_t first, last;
		gn_share(M, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		ctx->kernels->layernorm((float *)out + first * C, (const float *)x + first * C, w, b, eps,
		                        (int)(last - first), C);
	}
}

/* sum[C] += of `threads` rows of partial, row by row. */
static void add_partial(const struct gn_kernels *k, float *sum, const float *partial, size_t stride, int threads, int C)
{
	for (int t = 0; sum && t < threads; t++)
		k->add(sum, partial + (size_t)t * stride, (size_t)C);
}

void gn_cpu_layernorm_backward(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed, const gn_act *add,
                               const gn_act *dout, const gn_act *x, const float *w, const float *b, float eps, int M,
                               int C)
{
	size_t stride = gn_pad32((size_t)C);
	int used = 1;
	float *work = gn_cpu_work(ctx, GN_SLOT_PRODUCT, 2 * stride * (size_t)ctx->threads);
	if (!work)
		return;
#pragma omp parallel num_threads(ctx->threads) if ((int64_t)M * C > SERIAL)
	{
		ptrdiff_t first, last;
		float *mine = work + 2 * stride * (size_t)omp_get_thread_num();
		gn_share(M, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
#pragma omp master
		used = omp_get_num_threads();
		memset(mine, 0, 2 * stride * sizeof(float));
		if (normed)
			ctx->kernels->layernorm((float *)normed + first * C, (const float *)x + first * C, w, b, eps,
			                        (int)(last - first), C);
		ctx->kernels->layernorm_backward(dx ? (float *)dx + first * C : NULL, dw ? mine : NULL,
		                                 db ? mine + stride : NULL, add ? (const float *)add + first * C : NULL,
		                                 (const float *)dout + first * C, (const float *)x + first * C, w, eps,
		                                 (int)(last - first), C);
	}
	add_partial(ctx->kernels, dw, work, 2 * stride, used, C);
	add_partial(ctx->kernels, db, work + stride, 2 * stride, used, C);
}
