// cuBLASLt's stand-in: values against a plain double-precision product, the forms of the epilogues,
// rounding, refusals.
#include <cmath>
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>

#include "tests.h"

// Column-major matrices with small numbers that bfloat16 holds exactly.
struct operand {
	std::vector<float> values;
	int rows, cols, ld;
	cudaDataType_t type;
	void *device;
};

static float number(int i)
{
	return (float)((i * 37 + 11) % 17 - 8) / 16;
}

static operand make(int rows, int cols, int ld, cudaDataType_t type, int seed)
{
	operand o = {std::vector<float>((size_t)ld * cols), rows, cols, ld, type, nullptr};
	std::vector<__nv_bfloat16> halves(o.values.size());
	const size_t size = type == CUDA_R_16BF ? 2 : 4;

	for (size_t i = 0; i < o.values.size(); i++) {
		o.values[i] = number((int)i + seed);
		halves[i] = __float2bfloat16(o.values[i]);
	}
	CHECK(cudaMalloc(&o.device, size * o.values.size()));
	CHECK(cudaMemcpy(o.device, size == 2 ? (void *)halves.data() : (void *)o.values.data(), size * o.values.size(),
	                 cudaMemcpyHostToDevice));
	return o;
}

static std::vector<float> read(const void *device, size_t count, cudaDataType_t type)
{
	std::vector<float> out(count);
	std::vector<__nv_bfloat16> halves(count);

	if (type == CUDA_R_32F) {
		CHECK(cudaMemcpy(out.data(), device, count * 4, cudaMemcpyDeviceToHost));
		return out;
	}
	CHECK(cudaMemcpy(halves.data(), device, count * 2, cudaMemcpyDeviceToHost));
	for (size_t i = 0; i < count; i++)
		out[i] = __bfloat162float(halves[i]);
	return out;
}

struct request {
	operand *a, *b, *d;
	cublasOperation_t transa, transb;
	cublasComputeType_t compute;
	cublasLtEpilogue_t epilogue;
	operand *bias, *aux;
	float beta;
	uint32_t alignment;
};

static size_t bad_calls; // of the last run

static cublasStatus_t run(const request &r)
{
	cublasLtHandle_t handle;
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t a, b, d;
	cublasLtMatmulPreference_t preference;
	cublasLtMatmulHeuristicResult_t result;
	const uint64_t room = 1 << 16;
	const float one = 1;
	void *workspace = nullptr;
	int found = 0;

	CHECK(cudaMalloc(&workspace, room));
	CHECK(cublasLtCreate(&handle));
	CHECK(cublasLtMatmulDescCreate(&desc, r.compute, CUDA_R_32F));
	CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &r.transa, sizeof r.transa));
	CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &r.transb, sizeof r.transb));
	CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &r.epilogue, sizeof r.epilogue));
	if (r.bias)
		CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &r.bias->device,
		                                     sizeof(void *)));
	if (r.aux) {
		const int64_t ld = r.aux->ld;
		CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &r.aux->device,
		                                     sizeof(void *)));
		CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &ld, sizeof ld));
	}
	CHECK(cublasLtMatrixLayoutCreate(&a, r.a->type, (uint64_t)r.a->rows, (uint64_t)r.a->cols, r.a->ld));
	CHECK(cublasLtMatrixLayoutCreate(&b, r.b->type, (uint64_t)r.b->rows, (uint64_t)r.b->cols, r.b->ld));
	CHECK(cublasLtMatrixLayoutCreate(&d, r.d->type, (uint64_t)r.d->rows, (uint64_t)r.d->cols, r.d->ld));
	CHECK(cublasLtMatmulPreferenceCreate(&preference));
	CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
	                                           sizeof room));
	for (int i = 0; i < 4; i++)
		CHECK(cublasLtMatmulPreferenceSetAttribute(
		    preference, (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
		    &r.alignment, sizeof r.alignment));
	cublasStatus_t status =
	    cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, preference, 1, &result, &found);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatmul(handle, desc, &one, r.a->device, a, r.b->device, b, &r.beta, r.d->device, d,
		                        r.d->device, d, &result.algo, workspace, room, 0);
	bad_calls = status == CUBLAS_STATUS_SUCCESS ? 0 : gn_host_take_findings(nullptr, 0);
	CHECK(cublasLtMatmulPreferenceDestroy(preference));
	CHECK(cublasLtMatrixLayoutDestroy(a));
	CHECK(cublasLtMatrixLayoutDestroy(b));
	CHECK(cublasLtMatrixLayoutDestroy(d));
	CHECK(cublasLtMatmulDescDestroy(desc));
	CHECK(cublasLtDestroy(handle));
	CHECK(cudaDeviceSynchronize());
	CHECK(cudaFree(workspace));
	return status;
}

static double element(const operand &o, bool transposed, int row, int col)
{
	return o.values[transposed ? (size_t)col + (size_t)row * o.ld : (size_t)row + (size_t)col * o.ld];
}

static double product(const request &r, int row, int col)
{
	const int k = r.transa == CUBLAS_OP_T ? r.a->rows : r.a->cols;
	double sum = 0;

	for (int i = 0; i < k; i++)
		sum += element(*r.a, r.transa == CUBLAS_OP_T, row, i) * element(*r.b, r.transb == CUBLAS_OP_T, i, col);
	return sum + r.beta * r.d->values[(size_t)row + (size_t)col * r.d->ld];
}

static void all_transpositions_and_types(void **)
{
	const int m = 24, n = 16, k = 40;

	for (int types = 0; types < 3; types++)
		for (int transposed = 0; transposed < 4; transposed++)
			for (int beta = 0; beta < 2; beta++) {
				const cudaDataType_t in = types ? CUDA_R_16BF : CUDA_R_32F,
				                     out = types == 1 ? CUDA_R_16BF : CUDA_R_32F;
				const bool ta = transposed & 1, tb = transposed & 2;
				operand a = make(ta ? k : m, ta ? m : k, (ta ? k : m) + 8, in, 1);
				operand b = make(tb ? n : k, tb ? k : n, tb ? n : k, in, 2);
				operand d = make(m, n, m + 16, out, 3);
				const request r = {&a,
				                   &b,
				                   &d,
				                   ta ? CUBLAS_OP_T : CUBLAS_OP_N,
				                   tb ? CUBLAS_OP_T : CUBLAS_OP_N,
				                   CUBLAS_COMPUTE_32F,
				                   CUBLASLT_EPILOGUE_DEFAULT,
				                   nullptr,
				                   nullptr,
				                   (float)beta,
				                   16};
				CHECK(run(r));
				const std::vector<float> got = read(d.device, d.values.size(), out);
				for (int col = 0; col < n; col++)
					for (int row = 0; row < m; row++) {
						const double want = product(r, row, col);
						const double limit = out == CUDA_R_16BF ? fabs(want) / 256 : 1e-5;
						assert_true(fabs(got[(size_t)row + (size_t)col * d.ld] - want) <=
						            limit);
					}
				// The rows between the columns are not the product's.
				assert_float_equal(got[(size_t)m], d.values[(size_t)m], 1e-3);
				CHECK(cudaFree(a.device));
				CHECK(cudaFree(b.device));
				CHECK(cudaFree(d.device));
			}
	expect_nothing();
}

static double gelu_tanh(double z)
{
	return 0.5 * z * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (z + 0.044715 * z * z * z)));
}

static void epilogues(void **)
{
	const int m = 16, n = 8, k = 32;
	operand a = make(m, k, m, CUDA_R_32F, 1), b = make(k, n, k, CUDA_R_32F, 2), d = make(m, n, m, CUDA_R_32F, 3);
	operand bias = make(m, 1, m, CUDA_R_32F, 4), aux = make(m, n, m, CUDA_R_32F, 5);
	request r = {&a,    &b,      &d, CUBLAS_OP_N, CUBLAS_OP_N, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_BIAS,
	             &bias, nullptr, 0,  16};

	CHECK(run(r));
	std::vector<float> got = read(d.device, d.values.size(), CUDA_R_32F);
	assert_true(fabs(got[5 + 3 * m] - (product(r, 5, 3) + bias.values[5])) <= 1e-5);

	r.epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
	r.aux = &aux;
	CHECK(run(r));
	got = read(d.device, d.values.size(), CUDA_R_32F);
	const std::vector<float> kept = read(aux.device, aux.values.size(), CUDA_R_32F);
	const double z = product(r, 7, 2) + bias.values[7];
	assert_true(fabs(kept[7 + 2 * m] - z) <= 1e-5);
	assert_true(fabs(got[7 + 2 * m] - gelu_tanh(z)) <= 1e-5); // not the exact form

	r.epilogue = CUBLASLT_EPILOGUE_DGELU_BGRAD; // aux holds z from above
	CHECK(run(r));
	got = read(d.device, d.values.size(), CUDA_R_32F);
	const std::vector<float> sums = read(bias.device, bias.values.size(), CUDA_R_32F);
	const double slope = (gelu_tanh(z + 1e-5) - gelu_tanh(z - 1e-5)) / 2e-5;
	assert_true(fabs(got[7 + 2 * m] - product(r, 7, 2) * slope) <= 1e-4);
	double sum = 0;
	for (int col = 0; col < n; col++)
		sum += got[7 + (size_t)col * m];
	assert_true(fabs(sums[7] - sum) <= 1e-4);

	r.epilogue = CUBLASLT_EPILOGUE_BGRADB;
	r.aux = nullptr;
	CHECK(run(r));
	const std::vector<float> columns = read(bias.device, n, CUDA_R_32F);
	sum = 0;
	for (int i = 0; i < k; i++)
		sum += element(b, false, i, 3);
	assert_true(fabs(columns[3] - sum) <= 1e-5);

	operand *all[] = {&a, &b, &d, &bias, &aux};
	for (operand *o : all)
		CHECK(cudaFree(o->device));
	expect_nothing();
}

// 1 + 2^-11 is half way between two tf32 numbers: away from zero. In float32 it stays.
static void tf32_rounds_its_operands(void **)
{
	operand a = make(8, 8, 8, CUDA_R_32F, 0), b = make(8, 8, 8, CUDA_R_32F, 0), d = make(8, 8, 8, CUDA_R_32F, 0);
	std::vector<float> numbers(64), unit(64);

	for (int i = 0; i < 8; i++) {
		numbers[(size_t)i] = 1 + 0x1p-11F;
		unit[(size_t)i * 9] = 1;
	}
	CHECK(cudaMemcpy(a.device, numbers.data(), 256, cudaMemcpyHostToDevice));
	CHECK(cudaMemcpy(b.device, unit.data(), 256, cudaMemcpyHostToDevice));
	request r = {&a,      &b,      &d, CUBLAS_OP_N, CUBLAS_OP_N, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT,
	             nullptr, nullptr, 0,  16};
	CHECK(run(r));
	assert_float_equal(read(d.device, 64, CUDA_R_32F)[0], (1 + 0x1p-11F), 0);
	r.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
	CHECK(run(r));
	assert_float_equal(read(d.device, 64, CUDA_R_32F)[0], (1 + 0x1p-10F), 0);
	CHECK(cudaFree(a.device));
	CHECK(cudaFree(b.device));
	CHECK(cudaFree(d.device));
}

static void refusals(void **)
{
	operand a = make(16, 16, 16, CUDA_R_16BF, 0), b = make(16, 16, 16, CUDA_R_16BF, 0),
	        d = make(16, 16, 16, CUDA_R_16BF, 0);
	operand odd = make(10, 16, 10, CUDA_R_16BF, 0), ten = make(10, 16, 16, CUDA_R_16BF, 0),
	        wide = make(16, 16, 16, CUDA_R_32F, 0);
	const request good = {
	    &a,      &b,      &d, CUBLAS_OP_N, CUBLAS_OP_N, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT,
	    nullptr, nullptr, 0,  16};
	request r = good;

	CHECK(run(r));
	r.alignment = 8;
	assert_int_equal(run(r), CUBLAS_STATUS_NOT_SUPPORTED);
	r = good;
	r.d = &odd;
	assert_int_equal(run(r), CUBLAS_STATUS_INVALID_VALUE); // 16 rows times 16 are not 10
	r.transa = CUBLAS_OP_T;
	r.a = &ten;
	r.b = &ten;
	r.d = &d;
	CHECK(run(r)); // ten rows, 16 apart
	operand narrow = make(10, 16, 12, CUDA_R_16BF, 0);
	r.a = &narrow;
	assert_int_equal(run(r), CUBLAS_STATUS_NOT_SUPPORTED); // 24 bytes apart
	r = good;
	r.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
	assert_int_equal(run(r), CUBLAS_STATUS_NOT_SUPPORTED);
	r = good;
	r.b = &wide;
	assert_int_equal(run(r), CUBLAS_STATUS_NOT_SUPPORTED);
	r = good;
	r.epilogue = CUBLASLT_EPILOGUE_BIAS;
	assert_int_equal(run(r), CUBLAS_STATUS_INVALID_VALUE);
	r = good;
	r.d = &a;
	gn_host_quiet(true);
	assert_int_equal(run(r), CUBLAS_STATUS_INVALID_VALUE);
	gn_host_quiet(false);
	assert_int_equal(bad_calls, 1); // the output is an operand
	operand *all[] = {&a, &b, &d, &odd, &ten, &wide, &narrow};
	for (operand *o : all)
		CHECK(cudaFree(o->device));
}

int main()
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_transpositions_and_types),
	    cmocka_unit_test(epilogues),
	    cmocka_unit_test(tf32_rounds_its_operands),
	    cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
