/*
 * Attention without tensor cores, in float32: for fp32 and tf32, and for bfloat16 on devices older
 * than sm_80.
 *
 * Tiles of R rows, widened to float32, lie in shared memory. A thread works on rows y, y + 16, ...
 * where y = thread / 8, so that the 8 threads of a row are neighbouring lanes; of a tile's R
 * columns it has x, x + 8, ... where x = thread % 8, of a row's DP elements the fours that start at
 * 4x, 4x + 32, ... Rows are DP + 4 floats long, which puts the 8 rows that 8 lanes read into
 * different banks.
 */
#ifndef GN_CUDA_ATTENTION_PLAIN_CUH
#define GN_CUDA_ATTENTION_PLAIN_CUH

#include "backend/cuda/attention.cuh"

template <int DP> constexpr int gn_plain_pitch = DP + 4;
template <int R> constexpr int gn_weights_pitch = R + 4;

__device__ __forceinline__ int gn_plain_y(void)
{
	return (int)threadIdx.x / 8;
}

__device__ __forceinline__ int gn_plain_x(void)
{
	return (int)threadIdx.x % 8;
}

/*
 * tile[R][pitch] = the first `rows` rows at `from`, D of each; zeros elsewhere. The whole block
 * together; a barrier must follow.
 */
template <typename act, int DP, int R>
__device__ static inline void gn_plain_load(float *tile, const act *from, int stride, int rows, int D)
{
	constexpr int n = gn_per16<act>, pieces = DP / n;
	if (D % n == 0) { /* then every row is 16-byte aligned */
		for (int i = (int)threadIdx.x; i < R * pieces; i += GN_ATTENTION_THREADS) {
			int r = i / pieces, d = i % pieces * n;
			float v[n] = {};
			if (r < rows && d < D)
				gn_load<n>(v, from + gn_rows(r, stride) + d);
			gn_store<n>(tile + r * gn_plain_pitch<DP> + d, v);
		}
	} else {
		for (int i = (int)threadIdx.x; i < R * DP; i += GN_ATTENTION_THREADS) {
			int r = i / DP, d = i % DP;
			tile[r * gn_plain_pitch<DP> + d] =
			    r < rows && d < D ? gn_to_float(from[gn_rows(r, stride) + d]) : 0.0F;
		}
	}
}

/* s = a b^T of two tiles, this thread's rows and columns. */
template <int DP, int R>
__device__ __forceinline__ void gn_plain_scores(float (&s)[R / 16][R / 8], const float *a, const float *b)
{
	a += gn_plain_y() * gn_plain_pitch<DP>;
	b += gn_plain_x() * gn_plain_pitch<DP>;
#pragma unroll
	for (int i = 0; i < R / 16; i++)
#pragma unroll
		for (int j = 0; j < R / 8; j++)
			s[i][j] = 0;
#pragma unroll 2
	for (int d = 0; d < DP; d += 4) {
		float u[R / 16][4];
#pragma unroll
		for (int i = 0; i < R / 16; i++)
			gn_load<4>(u[i], a + 16 * i * gn_plain_pitch<DP> + d);
#pragma unroll
		for (int j = 0; j < R / 8; j++) {
			float w[4];
			gn_load<4>(w, b + 8 * j * gn_plain_pitch<DP> + d);
#pragma unroll
			for (int i = 0; i < R / 16; i++)
#pragma unroll
				for (int e = 0; e < 4; e++)
					s[i][j] += u[i][e] * w[e];
		}
	}
}

/*
 * weights[R][pitch] = s. Each row is written and read by the same 8 lanes: __syncwarp is enough
 * between.
 */
template <int R> __device__ __forceinline__ void gn_plain_put(float *weights, const float (&s)[R / 16][R / 8])
{
	weights += gn_plain_y() * gn_weights_pitch<R> + gn_plain_x();
#pragma unroll
	for (int i = 0; i < R / 16; i++)
#pragma unroll
		for (int j = 0; j < R / 8; j++)
			weights[16 * i * gn_weights_pitch<R> + 8 * j] = s[i][j];
}

/* c += weights[R][R] tile[R][DP], this thread's rows and fours. */
template <int DP, int R>
__device__ __forceinline__ void gn_plain_mix(float (&c)[R / 16][DP / 32][4], const float *weights, const float *tile)
{
	weights += gn_plain_y() * gn_weights_pitch<R>;
	tile += gn_plain_x() * 4;
#pragma unroll 2
	for (int j = 0; j < R; j += 4) {
		float w[R / 16][4];
#pragma unroll
		for (int i = 0; i < R / 16; i++)
			gn_load<4>(w[i], weights + 16 * i * gn_weights_pitch<R> + j);
#pragma unroll
		for (int jj = 0; jj < 4; jj++)
#pragma unroll
			for (int n = 0; n < DP / 32; n++) {
				float v[4];
				gn_load<4>(v, tile + (j + jj) * gn_plain_pitch<DP> + 32 * n);
#pragma unroll
				for (int i = 0; i < R / 16; i++)
#pragma unroll
					for (int e = 0; e < 4; e++)
						c[i][n][e] += w[i][jj] * v[e];
			}
	}
}

/* The first `rows` of R rows at `to` = c, row y + 16 i times factor[i]. */
template <typename act, int DP, int R>
__device__ static inline void gn_plain_store(act *to, int stride, int rows, int D, const float (&c)[R / 16][DP / 32][4],
                                             const float (&factor)[R / 16])
{
#pragma unroll
	for (int i = 0; i < R / 16; i++) {
		int r = gn_plain_y() + 16 * i;
#pragma unroll
		for (int n = 0; n < DP / 32; n++) {
			int d = gn_plain_x() * 4 + 32 * n;
			act *at = to + gn_rows(r, stride) + d;
			float v[4];
#pragma unroll
			for (int e = 0; e < 4; e++)
				v[e] = c[i][n][e] * factor[i];
			if (r < rows && d + 4 <= D && D % 4 == 0)
				gn_store<4>(at, v);
			else if (r < rows)
#pragma unroll
				for (int e = 0; e < 4; e++)
					if (d + e < D)
						at[e] = gn_from_float<act>(v[e]);
		}
	}
}

#endif
