// A kernel's blocks one after another, a block's threads as fibres on the calling CPU thread.
//
// A thread runs until it ends or waits (for a barrier or for its warp). One that ends leaves its
// fibre to the next thread that has not begun, so a kernel without barriers needs one switch per
// block. Threads go on in the order in which they became ready.
#include <cstring>

#include "fiber.h"
#include "internal.h"

// The same memory as gn_host_place, which device code sees as constant.
struct gn_host_place gn_host_place_now __asm__("gn_host_place");
struct gn_host_block gn_host_block;

enum { NONE = -1 };

namespace
{
struct thread {
	void *place;         // where it waits
	int fiber;           // its stack, NONE before it begins and after its end
	const char *waiting; // for what; NULL while it does not wait
	bool ended;
};

struct scheduler {
	const gn_host_kernel *kernel;
	thread threads[GN_FIBER_MAX];
	uint32_t count, begun, ended;
	uint32_t ready[GN_FIBER_MAX], ready_first, ready_count; // a ring of threads that may go on
	int free_fibers[GN_FIBER_MAX], free_count;
	uint32_t at_barrier;
	int barrier_and,
	    // of the predicates of the barrier being reached, and the last complete one's results
	    barrier_sum;
	int result_and, result_sum;
	uint32_t warp_epochs[GN_FIBER_MAX / 32];
	void *host; // where the CPU thread waits for the block
	bool abandoned;
};
} // namespace

static scheduler the;
static struct gn_host_statistics statistics;

unsigned char *gn_host_shared_memory()
{
	alignas(128) static unsigned char memory[GN_HOST_SHARED_MAX];

	return memory;
}

unsigned char *gn_host_shared_bytes()
{
	return gn_host_shared_memory();
}

struct gn_host_statistics gn_host_measure()
{
	statistics.accesses = gn_host_accesses();
	return statistics;
}

uint32_t gn_host_block_threads()
{
	return the.count;
}

static void set_running(uint32_t thread)
{
	const dim3 &size = the.kernel->block;

	gn_host_block.thread = thread;
	gn_host_block.stack = gn_fiber_stack(the.threads[thread].fiber);
	gn_host_place_now.thread.x = thread % size.x;
	gn_host_place_now.thread.y = thread / size.x % size.y;
	gn_host_place_now.thread.z = thread / (size.x * size.y);
}

static void switch_to(void **from, void *to)
{
	statistics.switches++;
	gn_fiber_switch(from, to);
}

// On a fibre whose thread has ended: the next threads that have not begun, while none is ready to
// go on.
static void fiber_main();

static void *next_place()
{
	if (the.ready_count) {
		const uint32_t next = the.ready[the.ready_first];

		the.ready_first = (the.ready_first + 1) % GN_FIBER_MAX;
		the.ready_count--;
		return the.threads[next].place;
	}
	if (the.begun < the.count) {
		const int fiber = the.free_fibers[--the.free_count];

		the.threads[the.begun].fiber = fiber;
		return gn_fiber_prepare(fiber, fiber_main);
	}
	return the.host;
}

static void fiber_main()
{
	const int fiber = the.threads[the.begun].fiber;
	void *nowhere;

	do {
		const uint32_t self = the.begun++;

		the.threads[self].fiber = fiber;
		set_running(self);
		the.kernel->call(the.kernel->arguments);
		the.threads[self].ended = true;
		gn_host_warps_ended(self);
		the.threads[self].fiber = NONE;
		the.ended++;
	} while (!the.ready_count && the.begun < the.count);
	void *const next = next_place();
	the.free_fibers[the.free_count++] = fiber;
	switch_to(&nowhere, next);
	__builtin_unreachable();
}

void gn_host_block_wait(const char *what)
{
	const uint32_t self = gn_host_block.thread;

	the.threads[self].waiting = what;
	switch_to(&the.threads[self].place, next_place());
	the.threads[self].waiting = nullptr;
	set_running(self);
}

void gn_host_block_ready(uint32_t thread)
{
	the.ready[(the.ready_first + the.ready_count++) % GN_FIBER_MAX] = thread;
}

void gn_host_abandon_kernel()
{
	void *nowhere;

	the.abandoned = true;
	switch_to(&nowhere, the.host);
	__builtin_unreachable();
}

static const char barrier_name[] = "__syncthreads";

static void barrier_complete()
{
	the.result_and = the.barrier_and;
	the.result_sum = the.barrier_sum;
	the.barrier_and = 1;
	the.barrier_sum = 0;
	the.at_barrier = 0;
	gn_host_block.epoch++;
	for (uint32_t i = 0; i < the.count; i++)
		if (the.threads[i].waiting == barrier_name)
			gn_host_block_ready(i);
}

static void barrier(int predicate)
{
	if (!gn_host_on_fiber()) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0), "__syncthreads outside a kernel");
		return;
	}
	the.barrier_and &= predicate != 0;
	the.barrier_sum += predicate != 0;
	if (++the.at_barrier == the.count)
		barrier_complete();
	else
		gn_host_block_wait(barrier_name);
}

void __syncthreads()
{
	barrier(1);
}

int __syncthreads_or(int predicate)
{
	barrier(predicate);
	return the.result_sum != 0;
}

int __syncthreads_and(int predicate)
{
	barrier(predicate);
	return the.result_and;
}

int __syncthreads_count(int predicate)
{
	barrier(predicate);
	return the.result_sum;
}

// Nobody can go on and not all have ended: says who waits for what.
static void report_deadlock()
{
	uint32_t waiting = NONE, other = NONE;
	bool barrier_waits = false;

	for (uint32_t i = 0; i < the.count; i++)
		if (the.threads[i].waiting == barrier_name)
			barrier_waits = true;
	for (uint32_t i = 0; i < the.count; i++) {
		const bool counts =
		    barrier_waits ? the.threads[i].waiting == barrier_name : the.threads[i].waiting != nullptr;

		if (counts && waiting == (uint32_t)NONE)
			waiting = i;
		if (!counts && other == (uint32_t)NONE)
			other = i;
	}
	const bool missing = other != (uint32_t)NONE;
	const char *what = missing && the.threads[other].waiting ? the.threads[other].waiting : "its end";
	if (barrier_waits)
		gn_host_found(
		    GN_HOST_DIVERGENT_BARRIER, nullptr,
		    "%s: __syncthreads reached by %u of %u threads: thread %u waits there, thread %u is at %s",
		    the.kernel->name, the.at_barrier, the.count, waiting, other, what);
	else
		gn_host_found(GN_HOST_DIVERGENT_WARP, nullptr,
		              "%s: thread %u waits in %s for lanes of its warp that never come", the.kernel->name,
		              waiting, the.threads[waiting].waiting);
}

static void begin_block(const gn_host_kernel &kernel, uint32_t index)
{
	const dim3 &grid = kernel.grid;

	for (uint32_t i = 0; i < the.count; i++)
		the.threads[i] = thread{nullptr, NONE, nullptr, false};
	for (int i = 0; i < GN_FIBER_MAX; i++)
		the.free_fibers[i] = GN_FIBER_MAX - 1 - i;
	the.free_count = GN_FIBER_MAX;
	the.begun = the.ended = the.ready_first = the.ready_count = the.at_barrier = 0;
	the.barrier_and = 1;
	the.barrier_sum = 0;
	the.abandoned = false;
	std::memset(the.warp_epochs, 0, sizeof the.warp_epochs);
	gn_host_warps_begin(the.count);
	gn_host_ptx_begin(the.count);
	gn_host_block.serial = gn_host_running.first_serial + index;
	gn_host_block.epoch = 0;
	gn_host_place_now.block.x = index % grid.x;
	gn_host_place_now.block.y = index / grid.x % grid.y;
	gn_host_place_now.block.z = index / (grid.x * grid.y);
	std::memset(gn_host_block.shared, 0xff, kernel.shared); // NaN in every type
}

void gn_host_run_kernel(const gn_host_kernel &kernel)
{
	const uint32_t blocks = kernel.grid.x * kernel.grid.y * kernel.grid.z;

	the.kernel = &kernel;
	the.count = kernel.block.x * kernel.block.y * kernel.block.z;
	gn_host_place_now.block_dim = make_uint3(kernel.block.x, kernel.block.y, kernel.block.z);
	gn_host_place_now.grid_dim = make_uint3(kernel.grid.x, kernel.grid.y, kernel.grid.z);
	gn_host_block.active = true;
	gn_host_block.stacks = gn_fiber_stacks();
	gn_host_block.stacks_bytes = gn_fiber_stacks_bytes();
	gn_host_block.warp_epoch = the.warp_epochs;
	gn_host_block.shared = gn_host_shared_memory();
	gn_host_block.shared_bytes = kernel.shared;
	gn_host_block.arguments = kernel.arguments;
	gn_host_block.argument_bytes = kernel.argument_bytes;
	gn_host_block.kernel = kernel.name;
	statistics.launches++;
	for (uint32_t index = 0; index < blocks; index++) {
		begin_block(kernel, index);
		statistics.blocks++;
		switch_to(&the.host, next_place());
		if (!the.abandoned && the.ended != the.count)
			report_deadlock();
		if (the.abandoned || the.ended != the.count)
			break;
	}
	gn_host_block.active = false;
}
