// The arithmetic of a product: operands as float32 (bfloat16 exactly, tf32 by the rounding of
// cvt.rna.tf32.f32, to nearest with ties away from zero), float32 accumulation by the CPU's product
// library, then the epilogue in float32 and one rounding to the output's type.
#include <cmath>
#include <cstring>
#include <vector>

#include <cuda_bf16.h>
#include <omp.h>

#include "product.h"

extern "C" {
#include "bench/reference.h"
}

size_t gn_host_type_bytes(cudaDataType_t type)
{
	return type == CUDA_R_16BF ? 2 : 4;
}

static unsigned char *element(const gn_host_matrix &matrix, uint64_t row, uint64_t col)
{
	return static_cast<unsigned char *>(matrix.data) +
	       (row + col * (uint64_t)matrix.ld) * gn_host_type_bytes(matrix.type);
}

static float load(const void *at, cudaDataType_t type)
{
	float value;
	uint16_t half;

	if (type == CUDA_R_16BF) {
		std::memcpy(&half, at, sizeof half);
		return gn_host_bf16_widen(half);
	}
	std::memcpy(&value, at, sizeof value);
	return value;
}

static void store(void *at, cudaDataType_t type, float value)
{
	const uint16_t half = gn_host_bf16_round(value);

	if (type == CUDA_R_16BF)
		std::memcpy(at, &half, sizeof half);
	else
		std::memcpy(at, &value, sizeof value);
}

static float round_tf32(float value)
{
	uint32_t bits;

	std::memcpy(&bits, &value, sizeof bits);
	if ((bits & 0x7f800000U) != 0x7f800000U)
		bits += 0x1000U;
	bits &= ~0x1fffU;
	std::memcpy(&value, &bits, sizeof value);
	return value;
}

// out[outer][inner], dense: op(matrix) with its rows outside where by_rows, else with its columns
// outside.
static std::vector<float> gather(const gn_host_matrix &matrix, bool transposed, bool by_rows, uint64_t outer,
                                 uint64_t inner, bool tf32)
{
	std::vector<float> out(outer * inner);
	const bool outer_is_row = by_rows != transposed;

	for (uint64_t i = 0; i < outer; i++)
		for (uint64_t j = 0; j < inner; j++) {
			const float value =
			    load(outer_is_row ? element(matrix, i, j) : element(matrix, j, i), matrix.type);

			out[i * inner + j] = tf32 ? round_tf32(value) : value;
		}
	return out;
}

// ---- the tanh form of GELU, the only one that cuBLASLt has ----

static const float gelu_a = 0.7978845608028654F, gelu_b = 0.044715F; // sqrt(2 / pi)

static float gelu(float z)
{
	return 0.5F * z * (1 + tanhf(gelu_a * (z + gelu_b * z * z * z)));
}

static float gelu_slope(float z)
{
	const float t = tanhf(gelu_a * (z + gelu_b * z * z * z));

	return 0.5F * (1 + t) + 0.5F * z * (1 - t * t) * gelu_a * (1 + 3 * gelu_b * z * z);
}

// ---- epilogues ----

static bool has(cublasLtEpilogue_t epilogue, int part)
{
	return (epilogue & part) == part;
}

// One element: value is alpha a b + beta c.
static float finish(const gn_host_product &p, uint64_t row, uint64_t col, float value)
{
	if (has(p.epilogue, CUBLASLT_EPILOGUE_BIAS))
		value +=
		    load(static_cast<unsigned char *>(p.bias) + row * gn_host_type_bytes(p.bias_type), p.bias_type);
	if (has(p.epilogue, CUBLASLT_EPILOGUE_DGELU))
		return value * gelu_slope(load(element(p.aux, row, col), p.aux.type));
	if (has(p.epilogue, CUBLASLT_EPILOGUE_GELU)) {
		if (p.aux.data)
			store(element(p.aux, row, col), p.aux.type, value);
		return gelu(value);
	}
	return value;
}

static void finish_all(const gn_host_product &p, const std::vector<float> &product)
{
	std::vector<float> row_sums(p.m);

	for (uint64_t col = 0; col < p.n; col++)
		for (uint64_t row = 0; row < p.m; row++) {
			float value = p.alpha * product[col * p.m + row];

			if (p.beta != 0)
				value += p.beta * load(element(p.c, row, col), p.c.type);
			value = finish(p, row, col, value);
			store(element(p.d, row, col), p.d.type, value);
			row_sums[row] += value;
		}
	if (p.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
		for (uint64_t row = 0; row < p.m; row++)
			store(static_cast<unsigned char *>(p.bias) + row * gn_host_type_bytes(p.bias_type), p.bias_type,
			      row_sums[row]);
}

// The gradient of a bias from an operand: sums over k of its rows or columns.
static void operand_sums(const gn_host_product &p, const std::vector<float> &operand, uint64_t outer)
{
	for (uint64_t i = 0; i < outer; i++) {
		float sum = 0;

		for (uint64_t j = 0; j < p.k; j++)
			sum += operand[i * p.k + j];
		store(static_cast<unsigned char *>(p.bias) + i * gn_host_type_bytes(p.bias_type), p.bias_type, sum);
	}
}

// ---- what is touched ----

static bool touch_matrix(const gn_host_matrix &matrix, gn_host_access access, const char *who)
{
	for (uint64_t col = 0; col < matrix.cols; col++)
		if (!gn_host_touch(element(matrix, 0, col), matrix.rows * gn_host_type_bytes(matrix.type), access, who))
			return false;
	return true;
}

static bool touch_bias(const gn_host_product &p)
{
	const size_t bytes = gn_host_type_bytes(p.bias_type);

	if (has(p.epilogue, CUBLASLT_EPILOGUE_BIAS))
		return gn_host_touch(p.bias, p.m * bytes, GN_HOST_READ, "the bias of cublasLtMatmul");
	if (p.epilogue == CUBLASLT_EPILOGUE_BGRADB)
		return gn_host_touch(p.bias, p.n * bytes, GN_HOST_WRITE, "the bias gradient of cublasLtMatmul");
	if (p.epilogue == CUBLASLT_EPILOGUE_BGRADA || p.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
		return gn_host_touch(p.bias, p.m * bytes, GN_HOST_WRITE, "the bias gradient of cublasLtMatmul");
	return true;
}

static bool touch_all(const gn_host_product &p)
{
	const gn_host_access aux = has(p.epilogue, CUBLASLT_EPILOGUE_DGELU) ? GN_HOST_READ : GN_HOST_WRITE;

	return touch_matrix(p.a, GN_HOST_READ, "a of cublasLtMatmul") &&
	       touch_matrix(p.b, GN_HOST_READ, "b of cublasLtMatmul") &&
	       (p.beta == 0 || touch_matrix(p.c, GN_HOST_READ, "c of cublasLtMatmul")) && touch_bias(p) &&
	       (!p.aux.data || touch_matrix(p.aux, aux, "the auxiliary matrix of cublasLtMatmul")) &&
	       (!p.workspace_bytes ||
	        gn_host_touch(p.workspace, p.workspace_bytes, GN_HOST_WRITE, "the workspace of cublasLtMatmul")) &&
	       touch_matrix(p.d, GN_HOST_WRITE, "d of cublasLtMatmul");
}

void gn_host_product_run(const gn_host_product &p)
{
	if (!touch_all(p))
		return;
	if (p.workspace_bytes)
		std::memset(p.workspace, 0xff, p.workspace_bytes);
	// Column-major d is row-major transposed: d^T[n,m] = op(b)^T[n,k] op(a)[m,k]^T.
	const std::vector<float> a = gather(p.a, p.a_transposed, true, p.m, p.k, p.tf32);
	const std::vector<float> b = gather(p.b, p.b_transposed, false, p.n, p.k, p.tf32);
	std::vector<float> product(p.m * p.n);

	gn_reference_product(omp_get_max_threads(), product.data(), b.data(), a.data(), true, (int)p.n, (int)p.m, (int)p.k);
	if (p.epilogue == CUBLASLT_EPILOGUE_BGRADA)
		operand_sums(p, a, p.m);
	if (p.epilogue == CUBLASLT_EPILOGUE_BGRADB)
		operand_sums(p, b, p.n);
	finish_all(p, product);
}
