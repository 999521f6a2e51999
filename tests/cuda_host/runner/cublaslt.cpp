// cuBLASLt's objects, its choice of an algorithm, and what it refuses.
//
// Refused, because the library refuses it, has no algorithm for it, or would read past a row:
// bfloat16 operands, outputs, biases and auxiliary matrices that are not aligned to 16 bytes,
// leading dimensions of them that are no multiple of 16 bytes; float32 operands that are not
// aligned to 4; shapes that do not fit together; types other than bfloat16 with bfloat16 or float32
// outputs, or float32 throughout; tf32 for bfloat16; a bias of another type than the output; an
// auxiliary matrix whose leading dimension is no multiple of
// 8. An algorithm is for one shape: used for another it is a finding.
#include <cstring>

#include "product.h"

static const size_t bf16_alignment = 16, default_alignment = 256;

struct gn_host_lt_handle {
	int unused;
};

struct gn_host_lt_matmul {
	cublasComputeType_t compute;
	int32_t transa, transb, bias_type, aux_type;
	uint32_t epilogue;
	void *bias, *aux;
	int64_t aux_ld;
};

struct gn_host_lt_layout {
	gn_host_matrix matrix;
};

struct gn_host_lt_preference {
	uint64_t workspace;
	uint32_t reductions, alignment[4]; // of a, b, c, d
};

static size_t open_handles;

size_t gn_host_open_handles()
{
	return open_handles;
}

template <typename type> static cublasStatus_t give(type **out, type *fresh)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	*out = fresh;
	open_handles++;
	return CUBLAS_STATUS_SUCCESS;
}

template <typename type> static cublasStatus_t take(type *object)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!object)
		return CUBLAS_STATUS_INVALID_VALUE;
	delete object;
	open_handles--;
	return CUBLAS_STATUS_SUCCESS;
}

template <typename type> static cublasStatus_t set(type *member, const void *value, size_t bytes)
{
	if (!value || bytes != sizeof(type))
		return CUBLAS_STATUS_INVALID_VALUE;
	std::memcpy(member, value, bytes);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
	int count = 0;

	if (cudaGetDeviceCount(&count) != cudaSuccess)
		return CUBLAS_STATUS_NOT_INITIALIZED;
	return give(handle, new gn_host_lt_handle{0});
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
	return take(handle);
}

size_t cublasLtGetVersion()
{
	return CUBLAS_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
	switch (status) {
	case CUBLAS_STATUS_SUCCESS:
		return "CUBLAS_STATUS_SUCCESS";
	case CUBLAS_STATUS_NOT_INITIALIZED:
		return "CUBLAS_STATUS_NOT_INITIALIZED";
	case CUBLAS_STATUS_ALLOC_FAILED:
		return "CUBLAS_STATUS_ALLOC_FAILED";
	case CUBLAS_STATUS_INVALID_VALUE:
		return "CUBLAS_STATUS_INVALID_VALUE";
	case CUBLAS_STATUS_ARCH_MISMATCH:
		return "CUBLAS_STATUS_ARCH_MISMATCH";
	case CUBLAS_STATUS_EXECUTION_FAILED:
		return "CUBLAS_STATUS_EXECUTION_FAILED";
	case CUBLAS_STATUS_INTERNAL_ERROR:
		return "CUBLAS_STATUS_INTERNAL_ERROR";
	case CUBLAS_STATUS_NOT_SUPPORTED:
		return "CUBLAS_STATUS_NOT_SUPPORTED";
	}
	return "unknown status";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
	return cublasLtGetStatusName(status);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale)
{
	if (scale != CUDA_R_32F)
		return CUBLAS_STATUS_INVALID_VALUE;
	return give(desc, new gn_host_lt_matmul{compute, CUBLAS_OP_N, CUBLAS_OP_N, -1, -1, CUBLASLT_EPILOGUE_DEFAULT,
	                                        nullptr, nullptr, 0});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
	return take(desc);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
	switch (attribute) {
	case CUBLASLT_MATMUL_DESC_TRANSA:
		return set(&desc->transa, value, bytes);
	case CUBLASLT_MATMUL_DESC_TRANSB:
		return set(&desc->transb, value, bytes);
	case CUBLASLT_MATMUL_DESC_EPILOGUE:
		return set(&desc->epilogue, value, bytes);
	case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
		return set(&desc->bias, value, bytes);
	case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
		return set(&desc->bias_type, value, bytes);
	case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
		return set(&desc->aux, value, bytes);
	case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
		return set(&desc->aux_ld, value, bytes);
	case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE:
		return set(&desc->aux_type, value, bytes);
	}
	return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t ld)
{
	return give(layout, new gn_host_lt_layout{{nullptr, type, rows, cols, ld}});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
	return take(layout);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
	const uint32_t whole = default_alignment;

	return give(preference,
	            new gn_host_lt_preference{0, CUBLASLT_REDUCTION_SCHEME_MASK, {whole, whole, whole, whole}});
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
	return take(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes)
{
	switch (attribute) {
	case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
		return set(&preference->workspace, value, bytes);
	case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
		return set(&preference->reductions, value, bytes);
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
		return set(&preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
		           bytes);
	}
	return CUBLAS_STATUS_INVALID_VALUE;
}

// ---- what there is an algorithm for ----

static bool fits(const gn_host_matrix &matrix, uint64_t rows, uint64_t cols)
{
	return matrix.rows == rows && matrix.cols == cols && matrix.ld >= (int64_t)rows && rows > 0 && cols > 0;
}

static cublasStatus_t shapes(gn_host_product *p)
{
	p->m = p->d.rows;
	p->n = p->d.cols;
	p->k = p->a_transposed ? p->a.rows : p->a.cols;
	if (!fits(p->d, p->m, p->n) || !fits(p->c, p->m, p->n) ||
	    !fits(p->a, p->a_transposed ? p->k : p->m, p->a_transposed ? p->m : p->k) ||
	    !fits(p->b, p->b_transposed ? p->n : p->k, p->b_transposed ? p->k : p->n))
		return CUBLAS_STATUS_INVALID_VALUE;
	return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t types(const gn_host_product &p, cublasComputeType_t compute)
{
	const bool half = p.a.type == CUDA_R_16BF;

	if (p.a.type != p.b.type || p.c.type != p.d.type)
		return CUBLAS_STATUS_NOT_SUPPORTED;
	if (!half && p.d.type != CUDA_R_32F)
		return CUBLAS_STATUS_NOT_SUPPORTED;
	if (compute == CUBLAS_COMPUTE_32F_FAST_TF32)
		return half ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
	return compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_PEDANTIC ? CUBLAS_STATUS_SUCCESS
	                                                                               : CUBLAS_STATUS_NOT_SUPPORTED;
}

static cublasStatus_t epilogue(const gn_host_product &p)
{
	const bool aux = p.epilogue & 128, bias = p.epilogue & (4 | 16 | 256 | 512);

	switch (p.epilogue) {
	case CUBLASLT_EPILOGUE_DEFAULT:
	case CUBLASLT_EPILOGUE_BIAS:
	case CUBLASLT_EPILOGUE_GELU:
	case CUBLASLT_EPILOGUE_GELU_BIAS:
	case CUBLASLT_EPILOGUE_GELU_AUX:
	case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
	case CUBLASLT_EPILOGUE_DGELU:
	case CUBLASLT_EPILOGUE_DGELU_BGRAD:
	case CUBLASLT_EPILOGUE_BGRADA:
	case CUBLASLT_EPILOGUE_BGRADB:
		break;
	default:
		return CUBLAS_STATUS_NOT_SUPPORTED;
	}
	if (bias && (!p.bias || p.bias_type != p.d.type))
		return p.bias ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_INVALID_VALUE;
	if (aux && (!p.aux.data || p.aux.ld < (int64_t)p.m || p.aux.ld % 8 || p.aux.type != p.d.type))
		return CUBLAS_STATUS_INVALID_VALUE;
	return CUBLAS_STATUS_SUCCESS;
}

static bool ld_aligned(const gn_host_matrix &matrix)
{
	return matrix.type != CUDA_R_16BF || (size_t)matrix.ld * 2 % bf16_alignment == 0;
}

static bool pointer_aligned(const void *pointer, cudaDataType_t type)
{
	return reinterpret_cast<uintptr_t>(pointer) % (type == CUDA_R_16BF ? bf16_alignment : 4) == 0;
}

static bool aligned(const gn_host_product &p)
{
	return ld_aligned(p.a) && ld_aligned(p.b) && ld_aligned(p.c) && ld_aligned(p.d) &&
	       pointer_aligned(p.bias, p.bias_type) && pointer_aligned(p.aux.data, p.aux.type);
}

static cublasStatus_t make_product(gn_host_product *p, const gn_host_lt_matmul *desc, const gn_host_lt_layout *a,
                                   const gn_host_lt_layout *b, const gn_host_lt_layout *c, const gn_host_lt_layout *d)
{
	if (!desc || !a || !b || !c || !d)
		return CUBLAS_STATUS_INVALID_VALUE;
	*p = gn_host_product{};
	p->a = a->matrix;
	p->b = b->matrix;
	p->c = c->matrix;
	p->d = d->matrix;
	p->a_transposed = desc->transa == CUBLAS_OP_T;
	p->b_transposed = desc->transb == CUBLAS_OP_T;
	p->epilogue = (cublasLtEpilogue_t)desc->epilogue;
	p->bias = desc->bias;
	p->bias_type = desc->bias_type < 0 ? p->d.type : (cudaDataType_t)desc->bias_type;
	p->aux = {p->epilogue & 128 ? desc->aux : nullptr,
	          desc->aux_type < 0 ? p->d.type : (cudaDataType_t)desc->aux_type, p->d.rows, p->d.cols, desc->aux_ld};
	p->tf32 = desc->compute == CUBLAS_COMPUTE_32F_FAST_TF32;
	cublasStatus_t status = shapes(p);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = types(*p, desc->compute);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = epilogue(*p);
	if (status == CUBLAS_STATUS_SUCCESS && !aligned(*p))
		status = CUBLAS_STATUS_NOT_SUPPORTED;
	return status;
}

// ---- the algorithm: what it is for, its workspace, whether it rounds to tf32 ----

static uint64_t fingerprint(const gn_host_product &p)
{
	uint64_t hash = 14695981039346656037ULL;
	const uint64_t parts[] = {p.m,
	                          p.n,
	                          p.k,
	                          (uint64_t)p.a.ld,
	                          (uint64_t)p.b.ld,
	                          (uint64_t)p.c.ld,
	                          (uint64_t)p.d.ld,
	                          (uint64_t)p.a.type,
	                          (uint64_t)p.d.type,
	                          (uint64_t)p.epilogue,
	                          (uint64_t)p.a_transposed,
	                          (uint64_t)p.b_transposed,
	                          (uint64_t)p.tf32};

	for (uint64_t part : parts)
		hash = (hash ^ part) * 1099511628211ULL;
	return hash;
}

// A long sum for a small output is split, with partial sums in the workspace.
static size_t workspace_for(const gn_host_product &p, const gn_host_lt_preference &preference)
{
	const size_t bytes = p.m * p.n * sizeof(float) * 2;
	const bool split =
	    p.k >= 2 * p.m && p.k >= 2 * p.n && (preference.reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);

	return split && bytes <= preference.workspace ? bytes : 0;
}

// Whether a test wants this product's epilogue refused: GONIO_CUDA_HOST_NO_EPILOGUE is "heuristic" where the library says so
// when it is asked for an algorithm, "product" where it has an algorithm and refuses the product all the same.
static bool epilogue_refused(const gn_host_product &p, const char *where)
{
	const char *wanted = getenv("GONIO_CUDA_HOST_NO_EPILOGUE");

	return wanted && !std::strcmp(wanted, where) && p.epilogue != CUBLASLT_EPILOGUE_DEFAULT;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_product p;

	*found = 0;
	if (!handle || !preference || wanted < 1)
		return CUBLAS_STATUS_INVALID_VALUE;
	const cublasStatus_t status = make_product(&p, desc, a, b, c, d);
	if (status != CUBLAS_STATUS_SUCCESS)
		return status;
	uint32_t alignment = default_alignment;
	for (uint32_t each : preference->alignment)
		alignment = each < alignment ? each : alignment;
	if (alignment < (p.a.type == CUDA_R_16BF ? bf16_alignment : 4) || epilogue_refused(p, "heuristic"))
		return CUBLAS_STATUS_NOT_SUPPORTED;
	std::memset(results, 0, sizeof *results);
	results->workspaceSize = workspace_for(p, *preference);
	results->state = CUBLAS_STATUS_SUCCESS;
	results->algo.data[0] = fingerprint(p);
	results->algo.data[1] = results->workspaceSize;
	results->algo.data[2] = alignment;
	*found = 1;
	return CUBLAS_STATUS_SUCCESS;
}

// ---- the product ----

namespace
{
struct product_operation : gn_host_operation {
	gn_host_product product;

	void run() override
	{
		gn_host_product_run(product);
	}
};
} // namespace

static bool overlap(const gn_host_matrix &x, const gn_host_matrix &y)
{
	const uintptr_t a = reinterpret_cast<uintptr_t>(x.data), b = reinterpret_cast<uintptr_t>(y.data);
	const size_t a_bytes = ((x.cols - 1) * (uint64_t)x.ld + x.rows) * gn_host_type_bytes(x.type);
	const size_t b_bytes = ((y.cols - 1) * (uint64_t)y.ld + y.rows) * gn_host_type_bytes(y.type);

	return a < b + b_bytes && b < a + a_bytes;
}

// What is wrong with the operands, or with the algorithm for them. NULL: nothing.
static const char *objection(const gn_host_product &p, const cublasLtMatmulAlgo_t &algorithm, size_t workspace_bytes)
{
	const gn_host_matrix *const matrices[] = {&p.a, &p.b, &p.c, &p.d};

	if (algorithm.data[0] != fingerprint(p))
		return "the algorithm was chosen for another product";
	for (const gn_host_matrix *matrix : matrices)
		if (reinterpret_cast<uintptr_t>(matrix->data) % (algorithm.data[2] < 16 ? algorithm.data[2] : 16))
			return "a matrix is less aligned than the algorithm was told";
	if (algorithm.data[1] > workspace_bytes)
		return "the workspace is smaller than the algorithm's";
	if (overlap(p.d, p.a) || overlap(p.d, p.b))
		return "the output overlaps an operand";
	if (p.beta != 0 && p.c.data != p.d.data && overlap(p.c, p.d))
		return "c and d overlap but are not the same";
	if (p.beta != 0 && p.c.data == p.d.data && p.c.ld != p.d.ld)
		return "c and d are the same memory with another leading dimension";
	return nullptr;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a_data,
                              cublasLtMatrixLayout_t a, const void *b_data, cublasLtMatrixLayout_t b, const void *beta,
                              const void *c_data, cublasLtMatrixLayout_t c, void *d_data, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	auto operation = std::make_shared<product_operation>();
	gn_host_product &p = operation->product;

	if (!handle || !alpha || !beta || !algorithm || !a_data || !b_data || !d_data)
		return CUBLAS_STATUS_INVALID_VALUE;
	const cublasStatus_t status = make_product(&p, desc, a, b, c, d);
	if (status != CUBLAS_STATUS_SUCCESS)
		return status;
	p.a.data = const_cast<void *>(a_data);
	p.b.data = const_cast<void *>(b_data);
	p.c.data = const_cast<void *>(c_data);
	p.d.data = d_data;
	p.alpha = *static_cast<const float *>(alpha);
	p.beta = *static_cast<const float *>(beta);
	p.workspace = workspace;
	p.workspace_bytes = algorithm->data[1];
	if (const char *why = objection(p, *algorithm, workspace_bytes)) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0), "cublasLtMatmul: %s", why);
		return CUBLAS_STATUS_INVALID_VALUE;
	}
	if (epilogue_refused(p, "product"))
		return CUBLAS_STATUS_NOT_SUPPORTED;
	if (gn_host_refuses(GN_HOST_CALL_PRODUCT))
		return CUBLAS_STATUS_EXECUTION_FAILED;
	gn_host_enqueue(stream, operation);
	return CUBLAS_STATUS_SUCCESS;
}
