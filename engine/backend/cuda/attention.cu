/*
 * Attention forward: scores, softmax and weighted sum in one pass over the keys, with a running
 * maximum and sum per query (online softmax: Milakov and Gimelshein, arXiv 1805.02867; tiled as in
 * Dao, arXiv 2307.08691). Only out and lse are written.
 *
 * Tensor cores (bfloat16, sm_80 and later, D a multiple of 8): 64 queries a block, 16 a warp; keys
 * pass by 64 at a time for width 32, else 32. Registers a thread / bytes of shared memory a block,
 * by ptxas 13.0 for sm_80, 90 and 120, none of it spilled, and blocks that fit a multiprocessor of
 * 100 KiB:
 *   width 32: 110-128 / 20480, 4   64: 128 / 18432, 4       80: 128 / 22528, 4
 *         96: 153-163 / 26624, 3  128: 191-203 / 34816, 2
 * An H200 took 109 us for 128 images of 197 tokens and 12 heads of width 64: 140 TFLOP/s. With 32
 * queries a warp, which read each fragment of keys and values once for two products, it took 118 us
 * at 2 blocks a multiprocessor, and 100 us at 3, which spilled.
 *
 * Float32: 32 queries a block, 32 keys at a time; at most 168 registers and 38400 bytes, 2 blocks
 * or more on 100 KiB. Bound by the float32 units and by reading operands from shared memory: 6
 * loads of 16 bytes for 32 multiply-adds a thread.
 */
#include "backend/cuda/attention.cuh"
#include "backend/cuda/attention_mma.cuh"
#include "backend/cuda/attention_plain.cuh"

/* ---------------------------------------------------------------- tensor cores ------------------------------------ */

/*
 * One warp's online softmax. s[16, BN] are scores against the keys of one tile: s = exp(scale (s -
 * max)), and what was summed up so far follows when the maximum rises. c = scale * log2(e).
 */
template <int BN, int DP>
__device__ __forceinline__ void softmax_mma(float (&s)[BN / 8][4], float (&o)[DP / 8][4], float (&max)[2],
                                            float (&sum)[2], float c)
{
#pragma unroll
	for (int half = 0; half < 2; half++) { /* rows g and g + 8 */
		float top = max[half];
#pragma unroll
		for (int n = 0; n < BN / 8; n++)
			top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
		top = gn_lanes_max<4>(top);
		float factor = gn_exp2(c * (max[half] - top)), shift = c * top;
		max[half] = top;
		sum[half] *= factor;
#pragma unroll
		for (int n = 0; n < DP / 8; n++) {
			o[n][2 * half] *= factor;
			o[n][2 * half + 1] *= factor;
		}
#pragma unroll
		for (int n = 0; n < BN / 8; n++)
#pragma unroll
			for (int e = 2 * half; e < 2 * half + 2; e++) {
				s[n][e] = gn_exp2(fmaf(s[n][e], c, -shift));
				sum[half] += s[n][e];
			}
	}
}

/*
 * One warp's 16 queries against one tile of `keys` keys and values. Where keys are missing the tile
 * is zeros: working on them costs less than branches between the products.
 */
template <int BN, int DP>
__device__ __forceinline__ void step_mma(float (&o)[DP / 8][4], float (&max)[2], float (&sum)[2],
                                         const uint32_t (&q)[DP / 16][4], const gn_bf16 *k, const gn_bf16 *v, int keys,
                                         float c)
{
	float s[BN / 8][4] = {};

	gn_mma_scores<DP, BN>(s, q, gn_at_columns<DP>(k));
	if (keys < BN)
#pragma unroll
		for (int i = 0; i < BN / 2; i++) /* of each score: fragment of columns, element */
			if (i / 4 * 8 + gn_lane() % 4 * 2 + i % 2 >= keys)
				s[i / 4][i % 4] = -INFINITY;
	softmax_mma<BN, DP>(s, o, max, sum, c);
	gn_mma_mix<DP, BN>(o, s, gn_at_rows<DP>(v));
}

/* Blocks that a multiprocessor has room for: as many as go without spills, and into 100 KiB. */
template <int DP> constexpr int mma_blocks = DP <= 80 ? 4 : DP <= 96 ? 3 : 2;

template <int DP>
static __global__ void __launch_bounds__(GN_ATTENTION_THREADS, mma_blocks<DP>)
    attention_mma(gn_bf16 *out, float *lse, const gn_bf16 *qkv, int T, int Q, int H, int D, float scale)
{
#if GN_HAS_SM80
	constexpr int BN = gn_stream_rows<DP>, tile = BN * gn_pitch<DP>;
	static_assert(GN_MMA_ROWS * gn_pitch<DP> <= 4 * tile, "the queries pass through the tiles");
	__shared__ uint4 room[4 * tile / 8]; /* two stages of keys and values */
	gn_bf16 *tiles = (gn_bf16 *)(void *)room, *own = tiles + 16 * gn_warp() * gn_pitch<DP>;
	struct gn_head_tile at = gn_tile_place(0, Q, GN_MMA_ROWS, T, Q, H, D);
	const gn_bf16 *keys = qkv + at.q + at.out_stride; /* of the next tile; values stand out_stride behind them */
	int row = at.row + 16 * gn_warp(), rows = Q - row; /* this warp's; none where rows <= 0 */
	float c = scale * GN_LOG2E;
	uint32_t q[DP / 16][4];

	gn_tile_load<DP, GN_MMA_ROWS>(tiles, qkv + at.q + gn_rows(at.row, at.stride), at.stride, Q - at.row, D);
	gn_cp_async_commit();
	gn_cp_async_wait<0>();
	__syncthreads();
	gn_fragments<DP>(q, own);
	__syncthreads();
	gn_tile_load<DP, BN>(tiles, keys, at.stride, T, D);
	gn_tile_load<DP, BN>(tiles + tile, keys + at.out_stride, at.stride, T, D);
	gn_cp_async_commit();
	gn_cp_async_wait<0>();

	float o[DP / 8][4] = {}, max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
	for (int j = 0, stage = 0; j < T; j += BN, stage ^= 1) {
		__syncthreads(); /* this stage is filled, the other one read */
		if (j + BN < T) {
			gn_bf16 *next = tiles + (stage ^ 1) * 2 * tile;
			keys += gn_rows(BN, at.stride);
			gn_tile_load<DP, BN>(next, keys, at.stride, T - j - BN, D);
			gn_tile_load<DP, BN>(next + tile, keys + at.out_stride, at.stride, T - j - BN, D);
		}
		gn_cp_async_commit();
		if (rows > 0)
			step_mma<BN, DP>(o, max, sum, q, tiles + stage * 2 * tile, tiles + (stage * 2 + 1) * tile,
			                 T - j, c);
		gn_cp_async_wait<0>();
	}
	__syncthreads(); /* the tiles become room for the results */
	if (rows <= 0)
		return;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int r = gn_lane() / 4 + 8 * half;
		sum[half] = gn_lanes_sum<4>(sum[half]);
		if (lse && gn_lane() % 4 == 0 && r < rows)
			lse[gn_rows(at.head, Q) + row + r] = scale * max[half] + logf(sum[half]);
	}
	gn_mma_store<DP>(out + at.out + gn_rows(row, at.out_stride), at.out_stride, rows, D, own, o, 1.0F / sum[0],
	                 1.0F / sum[1]);
#else
	__trap();
#endif
}

template <int DP>
static void run_mma(struct gn_ctx *ctx, gn_bf16 *out, float *lse, const gn_bf16 *qkv, int B, int T, int Q, int H, int D,
                    float scale)
{
	GN_RUN(ctx, attention_mma<DP>, gn_head_grid(B * H, Q, GN_MMA_ROWS), GN_ATTENTION_THREADS, 0, out, lse, qkv, T, Q,
	       H, D, scale);
}

static void forward_mma(struct gn_ctx *ctx, gn_bf16 *out, float *lse, const gn_bf16 *qkv, int B, int T, int Q, int H,
                        int D, float scale)
{
	if (D <= 32)
		run_mma<32>(ctx, out, lse, qkv, B, T, Q, H, D, scale);
	else if (D <= 64)
		run_mma<64>(ctx, out, lse, qkv, B, T, Q, H, D, scale);
	else if (D <= 80)
		run_mma<80>(ctx, out, lse, qkv, B, T, Q, H, D, scale);
	else if (D <= 96)
		run_mma<96>(ctx, out, lse, qkv, B, T, Q, H, D, scale);
	else
		run_mma<128>(ctx, out, lse, qkv, B, T, Q, H, D, scale);
}

/* ---------------------------------------------------------------- float32 ----------------------------------------- */

#define PLAIN_ROWS 32 /* queries of a block, and keys of a tile */

/* The online softmax of this thread's rows; 8 neighbouring lanes share a row. */
template <int DP>
__device__ __forceinline__ void softmax_plain(float (&s)[PLAIN_ROWS / 16][PLAIN_ROWS / 8],
                                              float (&o)[PLAIN_ROWS / 16][DP / 32][4], float (&max)[PLAIN_ROWS / 16],
                                              float (&sum)[PLAIN_ROWS / 16], int keys, float c)
{
#pragma unroll
	for (int i = 0; i < PLAIN_ROWS / 16; i++) {
		float top = max[i];
#pragma unroll
		for (int j = 0; j < PLAIN_ROWS / 8; j++) {
			if (gn_plain_x() + 8 * j >= keys)
				s[i][j] = -INFINITY;
			top = fmaxf(top, s[i][j]);
		}
		top = gn_lanes_max<8>(top);
		float factor = exp2f(c * (max[i] - top));
		max[i] = top;
		sum[i] *= factor;
#pragma unroll
		for (int n = 0; n < DP / 32; n++)
#pragma unroll
			for (int e = 0; e < 4; e++)
				o[i][n][e] *= factor;
#pragma unroll
		for (int j = 0; j < PLAIN_ROWS / 8; j++) {
			s[i][j] = exp2f(c * (s[i][j] - top));
			sum[i] += s[i][j];
		}
	}
}

template <typename act, int DP>
static __global__ void __launch_bounds__(GN_ATTENTION_THREADS, 1)
    attention_plain(act *out, float *lse, const act *qkv, int T, int Q, int H, int D, float scale)
{
	constexpr int R = PLAIN_ROWS;
	__shared__ __align__(16) float queries[R * gn_plain_pitch<DP>];
	__shared__ __align__(16) float tile[R * gn_plain_pitch<DP>]; /* keys, then the values that belong to them */
	__shared__ __align__(16) float weights[R * gn_weights_pitch<R>];
	struct gn_head_tile at = gn_tile_place(0, Q, R, T, Q, H, D);
	float o[R / 16][DP / 32][4] = {}, s[R / 16][R / 8], max[R / 16], sum[R / 16];

#pragma unroll
	for (int i = 0; i < R / 16; i++) {
		max[i] = -INFINITY;
		sum[i] = 0;
	}
	gn_plain_load<act, DP, R>(queries, qkv + at.q + gn_rows(at.row, at.stride), at.stride, Q - at.row, D);
	for (int j = 0; j < T; j += R) {
		__syncthreads();
		gn_plain_load<act, DP, R>(tile, qkv + at.q + at.out_stride + gn_rows(j, at.stride), at.stride, T - j,
		                          D);
		__syncthreads();
		gn_plain_scores<DP, R>(s, queries, tile);
		softmax_plain<DP>(s, o, max, sum, T - j, scale * GN_LOG2E);
		gn_plain_put<R>(weights, s);
		__syncthreads();
		gn_plain_load<act, DP, R>(tile, qkv + at.q + 2 * at.out_stride + gn_rows(j, at.stride), at.stride,
		                          T - j, D);
		__syncthreads();
		gn_plain_mix<DP, R>(o, weights, tile);
	}
#pragma unroll
	for (int i = 0; i < R / 16; i++) {
		int r = at.row + gn_plain_y() + 16 * i;
		sum[i] = gn_lanes_sum<8>(sum[i]);
		if (lse && gn_plain_x() == 0 && r < Q)
			lse[gn_rows(at.head, Q) + r] = scale * max[i] + logf(sum[i]);
		sum[i] = 1.0F / sum[i];
	}
	gn_plain_store<act, DP, R>(out + at.out + gn_rows(at.row, at.out_stride), at.out_stride, Q - at.row, D, o, sum);
}

template <typename act>
static void forward_plain(struct gn_ctx *ctx, act *out, float *lse, const act *qkv, int B, int T, int Q, int H, int D,
                          float scale)
{
	unsigned grid = gn_head_grid(B * H, Q, PLAIN_ROWS);
	if (D <= 32)
		GN_RUN(ctx, (attention_plain<act, 32>), grid, GN_ATTENTION_THREADS, 0, out, lse, qkv, T, Q, H, D,
		       scale);
	else if (D <= 64)
		GN_RUN(ctx, (attention_plain<act, 64>), grid, GN_ATTENTION_THREADS, 0, out, lse, qkv, T, Q, H, D,
		       scale);
	else if (D <= 96)
		GN_RUN(ctx, (attention_plain<act, 96>), grid, GN_ATTENTION_THREADS, 0, out, lse, qkv, T, Q, H, D,
		       scale);
	else
		GN_RUN(ctx, (attention_plain<act, 128>), grid, GN_ATTENTION_THREADS, 0, out, lse, qkv, T, Q, H, D,
		       scale);
}

/* ---------------------------------------------------------------- the slot ---------------------------------------- */

template <typename act>
void gn_cuda_attention(struct gn_ctx *ctx, gn_act *out, float *lse, const gn_act *qkv, int B, int T, int Q, int H,
                       int D)
{
	float scale = (float)(1.0 / sqrt((double)D));
	gn_assert(D <= GN_ATTENTION_MAX_HEAD);
	if constexpr (sizeof(act) == 2)
		if (gn_mma_takes(ctx, D)) {
			forward_mma(ctx, (act *)out, lse, (const act *)qkv, B, T, Q, H, D, scale);
			return;
		}
	forward_plain<act>(ctx, (act *)out, lse, (const act *)qkv, B, T, Q, H, D, scale);
}

template void gn_cuda_attention<float>(struct gn_ctx *, gn_act *, float *, const gn_act *, int, int, int, int, int);
template void gn_cuda_attention<__nv_bfloat16>(struct gn_ctx *, gn_act *, float *, const gn_act *, int, int, int, int,
                                               int);
