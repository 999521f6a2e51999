// Attention backward in pieces: heads whose deltas do not fit in the scratch memory are computed by
// further launches, and no bit changes.
#include "backend/cuda/attention.cu"
#include "backend/cuda/attention_backward.cu"

#include "tests.h"

bool gn_cuda_note(struct gn_ctx *, cudaError_t status, const char *, const char *, int)
{
	assert_int_equal(status, cudaSuccess);
	return true;
}

void gn_assert_failed(const char *condition, const char *file, int line)
{
	print_error("%s:%d: %s\n", file, line, condition);
	abort();
}

enum { B = 2, T = 37, Q = 21, H = 3, D = 40, INPUTS = B * T * 3 * H * D, OUTPUTS = B * Q * H * D, ROWS = B * H * Q };

template <typename act> static act *device_values(int n, unsigned int seed)
{
	act *device, host[INPUTS];

	for (int i = 0; i < n; i++) {
		seed = seed * 1664525U + 1013904223U;
		host[i] = gn_from_float<act>((float)(seed >> 8) * 0x1p-23F - 1.0F);
	}
	CHECK(cudaMalloc(&device, (size_t)n * sizeof(act)));
	CHECK(cudaMemcpy(device, host, (size_t)n * sizeof(act), cudaMemcpyHostToDevice));
	return device;
}

template <typename act> static void backward_in_pieces(enum gn_precision precision)
{
	act *qkv = device_values<act>(INPUTS, 1), *dout = device_values<act>(OUTPUTS, 2), *out, *dqkv;
	float *lse = device_floats(ROWS, false), *scratch = device_floats(ROWS, false);
	act whole[INPUTS], pieces[INPUTS];
	struct gn_ctx ctx = {};

	CHECK(cudaMalloc(&out, OUTPUTS * sizeof(act)));
	CHECK(cudaMalloc(&dqkv, INPUTS * sizeof(act)));
	ctx.sm = 90;
	ctx.precision = precision;
	ctx.scratch[GN_SCRATCH_PARTIAL] = scratch;
	gn_cuda_attention<act>(&ctx, out, lse, qkv, B, T, Q, H, D);
	ctx.scratch_bytes[GN_SCRATCH_PARTIAL] = ROWS * sizeof(float);
	gn_cuda_attention_backward<act>(&ctx, dqkv, dout, qkv, out, lse, B, T, Q, H, D);
	CHECK(cudaMemcpy(whole, dqkv, sizeof whole, cudaMemcpyDeviceToHost));
	CHECK(cudaMemset(dqkv, 0, INPUTS * sizeof(act)));
	/* four heads, then two */
	ctx.scratch_bytes[GN_SCRATCH_PARTIAL] = 4 * Q * sizeof(float) + 1;
	gn_cuda_attention_backward<act>(&ctx, dqkv, dout, qkv, out, lse, B, T, Q, H, D);
	CHECK(cudaMemcpy(pieces, dqkv, sizeof pieces, cudaMemcpyDeviceToHost));
	assert_memory_equal(pieces, whole, sizeof whole);
	for (void *each : {(void *)qkv, (void *)dout, (void *)out, (void *)dqkv, (void *)lse, (void *)scratch})
		CHECK(cudaFree(each));
}

static void tensor_cores_in_pieces(void **)
{
	backward_in_pieces<__nv_bfloat16>(GN_PRECISION_BF16);
}

static void float32_in_pieces(void **)
{
	backward_in_pieces<float>(GN_PRECISION_FP32);
}

int main()
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tensor_cores_in_pieces),
	                                   cmocka_unit_test(float32_in_pieces)};

	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
