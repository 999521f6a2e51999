/*
 * What all attention kernels share: threads, the place of a block's tile, and whole rows in global
 * memory.
 */
#ifndef GN_CUDA_ATTENTION_CUH
#define GN_CUDA_ATTENTION_CUH

#include "backend/cuda/cuda.h"
#include "backend/cuda/vec.cuh"

#define GN_ATTENTION_THREADS  128
#define GN_ATTENTION_MAX_HEAD 128

/*
 * Where a block works: a tile of rows of one head of one image. Blocks of one head stand next to
 * each other in the grid, so that they find its keys and values in the L2 cache.
 */
struct gn_head_tile {
	int head;       /* b * H + h */
	int row;        /* first token of the tile */
	int stride;     /* elements from row to row in qkv [B,T,3,H,D] */
	int out_stride; /* in out or dout [B,Q,H,D]; from a row's q to its k, and from k to v, in qkv */
	ptrdiff_t q;    /* offset of the head's first row in qkv */
	ptrdiff_t out;  /* in out or dout */
};

/* The grid is (heads from `first` on) x (tiles of `rows` of `length` tokens). */
__device__ static inline struct gn_head_tile gn_tile_place(int first, int length, int rows, int T, int Q, int H, int D)
{
	unsigned tiles = (unsigned)(length + rows - 1) / (unsigned)rows;
	struct gn_head_tile t;

	t.head = first + (int)(blockIdx.x / tiles);
	t.row = (int)(blockIdx.x % tiles) * rows;
	t.out_stride = H * D;
	t.stride = 3 * t.out_stride;
	t.q = (ptrdiff_t)(t.head / H) * T * t.stride + t.head % H * D;
	t.out = (ptrdiff_t)(t.head / H) * Q * t.out_stride + t.head % H * D;
	return t;
}

/* Where row r starts, counted from row 0. */
__device__ __forceinline__ ptrdiff_t gn_rows(int r, int stride)
{
	return (ptrdiff_t)r * stride;
}

/* Grid for `heads` heads: at most 2^31 - 1 blocks. */
static inline unsigned gn_head_grid(int heads, int length, int rows)
{
	return (unsigned)heads * (unsigned)((length + rows - 1) / rows);
}

/* Sum and maximum over the N neighbouring lanes (a power of two) that this lane belongs to. */
template <int N> __device__ __forceinline__ float gn_lanes_sum(float x)
{
#pragma unroll
	for (int step = N / 2; step > 0; step /= 2)
		x += __shfl_xor_sync(0xffffffffU, x, step);
	return x;
}

template <int N> __device__ __forceinline__ float gn_lanes_max(float x)
{
#pragma unroll
	for (int step = N / 2; step > 0; step /= 2)
		x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, step));
	return x;
}

#endif
