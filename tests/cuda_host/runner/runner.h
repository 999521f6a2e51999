/*
 * The host runner seen from a test: what it found, and how it is set up.
 *
 * A finding is a mistake of the program that runs on it: a kernel's or the host code's. Findings
 * are printed to stderr and kept; each also becomes a CUDA error that stays (as a fault on a GPU
 * does), so that a test that knows nothing of the runner fails too. When the process ends with
 * findings that nobody took, or with leaks, its exit status is 86.
 *
 * Environment, read at the first call where it does not say otherwise:
 *   GONIO_CUDA_HOST_DEVICES     how many devices there are (1)
 *   GONIO_CUDA_HOST_MEMORY      bytes of device memory (2 GiB)
 *   GONIO_CUDA_HOST_CAPABILITY  compute capability as "9.0" (that)
 *   GONIO_CUDA_HOST_DRIVER      the driver's CUDA version as 13000 (that); less than the runtime's is a driver that is too old
 *   GONIO_CUDA_HOST_FAULT       a call that fails, as "copy:3", the third one; read at every call, counted from when it last changed. The
 *                               calls: enum gn_host_call in internal.h
 *   GONIO_CUDA_HOST_RANGES      a file that gets the names of NVTX ranges, as they begin and end
 *   GONIO_CUDA_HOST_LAUNCHES    a file that gets a line of JSON for each different launch (tests/cuda/proof.py reads it)
 */
#ifndef GN_HOST_RUNNER_H
#define GN_HOST_RUNNER_H

#include <cstddef>

enum gn_host_finding_kind {
	GN_HOST_OUT_OF_BOUNDS,     /* a read or write outside an allocation, device or shared */
	GN_HOST_UNWRITTEN,         /* a read of device or shared memory that nobody wrote */
	GN_HOST_HOST_POINTER,      /* device code that touches the host's memory, or another thread's locals */
	GN_HOST_DEVICE_POINTER,    /* host code that touches device memory */
	GN_HOST_MISALIGNED,        /* an access wider than its address is aligned for */
	GN_HOST_DIVERGENT_BARRIER, /* a barrier that not all threads of the block reach */
	GN_HOST_DIVERGENT_WARP,    /* a warp operation that not all lanes of its mask reach, or reach alike */
	GN_HOST_RACE,              /* two threads, one address, one of them writes, no barrier between */
	GN_HOST_STREAM_RACE,       /* two streams, one address, one of them writes, no event between */
	GN_HOST_ARITHMETIC,        /* an index outside its array's type, as the compiler's own checks see it */
	GN_HOST_BAD_CALL,          /* a call that CUDA refuses or that would do harm */
	GN_HOST_LEAK,              /* memory, streams, events, graphs, handles left at the end */
	GN_HOST_FINDING_KINDS
};

const char *gn_host_finding_name(enum gn_host_finding_kind kind);

struct gn_host_finding {
	enum gn_host_finding_kind kind;
	char text[400];
};

/*
 * Findings since the last take, oldest first; they count as taken and the stuck error goes away.
 * Returns how many there were.
 */
size_t gn_host_take_findings(struct gn_host_finding *out, size_t room);
/* While quiet, findings are kept but not printed. For tests that expect them. */
void gn_host_quiet(bool quiet);
/*
 * Reports everything still allocated or open as findings; returns how many. What happens at the end
 * of the process.
 */
size_t gn_host_find_leaks();
/*
 * Whether loads and stores of device code are checked in this program, or only what calls and
 * barriers show.
 */
bool gn_host_is_checked();

struct gn_host_statistics {
	unsigned long long launches, blocks, switches, accesses;
};
struct gn_host_statistics gn_host_measure();

#endif
