// Every access of device code, and every range that a copy or a product touches, against the
// shadow: is it allowed, was it written, and does it race with what others did.
//
// A record says who: the serial number of the block (or of the copy), the thread, how many barriers
// of the block and of the warp the thread had passed. Two accesses of one block are in order if a
// barrier lies between; of two blocks of one launch never; of two operations if the streams and
// events say so. Atomics do not race with each other. A grain is two bytes: single bytes are not
// searched for races. Of several readers the last is kept, and whether there were others in the
// same interval.
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "fiber.h"
#include "memory.h"
#include "shadow.h"
#include "symbols.h"

struct gn_host_running gn_host_running;

static const int thread_shift = 22, epoch_shift = 10, warp_shift = 3;
static const uint64_t epoch_mask = 0xfff, warp_mask = 0x7f;
// The lowest three bits: of a write, whether it was atomic; of reads, which others there were.
static const uint64_t atomic_flag = 1, many_threads = 1, many_warps = 2, many_blocks = 4, flags = 7;

static uint32_t serial_of(uint64_t record)
{
	return (uint32_t)(record >> 32);
}

static uint32_t thread_of(uint64_t record)
{
	return (uint32_t)(record >> thread_shift) & 0x3ff;
}

static uint32_t epoch_of(uint64_t record)
{
	return (uint32_t)((record >> epoch_shift) & epoch_mask);
}

static bool same_warp(uint64_t a, uint64_t b)
{
	return thread_of(a) / 32 == thread_of(b) / 32;
}

static bool same_warp_interval(uint64_t a, uint64_t b)
{
	return ((a ^ b) >> warp_shift & warp_mask) == 0;
}

static uint64_t record_now()
{
	const struct gn_host_block &block = gn_host_block;

	return (uint64_t)block.serial << 32 | (uint64_t)block.thread << thread_shift |
	       (block.epoch & epoch_mask) << epoch_shift |
	       (block.warp_epoch[block.thread / 32] & warp_mask) << warp_shift;
}

// ---- who came before whom ----

enum verdict { IN_ORDER, RACE, STREAM_RACE };

static verdict across_operations(uint64_t record)
{
	const uint32_t serial = serial_of(record);

	if (serial - gn_host_running.first_serial < gn_host_running.serials)
		return gn_host_running.serials > 1 ? RACE : IN_ORDER;
	if (serial >= gn_host_running.floor && !gn_host_comes_before(serial))
		return STREAM_RACE;
	return IN_ORDER;
}

static verdict after_write(uint64_t record, uint64_t now, bool shared)
{
	if (serial_of(record) != serial_of(now))
		return shared ? IN_ORDER : across_operations(record);
	if (thread_of(record) == thread_of(now) || epoch_of(record) != epoch_of(now))
		return IN_ORDER;
	if (same_warp(record, now) && !same_warp_interval(record, now))
		return IN_ORDER;
	return RACE;
}

static verdict after_reads(uint64_t record, uint64_t now, bool shared)
{
	if (serial_of(record) != serial_of(now))
		return shared ? IN_ORDER : across_operations(record);
	if (record & many_blocks)
		return RACE;
	if (epoch_of(record) != epoch_of(now))
		return IN_ORDER;
	if (thread_of(record) == thread_of(now) && !(record & many_threads))
		return IN_ORDER;
	if (same_warp(record, now) && !(record & many_warps) && !same_warp_interval(record, now))
		return IN_ORDER;
	return RACE;
}

static uint64_t add_reader(uint64_t record, uint64_t now, bool shared)
{
	if (serial_of(record) != serial_of(now)) {
		const bool same_launch = serial_of(record) - gn_host_running.first_serial < gn_host_running.serials;

		return record && same_launch && !shared ? now | many_blocks : now;
	}
	const uint64_t blocks = record & many_blocks;
	if (epoch_of(record) != epoch_of(now))
		return now | blocks;
	if (!same_warp(record, now))
		return now | blocks | many_threads | many_warps;
	if (record & many_warps)
		return now | (record & flags);
	if (!same_warp_interval(record, now))
		return now | blocks;
	return thread_of(record) == thread_of(now) ? record : now | blocks | many_threads;
}

// ---- one access of a thread ----

static void place_text(char *out, size_t room)
{
	const struct gn_host_place &at = gn_host_place;

	std::snprintf(out, room, "%s: block (%u,%u,%u) thread (%u,%u,%u)", gn_host_block.kernel, at.block.x, at.block.y,
	              at.block.z, at.thread.x, at.thread.y, at.thread.z);
}

[[noreturn]] static void fault(gn_host_finding_kind kind, uintptr_t address, size_t bytes, gn_host_access access,
                               const void *pc, const char *detail)
{
	static const char *const verbs[] = {"reads", "writes", "adds to"};
	char place[160], whose[80] = "shared memory";

	place_text(place, sizeof place);
	if (!gn_host_shared_region(address))
		gn_host_describe(reinterpret_cast<const void *>(address), whose, sizeof whose);
	gn_host_found(kind, pc, "%s %s %zu bytes at 0x%" PRIxPTR " (%s)%s", place, verbs[access], bytes, address, whose,
	              detail);
	gn_host_abandon_kernel();
}

static void check_order(verdict verdict, uint64_t record, uintptr_t address, size_t bytes, gn_host_access access,
                        const void *pc, const char *other)
{
	char detail[96];

	if (verdict == IN_ORDER)
		return;
	if (verdict == RACE)
		std::snprintf(detail, sizeof detail, ", thread %u of %s block %s it with no barrier between",
		              thread_of(record), serial_of(record) == gn_host_block.serial ? "this" : "another", other);
	else
		std::snprintf(detail, sizeof detail, ", another stream %s it and no event orders the two", other);
	fault(verdict == RACE ? GN_HOST_RACE : GN_HOST_STREAM_RACE, address, bytes, access, pc, detail);
}

static uint8_t byte_mask(uintptr_t grain_address, uintptr_t address, size_t bytes)
{
	const bool low = grain_address >= address, high = grain_address + 1 < address + bytes;

	return (uint8_t)((low ? 1 : 0) | (high ? 2 : 0));
}

static void touch_grain(gn_host_region &region, size_t grain, uint8_t mask, uintptr_t address, size_t bytes,
                        gn_host_access access, const void *pc)
{
	const uint64_t now = record_now();
	uint64_t &write = region.writes[grain], &reads = region.reads[grain];
	const bool searched = mask == 3;

	if (access != GN_HOST_WRITE) {
		const bool written = region.shared ? serial_of(write) == gn_host_block.serial
		                                   : (region.state[grain] >> 2 & mask) == mask;

		if (!written)
			fault(GN_HOST_UNWRITTEN, address, bytes, access, pc, ", which nobody has written");
	}
	const bool both_atomic = access == GN_HOST_ATOMIC && (write & atomic_flag);
	if (searched && write && !both_atomic)
		check_order(after_write(write, now, region.shared), write, address, bytes, access, pc, "wrote");
	if (access == GN_HOST_READ) {
		if (searched)
			reads = add_reader(reads, now, region.shared);
		return;
	}
	if (searched && reads)
		check_order(after_reads(reads, now, region.shared), reads, address, bytes, access, pc, "read");
	write = now | (access == GN_HOST_ATOMIC ? atomic_flag : 0);
	if (!region.shared)
		region.state[grain] |= (uint8_t)(mask << 2);
}

static void access_region(gn_host_region &region, uintptr_t address, size_t bytes, gn_host_access access,
                          const void *pc)
{
	const size_t first = (address - region.base) / GN_HOST_GRAIN,
	             last = (address + bytes - 1 - region.base) / GN_HOST_GRAIN;

	if (!region.state && address - region.base + bytes > gn_host_block.shared_bytes)
		fault(GN_HOST_OUT_OF_BOUNDS, address, bytes, access, pc,
		      ", past the end of the launch's dynamic shared memory");
	for (size_t grain = first; grain <= last; grain++) {
		const uint8_t mask = byte_mask(region.base + grain * GN_HOST_GRAIN, address, bytes);

		if (region.state && (region.state[grain] & mask) != mask)
			fault(GN_HOST_OUT_OF_BOUNDS, address, bytes, access, pc, ", where nothing is allocated");
		touch_grain(region, grain, mask, address, bytes, access, pc);
	}
}

void gn_host_thread_access(uintptr_t address, size_t bytes, gn_host_access access, const void *pc)
{
	if (address - gn_host_block.stack < GN_FIBER_STACK)
		return;
	if (gn_host_is_device(reinterpret_cast<const void *>(address)))
		return access_region(*gn_host_device_region(), address, bytes, access, pc);
	const uintptr_t arguments = reinterpret_cast<uintptr_t>(gn_host_block.arguments);
	if (access == GN_HOST_READ && address - arguments < gn_host_block.argument_bytes)
		return;
	if (gn_host_region *region = gn_host_shared_region(address))
		return access_region(*region, address, bytes, access, pc);
	if (address - gn_host_block.stacks < gn_host_block.stacks_bytes)
		fault(GN_HOST_HOST_POINTER, address, bytes, access, pc, ", a local variable of another thread");
	if (access != GN_HOST_READ || !gn_host_is_constant(address))
		fault(GN_HOST_HOST_POINTER, address, bytes, access, pc, "");
}

// ---- ranges ----

void gn_host_shadow_allocate(const void *address, size_t bytes)
{
	gn_host_region *region = gn_host_device_region();
	const size_t first = (reinterpret_cast<uintptr_t>(address) - region->base) / GN_HOST_GRAIN;

	std::memset(region->state + first, GN_HOST_OPEN, bytes / GN_HOST_GRAIN);
	if (bytes % GN_HOST_GRAIN)
		region->state[first + bytes / GN_HOST_GRAIN] = 1;
}

void gn_host_shadow_close(const void *address, size_t bytes)
{
	gn_host_region *region = gn_host_device_region();
	const size_t first = (reinterpret_cast<uintptr_t>(address) - region->base) / GN_HOST_GRAIN;
	const size_t grains = (bytes + GN_HOST_GRAIN - 1) / GN_HOST_GRAIN;

	gn_host_give_back(region->state + first, grains);
	if (!gn_host_checked)
		return;
	gn_host_give_back(region->writes + first, grains * sizeof(uint64_t));
	gn_host_give_back(region->reads + first, grains * sizeof(uint64_t));
}

static bool range_fault(gn_host_finding_kind kind, const char *who, gn_host_access access, uintptr_t address,
                        const char *detail)
{
	char whose[80];

	gn_host_describe(reinterpret_cast<const void *>(address), whose, sizeof whose);
	gn_host_found(kind, nullptr, "%s %s 0x%" PRIxPTR " (%s)%s", who, access == GN_HOST_READ ? "reads" : "writes",
	              address, whose, detail);
	return false;
}

static bool races(uint64_t record)
{
	return record && serial_of(record) >= gn_host_running.floor && across_operations(record) == STREAM_RACE;
}

// The records of whole grains: the first that races, or `end`.
static size_t touch_records(gn_host_region &region, size_t first, size_t end, gn_host_access access)
{
	const uint64_t now = (uint64_t)gn_host_running.first_serial << 32;

	for (size_t grain = first; grain < end; grain++)
		if (races(region.writes[grain]) || (access != GN_HOST_READ && races(region.reads[grain])))
			return grain;
	uint64_t *const records = access == GN_HOST_READ ? region.reads : region.writes;
	for (size_t grain = first; grain < end; grain++)
		records[grain] = now;
	return end;
}

// The states of a range; the first grain that is not as it has to be, or `end`. Which of the two:
// *kind.
static size_t touch_states(gn_host_region &region, uintptr_t address, size_t bytes, gn_host_access access,
                           gn_host_finding_kind *kind)
{
	const size_t first = (address - region.base) / GN_HOST_GRAIN,
	             end = (address + bytes - 1 - region.base) / GN_HOST_GRAIN + 1;

	for (size_t grain = first; grain < end; grain++) {
		const bool inner = grain > first && grain + 1 < end;
		const uint8_t mask =
		    inner ? (uint8_t)3 : byte_mask(region.base + grain * GN_HOST_GRAIN, address, bytes);
		uint8_t &state = region.state[grain];

		if ((state & mask) != mask) {
			*kind = GN_HOST_OUT_OF_BOUNDS;
			return grain;
		}
		if (access != GN_HOST_READ) {
			state |= (uint8_t)(mask << 2);
		} else if (gn_host_checked && (state >> 2 & mask) != mask) {
			*kind = GN_HOST_UNWRITTEN;
			return grain;
		}
	}
	return end;
}

bool gn_host_touch(const void *pointer, size_t bytes, gn_host_access access, const char *who)
{
	gn_host_region &region = *gn_host_device_region();
	const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
	gn_host_finding_kind kind = GN_HOST_UNWRITTEN;

	if (!bytes)
		return true;
	if (!gn_host_is_device(pointer))
		return range_fault(GN_HOST_HOST_POINTER, who, access, address, "");
	const size_t first = (address - region.base) / GN_HOST_GRAIN,
	             end = (address + bytes - 1 - region.base) / GN_HOST_GRAIN + 1;
	size_t wrong = touch_states(region, address, bytes, access, &kind);
	if (wrong != end)
		return range_fault(kind, who, access, region.base + wrong * GN_HOST_GRAIN,
		                   kind == GN_HOST_UNWRITTEN ? ", which nobody has written"
		                                             : ", where nothing is allocated");
	if (!gn_host_checked)
		return true;
	wrong = touch_records(region, first, end, access);
	return wrong == end || range_fault(GN_HOST_STREAM_RACE, who, access, region.base + wrong * GN_HOST_GRAIN,
	                                   ", another stream used it and no event orders the two");
}
