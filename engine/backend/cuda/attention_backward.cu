/*
 * Attention backward, in two kernels that recompute the probabilities p = exp(scale q k - lse) tile
 * by tile, so that nothing of size T x T is stored and nothing is summed in an order that timing
 * decides (there are no atomics):
 *   queries_*  a block per tile of queries passes over the keys:
 *              delta = sum_d dout out,  ds = p (dout v - delta),  dq = scale ds k
 *   keys_*     a block per tile of keys passes over the queries:
 *              dv = p^T dout,  dk = scale ds^T q
 * The price is that scores and dout v^T are computed twice: 7 products of T x Q x D per head where
 * 5 would do. delta stays in scratch memory in between; heads whose deltas do not fit there are
 * left to another pair of launches.
 *
 * Tensor cores: 64 queries (or keys) a block, 16 a warp with their gradients in registers; the
 * others pass by 64 at a time for width 32, 32 for wider heads, 16 in keys_mma for width 128. A
 * warp works on 32 of them at a time up to width 64, else on 16. Registers a thread / bytes of
 * shared memory a block, by ptxas 13.0 for sm_80, 90 and 120, none of it spilled, and blocks that
 * fit a multiprocessor of 100 KiB:
 *   queries_mma  width 32: 112-114 / 20736, 4   64: 156-158 / 18688, 3    80: 150-158 / 22784, 3
 *                      96: 166-168 / 26880, 3  128: 208-216 / 35072, 2
 *   keys_mma     width 32: 139-146 / 21504, 3   64: 164-168 / 28160, 3    80: 202-213 / 23040, 2
 *                      96: 232-242 / 27136, 2  128: 246-250 / 35072, 2
 * An H200 took 320 us for 128 images of 197 tokens and 12 heads of width 64, and 318 us while a
 * warp worked on 16 at a time; keys_mma at 2 blocks a multiprocessor made it 358 us.
 *
 * Float32: 32 rows a block and a tile for widths up to 64, 16 for wider ones; at most 182 registers
 * and 39680 bytes, 2 blocks or more on 100 KiB.
 */
#include "backend/cuda/attention.cuh"
#include "backend/cuda/attention_mma.cuh"
#include "backend/cuda/attention_plain.cuh"

/*
 * to[R] = delta_to[0 .. rows-1] = sum over d of dout * out, row by row; zeros in to[] from `rows`
 * on. 8 neighbouring lanes share a row, n elements an access: D is a multiple of n.
 */
template <typename act, int R, int n>
__device__ static inline void row_deltas(float *to, float *delta_to, const act *dout, const act *out, int stride,
                                         int rows, int D)
{
	int lane = (int)threadIdx.x % 8;
#pragma unroll
	for (int i = 0; i < R; i += GN_ATTENTION_THREADS / 8) {
		int r = i + (int)threadIdx.x / 8;
		const act *u = dout + gn_rows(r, stride), *w = out + gn_rows(r, stride);
		float sum = 0;
		if (r < rows)
#pragma unroll 1
			for (int d = lane * n; d < D; d += 8 * n) {
				float a[n], b[n];
				gn_load<n>(a, u + d);
				gn_load<n>(b, w + d);
#pragma unroll
				for (int e = 0; e < n; e++)
					sum += a[e] * b[e];
			}
		sum = gn_lanes_sum<8>(sum);
		if (lane == 0) {
			to[r] = sum;
			if (r < rows)
				delta_to[r] = sum;
		}
	}
}

/* Blocks that a multiprocessor has room for: as many as go without spills, and into 100 KiB. */
template <int DP> constexpr int queries_blocks = DP <= 32 ? 4 : DP <= 96 ? 3 : 2;
template <int DP> constexpr int keys_blocks = DP <= 64 ? 3 : 2;

/* ---------------------------------------------------------------- tensor cores: dq -------------------------------- */

/*
 * dq[16, DP] of one warp += its share from N keys, of which `keys` exist; the rows of those missing
 * are zeros. lse2 = lse * log2(e), c = scale * log2(e).
 */
template <int DP, int N>
__device__ __forceinline__ void query_step_mma(float (&dq)[DP / 8][4], const uint32_t (&q)[DP / 16][4],
                                               const uint32_t (&dout)[DP / 16][4], const gn_bf16 *k,
                                               const gn_bf16 *v, const float (&lse2)[2], const float (&delta)[2],
                                               int keys, float c)
{
	float s[N / 8][4] = {}, ds[N / 8][4] = {};

	gn_mma_scores<DP, N>(s, q, gn_at_columns<DP>(k));
	gn_mma_scores<DP, N>(ds, dout, gn_at_columns<DP>(v));
	if (keys < N)
#pragma unroll
		for (int i = 0; i < N / 2; i++)
			if (i / 4 * 8 + gn_lane() % 4 * 2 + i % 2 >= keys)
				s[i / 4][i % 4] = -INFINITY;
#pragma unroll
	for (int i = 0; i < N / 2; i++) { /* of each score: fragment of columns, element */
		float p = gn_exp2(fmaf(s[i / 4][i % 4], c, -lse2[i % 4 / 2]));
		ds[i / 4][i % 4] = p * (ds[i / 4][i % 4] - delta[i % 4 / 2]);
	}
	gn_mma_mix<DP, N>(dq, ds, gn_at_rows<DP>(k));
}

/*
 * Keys, or queries, that a warp works on at a time: more have more products under way, and take
 * more registers.
 */
template <int DP> constexpr int step_rows = DP <= 64 ? 32 : 16;

template <int DP>
static __global__ void __launch_bounds__(GN_ATTENTION_THREADS, queries_blocks<DP>)
    queries_mma(gn_bf16 *dqkv, float *delta, const gn_bf16 *dout, const gn_bf16 *qkv, const gn_bf16 *out,
                const float *lse, int first, int T, int Q, int H, int D, float scale)
{
#if GN_HAS_SM80
	constexpr int BN = gn_stream_rows<DP>, tile = BN * gn_pitch<DP>;
	__shared__ uint4 room[4 * tile / 8]; /* two stages of keys and values */
	__shared__ float deltas[GN_MMA_ROWS];
	gn_bf16 *tiles = (gn_bf16 *)(void *)room;
	struct gn_head_tile at = gn_tile_place(first, T, GN_MMA_ROWS, T, Q, H, D);
	const gn_bf16 *keys = qkv + at.q + at.out_stride, *values = qkv + at.q + 2 * at.out_stride;
	ptrdiff_t number = gn_rows(at.head - first, Q), out_row = at.out + gn_rows(at.row, at.out_stride);
	int row = at.row + 16 * gn_warp(), last = at.row < Q ? T : 0; /* tiles behind the queries get zeros */
	float dq[DP / 8][4] = {}, lse2[2], row_delta[2];
	uint32_t q[DP / 16][4], dout_rows[DP / 16][4];

	if (last) {
		gn_tile_load<DP, GN_MMA_ROWS>(tiles, qkv + at.q + gn_rows(at.row, at.stride), at.stride, Q - at.row, D);
		gn_tile_load<DP, GN_MMA_ROWS>(tiles + 2 * tile, dout + out_row, at.out_stride, Q - at.row, D);
		gn_cp_async_commit();
		row_deltas<gn_bf16, GN_MMA_ROWS, 8>(deltas, delta + number + at.row, dout + out_row, out + out_row,
		                                 at.out_stride, Q - at.row, D);
		gn_cp_async_wait<0>();
		__syncthreads();
		gn_fragments<DP>(q, tiles + 16 * gn_warp() * gn_pitch<DP>);
		gn_fragments<DP>(dout_rows, tiles + 2 * tile + 16 * gn_warp() * gn_pitch<DP>);
#pragma unroll
		for (int half = 0; half < 2; half++) {
			int r = row + gn_lane() / 4 + 8 * half;
			lse2[half] = r < Q ? lse[gn_rows(at.head, Q) + r] * GN_LOG2E : INFINITY;
			row_delta[half] = deltas[r - at.row];
		}
		__syncthreads();
		gn_tile_load<DP, BN>(tiles, keys, at.stride, T, D);
		gn_tile_load<DP, BN>(tiles + tile, values, at.stride, T, D);
		gn_cp_async_commit();
		gn_cp_async_wait<0>();
	}
	for (int j = 0, stage = 0; j < last; j += BN, stage ^= 1) {
		__syncthreads(); /* this stage is filled, the other one read */
		if (j + BN < T) {
			gn_bf16 *next = tiles + (stage ^ 1) * 2 * tile;
			gn_tile_load<DP, BN>(next, keys + gn_rows(j + BN, at.stride), at.stride, T - j - BN, D);
			gn_tile_load<DP, BN>(next + tile, values + gn_rows(j + BN, at.stride), at.stride, T - j - BN,
			                     D);
		}
		gn_cp_async_commit();
#pragma unroll 1
		for (int i = 0; row < Q && i < BN && j + i < T; i += step_rows<DP>)
			query_step_mma<DP, step_rows<DP>>(dq, q, dout_rows,
			                                  tiles + stage * 2 * tile + i * gn_pitch<DP>,
			                                  tiles + (stage * 2 + 1) * tile + i * gn_pitch<DP>, lse2,
			                                  row_delta, T - j - i, scale * GN_LOG2E);
		gn_cp_async_wait<0>();
	}
	__syncthreads(); /* the tiles become room for the results */
	if (row < T)
		gn_mma_store<DP>(dqkv + at.q + gn_rows(row, at.stride), at.stride, T - row, D,
		                 tiles + 16 * gn_warp() * gn_pitch<DP>, dq, scale, scale);
#else
	__trap();
#endif
}

/* ---------------------------------------------------------------- tensor cores: dk, dv ---------------------------- */

/*
 * A warp keeps its keys in registers, and its values too where they fit beside two gradients; else
 * they stay in shared memory, and tiles are shorter.
 */
template <int DP> constexpr bool keep_values = DP == 32 || DP == 80 || DP == 96;
template <int DP> constexpr int key_stream_rows = DP <= 96 ? gn_stream_rows<DP> : 16;

/*
 * dk and dv[16, DP] of one warp's keys += their shares from N queries, whose lse and delta are
 * given. After the last query all of it is 0: then p = 1, and both products are 0.
 */
template <int DP, int N>
__device__ __forceinline__ void key_step_mma(float (&dk)[DP / 8][4], float (&dv)[DP / 8][4],
                                             const uint32_t (&k)[DP / 16][4], const uint32_t (&v)[DP / 16][4],
                                             const gn_bf16 *v_at, const gn_bf16 *q, const gn_bf16 *dout,
                                             const float *lse, const float *delta, float c)
{
	float p[N / 8][4] = {}, ds[N / 8][4] = {};

	gn_mma_scores<DP, N>(p, k, gn_at_columns<DP>(q));
	if constexpr (keep_values<DP>)
		gn_mma_scores<DP, N>(ds, v, gn_at_columns<DP>(dout));
	else
		gn_mma_scores<DP, N>(ds, v_at, gn_at_columns<DP>(dout));
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float2 lse_pair = *(const float2 *)(const void *)(lse + 8 * n + gn_lane() % 4 * 2),
		       delta_pair = *(const float2 *)(const void *)(delta + 8 * n + gn_lane() % 4 * 2);
		float lse2[2] = {GN_LOG2E * lse_pair.x, GN_LOG2E * lse_pair.y},
		      deltas[2] = {delta_pair.x, delta_pair.y};
#pragma unroll
		for (int e = 0; e < 4; e++) {
			p[n][e] = gn_exp2(fmaf(p[n][e], c, -lse2[e % 2]));
			ds[n][e] = p[n][e] * (ds[n][e] - deltas[e % 2]);
		}
	}
	gn_mma_mix<DP, N>(dv, p, gn_at_rows<DP>(dout));
	gn_mma_mix<DP, N>(dk, ds, gn_at_rows<DP>(q));
}

/*
 * Starts copies of the lse and delta of the first `rows` of N queries to to[0 .. N-1] and to[N ..
 * 2N-1]; zeros elsewhere.
 */
template <int N> __device__ __forceinline__ void numbers_load(float *to, const float *lse, const float *delta, int rows)
{
	int i = (int)threadIdx.x % N;
	const float *from = (int)threadIdx.x < N ? lse : delta;
	if ((int)threadIdx.x < 2 * N)
		gn_cp_async_4(to + threadIdx.x, from + i, i < rows ? 4 : 0);
}

template <int DP>
static __global__ void __launch_bounds__(GN_ATTENTION_THREADS, keys_blocks<DP>)
    keys_mma(gn_bf16 *dqkv, const float *delta, const gn_bf16 *dout, const gn_bf16 *qkv, const float *lse, int first,
             int T, int Q, int H, int D, float scale)
{
#if GN_HAS_SM80
	constexpr int BN = key_stream_rows<DP>, tile = BN * gn_pitch<DP>, own = GN_MMA_ROWS * gn_pitch<DP>;
	constexpr int at_values = (keep_values<DP> ? 2 : 4) * tile, all = keep_values<DP> ? 4 * tile : at_values + own;
	static_assert(own <= at_values && 2 * own <= all, 
	              "keys and values to begin with, and two gradients in the end");
	__shared__ uint4 room[all / 8];      /* two stages of queries and output gradients; values */
	__shared__ __align__(16) float numbers[2][2 * BN]; /* their lse and delta */
	gn_bf16 *tiles = (gn_bf16 *)(void *)room;
	struct gn_head_tile at = gn_tile_place(first, T, GN_MMA_ROWS, T, Q, H, D);
	const gn_bf16 *queries = qkv + at.q;
	int row = at.row + 16 * gn_warp();
	float dk[DP / 8][4] = {}, dv[DP / 8][4] = {};
	uint32_t k[DP / 16][4], v[DP / 16][4];

	dout += at.out;
	lse += gn_rows(at.head, Q);
	delta += gn_rows(at.head - first, Q);
	gn_tile_load<DP, GN_MMA_ROWS>(tiles, qkv + at.q + at.out_stride + gn_rows(at.row, at.stride), at.stride,
	                              T - at.row, D);
	gn_tile_load<DP, GN_MMA_ROWS>(tiles + at_values, qkv + at.q + 2 * at.out_stride + gn_rows(at.row, at.stride),
	                              at.stride, T - at.row, D);
	gn_cp_async_commit();
	gn_cp_async_wait<0>();
	__syncthreads();
	gn_fragments<DP>(k, tiles + 16 * gn_warp() * gn_pitch<DP>);
	const gn_bf16 *values = tiles + at_values + 16 * gn_warp() * gn_pitch<DP>;
	if constexpr (keep_values<DP>)
		gn_fragments<DP>(v, values);
	__syncthreads();
	gn_tile_load<DP, BN>(tiles, queries, at.stride, Q, D);
	gn_tile_load<DP, BN>(tiles + tile, dout, at.out_stride, Q, D);
	numbers_load<BN>(numbers[0], lse, delta, Q);
	gn_cp_async_commit();
	gn_cp_async_wait<0>();
	for (int i = 0, stage = 0; i < Q; i += BN, stage ^= 1) {
		__syncthreads(); /* this stage is filled, the other one read */
		if (i + BN < Q) {
			gn_bf16 *next = tiles + (stage ^ 1) * 2 * tile;
			gn_tile_load<DP, BN>(next, queries + gn_rows(i + BN, at.stride), at.stride, Q - i - BN, D);
			gn_tile_load<DP, BN>(next + tile, dout + gn_rows(i + BN, at.out_stride), at.out_stride,
			                     Q - i - BN, D);
			numbers_load<BN>(numbers[stage ^ 1], lse + i + BN, delta + i + BN, Q - i - BN);
		}
		gn_cp_async_commit();
#pragma unroll 1
		for (int r = 0; row < T && r < BN && i + r < Q; r += step_rows<DP>)
			key_step_mma<DP, step_rows<DP>>(
			    dk, dv, k, v, gn_at_rows<DP>(values), tiles + stage * 2 * tile + r * gn_pitch<DP>,
			    tiles + (stage * 2 + 1) * tile + r * gn_pitch<DP>, numbers[stage] + r,
			    numbers[stage] + BN + r, scale * GN_LOG2E);
		gn_cp_async_wait<0>();
	}
	__syncthreads(); /* the tiles become room for the results */
	if (row >= T)
		return;
	gn_bf16 *rows = tiles + 32 * gn_warp() * gn_pitch<DP>;
	gn_mma_store<DP>(dqkv + at.q + at.out_stride + gn_rows(row, at.stride), at.stride, T - row, D, rows, dk,
	                 scale, scale);
	gn_mma_store<DP>(dqkv + at.q + 2 * at.out_stride + gn_rows(row, at.stride), at.stride, T - row, D,
	                 rows + 16 * gn_pitch<DP>, dv, 1.0F, 1.0F);
#else
	__trap();
#endif
}

/* ---------------------------------------------------------------- float32 ----------------------------------------- */

/* Rows of a tile: four tiles stay under 48 KiB. */
template <int DP> constexpr int plain_rows = DP <= 64 ? 32 : 16;

template <typename act, int DP>
static __global__ void __launch_bounds__(GN_ATTENTION_THREADS, 1)
    queries_plain(act *dqkv, float *delta, const act *dout, const act *qkv, const act *out, const float *lse, int first,
                  int T, int Q, int H, int D, float scale)
{
	constexpr int R = plain_rows<DP>, size = R * gn_plain_pitch<DP>;
	__shared__ __align__(16) float q[size], douts[size], k[size], v[size], weights[R * gn_weights_pitch<R>];
	__shared__ float deltas[R];
	struct gn_head_tile at = gn_tile_place(first, T, R, T, Q, H, D);
	ptrdiff_t number = gn_rows(at.head - first, Q), out_row = at.out + gn_rows(at.row, at.out_stride);
	int last = at.row < Q ? T : 0; /* tiles behind the queries get zeros */
	float dq[R / 16][DP / 32][4] = {}, s[R / 16][R / 8], ds[R / 16][R / 8], lse2[R / 16], factor[R / 16];

	if (last) {
		gn_plain_load<act, DP, R>(q, qkv + at.q + gn_rows(at.row, at.stride), at.stride, Q - at.row, D);
		gn_plain_load<act, DP, R>(douts, dout + out_row, at.out_stride, Q - at.row, D);
		row_deltas<act, R, 1>(deltas, delta + number + at.row, dout + out_row, out + out_row, at.out_stride,
		                   Q - at.row, D);
	}
#pragma unroll
	for (int i = 0; i < R / 16; i++) {
		int r = at.row + gn_plain_y() + 16 * i;
		lse2[i] = r < Q ? lse[gn_rows(at.head, Q) + r] * GN_LOG2E : INFINITY;
		factor[i] = scale;
	}
	for (int j = 0; j < last; j += R) {
		__syncthreads();
		gn_plain_load<act, DP, R>(k, qkv + at.q + at.out_stride + gn_rows(j, at.stride), at.stride, T - j, D);
		gn_plain_load<act, DP, R>(v, qkv + at.q + 2 * at.out_stride + gn_rows(j, at.stride), at.stride, T - j,
		                          D);
		__syncthreads();
		gn_plain_scores<DP, R>(s, q, k);
		gn_plain_scores<DP, R>(ds, douts, v);
#pragma unroll
		for (int i = 0; i < R / 16; i++)
#pragma unroll
			for (int n = 0; n < R / 8; n++) {
				bool there = j + gn_plain_x() + 8 * n < T;
				float p = there ? exp2f(fmaf(s[i][n], scale * GN_LOG2E, -lse2[i])) : 0.0F;
				ds[i][n] = p * (ds[i][n] - deltas[gn_plain_y() + 16 * i]);
			}
		gn_plain_put<R>(weights, ds);
		__syncwarp();
		gn_plain_mix<DP, R>(dq, weights, k);
	}
	gn_plain_store<act, DP, R>(dqkv + at.q + gn_rows(at.row, at.stride), at.stride, T - at.row, D, dq, factor);
}

template <typename act, int DP>
static __global__ void __launch_bounds__(GN_ATTENTION_THREADS, 1)
    keys_plain(act *dqkv, const float *delta, const act *dout, const act *qkv, const float *lse, int first, int T,
               int Q, int H, int D, float scale)
{
	constexpr int R = plain_rows<DP>, size = R * gn_plain_pitch<DP>;
	__shared__ __align__(16) float k[size], v[size], q[size], douts[size], weights[R * gn_weights_pitch<R>];
	__shared__ float numbers[2 * R]; /* lse and delta of the tile's queries; 0 behind the last one, as their rows */
	struct gn_head_tile at = gn_tile_place(first, T, R, T, Q, H, D);
	float dk[R / 16][DP / 32][4] = {}, dv[R / 16][DP / 32][4] = {}, p[R / 16][R / 8], ds[R / 16][R / 8];
	float one[R / 16], scales[R / 16];

#pragma unroll
	for (int i = 0; i < R / 16; i++) {
		one[i] = 1;
		scales[i] = scale;
	}
	dout += at.out;
	const float *from = (int)threadIdx.x < R ? lse + gn_rows(at.head, Q) : delta + gn_rows(at.head - first, Q);
	int query = (int)threadIdx.x % R;
	gn_plain_load<act, DP, R>(k, qkv + at.q + at.out_stride + gn_rows(at.row, at.stride), at.stride, T - at.row, D);
	gn_plain_load<act, DP, R>(v, qkv + at.q + 2 * at.out_stride + gn_rows(at.row, at.stride), at.stride, T - at.row,
	                          D);
	for (int i0 = 0; i0 < Q; i0 += R) {
		__syncthreads();
		gn_plain_load<act, DP, R>(q, qkv + at.q + gn_rows(i0, at.stride), at.stride, Q - i0, D);
		gn_plain_load<act, DP, R>(douts, dout + gn_rows(i0, at.out_stride), at.out_stride, Q - i0, D);
		if ((int)threadIdx.x < 2 * R)
			numbers[threadIdx.x] = i0 + query < Q ? from[i0 + query] : 0.0F;
		__syncthreads();
		gn_plain_scores<DP, R>(p, k, q);
		gn_plain_scores<DP, R>(ds, v, douts);
#pragma unroll
		for (int i = 0; i < R / 16; i++)
#pragma unroll
			for (int n = 0; n < R / 8; n++) {
				const float *number = numbers + gn_plain_x() + 8 * n;
				p[i][n] = exp2f(fmaf(p[i][n], scale * GN_LOG2E, -GN_LOG2E * number[0]));
				ds[i][n] = p[i][n] * (ds[i][n] - number[R]);
			}
		gn_plain_put<R>(weights, p);
		__syncwarp();
		gn_plain_mix<DP, R>(dv, weights, douts);
		__syncwarp();
		gn_plain_put<R>(weights, ds);
		__syncwarp();
		gn_plain_mix<DP, R>(dk, weights, q);
	}
	gn_plain_store<act, DP, R>(dqkv + at.q + at.out_stride + gn_rows(at.row, at.stride), at.stride, T - at.row, D,
	                           dk, scales);
	gn_plain_store<act, DP, R>(dqkv + at.q + 2 * at.out_stride + gn_rows(at.row, at.stride), at.stride, T - at.row,
	                           D, dv, one);
}

/* ---------------------------------------------------------------- the slot ---------------------------------------- */

/* What a pair of launches gets; delta[heads, Q] is scratch memory. */
template <typename act> struct backward {
	act *dqkv;
	const act *dout, *qkv, *out;
	const float *lse;
	float *delta, scale;
	int T, Q, H, D;
};

template <int DP> static void run_mma(struct gn_ctx *ctx, const struct backward<gn_bf16> *w, int first, int heads)
{
	unsigned grid = gn_head_grid(heads, w->T, GN_MMA_ROWS);
	GN_RUN(ctx, queries_mma<DP>, grid, GN_ATTENTION_THREADS, 0, w->dqkv, w->delta, w->dout, w->qkv, w->out, w->lse,
	       first, w->T, w->Q, w->H, w->D, w->scale);
	GN_RUN(ctx, keys_mma<DP>, grid, GN_ATTENTION_THREADS, 0, w->dqkv, w->delta, w->dout, w->qkv, w->lse, first,
	       w->T, w->Q, w->H, w->D, w->scale);
}

template <typename act, int DP>
static void run_plain(struct gn_ctx *ctx, const struct backward<act> *w, int first, int heads)
{
	unsigned grid = gn_head_grid(heads, w->T, plain_rows<DP>);
	GN_RUN(ctx, (queries_plain<act, DP>), grid, GN_ATTENTION_THREADS, 0, w->dqkv, w->delta, w->dout, w->qkv, w->out,
	       w->lse, first, w->T, w->Q, w->H, w->D, w->scale);
	GN_RUN(ctx, (keys_plain<act, DP>), grid, GN_ATTENTION_THREADS, 0, w->dqkv, w->delta, w->dout, w->qkv, w->lse,
	       first, w->T, w->Q, w->H, w->D, w->scale);
}

template <typename act> static void run_heads(struct gn_ctx *ctx, const struct backward<act> *w, int first, int heads)
{
	if constexpr (sizeof(act) == 2)
		if (gn_mma_takes(ctx, w->D)) {
			if (w->D <= 32)
				run_mma<32>(ctx, w, first, heads);
			else if (w->D <= 64)
				run_mma<64>(ctx, w, first, heads);
			else if (w->D <= 80)
				run_mma<80>(ctx, w, first, heads);
			else if (w->D <= 96)
				run_mma<96>(ctx, w, first, heads);
			else
				run_mma<128>(ctx, w, first, heads);
			return;
		}
	if (w->D <= 32)
		run_plain<act, 32>(ctx, w, first, heads);
	else if (w->D <= 64)
		run_plain<act, 64>(ctx, w, first, heads);
	else if (w->D <= 96)
		run_plain<act, 96>(ctx, w, first, heads);
	else
		run_plain<act, 128>(ctx, w, first, heads);
}

template <typename act>
void gn_cuda_attention_backward(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
                                const gn_act *out, const float *lse, int B, int T, int Q, int H, int D)
{
	struct backward<act> w = {
		(act *)dqkv, (const act *)dout, (const act *)qkv, (const act *)out, lse,
		    (float *)ctx->scratch[GN_SCRATCH_PARTIAL], (float)(1.0 / sqrt((double)D)), T, Q, H, D
	};
	size_t fit = ctx->scratch_bytes[GN_SCRATCH_PARTIAL] / ((size_t)Q * sizeof(float));
	int step = fit < (size_t)B * (size_t)H ? (int)fit : B * H;
	gn_assert(D <= GN_ATTENTION_MAX_HEAD && step > 0);
	for (int first = 0; first < B * H; first += step)
		run_heads(ctx, &w, first, B * H - first < step ? B * H - first : step);
}

template void gn_cuda_attention_backward<float>(struct gn_ctx *, gn_act *, const gn_act *, const gn_act *,
                                                const gn_act *, const float *, int, int, int, int, int);
template void gn_cuda_attention_backward<__nv_bfloat16>(struct gn_ctx *, gn_act *, const gn_act *, const gn_act *,
                                                        const gn_act *, const float *, int, int, int, int, int);
