/*
 * Sums over pairs of tensors, for angles: in double, over fixed chunks that are added up in order,
 * so that the bits do not depend on the number of threads.
 */
#include "backend/cpu/cpu.h"

#define CHUNK 16384

/* Both sums over one chunk, in eight interleaved partial sums each: the compiler's vectors, in a
 * fixed order. */
static void chunk_sums(double sums[2], const float *a, const float *b, size_t n, double scale_a, double scale_b,
                       bool difference)
{
	double first[8] = {0}, second[8] = {0};
	for (size_t i = 0; i < n; i += 8) {
		size_t width = n - i < 8 ? n - i : 8;
		for (size_t j = 0; j < width; j++) {
			double u = (double)a[i + j] * scale_a, v = (double)b[i + j] * scale_b;
			double x = difference ? u - v : u, y = difference ? u + v : v;
			first[j] += x * x;
			second[j] += y * y;
		}
	}
	sums[0] = sums[1] = 0;
	for (int j = 0; j < 8; j++) {
		sums[0] += first[j];
		sums[1] += second[j];
	}
}

void gn_cpu_pair_sums(struct gn_ctx *ctx, double *sums, const float *a, const float *b, size_t n, double scale_a,
                      double scale_b, bool difference)
{
	size_t chunks = (n + CHUNK - 1) / CHUNK;
	double *partial = (double *)(void *)gn_cpu_work(ctx, GN_SLOT_PRODUCT, 4 * chunks);
	sums[0] = sums[1] = 0;
	if (!partial)
		return;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
	for (size_t c = 0; c < chunks; c++) {
		size_t at = c * CHUNK, rest = n - at < CHUNK ? n - at : CHUNK;
		chunk_sums(partial + 2 * c, a + at, b + at, rest, scale_a, scale_b, difference);
	}
	for (size_t c = 0; c < chunks; c++) {
		sums[0] += partial[2 * c];
		sums[1] += partial[2 * c + 1];
	}
}
