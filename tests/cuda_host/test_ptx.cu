// The instructions of ptx.h on the runner: every element of every fragment by one-hot operands,
// products against their definition.
#include <cmath>
#include <vector>

#include <cuda_bf16.h>

#include "host/ptx.h"
#include "tests.h"

static __device__ uint32_t pair(float low, float high)
{
	return (uint32_t)__bfloat16_as_ushort(__float2bfloat16(low)) |
	       (uint32_t)__bfloat16_as_ushort(__float2bfloat16(high)) << 16;
}

// One product of row-major a[16,16] and b[16,8], its fragments filled as the comment of ptx.h says.
static __global__ void product(float *d, const float *a, const float *b, const float *c)
{
	const int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
	uint32_t fa[4];
	float fc[4];

	for (int i = 0; i < 4; i++) {
		const float *from = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;

		fa[i] = pair(from[0], from[1]);
		fc[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
	}
	const uint32_t b0 = pair(b[2 * t * 8 + g], b[(2 * t + 1) * 8 + g]);
	const uint32_t b1 = pair(b[(2 * t + 8) * 8 + g], b[(2 * t + 9) * 8 + g]);
	gn_mma_m16n8k16_bf16(fc, fa, b0, b1);
	for (int i = 0; i < 4; i++)
		d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
}

// Only the registers of one lane hold something: the fragment's element `i` of operand a or b is 1.
static __global__ void one_hot(float *d, int hot_lane, int element, bool in_a)
{
	const int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
	uint32_t fa[4] = {0, 0, 0, 0}, fb[2] = {0, 0};
	float fc[4] = {0, 0, 0, 0};

	// The other operand is all different numbers, by its row and column.
	if (in_a) {
		for (int i = 0; i < 2; i++)
			fb[i] = pair((float)((2 * t + i * 8) * 8 + g + 1), (float)((2 * t + 1 + i * 8) * 8 + g + 1));
		if (lane == hot_lane)
			fa[element / 2] = element % 2 ? pair(0, 1) : pair(1, 0);
	} else {
		for (int i = 0; i < 4; i++) {
			const int row = g + i % 2 * 8, col = 2 * t + i / 2 * 8;

			fa[i] = pair((float)(row * 16 + col + 1), (float)(row * 16 + col + 2));
		}
		if (lane == hot_lane)
			fb[element / 2] = element % 2 ? pair(0, 1) : pair(1, 0);
	}
	gn_mma_m16n8k16_bf16(fc, fa, fb[0], fb[1]);
	for (int i = 0; i < 4; i++)
		d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
}

static float *upload(const std::vector<float> &values)
{
	float *device = nullptr;

	CHECK(cudaMalloc(&device, values.size() * sizeof(float)));
	CHECK(cudaMemcpy(device, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice));
	return device;
}

static void mma_multiplies(void **)
{
	std::vector<float> a(256), b(128), c(128), d(128), unit(256);

	for (int i = 0; i < 256; i++) {
		a[(size_t)i] = (float)(i % 29 - 14) / 8;
		unit[(size_t)i] = i / 16 == i % 16;
	}
	for (int i = 0; i < 128; i++) {
		b[(size_t)i] = (float)(i % 23 - 11) / 4;
		c[(size_t)i] = (float)i / 3;
	}
	float *da = upload(a), *db = upload(b), *dc = upload(c), *du = upload(unit), *dd = upload(d);
	GN_LAUNCH(product, 1, 32, 0, 0, dd, da, db, dc);
	CHECK(cudaMemcpy(d.data(), dd, 512, cudaMemcpyDeviceToHost));
	for (size_t row = 0; row < 16; row++)
		for (size_t col = 0; col < 8; col++) {
			double sum = c[row * 8 + col];
			for (size_t k = 0; k < 16; k++)
				sum += (double)a[row * 16 + k] * b[k * 8 + col];
			assert_true(fabs(d[row * 8 + col] - sum) < 1e-4);
		}
	// a is the identity: d = b + c exactly.
	GN_LAUNCH(product, 1, 32, 0, 0, dd, du, db, dc);
	CHECK(cudaMemcpy(d.data(), dd, 512, cudaMemcpyDeviceToHost));
	for (size_t i = 0; i < 128; i++)
		assert_float_equal(d[i], (c[i] + b[i]), 0);
	float *const all[] = {da, db, dc, du, dd};
	for (float *each : all)
		CHECK(cudaFree(each));
	expect_nothing();
}

// Where the ISA's table puts element i of a lane: written out here once more, as register and half.
static void mma_one_hot(void **)
{
	std::vector<float> d(128);
	float *dd = upload(d);

	for (int lane = 0; lane < 32; lane++)
		for (int i = 0; i < 12; i++) {
			const bool in_a = i < 8;
			const int element = in_a ? i : i - 8, g = lane / 4, t = lane % 4, high = element % 2;

			GN_LAUNCH(one_hot, 1, 32, 0, 0, dd, lane, element, in_a);
			CHECK(cudaMemcpy(d.data(), dd, 512, cudaMemcpyDeviceToHost));
			// a's registers: rows g, g+8, g, g+8; columns 2t.., 2t.., 2t+8.., 2t+8...
			// b's: rows 2t.., 2t+8...
			const int reg = element / 2, row = in_a ? g + reg % 2 * 8 : 0,
			          k = 2 * t + high + (in_a ? reg / 2 : reg) * 8;
			for (int r = 0; r < 16; r++)
				for (int c = 0; c < 8; c++) {
					float want = 0;
					if (in_a && r == row)
						want = (float)(k * 8 + c + 1);
					if (!in_a && c == g)
						want = (float)(r * 16 + k + 1);
					assert_float_equal(d[(size_t)(r * 8 + c)], want, 0);
				}
		}
	CHECK(cudaFree(dd));
	expect_nothing();
}

template <bool transposed> static __global__ void load(uint32_t *out)
{
	__shared__ __align__(16) uint16_t tiles[4][8][8];

	for (int i = 0; i < 8; i++)
		tiles[threadIdx.x / 8][threadIdx.x % 8][i] = (uint16_t)(threadIdx.x * 8 + (unsigned int)i);
	__syncwarp();
	uint32_t r[4];
	if (transposed)
		gn_ldmatrix_x4_trans(r, tiles[threadIdx.x / 8][threadIdx.x % 8]);
	else
		gn_ldmatrix_x4(r, tiles[threadIdx.x / 8][threadIdx.x % 8]);
	for (int i = 0; i < 4; i++)
		out[threadIdx.x * 4 + (unsigned int)i] = r[i];
}

static void ldmatrix_distributes(void **)
{
	uint32_t *out = nullptr, host[128];

	CHECK(cudaMalloc(&out, sizeof host));
	for (uint32_t transposed = 0; transposed < 2; transposed++) {
		if (transposed)
			GN_LAUNCH((load<true>), 1, 32, 0, 0, out);
		else
			GN_LAUNCH((load<false>), 1, 32, 0, 0, out);
		CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
		for (uint32_t lane = 0; lane < 32; lane++)
			for (uint32_t m = 0; m < 4; m++) {
				const uint32_t g = lane / 4, t = lane % 4, base = m * 64;
				const uint32_t low = transposed ? base + 2 * t * 8 + g : base + g * 8 + 2 * t;
				const uint32_t high = transposed ? low + 8 : low + 1;

				assert_int_equal(host[lane * 4 + m], low | high << 16);
			}
	}
	CHECK(cudaFree(out));
	expect_nothing();
}

enum copying { RIGHT, NO_WAIT, NO_BARRIER, OVER_READERS };

static __global__ void copy(float *out, const float *in, enum copying how)
{
	__shared__ __align__(16) float tile[2][128];
	__shared__ float word[32];
	const unsigned int i = threadIdx.x;
	float before = 0;

	if (how == OVER_READERS) {
		for (unsigned int k = 0; k < 4; k++)
			tile[0][i * 4 + k] = 0;
		__syncthreads();
		before = tile[0][(i * 4 + 4) % 128];
	}
	gn_cp_async_16(&tile[0][i * 4], in + i * 4, 16);
	gn_cp_async_commit();
	gn_cp_async_16(&tile[1][i * 4], in + i * 4, i % 2 ? 16 : 0);
	gn_cp_async_4(&word[i], in + i + 1, 4);
	gn_cp_async_commit();
	if (how != NO_WAIT)
		gn_cp_async_wait<1>();
	if (how != NO_BARRIER)
		__syncthreads();
	const float first = tile[0][127 - i];
	gn_cp_async_wait<0>();
	__syncthreads();
	out[i] = first + before;
	out[32 + i] = tile[1][i * 4 + 1];
	out[64 + i] = word[31 - i];
}

static void cp_async_copies(void **)
{
	float *in = device_floats(128, true), *out = device_floats(96, false), host[96];

	GN_LAUNCH(copy, 1, 32, 0, 0, out, in, RIGHT);
	CHECK(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
	for (int i = 0; i < 32; i++) {
		assert_float_equal(host[i], (127 - i), 0);
		assert_float_equal(host[32 + i], (i % 2 ? i * 4 + 1 : 0), 0);
		assert_float_equal(host[64 + i], (32 - i), 0);
	}
	gn_host_quiet(true);
	GN_LAUNCH(copy, 1, 32, 0, 0, out, in, NO_BARRIER);
	expect_finding(GN_HOST_UNWRITTEN); // the first thread is there before the others
	GN_LAUNCH(copy, 1, 32, 0, 0, out, in, OVER_READERS);
	expect_finding(GN_HOST_RACE);
	GN_LAUNCH(copy, 1, 32, 0, 0, out, in, NO_WAIT); // the copy arrives beside the readers
	expect_finding(GN_HOST_RACE);
	gn_host_quiet(false);
	CHECK(cudaFree(in));
	CHECK(cudaFree(out));
}

static __global__ void load_wrongly(uint32_t *out, const uint16_t *global, bool misaligned)
{
	__shared__ __align__(16) uint16_t tile[72 * 8];
	uint32_t r[4];

	for (unsigned int i = threadIdx.x; i < 72 * 8; i += 32)
		tile[i] = 1;
	__syncwarp();
	gn_ldmatrix_x4(r, misaligned ? tile + threadIdx.x * 8 + 2 : global + threadIdx.x * 8);
	out[threadIdx.x] = r[0];
}

static __global__ void half_a_warp_multiplies(float *out)
{
	float c[4] = {0, 0, 0, 0};
	const uint32_t a[4] = {0, 0, 0, 0};

	if (threadIdx.x < 16)
		gn_mma_m16n8k16_bf16(c, a, 0, 0);
	out[threadIdx.x] = c[0];
}

static void wrong_uses(void **)
{
	float *memory = device_floats(256, true);

	gn_host_quiet(true);
	GN_LAUNCH(load_wrongly, 1, 32, 0, 0, (uint32_t *)memory, (const uint16_t *)memory, true);
	expect_finding(GN_HOST_MISALIGNED);
	GN_LAUNCH(load_wrongly, 1, 32, 0, 0, (uint32_t *)memory, (const uint16_t *)memory, false);
	expect_finding(GN_HOST_OUT_OF_BOUNDS);
	GN_LAUNCH(half_a_warp_multiplies, 1, 32, 0, 0, memory);
	expect_finding(GN_HOST_DIVERGENT_WARP);
	gn_host_quiet(false);
	CHECK(cudaFree(memory));
}

static void exp2_flushes(void **)
{
	assert_float_equal(gn_exp2(3), 8, 0);
	assert_float_equal(gn_exp2(-126), 0x1p-126F, 0);
	assert_float_equal(gn_exp2(-127), 0, 0);
	assert_float_equal(gn_exp2(-INFINITY), 0, 0);
	assert_float_equal(gn_exp2(1e-40F), 1, 0);
}

int main()
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mma_multiplies),  cmocka_unit_test(mma_one_hot), cmocka_unit_test(ldmatrix_distributes),
	    cmocka_unit_test(cp_async_copies), cmocka_unit_test(wrong_uses),  cmocka_unit_test(exp2_flushes),
	};

	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
