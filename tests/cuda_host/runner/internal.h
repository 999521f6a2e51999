/*
 * What the parts of the host runner share. One lock guards all of it: every entry from outside
 * takes it, kernels run under it, so only one CPU thread at a time is inside.
 *
 *   findings.cpp  what was found; errors that stay       device.cpp   properties, versions, attributes
 *   memory.cpp    device and pinned memory               queue.cpp    streams, events, what waits for what
 *   shadow.cpp    what each byte's state is, who touched it   graph.cpp    capture and replay
 *   hooks.cpp     loads and stores as the compiler reports them     block.cpp  threads, barriers   warp.cpp  warps
 *   ptx.cpp       instructions of ptx.h              product.cpp, cublaslt.cpp   matrix products
 *   symbols.cpp   the program's symbols              launches.cpp   a list of what was launched
 *   faults.cpp    calls that fail because a test wants it
 */
#ifndef GN_HOST_INTERNAL_H
#define GN_HOST_INTERNAL_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime_api.h"
#include "host/device.h"
#include "host/launch.h"
#include "runner.h"

/* Set by the program that the runner is linked into: checked.cpp. */
extern const bool gn_host_checked;

/* ---- findings ---- */
std::recursive_mutex &gn_host_lock();
/* pc: the code to blame, NULL where there is none. */
void gn_host_found(enum gn_host_finding_kind kind, const void *pc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* the error that stays; cudaSuccess while there is none */
cudaError_t gn_host_stuck();
void gn_host_stick(cudaError_t error);        /* the first one stays */
void gn_host_unstick();                       /* unless there are findings */
cudaError_t gn_host_error(cudaError_t error); /* remembers it for cudaGetLastError and returns it */

/* ---- faults ---- */
enum gn_host_call {
	GN_HOST_CALL_ALLOC,  /* cudaMalloc */
	GN_HOST_CALL_PINNED, /* cudaMallocHost, cudaHostAlloc */
	GN_HOST_CALL_COPY,   /* copies and fills, when they are queued */
	GN_HOST_CALL_LAUNCH, /* a kernel, when it is queued */
	/* a kernel, when it runs: shows at the next call that waits, and stays */
	GN_HOST_CALL_KERNEL,
	GN_HOST_CALL_PRODUCT, /* cublasLtMatmul */
	GN_HOST_CALL_GRAPH,   /* capturing, instantiating and launching graphs */
	GN_HOST_CALL_EVENT,   /* making streams and events, recording and waiting in streams */
	GN_HOST_CALL_WAIT,    /* the host waits for a stream or an event */
	GN_HOST_CALLS
};
/* Counts a call. What it has to answer before it does anything: the error that stays, that of a
 * wanted fault, or cudaSuccess. */
cudaError_t gn_host_refuses(enum gn_host_call call);
/* looks at the environment: another wanted fault is a device without the last one */
void gn_host_want_faults();

/* ---- operations in streams ---- */
enum gn_host_access { GN_HOST_READ, GN_HOST_WRITE, GN_HOST_ATOMIC };

/* Something that a stream does. The same operation runs many times when it is part of a graph. */
struct gn_host_operation {
	virtual ~gn_host_operation() = default;
	virtual void run() = 0;
	/* How many serial numbers it takes: one for each block of a kernel. */
	virtual uint32_t serials() const
	{
		return 1;
	}
};

/* Where an operation stands among those of all streams: for each stream, up to which of its
 * operations are known to come before. */
typedef std::vector<uint64_t> gn_host_clock;

void gn_host_enqueue(cudaStream_t stream, std::shared_ptr<gn_host_operation> operation);
void gn_host_wait_all(); /* everything queued is done, and the host knows it */
bool gn_host_any_capture();
size_t gn_host_open_streams();
size_t gn_host_open_events();
size_t gn_host_open_graphs();
size_t gn_host_open_handles(); /* of cuBLASLt */

/* ---- memory ---- */
bool gn_host_is_device(const void *address);
bool gn_host_is_pinned(const void *address, size_t bytes);
/* wholly inside one device allocation */
bool gn_host_is_allocated(const void *address, size_t bytes);
size_t gn_host_leaked_device(size_t *bytes);
size_t gn_host_leaked_pinned(size_t *bytes);

/* ---- shadow ---- */
void gn_host_shadow_allocate(const void *address, size_t bytes); /* accessible, unwritten */
void gn_host_shadow_close(const void *address, size_t bytes);    /* inaccessible */
/* A whole range touched by an operation of a stream (copies, products). False and a finding where
 * it may not. */
bool gn_host_touch(const void *address, size_t bytes, enum gn_host_access access, const char *who);
/* An access of the running thread, whose code is at pc. Does not return where it may not. */
void gn_host_thread_access(uintptr_t address, size_t bytes, enum gn_host_access access, const void *pc);

/* The running operation, told to the shadow before it runs. */
struct gn_host_running {
	uint32_t first_serial, serials; /* its own */
	/* operations with a smaller serial number all come before it */
	uint32_t floor;
	const gn_host_clock *clock;
};
extern struct gn_host_running gn_host_running;
/* Whether the operation with this serial number, from floor on, is known to come before the running
 * one. */
bool gn_host_comes_before(uint32_t serial);

/* ---- the running block ---- */
struct gn_host_block {
	bool active;           /* a kernel runs */
	uint32_t serial;       /* of this block */
	uint32_t thread;       /* running thread, x fastest */
	uint32_t epoch;        /* barriers of the block so far */
	uint32_t *warp_epoch;  /* [warps]: __syncwarp of the whole warp so far */
	unsigned char *shared; /* dynamic shared memory */
	size_t shared_bytes;
	const void *arguments; /* of the kernel, in the host's memory */
	size_t argument_bytes;
	uintptr_t stacks, stacks_bytes; /* of all fibres */
	uintptr_t stack;                /* of the running thread */
	const char *kernel;
};
extern struct gn_host_block gn_host_block;

enum { GN_HOST_SHARED_MAX = 227 << 10 };
unsigned char *gn_host_shared_memory();

/* What a runner function does to memory for the running thread, checked where the program is. */
void gn_host_device_access(uintptr_t address, size_t bytes, enum gn_host_access access, const void *pc);
unsigned long long gn_host_accesses(); /* of device code, so far */

/* Ends the running kernel after a finding; only called on a fibre. */
[[noreturn]] void gn_host_abandon_kernel();
/* Whether the caller runs on a fibre: other CPU threads may be in host code meanwhile. */
static inline bool gn_host_on_fiber()
{
	return gn_host_block.active && reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - gn_host_block.stacks <
	                                   gn_host_block.stacks_bytes;
}
void gn_host_run_kernel(const struct gn_host_kernel &kernel);
void gn_host_log_launch(const struct gn_host_kernel &kernel); /* launches.cpp */
/* A thread waits until another has made it ready; what: shown when nobody ever does. */
void gn_host_block_wait(const char *what);
void gn_host_block_ready(uint32_t thread);
uint32_t gn_host_block_threads();
void gn_host_warps_begin(uint32_t threads);
void gn_host_warps_ended(uint32_t thread);
void gn_host_ptx_begin(uint32_t threads);

#endif
