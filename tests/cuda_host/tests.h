/* What the tests of the runner share. */
#ifndef GN_HOST_TESTS_H
#define GN_HOST_TESTS_H

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>

extern "C" {
#include <cmocka.h>
}

#include "backend/cuda/launch.h"
#include "runner/runner.h"

#define CHECK(call) assert_int_equal((call), cudaSuccess)

/* Device memory with the floats 0, 1, 2, ... in it, or with nothing written. Freed by the test. */
static inline float *device_floats(size_t count, bool written)
{
	float *device = nullptr;

	CHECK(cudaMalloc(&device, count * sizeof(float)));
	if (!written)
		return device;
	float *host = new float[count];
	for (size_t i = 0; i < count; i++)
		host[i] = (float)i;
	CHECK(cudaMemcpy(device, host, count * sizeof(float), cudaMemcpyHostToDevice));
	delete[] host;
	return device;
}

/* Waits for what was launched, which must have gone wrong in this way and in no other. */
static inline void expect_finding(enum gn_host_finding_kind kind)
{
	struct gn_host_finding found;

	cudaDeviceSynchronize();
	const size_t count = gn_host_take_findings(&found, 1);
	if (count != 1 || found.kind != kind)
		print_error("found %zu: %s: %s; expected %s\n", count,
		            count ? gn_host_finding_name(found.kind) : "nothing", count ? found.text : "",
		            gn_host_finding_name(kind));
	assert_int_equal(count, 1);
	assert_int_equal(found.kind, kind);
}

static inline void expect_nothing()
{
	struct gn_host_finding found;

	cudaDeviceSynchronize();
	const size_t count = gn_host_take_findings(&found, 1);
	if (count)
		print_error("found %zu: %s: %s\n", count, gn_host_finding_name(found.kind), found.text);
	assert_int_equal(count, 0);
}

#endif
