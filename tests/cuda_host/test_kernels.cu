// Kernels on the runner: where threads are, barriers, warps, shared memory, atomics, launch rules,
// arithmetic.
#include <cuda_bf16.h>

#include "tests.h"

static __global__ void place(int *out, int width)
{
	const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);

	out[y * width + x] = x * 100 + y + (int)(blockIdx.z * gridDim.z);
}

static void threads_know_their_place(void **)
{
	const dim3 grid(3, 2), block(4, 5);
	int *out = nullptr, host[120];

	CHECK(cudaMalloc(&out, sizeof host));
	GN_LAUNCH(place, grid, block, 0, 0, out, 12);
	CHECK(cudaGetLastError());
	CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
	for (int y = 0; y < 10; y++)
		for (int x = 0; x < 12; x++)
			assert_int_equal(host[y * 12 + x], x * 100 + y);
	CHECK(cudaFree(out));
}

// A block's sum by a tree in shared memory, of both kinds.
template <bool dynamic> static __global__ void block_sum(float *out, const float *in, int n)
{
	GN_SHARED_BYTES(bytes);
	__shared__ float fixed[256];
	float *sums = dynamic ? (float *)bytes : fixed;
	float mine = 0;

	for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
		mine += in[i];
	sums[threadIdx.x] = mine;
	__syncthreads();
	for (unsigned int half = blockDim.x / 2; half > 0; half /= 2) {
		if (threadIdx.x < half)
			sums[threadIdx.x] += sums[threadIdx.x + half];
		__syncthreads();
	}
	if (threadIdx.x == 0)
		out[blockIdx.x] = sums[0];
}

static void barriers_and_shared_memory(void **)
{
	const int n = 1000;
	float *in = device_floats(n, true), *out = device_floats(4, false), host[4];

	GN_LAUNCH((block_sum<true>), 2, 256, 256 * sizeof(float), 0, out, in, n);
	GN_LAUNCH((block_sum<false>), 2, 256, 0, 0, out + 2, in, n);
	CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
	for (int i = 0; i < 4; i++)
		assert_float_equal(host[i], n * (n - 1) / 2, 0);
	CHECK(cudaFree(in));
	CHECK(cudaFree(out));
}

static __global__ void warp_sums(float *out, unsigned int *ballots)
{
	const unsigned int lane = threadIdx.x % 32, all = 0xffffffffU;
	float sum = (float)threadIdx.x;
	double twice = 2.0 * threadIdx.x;

	for (int mask = 16; mask > 0; mask /= 2) {
		sum += __shfl_xor_sync(all, sum, mask);
		twice += __shfl_down_sync(all, twice, (unsigned int)mask);
	}
	twice = __shfl_sync(all, twice, 0);
	const int next = __shfl_up_sync(all, (int)lane, 1), eighth = __shfl_sync(all, (int)lane, 5, 8);
	const unsigned int odd = __ballot_sync(all, lane & 1);
	// Half a warp by itself.
	if (lane < 16)
		sum += __shfl_xor_sync(0xffffU, 1.0F, 1);
	__syncwarp();
	out[threadIdx.x * 4] = sum;
	out[threadIdx.x * 4 + 1] = (float)twice;
	out[threadIdx.x * 4 + 2] = (float)next;
	out[threadIdx.x * 4 + 3] = (float)eighth;
	if (lane == 0)
		ballots[threadIdx.x / 32] = odd + (unsigned int)__any_sync(1U, 1) + (unsigned int)__all_sync(1U, 0);
}

static void warps(void **)
{
	float *out = device_floats(64 * 4, false), host[64 * 4];
	unsigned int *ballots = nullptr, host_ballots[2];

	CHECK(cudaMalloc(&ballots, sizeof host_ballots));
	GN_LAUNCH(warp_sums, 1, 64, 0, 0, out, ballots);
	CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
	CHECK(cudaMemcpy(host_ballots, ballots, sizeof host_ballots, cudaMemcpyDeviceToHost));
	for (int i = 0; i < 64; i++) {
		const float sum = i < 32 ? 496 : 496 + 32 * 32;
		const int lane = i % 32;

		assert_float_equal(host[i * 4], sum + (lane < 16 ? 1 : 0), 0);
		assert_float_equal(host[i * 4 + 1], 2 * sum, 0);
		assert_float_equal(host[i * 4 + 2], lane ? lane - 1 : 0, 0);
		assert_float_equal(host[i * 4 + 3], (lane / 8 * 8 + 5), 0);
	}
	assert_int_equal(host_ballots[0], 0xaaaaaaabU);
	assert_int_equal(host_ballots[1], 0xaaaaaaabU);
	CHECK(cudaFree(out));
	CHECK(cudaFree(ballots));
}

static __global__ void count(int *ints, float *floats, double *doubles)
{
	__shared__ int local;

	if (threadIdx.x == 0)
		local = 0;
	__syncthreads();
	atomicAdd(&local, 1);
	atomicAdd(ints, 1);
	atomicAdd(floats, 0.5F);
	atomicAdd(doubles, 0.25);
	__syncthreads();
	if (threadIdx.x == 0)
		atomicMax(ints + 1, local);
}

static void atomics(void **)
{
	void *memory = nullptr;
	int host[8];

	CHECK(cudaMalloc(&memory, 32));
	CHECK(cudaMemset(memory, 0, 32));
	GN_LAUNCH(count, 5, 96, 0, 0, (int *)memory, (float *)memory + 2, (double *)memory + 2);
	CHECK(cudaMemcpy(host, memory, sizeof host, cudaMemcpyDeviceToHost));
	assert_int_equal(host[0], 480);
	assert_int_equal(host[1], 96);
	assert_float_equal(((float *)host)[2], 240, 0);
	assert_float_equal(((double *)host)[2], 120, 0);
	CHECK(cudaFree(memory));
}

struct many {
	const float *from[3];
	int n;
};

static __global__ void struct_argument(float *out, const many all, float4 add)
{
	const int i = (int)threadIdx.x;

	if (i < all.n)
		out[i] = all.from[0][i] + all.from[1][i] * all.from[2][i] + add.w;
}

static void arguments_are_copied_at_the_launch(void **)
{
	float *in = device_floats(32, true), *out = device_floats(32, false), host[32];
	many all = {{in, in, in}, 32};

	GN_LAUNCH(struct_argument, 1, 32, 0, 0, out, all, make_float4(0, 0, 0, 1));
	all = many{{nullptr, nullptr, nullptr}, 0};
	CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
	for (int i = 0; i < 32; i++)
		assert_float_equal(host[i], i + i * i + 1, 0);
	CHECK(cudaFree(in));
	CHECK(cudaFree(out));
}

static __global__ void big_shared(float *out)
{
	GN_SHARED_BYTES(bytes);
	float *all = (float *)bytes;

	all[threadIdx.x * 100] = 1;
	out[threadIdx.x] = all[threadIdx.x * 100];
}

static void launches_that_cuda_refuses(void **)
{
	float *out = device_floats(256, false);

	GN_LAUNCH(big_shared, 1, 2048, 0, 0, out);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
	GN_LAUNCH(big_shared, 0, 32, 0, 0, out);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
	GN_LAUNCH(big_shared, dim3(1, 70000), 32, 0, 0, out);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
	GN_LAUNCH(big_shared, 1, 256, 100 << 10, 0, out);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
	CHECK(cudaFuncSetAttribute(big_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
	GN_LAUNCH(big_shared, 1, 256, 100 << 10, 0, out);
	CHECK(cudaGetLastError());
	expect_nothing();
	assert_int_equal(cudaFuncSetAttribute(big_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 300 << 10),
	                 cudaErrorInvalidValue);
	CHECK(cudaFree(out));
	cudaGetLastError();
}

// bfloat16 values have 8 bits of mantissa: 1 + 1/256 is half way between two of them.
static void bfloat16_rounding(void **)
{
	const float half = 1.0F / 256;

	// tie to even: down
	assert_float_equal(__bfloat162float(__float2bfloat16(1 + half)), 1, 0);
	// tie to even: up
	assert_float_equal(__bfloat162float(__float2bfloat16(1 + 3 * half)), 1 + 4 * half, 0);
	assert_float_equal(__bfloat162float(__float2bfloat16(1 + half + 1e-6F)), 1 + 2 * half, 0);
	assert_float_equal(__bfloat162float(__float2bfloat16(-1 - 3 * half)), -1 - 4 * half, 0);
	assert_true(isinf(__bfloat162float(__float2bfloat16(3.4e38F))));
	assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(NAN)), 0x7fff);
	assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(-0.0F)), 0x8000);
	// below the smallest normal number
	assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(1e-40F)), 1);
	const float2 pair = __bfloat1622float2(__floats2bfloat162_rn(2.5F, -3));
	assert_float_equal(pair.x, 2.5F, 0);
	assert_float_equal(pair.y, -3, 0);
	assert_int_equal(sizeof(__nv_bfloat162), 4);
	assert_int_equal(alignof(__nv_bfloat162), 4);
}

static __global__ void add_one(float *data, int n)
{
	const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

	if (i < n)
		data[i] += 1;
}

// A thread that ends gives its fibre on, so blocks without barriers cost no switch per thread.
static void threads_without_barriers_share_a_fibre(void **)
{
	float *data = device_floats(2560, true);
	const struct gn_host_statistics before = gn_host_measure();

	GN_LAUNCH(add_one, 10, 256, 0, 0, data, 2560);
	CHECK(cudaDeviceSynchronize());
	const struct gn_host_statistics after = gn_host_measure();
	assert_int_equal(after.blocks - before.blocks, 10);
	assert_int_equal(after.switches - before.switches, 20);
	if (gn_host_is_checked())
		assert_true(after.accesses - before.accesses >= 2 * 2560);
	CHECK(cudaFree(data));
}

int main()
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(threads_know_their_place),
	    cmocka_unit_test(barriers_and_shared_memory),
	    cmocka_unit_test(warps),
	    cmocka_unit_test(atomics),
	    cmocka_unit_test(arguments_are_copied_at_the_launch),
	    cmocka_unit_test(launches_that_cuda_refuses),
	    cmocka_unit_test(bfloat16_rounding),
	    cmocka_unit_test(threads_without_barriers_share_a_fibre),
	};

	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
