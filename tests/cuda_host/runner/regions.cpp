// Where device memory and shared memory lie, and their shadows.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

#include "memory.h"
#include "shadow.h"
#include "symbols.h"

// The linker's bounds of this program's or plugin's zeroed variables.
extern "C" {
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
}

static void *reserve(size_t bytes)
{
	void *map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED) {
		std::perror("host runner: address space for the shadow");
		std::abort();
	}
	madvise(map, bytes, MADV_HUGEPAGE);
	return map;
}

static gn_host_region *make_region(uintptr_t base, size_t bytes, bool with_state, bool shared)
{
	gn_host_region *region = new gn_host_region;
	const size_t grains = bytes / GN_HOST_GRAIN + 1;

	region->base = base;
	region->bytes = bytes;
	region->state = with_state ? static_cast<uint8_t *>(reserve(grains)) : nullptr;
	region->writes = static_cast<uint64_t *>(reserve(grains * sizeof(uint64_t)));
	region->reads = static_cast<uint64_t *>(reserve(grains * sizeof(uint64_t)));
	region->shared = shared;
	return region;
}

gn_host_region *gn_host_device_region()
{
	static gn_host_region *region =
	    make_region(reinterpret_cast<uintptr_t>(gn_host_arena()), gn_host_arena_bytes(), true, false);

	return region;
}

// ---- static shared memory ----

// Opens the bytes of each static variable of a function (_ZZ..., but not the guards _ZGV...).
static bool open_static(const gn_host_symbol &symbol, void *user)
{
	gn_host_region *region = static_cast<gn_host_region *>(user);

	if (symbol.is_function || std::strncmp(symbol.name, "_ZZ", 3) != 0 || symbol.address < region->base ||
	    symbol.address - region->base + symbol.bytes > region->bytes)
		return true;
	for (uintptr_t byte = symbol.address; byte < symbol.address + symbol.bytes; byte++)
		region->state[(byte - region->base) / GN_HOST_GRAIN] |= (uint8_t)(1 << (byte % GN_HOST_GRAIN));
	return true;
}

static gn_host_region *make_statics()
{
	const uintptr_t begin = reinterpret_cast<uintptr_t>(__bss_start) & ~(uintptr_t)1;
	const uintptr_t end = reinterpret_cast<uintptr_t>(_end);
	gn_host_region *region = make_region(begin, end - begin, true, true);

	gn_host_each_symbol(open_static, region);
	return region;
}

gn_host_region *gn_host_shared_region(uintptr_t address)
{
	static gn_host_region *dynamic =
	    make_region(reinterpret_cast<uintptr_t>(gn_host_shared_memory()), GN_HOST_SHARED_MAX, false, true);
	static gn_host_region *statics = make_statics();

	if (address - dynamic->base < dynamic->bytes)
		return dynamic;
	return address - statics->base < statics->bytes ? statics : nullptr;
}
