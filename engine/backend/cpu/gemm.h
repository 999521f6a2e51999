/* Plain products by the product library. */
#ifndef GN_CPU_GEMM_H
#define GN_CPU_GEMM_H

#include <stdbool.h>

/* out[M,N] = a[M,K] b[K,N], or b[N,K] transposed; all row-major and dense. */
void gn_cpu_product(int threads, float *out, const float *a, const float *b, bool b_transposed, int M, int N, int K);

#endif
