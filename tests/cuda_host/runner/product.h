/* One product as cuBLASLt would do it: what cublaslt.cpp checks and product.cpp computes. */
#ifndef GN_HOST_PRODUCT_H
#define GN_HOST_PRODUCT_H

#include <cublasLt.h>

#include "internal.h"

/* A column-major matrix of device memory. */
struct gn_host_matrix {
	void *data;
	cudaDataType_t type;
	uint64_t rows, cols;
	int64_t ld;
};

struct gn_host_product {
	gn_host_matrix a, b, c, d;
	bool a_transposed, b_transposed;
	uint64_t m, n, k;
	float alpha, beta;
	bool tf32; /* operands are rounded to 10 bits of mantissa */
	cublasLtEpilogue_t epilogue;
	gn_host_matrix aux; /* data NULL where there is none */
	void *bias;         /* [m], or its gradient: [m] or [n] */
	cudaDataType_t bias_type;
	void *workspace;
	size_t workspace_bytes; /* what the algorithm writes to */
};

size_t gn_host_type_bytes(cudaDataType_t type);
/* Runs as an operation of a stream: touches what the product touches and computes it. */
void gn_host_product_run(const gn_host_product &product);

#endif
