/*
 * Attention on tensor cores: tiles of bfloat16 rows in shared memory, and products of fragments.
 *
 * A block is four warps; each keeps 16 rows to itself, so that softmax and sums stay
 * inside a warp. Tiles of other rows stream through two buffers, copied
 * asynchronously while the tile before is worked on. DP is the head width D rounded up to a width
 * that there is code for; columns from D on are zeros. D is a multiple of 8, so that rows consist
 * of whole 16-byte pieces.
 *
 * A row of a tile is DP + 8 elements long: an odd number of 16-byte pieces, so that the 8 rows that
 * ldmatrix reads at a time lie in different banks.
 */
#ifndef GN_CUDA_ATTENTION_MMA_CUH
#define GN_CUDA_ATTENTION_MMA_CUH

#include "backend/cuda/attention.cuh"
#include "backend/cuda/ptx.h"

#define GN_MMA_ROWS 64 /* of a block: 16 a warp */

typedef __nv_bfloat16 gn_bf16;

template <int DP> constexpr int gn_pitch = DP + 8;
/* Whether the device has the instructions, and the rows the alignment. */
static inline bool gn_mma_takes(const struct gn_ctx *ctx, int D)
{
	return ctx->precision == GN_PRECISION_BF16 && ctx->sm >= 80 && D % 8 == 0;
}

/* Rows of a streamed tile. */
template <int DP> constexpr int gn_stream_rows = DP <= 32 ? 64 : 32;

/* ---------------------------------------------------------------- tiles ------------------------------------------ */

/*
 * tile[N][pitch] = the first `rows` (at least 1) rows at `from`, D of each; zeros elsewhere. The
 * whole block together. What it started is there after gn_cp_async_wait and a barrier.
 */
template <int DP, int N>
__device__ static inline void gn_tile_load(gn_bf16 *tile, const gn_bf16 *from, int stride, int rows, int D)
{
	constexpr int across = DP <= 32 ? 4 : DP <= 64 ? 8 : 16; /* threads a row */
	constexpr int step = GN_ATTENTION_THREADS / across;
	int d = (int)threadIdx.x % across * 8;
	if (d >= DP)
		return;
	int row = (int)threadIdx.x / across;
	from += gn_rows(row, stride) + d;
	tile += row * gn_pitch<DP> + d;
#pragma unroll
	for (int r = 0; r < N; r += step, from += gn_rows(step, stride))
		gn_cp_async_16(tile + r * gn_pitch<DP>, from, row + r < rows && d < D ? 16 : 0);
}

/* ---------------------------------------------------------------- fragments -------------------------------------- */

__device__ __forceinline__ int gn_lane(void)
{
	return (int)threadIdx.x % 32;
}

__device__ __forceinline__ int gn_warp(void)
{
	return (int)threadIdx.x / 32;
}

__device__ __forceinline__ uint32_t gn_pair(float low, float high)
{
	__nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
	uint32_t bits;
	memcpy(&bits, &pair, sizeof bits);
	return bits;
}

/*
 * This lane's row for ldmatrix of 16 x 16 elements at `tile` as A, or, transposed, as B whose rows
 * are the tile's rows.
 */
template <int DP> __device__ __forceinline__ const gn_bf16 *gn_at_rows(const gn_bf16 *tile)
{
	return tile + gn_lane() % 16 * gn_pitch<DP> + gn_lane() / 16 * 8;
}

/* The same as B whose columns are the tile's rows: a product with the tile transposed. */
template <int DP> __device__ __forceinline__ const gn_bf16 *gn_at_columns(const gn_bf16 *tile)
{
	return tile + (gn_lane() % 8 + gn_lane() / 16 * 8) * gn_pitch<DP> + gn_lane() / 8 % 2 * 8;
}

/* a = this warp's 16 rows at `tile`. */
template <int DP> __device__ __forceinline__ void gn_fragments(uint32_t (&a)[DP / 16][4], const gn_bf16 *tile)
{
	const gn_bf16 *at = gn_at_rows<DP>(tile);
#pragma unroll
	for (int k = 0; k < DP / 16; k++)
		gn_ldmatrix_x4(a[k], at + 16 * k);
}

/*
 * c[16,N] += a[16,DP] tile[N,DP]^T. Products that follow one another have different sums, so that
 * none waits for the one before. at: gn_at_columns of the tile's first row.
 */
template <int DP, int N>
__device__ __forceinline__ void gn_mma_scores(float (&c)[N / 8][4], const uint32_t (&a)[DP / 16][4], const gn_bf16 *at)
{
#pragma unroll
	for (int k = 0; k < DP / 16; k++)
#pragma unroll
		for (int n = 0; n < N / 16; n++) {
			uint32_t b[4];
			gn_ldmatrix_x4(b, at + 16 * n * gn_pitch<DP> + 16 * k);
			gn_mma_m16n8k16_bf16(c[2 * n], a[k], b[0], b[1]);
			gn_mma_m16n8k16_bf16(c[2 * n + 1], a[k], b[2], b[3]);
		}
}

/* The same with a's rows still in shared memory. a_at: gn_at_rows of the first of them. */
template <int DP, int N>
__device__ __forceinline__ void gn_mma_scores(float (&c)[N / 8][4], const gn_bf16 *a_at, const gn_bf16 *at)
{
#pragma unroll
	for (int k = 0; k < DP / 16; k++) {
		uint32_t a[4];
		gn_ldmatrix_x4(a, a_at + 16 * k);
#pragma unroll
		for (int n = 0; n < N / 16; n++) {
			uint32_t b[4];
			gn_ldmatrix_x4(b, at + 16 * n * gn_pitch<DP> + 16 * k);
			gn_mma_m16n8k16_bf16(c[2 * n], a, b[0], b[1]);
			gn_mma_m16n8k16_bf16(c[2 * n + 1], a, b[2], b[3]);
		}
	}
}

/*
 * c[16,DP] += weights[16,N] tile[N,DP], weights as gn_mma_scores leaves them. at: gn_at_rows of the
 * tile's first row.
 */
template <int DP, int N>
__device__ __forceinline__ void gn_mma_mix(float (&c)[DP / 8][4], const float (&weights)[N / 8][4], const gn_bf16 *at)
{
#pragma unroll
	for (int k = 0; k < N / 16; k++) {
		uint32_t a[4];
#pragma unroll
		for (int i = 0; i < 4; i++)
			a[i] = gn_pair(weights[2 * k + i / 2][i % 2 * 2], weights[2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
		for (int n = 0; n < DP / 16; n++) {
			uint32_t b[4];
			gn_ldmatrix_x4_trans(b, at + 16 * k * gn_pitch<DP> + 16 * n);
			gn_mma_m16n8k16_bf16(c[2 * n], a, b[0], b[1]);
			gn_mma_m16n8k16_bf16(c[2 * n + 1], a, b[2], b[3]);
		}
	}
}

/* ---------------------------------------------------------------- results ---------------------------------------- */

/*
 * The first `rows` of 16 rows at `to` = c, its rows g and g + 8 times low and high, rounded to
 * bfloat16. Goes through `tile`, 16 rows of shared memory that only this warp uses, so that global
 * memory is written 16 bytes at a time.
 */
template <int DP>
__device__ static inline void gn_mma_store(gn_bf16 *to, int stride, int rows, int D, gn_bf16 *tile,
                                           const float (&c)[DP / 8][4], float low, float high)
{
	gn_bf16 *at = tile + gn_lane() / 4 * gn_pitch<DP> + gn_lane() % 4 * 2;
#pragma unroll
	for (int n = 0; n < DP / 8; n++) {
		*(uint32_t *)(void *)(at + 8 * n) = gn_pair(c[n][0] * low, c[n][1] * low);
		*(uint32_t *)(void *)(at + 8 * gn_pitch<DP> + 8 * n) = gn_pair(c[n][2] * high, c[n][3] * high);
	}
	__syncwarp();
#pragma unroll
	for (int i = 0; i < DP / 16; i++) {
		int piece = gn_lane() + 32 * i, r = piece / (DP / 8), d = piece % (DP / 8) * 8;
		if (r < rows && d < D)
			*(uint4 *)(void *)(to + gn_rows(r, stride) + d) =
			    *(const uint4 *)(const void *)(tile + r * gn_pitch<DP> + d);
	}
}

#endif
