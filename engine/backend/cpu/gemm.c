/*
 * The product library: oneDNN on x86-64, OpenBLAS elsewhere, both with the OpenMP threads of all
 * other operations. Inside a parallel region, both run on the calling thread only.
 */
#include <omp.h>
#if defined(GN_USE_DNNL)
#include <dnnl.h>
#else
#include <cblas.h>
#endif

#include "backend/cpu/gemm.h"

void gn_cpu_product(int threads, float *out, const float *a, const float *b, bool b_transposed, int M, int N, int K)
{
	if (!omp_in_parallel())
		omp_set_num_threads(threads);
#if defined(GN_USE_DNNL)
	dnnl_sgemm('N', b_transposed ? 'T' : 'N', M, N, K, 1.0F, a, K, b, b_transposed ? K : N, 0.0F, out, N);
#else
	cblas_sgemm(CblasRowMajor, CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans, M, N, K, 1.0F, a, K, b,
	            b_transposed ? K : N, 0.0F, out, N);
#endif
}
