/*
 * A soup's sums, value by value: the threads share fixed chunks, and each chunk is a loop for the
 * compiler's vectors. Each product and sum is rounded separately (the build does not contract
 * them), as in every backend.
 */
#include "backend/cpu/cpu.h"

#define CHUNK 16384

static void add_chunk(double *sum, const float *x, double weight, size_t n, bool first)
{
	if (first)
		for (size_t i = 0; i < n; i++)
			sum[i] = weight * (double)x[i];
	else
		for (size_t i = 0; i < n; i++)
			sum[i] += weight * (double)x[i];
}

void gn_cpu_soup_add(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n, bool first)
{
	size_t chunks = (n + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) if (chunks > 1)
	for (size_t c = 0; c < chunks; c++) {
		size_t at = c * CHUNK, rest = n - at < CHUNK ? n - at : CHUNK;
		add_chunk(sum + at, x + at, weight, rest, first);
	}
}

static void mean_chunk(float *out, const double *sum, double total, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (float)(sum[i] / total);
}

void gn_cpu_soup_mean(struct gn_ctx *ctx, float *out, const double *sum, double total, size_t n)
{
	size_t chunks = (n + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) if (chunks > 1)
	for (size_t c = 0; c < chunks; c++) {
		size_t at = c * CHUNK, rest = n - at < CHUNK ? n - at : CHUNK;
		mean_chunk(out + at, sum + at, total, rest);
	}
}
