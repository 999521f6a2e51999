/*
 * The product library that `gonio bench` compares rates with: oneDNN on x86-64, OpenBLAS elsewhere.
 * It is optional, and nothing else of the program uses it.
 */
#ifndef GN_REFERENCE_H
#define GN_REFERENCE_H

#include <stdbool.h>

/* "oneDNN", "OpenBLAS", or NULL if no library was built in. */
const char *gn_reference_library(void);
/* out[M,N] = a[M,K] b[K,N], or b[N,K] transposed; all row-major and dense. Without a library, plain
 * loops compute it: correct, but no rate to compare with. */
void gn_reference_product(int threads, float *out, const float *a, const float *b, bool b_transposed, int M, int N,
                          int K);

#endif
