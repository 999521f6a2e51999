// Calls that fail on request of a test, as CUDA's own calls sometimes fail, so that the caller's
// error paths run.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "internal.h"

static const struct {
	const char *name;
	cudaError_t error;
	bool stays; // the device is lost, as after a kernel that failed
} calls[GN_HOST_CALLS] = {
    {"alloc", cudaErrorMemoryAllocation, false}, {"pinned", cudaErrorMemoryAllocation, false},
    {"copy", cudaErrorInvalidValue, false},      {"launch", cudaErrorLaunchOutOfResources, false},
    {"kernel", cudaErrorIllegalAddress, true},   {"product", cudaErrorNotSupported, false},
    {"graph", cudaErrorNotSupported, false},
    {"event", cudaErrorNotSupported, false},     {"wait", cudaErrorLaunchFailure, true},
};

static struct {
	char wanted[32]; // GONIO_CUDA_HOST_FAULT as it was when counting began
	unsigned long long left;
	int call;
} state;

static void read_wanted(const char *text)
{
	const size_t name = std::strcspn(text, ":");

	std::snprintf(state.wanted, sizeof state.wanted, "%s", text);
	state.left = 0;
	gn_host_unstick();
	if (!*text)
		return;
	for (state.call = 0; state.call < GN_HOST_CALLS; state.call++)
		if (std::strlen(calls[state.call].name) == name && !std::strncmp(calls[state.call].name, text, name))
			break;
	if (state.call == GN_HOST_CALLS || text[name] != ':' || !(state.left = std::strtoull(text + name + 1, nullptr, 10))) {
		std::fprintf(stderr, "host runner: GONIO_CUDA_HOST_FAULT is \"%s\", which is no call:number\n", text);
		std::abort();
	}
}

void gn_host_want_faults()
{
	const char *text = getenv("GONIO_CUDA_HOST_FAULT");

	if (!text)
		text = "";
	if (std::strncmp(text, state.wanted, sizeof state.wanted - 1) != 0)
		read_wanted(text);
}

cudaError_t gn_host_refuses(gn_host_call call)
{
	gn_host_want_faults();
	if (gn_host_stuck() != cudaSuccess)
		return gn_host_stuck();
	if (!state.left || state.call != call || --state.left > 0)
		return cudaSuccess;
	if (calls[call].stays)
		gn_host_stick(calls[call].error);
	return calls[call].error;
}
