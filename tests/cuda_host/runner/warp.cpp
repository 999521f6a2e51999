// Warp operations: each lane leaves its data and waits; the last lane of the mask does the work for
// all.
#include "internal.h"

static const uint32_t all_lanes = 0xffffffffU;

namespace
{
struct lane {
	gn_host_finish *finish;
	const char *name;
	void *data;
	uint32_t mask;
};

struct warp {
	lane lanes[32];
	uint32_t waiting; // lanes that are inside an operation
	uint32_t existing, ended;
};

struct shuffle {
	uint64_t in, out;
	gn_host_shuffle how;
	int argument, width;
};

struct vote {
	int predicate;
	uint32_t ballot;
};
} // namespace

static warp warps[32];

void gn_host_warps_begin(uint32_t threads)
{
	for (uint32_t i = 0; i * 32 < threads; i++) {
		const uint32_t left = threads - i * 32;

		warps[i].waiting = warps[i].ended = 0;
		warps[i].existing = left >= 32 ? all_lanes : (1U << left) - 1;
	}
}

void gn_host_warps_ended(uint32_t thread)
{
	warps[thread / 32].ended |= 1U << thread % 32;
}

[[noreturn]] static void refuse(const char *name, const char *why, int lane)
{
	gn_host_found(GN_HOST_DIVERGENT_WARP, nullptr, "%s: thread %u in %s: %s (lane %d)", gn_host_block.kernel,
	              gn_host_block.thread, name, why, lane);
	gn_host_abandon_kernel();
}

// The mask must name the calling lane and only lanes that exist and have not ended.
static void check_mask(const warp &warp, const char *name, uint32_t mask, int self)
{
	if (!(mask >> self & 1))
		refuse(name, "the mask leaves out the calling lane", self);
	if (mask & ~warp.existing)
		refuse(name, "the mask names a lane that the block does not have",
		       __builtin_ctz(mask & ~warp.existing));
	if (mask & warp.ended)
		refuse(name, "the mask names a lane that has ended", __builtin_ctz(mask & warp.ended));
}

// Whether every lane of the mask is here. Those that were here before agree with each other: one
// stands for all.
static bool complete(const warp &warp, const lane &mine, int self)
{
	const uint32_t others = mine.mask & warp.waiting & ~(1U << self);

	if (others) {
		const int other = __builtin_ctz(others);

		if (warp.lanes[other].finish != mine.finish)
			refuse(mine.name, "another lane is in another operation", other);
		if (warp.lanes[other].mask != mine.mask)
			refuse(mine.name, "another lane gave another mask", other);
	}
	return (warp.waiting & mine.mask) == mine.mask;
}

void gn_host_collective(const char *name, gn_host_finish *finish, unsigned int mask, void *data)
{
	if (!gn_host_on_fiber()) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0), "%s outside a kernel", name);
		return;
	}
	const uint32_t thread = gn_host_block.thread, base = thread & ~31U;
	const int self = (int)(thread & 31);
	warp &here = warps[thread / 32];

	check_mask(here, name, mask, self);
	here.lanes[self] = lane{finish, name, data, mask};
	here.waiting |= 1U << self;
	if (!complete(here, here.lanes[self], self)) {
		gn_host_block_wait(name);
		return;
	}
	void *all[32];
	for (int i = 0; i < 32; i++)
		all[i] = mask >> i & 1 ? here.lanes[i].data : nullptr;
	finish(all, mask);
	here.waiting &= ~mask;
	for (int i = 0; i < 32; i++)
		if ((mask >> i & 1) && i != self)
			gn_host_block_ready(base + (uint32_t)i);
}

// Where lane `self` reads from (PTX ISA, shfl.sync): itself where the source leaves its segment.
static int shuffle_source(const shuffle &how, int self)
{
	const int first = self & ~(how.width - 1), last = first + how.width - 1;
	int source = self;

	switch (how.how) {
	case GN_HOST_SHUFFLE_INDEX:
		return first + (how.argument & (how.width - 1));
	case GN_HOST_SHUFFLE_UP:
		source = self - how.argument;
		break;
	case GN_HOST_SHUFFLE_DOWN:
		source = self + how.argument;
		break;
	case GN_HOST_SHUFFLE_XOR:
		source = self ^ how.argument;
		// bfly compares with the segment's last lane only.
		return source <= last ? source : self;
	}
	return source >= first && source <= last ? source : self;
}

static void finish_shuffle(void *const data[32], unsigned int mask)
{
	for (int i = 0; i < 32; i++) {
		if (!data[i])
			continue;
		shuffle *mine = static_cast<shuffle *>(data[i]);
		const int source = shuffle_source(*mine, i);

		if (source < 0 || !(mask >> source & 1))
			refuse("a shuffle", "reads from a lane outside the mask", source);
		mine->out = static_cast<shuffle *>(data[source])->in;
	}
}

uint64_t gn_host_shuffle_bits(gn_host_shuffle how, unsigned int mask, uint64_t bits, int argument, int width)
{
	shuffle mine = {bits, 0, how, argument, width};

	if (gn_host_on_fiber() && (width < 1 || width > 32 || (width & (width - 1))))
		refuse("a shuffle", "the width is no power of two up to 32", width);
	gn_host_collective("a shuffle", finish_shuffle, mask, &mine);
	return mine.out;
}

static void finish_vote(void *const data[32], unsigned int)
{
	uint32_t ballot = 0;

	for (int i = 0; i < 32; i++)
		if (data[i] && static_cast<vote *>(data[i])->predicate)
			ballot |= 1U << i;
	for (int i = 0; i < 32; i++)
		if (data[i])
			static_cast<vote *>(data[i])->ballot = ballot;
}

unsigned int __ballot_sync(unsigned int mask, int predicate)
{
	vote mine = {predicate, 0};

	gn_host_collective("a vote", finish_vote, mask, &mine);
	return mine.ballot;
}

// Orders memory among the lanes; only a barrier of the whole warp counts for the search for races.
static void finish_syncwarp(void *const *, unsigned int mask)
{
	const uint32_t index = gn_host_block.thread / 32;

	if (mask == warps[index].existing)
		gn_host_block.warp_epoch[index]++;
}

void __syncwarp(unsigned int mask)
{
	char nothing = 0;

	if (gn_host_on_fiber() && mask == all_lanes)
		mask = warps[gn_host_block.thread / 32].existing;
	gn_host_collective("__syncwarp", finish_syncwarp, mask, &nothing);
}
