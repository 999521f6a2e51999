// Device and pinned memory. Device memory is a reserved range of the host's address space, so that
// one comparison tells a device pointer. Addresses are handed out upwards and used again only when
// the range's end is reached, so that stale pointers are caught.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>

#include <sys/mman.h>

#include "memory.h"

static const size_t arena_bytes = (size_t)32 << 30;
static const size_t huge_page = (size_t)2 << 20;
// what cudaMalloc aligns to; inaccessible bytes behind each allocation
static const size_t alignment = 512, gap = 512;

static struct {
	unsigned char *arena;
	std::map<uintptr_t, size_t> *device, *pinned; // address -> bytes
	size_t next;                                  // where the search for room starts
	size_t used, total;
} state;

static void init()
{
	if (state.arena)
		return;
	void *map =
	    mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const char *total = getenv("GONIO_CUDA_HOST_MEMORY");

	if (map == MAP_FAILED) {
		std::perror("host runner: address space for device memory");
		std::abort();
	}
	state.arena = static_cast<unsigned char *>(map);
	madvise(map, arena_bytes, MADV_HUGEPAGE); // fewer page faults where there are such pages
	state.next = alignment; // something before the first piece too
	state.device = new std::map<uintptr_t, size_t>;
	state.pinned = new std::map<uintptr_t, size_t>;
	state.total = total ? std::strtoull(total, nullptr, 10) : (size_t)2 << 30;
}

const unsigned char *gn_host_arena()
{
	init();
	return state.arena;
}

size_t gn_host_arena_bytes()
{
	return arena_bytes;
}

size_t gn_host_memory_total()
{
	init();
	return state.total;
}

void gn_host_give_back(void *from, size_t bytes)
{
	const uintptr_t page = 4096, start = reinterpret_cast<uintptr_t>(from), end = start + bytes;
	const uintptr_t first = (start + page - 1) & ~(page - 1), last = end & ~(page - 1);

	if (first >= last) {
		std::memset(from, 0, bytes);
		return;
	}
	std::memset(from, 0, first - start);
	madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
	std::memset(reinterpret_cast<void *>(last), 0, end - last);
}

bool gn_host_is_device(const void *address)
{
	return state.arena && (size_t)(static_cast<const unsigned char *>(address) - state.arena) < arena_bytes;
}

// The entry whose piece begins at or before the address; end() where there is none.
static std::map<uintptr_t, size_t>::iterator at_or_before(std::map<uintptr_t, size_t> &map, uintptr_t address)
{
	auto after = map.upper_bound(address);

	return after == map.begin() ? map.end() : std::prev(after);
}

static bool inside(std::map<uintptr_t, size_t> *map, const void *address, size_t bytes)
{
	const uintptr_t start = reinterpret_cast<uintptr_t>(address);

	if (!map)
		return false;
	auto piece = at_or_before(*map, start);
	return piece != map->end() && start - piece->first <= piece->second &&
	       bytes <= piece->second - (start - piece->first);
}

bool gn_host_is_allocated(const void *address, size_t bytes)
{
	return inside(state.device, address, bytes);
}

bool gn_host_is_pinned(const void *address, size_t bytes)
{
	return inside(state.pinned, address, bytes);
}

void gn_host_describe(const void *address, char *out, size_t room)
{
	const uintptr_t at = reinterpret_cast<uintptr_t>(address);

	if (gn_host_is_device(address)) {
		auto piece = at_or_before(*state.device, at);
		if (piece == state.device->end())
			std::snprintf(out, room, "device memory that is not allocated");
		else
			std::snprintf(out, room, "byte %zu of an allocation of %zu bytes", (size_t)(at - piece->first),
			              piece->second);
	} else if (gn_host_is_pinned(address, 1)) {
		std::snprintf(out, room, "pinned memory of the host");
	} else {
		std::snprintf(out, room, "memory of the host");
	}
}

// A hole of `bytes` at or after offset `from`; SIZE_MAX where there is none.
static size_t find_hole(size_t from, size_t bytes)
{
	const uintptr_t base = reinterpret_cast<uintptr_t>(state.arena);
	auto piece = state.device->lower_bound(base + from);

	for (;;) {
		const size_t limit = piece == state.device->end() ? arena_bytes : piece->first - base;

		if (from + bytes <= limit)
			return from;
		if (piece == state.device->end())
			return SIZE_MAX;
		from = piece->first - base + (piece->second + gap + alignment - 1) / alignment * alignment;
		++piece;
	}
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	init();
	*pointer = nullptr;
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_ALLOC))
		return gn_host_error(error);
	if (gn_host_any_capture())
		return gn_host_error(cudaErrorStreamCaptureUnsupported);
	if (!bytes)
		return cudaSuccess;
	if (bytes > state.total - state.used)
		return gn_host_error(cudaErrorMemoryAllocation);
	const size_t span = (bytes + gap + alignment - 1) / alignment * alignment;
	size_t offset = find_hole(state.next, span);
	if (offset == SIZE_MAX)
		offset = find_hole(alignment, span);
	if (offset == SIZE_MAX)
		return gn_host_error(cudaErrorMemoryAllocation);
	unsigned char *const piece = state.arena + offset;
	state.next = offset + span;
	state.used += bytes;
	(*state.device)[reinterpret_cast<uintptr_t>(piece)] = bytes;
	std::memset(piece, 0xff, bytes); // NaN in every type
	gn_host_shadow_allocate(piece, bytes);
	*pointer = piece;
	return cudaSuccess;
}

cudaError_t cudaFree(void *pointer)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!pointer)
		return cudaSuccess;
	init();
	if (gn_host_any_capture())
		return gn_host_error(cudaErrorStreamCaptureUnsupported);
	auto piece = state.device->find(reinterpret_cast<uintptr_t>(pointer));
	if (piece == state.device->end()) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0),
		              "cudaFree of what cudaMalloc never gave, or twice");
		return gn_host_error(cudaErrorInvalidValue);
	}
	gn_host_wait_all();
	gn_host_shadow_close(pointer, piece->second);
	gn_host_give_back(pointer, piece->second);
	state.used -= piece->second;
	state.device->erase(piece);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
	return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned int)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	void *piece = nullptr;

	init();
	*pointer = nullptr;
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_PINNED))
		return gn_host_error(error);
	if (!bytes)
		return cudaSuccess;
	if (posix_memalign(&piece, bytes < huge_page ? 4096 : huge_page, bytes) != 0)
		return gn_host_error(cudaErrorMemoryAllocation);
	if (bytes >= huge_page)
		madvise(piece, bytes, MADV_HUGEPAGE);
	(*state.pinned)[reinterpret_cast<uintptr_t>(piece)] = bytes;
	std::memset(piece, 0xff, bytes);
	*pointer = piece;
	return cudaSuccess;
}

cudaError_t cudaFreeHost(void *pointer)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!pointer)
		return cudaSuccess;
	if (!state.pinned || !state.pinned->count(reinterpret_cast<uintptr_t>(pointer))) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0),
		              "cudaFreeHost of what cudaMallocHost never gave, or twice");
		return gn_host_error(cudaErrorInvalidValue);
	}
	gn_host_wait_all();
	state.pinned->erase(reinterpret_cast<uintptr_t>(pointer));
	std::free(pointer);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	init();
	*free = state.total - state.used;
	*total = state.total;
	return gn_host_error(cudaSuccess);
}

// A carved piece reads NaN until it is written, as a fresh allocation does.
void gn_host_carve(void *pointer, size_t bytes)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!gn_host_is_allocated(pointer, bytes)) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0), "GN_MEMORY_CARVE outside an allocation");
		return;
	}
	gn_host_wait_all();
	std::memset(pointer, 0xff, bytes);
	gn_host_shadow_close(pointer, bytes);
	gn_host_shadow_allocate(pointer, bytes);
}

void gn_host_close(void *pointer, size_t bytes)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!gn_host_is_allocated(pointer, bytes)) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0), "GN_MEMORY_CLOSE outside an allocation");
		return;
	}
	gn_host_wait_all();
	gn_host_shadow_close(pointer, bytes);
}

static size_t leaked(const std::map<uintptr_t, size_t> *map, size_t *bytes)
{
	*bytes = 0;
	if (!map)
		return 0;
	for (const auto &piece : *map)
		*bytes += piece.second;
	return map->size();
}

size_t gn_host_leaked_device(size_t *bytes)
{
	return leaked(state.device, bytes);
}

size_t gn_host_leaked_pinned(size_t *bytes)
{
	return leaked(state.pinned, bytes);
}
