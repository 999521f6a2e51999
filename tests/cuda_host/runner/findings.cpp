// Findings: kept, printed with the line of code where that can be had, and turned into an error
// that stays.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <dlfcn.h>
#include <unistd.h>

#include "internal.h"

static const size_t kept_max = 64;
static const int exit_status = 86;

static struct {
	gn_host_finding kept[kept_max];
	size_t count; // also those past kept_max
	bool quiet;
	cudaError_t stuck, last;
} state;

std::recursive_mutex &gn_host_lock()
{
	static std::recursive_mutex *lock =
	    new std::recursive_mutex; // never destroyed: the end of the process still looks

	return *lock;
}

const char *gn_host_finding_name(gn_host_finding_kind kind)
{
	static const char *const names[GN_HOST_FINDING_KINDS] = {
	    "out of bounds",  "unwritten memory",
	    "host pointer",   "device pointer",
	    "misaligned",     "divergent barrier",
	    "divergent warp", "race",
	    "stream race",    "index",
	    "bad call",       "leak",
	};

	return names[kind];
}

// The line of code of an address, by addr2line of binutils, which every compiler comes with. Empty
// where it does not know.
static std::string line_of(const void *pc)
{
	Dl_info info;
	char command[600], line[300] = "";

	if (!pc || !dladdr(pc, &info) || !info.dli_fname)
		return "";
	// the call, not what follows it
	const size_t offset = (size_t)pc - (size_t)info.dli_fbase - 1;
	std::snprintf(command, sizeof command, "addr2line -Csfpe '%s' 0x%zx 2>/dev/null", info.dli_fname, offset);
	if (FILE *pipe = popen(command, "r")) {
		if (!std::fgets(line, sizeof line, pipe))
			line[0] = '\0';
		pclose(pipe);
	}
	line[std::strcspn(line, "\n")] = '\0';
	return line[0] && line[0] != '?' ? std::string(" at ") + line : "";
}

static cudaError_t error_of(gn_host_finding_kind kind)
{
	switch (kind) {
	case GN_HOST_OUT_OF_BOUNDS:
	case GN_HOST_HOST_POINTER:
		return cudaErrorIllegalAddress;
	case GN_HOST_MISALIGNED:
		return cudaErrorMisalignedAddress;
	default:
		return cudaErrorLaunchFailure;
	}
}

void gn_host_found(gn_host_finding_kind kind, const void *pc, const char *format, ...)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_finding finding;
	char text[256];
	va_list list;

	va_start(list, format);
	std::vsnprintf(text, sizeof text, format, list);
	va_end(list);
	finding.kind = kind;
	std::snprintf(finding.text, sizeof finding.text, "%s%s", text, state.quiet ? "" : line_of(pc).c_str());
	if (!state.quiet)
		std::fprintf(stderr, "host runner: %s: %s\n", gn_host_finding_name(kind), finding.text);
	if (state.count < kept_max)
		state.kept[state.count] = finding;
	state.count++;
	if (kind != GN_HOST_LEAK)
		gn_host_stick(error_of(kind));
}

size_t gn_host_take_findings(gn_host_finding *out, size_t room)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	const size_t count = state.count, kept = count < kept_max ? count : kept_max;

	for (size_t i = 0; i < kept && i < room; i++)
		out[i] = state.kept[i];
	state.count = 0;
	state.stuck = state.last = cudaSuccess;
	return count;
}

void gn_host_quiet(bool quiet)
{
	state.quiet = quiet;
}

bool gn_host_is_checked()
{
	return gn_host_checked;
}

cudaError_t gn_host_stuck()
{
	return state.stuck;
}

void gn_host_stick(cudaError_t error)
{
	if (state.stuck == cudaSuccess)
		state.stuck = error;
}

void gn_host_unstick()
{
	if (!state.count)
		state.stuck = state.last = cudaSuccess;
}

cudaError_t gn_host_error(cudaError_t error)
{
	if (error == cudaSuccess)
		error = state.stuck;
	if (error != cudaSuccess)
		state.last = error;
	return error;
}

cudaError_t cudaGetLastError()
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	const cudaError_t error = state.last != cudaSuccess ? state.last : state.stuck;

	state.last = cudaSuccess;
	return error;
}

cudaError_t cudaPeekAtLastError()
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	return state.last != cudaSuccess ? state.last : state.stuck;
}

static size_t leak(size_t count, const char *what, size_t bytes)
{
	if (!count)
		return 0;
	if (bytes)
		gn_host_found(GN_HOST_LEAK, nullptr, "%zu %s never freed, %zu bytes", count, what, bytes);
	else
		gn_host_found(GN_HOST_LEAK, nullptr, "%zu %s never destroyed", count, what);
	return count;
}

size_t gn_host_find_leaks()
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	size_t device_bytes = 0, pinned_bytes = 0, count = 0;
	const size_t device = gn_host_leaked_device(&device_bytes), pinned = gn_host_leaked_pinned(&pinned_bytes);

	count += leak(device, "pieces of device memory", device_bytes);
	count += leak(pinned, "pieces of pinned memory", pinned_bytes);
	count += leak(gn_host_open_streams(), "streams", 0);
	count += leak(gn_host_open_events(), "events", 0);
	count += leak(gn_host_open_graphs(), "graphs", 0);
	count += leak(gn_host_open_handles(), "handles and descriptors of cuBLASLt", 0);
	return count;
}

// The end of the process, or of the plugin: what is left open, and a status that no test overlooks.
__attribute__((destructor)) static void at_end()
{
	gn_host_find_leaks();
	if (!state.count)
		return;
	std::fprintf(stderr, "host runner: %zu findings\n", state.count);
	std::fflush(nullptr);
	_exit(exit_status);
}
