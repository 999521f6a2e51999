// Each mistake that the runner finds, made on purpose.
#include <cuda_bf16.h>

#include "tests.h"

static __global__ void write_at(float *data, int at)
{
	data[at] = 1;
}

static __global__ void read_at(float *out, const float *data, int at)
{
	out[0] = data[at];
}

static void out_of_bounds(void **)
{
	float *data = device_floats(33, true), *out = device_floats(1, false);

	GN_LAUNCH(write_at, 1, 1, 0, 0, data, 33);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	GN_LAUNCH(write_at, 1, 1, 0, 0, data, -1);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	GN_LAUNCH(read_at, 1, 1, 0, 0, out, data, 34);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	GN_LAUNCH(read_at, 1, 1, 0, 0, out, data, 32);
	expect_nothing();
	CHECK(cudaFree(data));
	GN_LAUNCH(read_at, 1, 1, 0, 0, out, data, 0);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	CHECK(cudaFree(out));
}

static void pieces_of_one_allocation(void **)
{
	float *data = device_floats(96, false);

	GN_MEMORY_CLOSE(data, 96 * sizeof(float));
	GN_MEMORY_CARVE(data, 10 * sizeof(float));
	GN_MEMORY_CARVE(data + 32, 10 * sizeof(float));
	GN_LAUNCH(write_at, 1, 1, 0, 0, data, 41);
	expect_nothing();
	GN_LAUNCH(write_at, 1, 1, 0, 0, data, 10);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	GN_LAUNCH(read_at, 1, 1, 0, 0, data, data, 32);
	expect_finding(GN_HOST_UNWRITTEN);
	CHECK(cudaFree(data));
}

template <bool dynamic> static __global__ void shared_at(float *out, int write, int read)
{
	GN_SHARED_BYTES(bytes);
	__shared__ float fixed[32];
	float *shared = dynamic ? (float *)bytes : (float *)&fixed;

	shared[write] = 1;
	out[0] = shared[read];
}

static void shared_out_of_bounds(void **)
{
	float *out = device_floats(1, false);

	GN_LAUNCH((shared_at<true>), 1, 1, 128, 0, out, 31, 31);
	GN_LAUNCH((shared_at<false>), 1, 1, 0, 0, out, 31, 31);
	expect_nothing();
	GN_LAUNCH((shared_at<true>), 1, 1, 128, 0, out, 32, 32);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	GN_LAUNCH((shared_at<false>), 1, 1, 0, 0, out, 5000, 5000);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	CHECK(cudaFree(out));
}

static __global__ void index_past_array(float *out, int at)
{
	__shared__ float fixed[32];

	fixed[at] = 1;
	out[0] = fixed[at];
}

static void index_outside_an_array(void **)
{
	float *out = device_floats(1, false);

	GN_LAUNCH(index_past_array, 1, 1, 0, 0, out, 32);
	expect_finding(GN_HOST_ARITHMETIC);
	CHECK(cudaFree(out));
}

static void unwritten(void **)
{
	float *data = device_floats(8, false), *out = device_floats(1, false), host[8];

	GN_LAUNCH(read_at, 1, 1, 0, 0, out, data, 3);
	expect_finding(GN_HOST_UNWRITTEN);
	CHECK(cudaMemset(data, 0, 12));
	GN_LAUNCH(read_at, 1, 1, 0, 0, out, data, 2);
	expect_nothing();
	GN_LAUNCH(read_at, 1, 1, 0, 0, out, data, 3);
	expect_finding(GN_HOST_UNWRITTEN);
	cudaMemcpy(host, data, sizeof host, cudaMemcpyDeviceToHost);
	expect_finding(GN_HOST_UNWRITTEN);
	GN_LAUNCH((shared_at<true>), 1, 1, 128, 0, out, 0, 1);
	expect_finding(GN_HOST_UNWRITTEN);
	GN_LAUNCH((shared_at<false>), 1, 1, 0, 0, out, 0, 1);
	expect_finding(GN_HOST_UNWRITTEN);
	CHECK(cudaFree(data));
	CHECK(cudaFree(out));
}

static __global__ void shared_of_another_block(float *out)
{
	__shared__ float value;

	if (blockIdx.x == 0)
		value = 1;
	out[blockIdx.x] = value;
}

static void shared_memory_does_not_outlive_its_block(void **)
{
	float *out = device_floats(2, false);

	GN_LAUNCH(shared_of_another_block, 2, 1, 0, 0, out);
	expect_finding(GN_HOST_UNWRITTEN);
	CHECK(cudaFree(out));
}

static __global__ void read_float(float *out, const float *in)
{
	out[threadIdx.x] = in[threadIdx.x];
}

static __global__ void share_a_local(float *out)
{
	__shared__ float *pointer;
	float local = (float)threadIdx.x;

	if (threadIdx.x == 0)
		pointer = &local;
	__syncthreads();
	out[threadIdx.x] = *pointer;
	__syncthreads();
}

static void host_pointers(void **)
{
	float *out = device_floats(32, false), local[1] = {1}, *pinned = nullptr;

	CHECK(cudaMallocHost(&pinned, sizeof(float)));
	*pinned = 1;
	GN_LAUNCH(read_float, 1, 1, 0, 0, out, local);
	expect_finding(GN_HOST_HOST_POINTER);
	GN_LAUNCH(read_float, 1, 1, 0, 0, out, pinned);
	expect_finding(GN_HOST_HOST_POINTER);
	GN_LAUNCH(read_float, 1, 1, 0, 0, out, (const float *)nullptr);
	expect_finding(GN_HOST_HOST_POINTER);
	GN_LAUNCH(share_a_local, 1, 32, 0, 0, out);
	expect_finding(GN_HOST_HOST_POINTER);
	CHECK(cudaFreeHost(pinned));
	CHECK(cudaFree(out));
}

static void device_pointer_in_host_code(void **)
{
	float *data = device_floats(2, true);
	volatile float value = data[1];

	(void)value;
	expect_finding(GN_HOST_DEVICE_POINTER);
	CHECK(cudaFree(data));
}

static __global__ void read_four(float *out, const float *in)
{
	const float4 four = *(const float4 *)in;

	out[0] = four.x;
}

static __global__ void write_pair(__nv_bfloat16 *out)
{
	*(__nv_bfloat162 *)out = __floats2bfloat162_rn(1, 2);
}

static void misaligned(void **)
{
	float *data = device_floats(32, true), *out = device_floats(1, false);

	GN_LAUNCH(read_four, 1, 1, 0, 0, out, data + 4);
	GN_LAUNCH(write_pair, 1, 1, 0, 0, (__nv_bfloat16 *)data + 2);
	expect_nothing();
	GN_LAUNCH(read_four, 1, 1, 0, 0, out, data + 2);
	expect_finding(GN_HOST_MISALIGNED);
	GN_LAUNCH(write_pair, 1, 1, 0, 0, (__nv_bfloat16 *)data + 1);
	expect_finding(GN_HOST_MISALIGNED);
	CHECK(cudaFree(data));
	CHECK(cudaFree(out));
}

static __global__ void barrier_for_some(int limit)
{
	if ((int)threadIdx.x < limit)
		__syncthreads();
}

static __global__ void barrier_against_shuffle(float *out)
{
	if (threadIdx.x < 32)
		__syncthreads();
	else
		out[threadIdx.x] = __shfl_sync(0xffffffffU, 1.0F, 0);
}

static void divergent_barrier(void **)
{
	float *out = device_floats(64, false);

	GN_LAUNCH(barrier_for_some, 1, 64, 0, 0, 64);
	expect_nothing();
	GN_LAUNCH(barrier_for_some, 1, 64, 0, 0, 63);
	expect_finding(GN_HOST_DIVERGENT_BARRIER);
	GN_LAUNCH(barrier_against_shuffle, 1, 64, 0, 0, out);
	expect_finding(GN_HOST_DIVERGENT_BARRIER);
	CHECK(cudaFree(out));
}

static __global__ void shuffle_for_some(float *out, unsigned int mask, int limit)
{
	if ((int)threadIdx.x < limit)
		out[threadIdx.x] = __shfl_xor_sync(mask, 1.0F, 16);
}

static __global__ void shuffle_against_vote(float *out)
{
	if (threadIdx.x < 16)
		out[threadIdx.x] = __shfl_xor_sync(0xffffffffU, 1.0F, 16);
	else
		out[threadIdx.x] = (float)__ballot_sync(0xffffffffU, 1);
}

static void divergent_warp(void **)
{
	float *out = device_floats(32, false);

	GN_LAUNCH(shuffle_for_some, 1, 32, 0, 0, out, 0xffffffffU, 31); // a lane never comes
	expect_finding(GN_HOST_DIVERGENT_WARP);
	GN_LAUNCH(shuffle_for_some, 1, 24, 0, 0, out, 0xffffffffU, 32); // lanes that do not exist
	expect_finding(GN_HOST_DIVERGENT_WARP);
	GN_LAUNCH(shuffle_for_some, 1, 32, 0, 0, out, 0xffffU, 16); // reads from outside the mask
	expect_finding(GN_HOST_DIVERGENT_WARP);
	GN_LAUNCH(shuffle_against_vote, 1, 32, 0, 0, out);
	expect_finding(GN_HOST_DIVERGENT_WARP);
	CHECK(cudaFree(out));
}

enum race { NO_BARRIER, BLOCK_BARRIER, WARP_BARRIER, READ_THEN_WRITE, SAME_VALUE };

// Each thread takes the value of the one `distance` before it, the first ones their own.
static __global__ void pass_on(float *out, int distance, enum race how)
{
	__shared__ float values[64];

	values[threadIdx.x] = (float)threadIdx.x;
	if (how == WARP_BARRIER)
		__syncwarp();
	else if (how != NO_BARRIER)
		__syncthreads();
	const float got = values[(int)threadIdx.x < distance ? threadIdx.x : threadIdx.x - (unsigned int)distance];
	if (how == READ_THEN_WRITE)
		values[threadIdx.x] = got;
	if (how == SAME_VALUE)
		out[0] = 1;
	out[threadIdx.x] = got;
}

static void races_in_shared_memory(void **)
{
	float *out = device_floats(64, false);

	GN_LAUNCH(pass_on, 1, 64, 0, 0, out, 1, BLOCK_BARRIER);
	GN_LAUNCH(pass_on, 1, 64, 0, 0, out, 0, NO_BARRIER);
	expect_nothing();
	GN_LAUNCH(pass_on, 1, 64, 0, 0, out, 1, NO_BARRIER);
	expect_finding(GN_HOST_RACE);
	GN_LAUNCH(pass_on, 1, 64, 0, 0, out, 32, WARP_BARRIER); // from another warp
	expect_finding(GN_HOST_RACE);
	GN_LAUNCH(pass_on, 1, 64, 0, 0, out, 1, READ_THEN_WRITE);
	expect_finding(GN_HOST_RACE);
	GN_LAUNCH(pass_on, 1, 64, 0, 0, out, 1, SAME_VALUE);
	expect_finding(GN_HOST_RACE);
	CHECK(cudaFree(out));
}

static __global__ void pass_on_in_warp(float *out, bool barrier)
{
	__shared__ float values[32];

	values[threadIdx.x] = (float)threadIdx.x;
	if (barrier)
		__syncwarp();
	else
		__shfl_sync(0xffffffffU, 1.0F, 0); // which orders no memory
	out[threadIdx.x] = values[31 - threadIdx.x];
}

static void races_in_a_warp(void **)
{
	float *out = device_floats(32, false);

	GN_LAUNCH(pass_on_in_warp, 1, 32, 0, 0, out, true);
	expect_nothing();
	GN_LAUNCH(pass_on_in_warp, 1, 32, 0, 0, out, false);
	expect_finding(GN_HOST_RACE);
	CHECK(cudaFree(out));
}

static __global__ void add_to_sum(float *sum, const float *in, bool atomic)
{
	if (atomic)
		atomicAdd(sum, in[blockIdx.x]);
	else
		*sum += in[blockIdx.x];
}

static __global__ void write_halves(__nv_bfloat16 *out)
{
	out[threadIdx.x] = __float2bfloat16((float)threadIdx.x);
}

static void races_in_device_memory(void **)
{
	float *in = device_floats(32, true), *sum = device_floats(1, true);

	GN_LAUNCH(add_to_sum, 32, 1, 0, 0, sum, in, true);
	// neighbours share a word and do not race
	GN_LAUNCH(write_halves, 1, 64, 0, 0, (__nv_bfloat16 *)in);
	expect_nothing();
	GN_LAUNCH(add_to_sum, 2, 1, 0, 0, sum, in, false); // between blocks
	expect_finding(GN_HOST_RACE);
	CHECK(cudaFree(in));
	CHECK(cudaFree(sum));
}

static void streams_without_an_event(void **)
{
	float *data = device_floats(32, true), *out = device_floats(32, true);
	cudaStream_t first, second;
	cudaEvent_t event;

	CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
	CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
	CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
	CHECK(cudaDeviceSynchronize());
	for (int ordered = 1; ordered >= 0; ordered--) {
		GN_LAUNCH(write_at, 1, 1, 0, first, data, 3);
		if (ordered) {
			CHECK(cudaEventRecord(event, first));
			CHECK(cudaStreamWaitEvent(second, event));
		}
		GN_LAUNCH(read_at, 1, 1, 0, second, out, data, 3);
		if (ordered)
			expect_nothing();
		else
			expect_finding(GN_HOST_STREAM_RACE);
	}
	// Waiting on the host is an order too; a copy counts as a kernel does.
	GN_LAUNCH(write_at, 1, 1, 0, first, data, 3);
	CHECK(cudaStreamSynchronize(first));
	GN_LAUNCH(read_at, 1, 1, 0, second, out, data, 3);
	expect_nothing();
	GN_LAUNCH(read_at, 1, 1, 0, second, out, data, 3);
	CHECK(cudaMemsetAsync(data, 0, 16, first));
	expect_finding(GN_HOST_STREAM_RACE);
	CHECK(cudaEventDestroy(event));
	CHECK(cudaStreamDestroy(first));
	CHECK(cudaStreamDestroy(second));
	CHECK(cudaFree(data));
	CHECK(cudaFree(out));
}

static void leaks(void **)
{
	float *data = device_floats(32, true);
	struct gn_host_finding found[8];
	cudaStream_t stream;
	cudaEvent_t event;
	cudaGraph_t graph;

	assert_int_equal(gn_host_find_leaks(), 1);
	assert_int_equal(gn_host_take_findings(found, 8), 1);
	assert_int_equal(found[0].kind, GN_HOST_LEAK);
	CHECK(cudaStreamCreate(&stream));
	CHECK(cudaEventCreate(&event));
	CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	GN_LAUNCH(write_at, 1, 1, 0, stream, data, 1);
	CHECK(cudaStreamEndCapture(stream, &graph));
	assert_int_equal(gn_host_find_leaks(), 4);
	assert_int_equal(gn_host_take_findings(found, 8), 4);
	CHECK(cudaGraphDestroy(graph));
	CHECK(cudaEventDestroy(event));
	CHECK(cudaStreamDestroy(stream));
	CHECK(cudaFree(data));
	assert_int_equal(gn_host_find_leaks(), 0);
}

static void calls_that_do_harm(void **)
{
	float *data = device_floats(4, true), host[5];

	cudaFree(data + 1);
	expect_finding(GN_HOST_BAD_CALL);
	cudaMemcpy(host, data, 20, cudaMemcpyDeviceToHost);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	cudaMemcpy(host, data, 16, cudaMemcpyHostToDevice);
	expect_finding(GN_HOST_BAD_CALL);
	cudaMemset(host, 0, 16);
	expect_finding(GN_HOST_BAD_CALL);
	CHECK(cudaFree(data));
	cudaFree(data);
	expect_finding(GN_HOST_BAD_CALL);
}

int main()
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(out_of_bounds),
	    cmocka_unit_test(pieces_of_one_allocation),
	    cmocka_unit_test(shared_out_of_bounds),
	    cmocka_unit_test(index_outside_an_array),
	    cmocka_unit_test(unwritten),
	    cmocka_unit_test(shared_memory_does_not_outlive_its_block),
	    cmocka_unit_test(host_pointers),
	    cmocka_unit_test(device_pointer_in_host_code),
	    cmocka_unit_test(misaligned),
	    cmocka_unit_test(divergent_barrier),
	    cmocka_unit_test(divergent_warp),
	    cmocka_unit_test(races_in_shared_memory),
	    cmocka_unit_test(races_in_a_warp),
	    cmocka_unit_test(races_in_device_memory),
	    cmocka_unit_test(streams_without_an_event),
	    cmocka_unit_test(leaks),
	    cmocka_unit_test(calls_that_do_harm),
	};

	gn_host_quiet(true);
	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
