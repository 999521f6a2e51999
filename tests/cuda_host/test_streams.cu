// Streams, events, copies and graphs on the runner.
#include <unistd.h>

#include "tests.h"

static __global__ void add(float *data, float value)
{
	data[threadIdx.x] += value;
}

static __global__ void twice(float *data)
{
	data[threadIdx.x] *= 2;
}

static float first_of(const float *data)
{
	float value = 0;

	CHECK(cudaMemcpy(&value, data, sizeof value, cudaMemcpyDeviceToHost));
	return value;
}

static void work_runs_when_something_waits(void **)
{
	float *data = device_floats(32, true), *pinned = nullptr;
	cudaStream_t stream;

	CHECK(cudaMallocHost(&pinned, 4));
	*pinned = -1;
	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	GN_LAUNCH(add, 1, 32, 0, stream, data, 5.0F);
	CHECK(cudaMemcpyAsync(pinned, data, 4, cudaMemcpyDeviceToHost, stream));
	assert_float_equal(*pinned, -1, 0);
	assert_int_equal(cudaStreamQuery(stream), cudaErrorNotReady);
	CHECK(cudaStreamQuery(stream));
	assert_float_equal(*pinned, 5, 0);
	// A pinned buffer is read when the copy runs, pageable memory at the call.
	float pageable = 7;
	CHECK(cudaMemcpyAsync(data, &pageable, 4, cudaMemcpyHostToDevice, stream));
	CHECK(cudaMemcpyAsync(data + 1, pinned, 4, cudaMemcpyHostToDevice, stream));
	pageable = *pinned = 9;
	CHECK(cudaStreamSynchronize(stream));
	assert_float_equal(first_of(data), 7, 0);
	assert_float_equal(first_of(data + 1), 9, 0);
	CHECK(cudaStreamDestroy(stream));
	CHECK(cudaFreeHost(pinned));
	CHECK(cudaFree(data));
}

static void the_default_stream_waits_for_blocking_ones(void **)
{
	float *data = device_floats(32, true);
	cudaStream_t stream;

	CHECK(cudaStreamCreate(&stream));
	GN_LAUNCH(add, 1, 32, 0, stream, data, 1.0F);
	GN_LAUNCH(twice, 1, 32, 0, 0, data);
	GN_LAUNCH(add, 1, 32, 0, stream, data, 3.0F);
	assert_float_equal(first_of(data), 5, 0);
	CHECK(cudaStreamDestroy(stream));
	CHECK(cudaFree(data));
	expect_nothing();
}

static void events_order_and_time(void **)
{
	float *data = device_floats(32, true), milliseconds = -1;
	cudaStream_t streams[2];
	cudaEvent_t events[2], untimed;

	for (int i = 0; i < 2; i++) {
		CHECK(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking));
		CHECK(cudaEventCreate(&events[i]));
	}
	CHECK(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
	CHECK(cudaEventRecord(events[0], streams[0]));
	GN_LAUNCH(add, 1, 32, 0, streams[0], data, 1.0F);
	CHECK(cudaEventRecord(untimed, streams[0]));
	CHECK(cudaStreamWaitEvent(streams[1], untimed));
	GN_LAUNCH(twice, 1, 32, 0, streams[1], data);
	CHECK(cudaEventRecord(events[1], streams[1]));
	assert_int_equal(cudaEventElapsedTime(&milliseconds, events[0], events[1]), cudaErrorNotReady);
	CHECK(cudaEventSynchronize(events[1]));
	CHECK(cudaEventElapsedTime(&milliseconds, events[0], events[1]));
	assert_true(milliseconds > 0);
	CHECK(cudaEventQuery(untimed));
	assert_int_equal(cudaEventElapsedTime(&milliseconds, events[0], untimed), cudaErrorInvalidResourceHandle);
	assert_float_equal(first_of(data), 2, 0);
	for (int i = 0; i < 2; i++) {
		CHECK(cudaStreamDestroy(streams[i]));
		CHECK(cudaEventDestroy(events[i]));
	}
	CHECK(cudaEventDestroy(untimed));
	CHECK(cudaFree(data));
	cudaGetLastError();
	expect_nothing();
}

static void copies_of_rows(void **)
{
	float *data = device_floats(12, true), host[4] = {0};

	CHECK(cudaMemcpy2DAsync(host, 8, data + 1, 24, 8, 2, cudaMemcpyDeviceToHost, 0));
	const float expected[4] = {1, 2, 7, 8};
	for (int i = 0; i < 4; i++)
		assert_float_equal(host[i], expected[i], 0);
	CHECK(cudaFree(data));
}

// Two kernels, a branch on a second stream beside them, and an upload whose pinned source is read
// at each replay.
static void graphs_replay(void **)
{
	float *data = device_floats(32, true), *side = device_floats(32, true), *pinned = nullptr;
	cudaStream_t stream, other;
	cudaEvent_t fork, join;
	cudaGraph_t graph;
	cudaGraphExec_t exec;
	size_t nodes = 0;

	CHECK(cudaMallocHost(&pinned, 4));
	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
	CHECK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
	CHECK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
	CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	CHECK(cudaMemcpyAsync(data, pinned, 4, cudaMemcpyHostToDevice, stream));
	CHECK(cudaEventRecord(fork, stream));
	CHECK(cudaStreamWaitEvent(other, fork));
	GN_LAUNCH(add, 1, 32, 0, other, side, 1.0F);
	CHECK(cudaEventRecord(join, other));
	GN_LAUNCH(twice, 1, 32, 0, stream, data);
	CHECK(cudaStreamWaitEvent(stream, join));
	GN_LAUNCH(add, 1, 32, 0, stream, side, 10.0F);
	CHECK(cudaStreamEndCapture(stream, &graph));
	CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
	assert_int_equal(nodes, 4);
	CHECK(cudaGraphInstantiate(&exec, graph, 0));
	CHECK(cudaGraphDestroy(graph));
	assert_float_equal(first_of(side), 0, 0); // capturing runs nothing
	for (int i = 1; i <= 3; i++) {
		*pinned = (float)i;
		CHECK(cudaGraphLaunch(exec, stream));
		CHECK(cudaStreamSynchronize(stream));
		assert_float_equal(first_of(data), 2 * i, 0);
		assert_float_equal(first_of(side), 11 * i, 0);
	}
	CHECK(cudaGraphExecDestroy(exec));
	CHECK(cudaEventDestroy(fork));
	CHECK(cudaEventDestroy(join));
	CHECK(cudaStreamDestroy(stream));
	CHECK(cudaStreamDestroy(other));
	CHECK(cudaFreeHost(pinned));
	CHECK(cudaFree(data));
	CHECK(cudaFree(side));
	expect_nothing();
}

static void branches_of_a_graph_race(void **)
{
	float *data = device_floats(32, true);
	cudaStream_t stream, other;
	cudaEvent_t fork, join;
	cudaGraph_t graph;
	cudaGraphExec_t exec;

	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
	CHECK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
	CHECK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
	CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	CHECK(cudaEventRecord(fork, stream));
	CHECK(cudaStreamWaitEvent(other, fork));
	GN_LAUNCH(add, 1, 32, 0, other, data, 1.0F);
	CHECK(cudaEventRecord(join, other));
	GN_LAUNCH(twice, 1, 32, 0, stream, data);
	CHECK(cudaStreamWaitEvent(stream, join));
	CHECK(cudaStreamEndCapture(stream, &graph));
	CHECK(cudaGraphInstantiate(&exec, graph, 0));
	CHECK(cudaGraphLaunch(exec, stream));
	gn_host_quiet(true);
	expect_finding(GN_HOST_STREAM_RACE);
	gn_host_quiet(false);
	CHECK(cudaGraphExecDestroy(exec));
	CHECK(cudaGraphDestroy(graph));
	CHECK(cudaEventDestroy(fork));
	CHECK(cudaEventDestroy(join));
	CHECK(cudaStreamDestroy(stream));
	CHECK(cudaStreamDestroy(other));
	CHECK(cudaFree(data));
}

static void captures_that_cuda_refuses(void **)
{
	float *data = device_floats(32, true), value = 0;
	void *more = nullptr;
	cudaStream_t stream, other;
	cudaEvent_t event;
	cudaGraph_t graph;

	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
	CHECK(cudaEventCreate(&event));
	CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	assert_int_equal(cudaMalloc(&more, 4), cudaErrorStreamCaptureUnsupported);
	assert_int_equal(cudaMemcpy(&value, data, 4, cudaMemcpyDeviceToHost), cudaErrorStreamCaptureImplicit);
	assert_int_equal(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
	assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
	CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	CHECK(cudaEventRecord(event, stream));
	CHECK(cudaStreamWaitEvent(other, event));
	GN_LAUNCH(twice, 1, 32, 0, other, data);
	assert_int_equal(cudaStreamEndCapture(other, &graph), cudaErrorStreamCaptureUnmatched);
	assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnjoined);
	CHECK(cudaEventDestroy(event));
	CHECK(cudaStreamDestroy(stream));
	CHECK(cudaStreamDestroy(other));
	CHECK(cudaFree(data));
	cudaGetLastError();
	expect_nothing();
}

static void memory_runs_out(void **)
{
	size_t free_before = 0, free_bytes = 0, total = 0;
	void *memory = nullptr, *more = nullptr;

	CHECK(cudaMemGetInfo(&free_before, &total));
	assert_int_equal(total, (size_t)2 << 30);
	assert_int_equal(cudaMalloc(&memory, total + 1), cudaErrorMemoryAllocation);
	assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
	CHECK(cudaGetLastError());
	CHECK(cudaMalloc(&memory, 1 << 20));
	CHECK(cudaMemGetInfo(&free_bytes, &total));
	assert_int_equal(free_before - free_bytes, 1 << 20);
	assert_int_equal(cudaMalloc(&more, free_bytes + 1), cudaErrorMemoryAllocation);
	CHECK(cudaFree(memory));
	cudaGetLastError();
}

static __global__ void out_of_bounds(float *data)
{
	data[1 << 20] = 1;
}

// As on a GPU, nothing works after a fault.
static void a_fault_stays(void **)
{
	float *data = device_floats(32, true), value;
	void *memory = nullptr;

	gn_host_quiet(true);
	GN_LAUNCH(out_of_bounds, 1, 1, 0, 0, data);
	CHECK(cudaGetLastError());
	assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
	assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
	assert_int_equal(cudaMalloc(&memory, 4), cudaErrorIllegalAddress);
	assert_int_equal(cudaMemcpy(&value, data, 4, cudaMemcpyDeviceToHost), cudaErrorIllegalAddress);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	gn_host_quiet(false);
	assert_float_equal(first_of(data), 0, 0);
	CHECK(cudaFree(data));
}

int main()
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(work_runs_when_something_waits),
	    cmocka_unit_test(the_default_stream_waits_for_blocking_ones),
	    cmocka_unit_test(events_order_and_time),
	    cmocka_unit_test(copies_of_rows),
	    cmocka_unit_test(graphs_replay),
	    cmocka_unit_test(branches_of_a_graph_race),
	    cmocka_unit_test(captures_that_cuda_refuses),
	    cmocka_unit_test(memory_runs_out),
	    cmocka_unit_test(a_fault_stays),
	};

	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
