/*
 * The product library: see reference.h. It uses the OpenMP threads of all other operations; inside
 * a parallel region, the calling thread only.
 */
#include <omp.h>
#if defined(GN_USE_DNNL)
#include <dnnl.h>
#elif defined(GN_USE_OPENBLAS)
#include <cblas.h>
#else
#include <stddef.h>
#include <string.h>
#endif

#include "bench/reference.h"

const char *gn_reference_library(void)
{
#if defined(GN_USE_DNNL)
	return "oneDNN";
#elif defined(GN_USE_OPENBLAS)
	return "OpenBLAS";
#else
	return NULL;
#endif
}

#if !defined(GN_USE_DNNL) && !defined(GN_USE_OPENBLAS)
static void plain_row(float *out, const float *a, const float *b, bool b_transposed, ptrdiff_t N, ptrdiff_t K)
{
	memset(out, 0, (size_t)N * sizeof *out);
	for (ptrdiff_t k = 0; k < K && !b_transposed; k++)
		for (ptrdiff_t n = 0; n < N; n++)
			out[n] += a[k] * b[k * N + n];
	for (ptrdiff_t n = 0; n < N && b_transposed; n++)
		for (ptrdiff_t k = 0; k < K; k++)
			out[n] += a[k] * b[n * K + k];
}
#endif

void gn_reference_product(int threads, float *out, const float *a, const float *b, bool b_transposed, int M, int N,
                          int K)
{
	if (!omp_in_parallel())
		omp_set_num_threads(threads);
#if defined(GN_USE_DNNL)
	dnnl_sgemm('N', b_transposed ? 'T' : 'N', M, N, K, 1.0F, a, K, b, b_transposed ? K : N, 0.0F, out, N);
#elif defined(GN_USE_OPENBLAS)
	cblas_sgemm(CblasRowMajor, CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans, M, N, K, 1.0F, a, K, b,
	            b_transposed ? K : N, 0.0F, out, N);
#else
#pragma omp parallel for
	for (int m = 0; m < M; m++)
		plain_row(out + (ptrdiff_t)m * N, a + (ptrdiff_t)m * K, b, b_transposed, N, K);
#endif
}
