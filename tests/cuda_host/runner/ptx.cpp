// PTX instructions, each by its section of the PTX ISA. Fragments are spelled as there: element i
// of lane l lies at a row and a column that follow from groupID = l >> 2 and threadID_in_group = l
// % 4; register r holds the elements 2r (low half) and 2r + 1.
#include <cstring>
#include <vector>

#include <cuda_bf16.h>

#include "host/ptx.h"
#include "internal.h"

static const unsigned int all_lanes = 0xffffffffU;

static float half_of(uint32_t pair, int i)
{
	return gn_host_bf16_widen((uint16_t)(pair >> (i & 1) * 16));
}

// ---- "Matrix Fragments for mma.m16n8k16 with floating point type" ----

static int a_row(int lane, int i)
{
	const int group = lane >> 2;

	return (i >= 0 && i < 2) || (i >= 4 && i < 6) ? group : group + 8;
}

static int a_col(int lane, int i)
{
	const int in_group = lane % 4;

	return i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
}

static int b_row(int lane, int i)
{
	const int in_group = lane % 4;

	return i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
}

static int b_col(int lane)
{
	return lane >> 2;
}

static int c_row(int lane, int i)
{
	return i < 2 ? lane >> 2 : (lane >> 2) + 8;
}

static int c_col(int lane, int i)
{
	return lane % 4 * 2 + (i & 1);
}

namespace
{
struct mma {
	float *c;
	const uint32_t *a;
	uint32_t b[2];
};
} // namespace

// d = a b + c for the whole warp. The products are exact in float32; the sums are float32, in the
// order of k.
static void finish_mma(void *const data[32], unsigned int)
{
	float a[16][16], b[16][8];

	for (int lane = 0; lane < 32; lane++) {
		const mma *mine = static_cast<const mma *>(data[lane]);

		for (int i = 0; i < 8; i++)
			a[a_row(lane, i)][a_col(lane, i)] = half_of(mine->a[i / 2], i);
		for (int i = 0; i < 4; i++)
			b[b_row(lane, i)][b_col(lane)] = half_of(mine->b[i / 2], i);
	}
	for (int lane = 0; lane < 32; lane++) {
		float *c = static_cast<mma *>(data[lane])->c;

		for (int i = 0; i < 4; i++) {
			float sum = c[i];

			for (int k = 0; k < 16; k++)
				sum += a[c_row(lane, i)][k] * b[k][c_col(lane, i)];
			c[i] = sum;
		}
	}
}

void gn_mma_m16n8k16_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	mma mine = {c, a, {b0, b1}};

	gn_host_collective("mma.m16n8k16", finish_mma, all_lanes, &mine);
}

// ---- "Warp-level matrix load instruction: ldmatrix", .x4, .b16 ----

namespace
{
struct load {
	const unsigned char *row;
	uint32_t *registers;
};
} // namespace

// Row r of matrix m begins at the address that lane 8 m + r gave.
static uint16_t matrix_element(void *const data[32], int matrix, int row, int col)
{
	uint16_t value;

	std::memcpy(&value, static_cast<const load *>(data[matrix * 8 + row])->row + col * 2, sizeof value);
	return value;
}

// Lane l gets of each matrix the elements 2 (l % 4) and the next of row l / 4; with .trans those of
// the transposed matrix.
static void distribute(void *const data[32], bool transposed)
{
	for (int lane = 0; lane < 32; lane++)
		for (int matrix = 0; matrix < 4; matrix++) {
			const int row = lane / 4, col = lane % 4 * 2;
			const uint32_t low = transposed ? matrix_element(data, matrix, col, row)
			                                : matrix_element(data, matrix, row, col);
			const uint32_t high = transposed ? matrix_element(data, matrix, col + 1, row)
			                                 : matrix_element(data, matrix, row, col + 1);

			static_cast<load *>(data[lane])->registers[matrix] = low | high << 16;
		}
}

static void finish_ldmatrix(void *const data[32], unsigned int)
{
	distribute(data, false);
}

static void finish_ldmatrix_trans(void *const data[32], unsigned int)
{
	distribute(data, true);
}

// The state space is .shared; addresses are aligned to what is read or written there. pc: in the
// kernel.
static void check_shared(const void *address, size_t bytes, gn_host_access access, const void *pc)
{
	const uintptr_t memory = reinterpret_cast<uintptr_t>(address);

	if (!gn_host_on_fiber())
		return;
	if (gn_host_is_device(address)) {
		gn_host_found(GN_HOST_OUT_OF_BOUNDS, pc,
		              "%s: thread %u: an instruction for shared memory got a global address",
		              gn_host_block.kernel, gn_host_block.thread);
		gn_host_abandon_kernel();
	}
	gn_host_device_access(memory, bytes, access, pc);
}

static void ldmatrix(uint32_t r[4], const void *row, gn_host_finish *finish, const char *name, const void *pc)
{
	load mine = {static_cast<const unsigned char *>(row), r};

	check_shared(row, 16, GN_HOST_READ, pc);
	gn_host_collective(name, finish, all_lanes, &mine);
}

void gn_ldmatrix_x4(uint32_t r[4], const void *row)
{
	ldmatrix(r, row, finish_ldmatrix, "ldmatrix.x4", __builtin_return_address(0));
}

void gn_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
	ldmatrix(r, row, finish_ldmatrix_trans, "ldmatrix.x4.trans", __builtin_return_address(0));
}

// ---- "Data Movement and Conversion Instructions: cp.async", commit_group, wait_group ----
//
// A copy may happen at any time between its start and the wait for its group. Here the target is
// spoilt at the start and filled at the wait; its write counts at both ends, so that who reads it
// in between, or too late before, is found.

namespace
{
struct copy {
	unsigned char *shared;
	const unsigned char *global;
	size_t size, bytes; // written, and read: the rest is zeros
};

struct groups {
	std::vector<copy> open;                // since the last commit
	std::vector<std::vector<copy>> closed; // oldest first
};
} // namespace

static groups threads[1024];

void gn_host_ptx_begin(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		threads[i].open.clear();
		threads[i].closed.clear();
	}
}

static void cp_async(void *shared, const void *global, size_t size, int bytes, const void *pc)
{
	if (bytes < 0 || (size_t)bytes > size) {
		gn_host_found(GN_HOST_BAD_CALL, pc, "cp.async of %zu bytes is to read %d", size, bytes);
		gn_host_abandon_kernel();
	}
	check_shared(shared, size, GN_HOST_WRITE, pc);
	if (bytes > 0)
		gn_host_device_access(reinterpret_cast<uintptr_t>(global), (size_t)bytes, GN_HOST_READ, pc);
	std::memset(shared, 0xff, size);
	threads[gn_host_block.thread].open.push_back(copy{
	    static_cast<unsigned char *>(shared), static_cast<const unsigned char *>(global), size, (size_t)bytes});
}

void gn_cp_async_16(void *shared, const void *global, int bytes)
{
	cp_async(shared, global, 16, bytes, __builtin_return_address(0));
}

void gn_cp_async_4(void *shared, const void *global, int bytes)
{
	cp_async(shared, global, 4, bytes, __builtin_return_address(0));
}

void gn_cp_async_commit()
{
	groups &mine = threads[gn_host_block.thread];

	mine.closed.push_back(std::move(mine.open));
	mine.open.clear();
}

void gn_host_cp_async_wait(int pending)
{
	groups &mine = threads[gn_host_block.thread];

	while (mine.closed.size() > (size_t)pending) {
		for (const copy &each : mine.closed.front()) {
			check_shared(each.shared, each.size, GN_HOST_WRITE, __builtin_return_address(0));
			std::memset(each.shared, 0, each.size);
			if (each.bytes)
				std::memcpy(each.shared, each.global, each.bytes);
		}
		mine.closed.erase(mine.closed.begin());
	}
}
