/* Mean over tokens, and picking tokens: a few rows an image. */
#include <string.h>

#include "backend/cpu/cpu.h"

void gn_cpu_pool(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int count, int B, int T, int C)
{
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t b = 0; b < B; b++) {
		float *to = (float *)out + b * C;
		const float *from = (const float *)hidden + (b * T + first) * C;
		memset(to, 0, (size_t)C * sizeof(float));
		for (ptrdiff_t t = 0; t < count; t++)
			ctx->kernels->add(to, from + t * C, (size_t)C);
		for (int c = 0; c < C; c++)
			to[c] /= (float)count;
	}
}

void gn_cpu_pool_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int count, int B, int T,
                          int C)
{
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t b = 0; b < B; b++) {
		float *to = (float *)dhidden + b * T * C;
		memset(to, 0, (size_t)T * (size_t)C * sizeof(float));
		for (ptrdiff_t t = first; t < first + count; t++)
			ctx->kernels->axpy(to + t * C, 1.0F / (float)count, (const float *)dout + b * C, (size_t)C);
	}
}

void gn_cpu_take(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int n, int B, int T, int C)
{
	size_t floats = (size_t)n * (size_t)C;
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t b = 0; b < B; b++)
		memcpy((float *)out + b * n * C, (const float *)hidden + (b * T + first) * C, floats * sizeof(float));
}

void gn_cpu_take_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n, bool accumulate,
                          int B, int T, int C)
{
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t b = 0; b < B; b++) {
		float *to = (float *)dhidden + b * T * C;
		if (!accumulate)
			memset(to, 0, (size_t)T * (size_t)C * sizeof(float));
		ctx->kernels->add(to + (ptrdiff_t)first * C, (const float *)dout + b * n * C, (size_t)n * (size_t)C);
	}
}
