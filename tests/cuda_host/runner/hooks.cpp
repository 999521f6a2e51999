// What the compiler calls from instrumented device code: -fsanitize=thread reports every load and
// store, -fsanitize=alignment,bounds every pointer that is not aligned for its type and every index
// outside its array. The names are those of the compiler's own run-time libraries, which are not
// linked.
#include "internal.h"

static unsigned long long accesses;

static void host_access(uintptr_t address, size_t bytes, const void *pc)
{
	if (gn_host_is_device(reinterpret_cast<const void *>(address)))
		gn_host_found(GN_HOST_DEVICE_POINTER, pc, "host code touches %zu bytes of device memory at %p", bytes,
		              reinterpret_cast<const void *>(address));
}

static inline void report(const void *pointer, size_t bytes, gn_host_access access, bool aligned, const void *pc)
{
	const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);

	if (!gn_host_on_fiber())
		return host_access(address, bytes, pc);
	accesses++;
	if (aligned && address % bytes) {
		gn_host_found(GN_HOST_MISALIGNED, pc, "%s: thread %u: %zu bytes at %p", gn_host_block.kernel,
		              gn_host_block.thread, bytes, pointer);
		gn_host_abandon_kernel();
	}
	gn_host_thread_access(address, bytes, access, pc);
}

#define HERE __builtin_return_address(0)

#define HOOKS(bytes)                                                                                                   \
	void __tsan_read##bytes(void *p)                                                                               \
	{                                                                                                              \
		report(p, bytes, GN_HOST_READ, true, HERE);                                                            \
	}                                                                                                              \
	void __tsan_write##bytes(void *p)                                                                              \
	{                                                                                                              \
		report(p, bytes, GN_HOST_WRITE, true, HERE);                                                           \
	}                                                                                                              \
	void __tsan_unaligned_read##bytes(void *p)                                                                     \
	{                                                                                                              \
		report(p, bytes, GN_HOST_READ, false, HERE);                                                           \
	}                                                                                                              \
	void __tsan_unaligned_write##bytes(void *p)                                                                    \
	{                                                                                                              \
		report(p, bytes, GN_HOST_WRITE, false, HERE);                                                          \
	}                                                                                                              \
	void __tsan_volatile_read##bytes(void *p)                                                                      \
	{                                                                                                              \
		report(p, bytes, GN_HOST_READ, true, HERE);                                                            \
	}                                                                                                              \
	void __tsan_volatile_write##bytes(void *p)                                                                     \
	{                                                                                                              \
		report(p, bytes, GN_HOST_WRITE, true, HERE);                                                           \
	}

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_init()
{
}

void __tsan_func_entry(void *)
{
}

void __tsan_func_exit()
{
}

void __tsan_vptr_update(void **, void *)
{
}

void __tsan_vptr_read(void **)
{
}

void __tsan_read_range(void *p, size_t bytes)
{
	report(p, bytes, GN_HOST_READ, false, HERE);
}

void __tsan_write_range(void *p, size_t bytes)
{
	report(p, bytes, GN_HOST_WRITE, false, HERE);
}

// ---- the undefined behaviour sanitizer's reports ----

struct source_location {
	const char *file;
	uint32_t line, column;
};

static void compiler_found(gn_host_finding_kind kind, const source_location *where, const char *what)
{
	if (!gn_host_on_fiber()) {
		gn_host_found(kind, nullptr, "host code: %s at %s:%u", what, where->file, where->line);
		return;
	}
	gn_host_found(kind, nullptr, "%s: thread %u: %s at %s:%u", gn_host_block.kernel, gn_host_block.thread, what,
	              where->file, where->line);
	gn_host_abandon_kernel();
}

// With -fsanitize=alignment only: the pointer is not aligned for its type.
void __ubsan_handle_type_mismatch_v1(source_location *where, void *)
{
	compiler_found(GN_HOST_MISALIGNED, where, "a pointer that is not aligned for its type");
}

void __ubsan_handle_out_of_bounds(source_location *where, void *)
{
	compiler_found(GN_HOST_ARITHMETIC, where, "an index outside its array");
}
}

// ---- what runner functions do for device code ----

void gn_host_device_access(uintptr_t address, size_t bytes, gn_host_access access, const void *pc)
{
	if (gn_host_checked && gn_host_on_fiber())
		report(reinterpret_cast<const void *>(address), bytes, access, true, pc);
}

#define ATOMIC(name, type, expression)                                                                                 \
	type name(type *address, type value)                                                                           \
	{                                                                                                              \
		gn_host_device_access(reinterpret_cast<uintptr_t>(address), sizeof(type), GN_HOST_ATOMIC, HERE);       \
		const type old = *address;                                                                             \
		*address = expression;                                                                                 \
		return old;                                                                                            \
	}

ATOMIC(atomicAdd, int, (int)((unsigned int)old + (unsigned int)value))
ATOMIC(atomicAdd, unsigned int, old + value)
ATOMIC(atomicAdd, unsigned long long, old + value)
ATOMIC(atomicAdd, float, old + value)
ATOMIC(atomicAdd, double, old + value)
ATOMIC(atomicMax, int, old > value ? old : value)
ATOMIC(atomicMax, unsigned int, old > value ? old : value)
ATOMIC(atomicExch, int, value)

unsigned int atomicCAS(unsigned int *address, unsigned int compare, unsigned int value)
{
	gn_host_device_access(reinterpret_cast<uintptr_t>(address), sizeof *address, GN_HOST_ATOMIC, HERE);
	const unsigned int old = *address;

	if (old == compare)
		*address = value;
	return old;
}

unsigned long long gn_host_accesses()
{
	return accesses;
}
