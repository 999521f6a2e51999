/*
 * Sums in float64 for the angles, in a fixed order: blocks by the size alone, BLOCKS at most, each
 * thread four neighbours at a time and every so many of them, a tree over the block's threads, then
 * the blocks in order. Bound by bytes (8 an element) where float64 runs at half or a third of
 * float32's rate, by operations on consumer GPUs, where it runs at a sixty-fourth.
 */
#include "backend/cuda/vec.cuh"

#define BLOCKS  512
#define THREADS 256

struct pair {
	const float *a, *b;
	size_t n;
	double scale_a, scale_b;
	bool difference;
};

__device__ __forceinline__ void add_pair(double *first, double *second, const struct pair *p, float x, float y)
{
	double u = (double)x * p->scale_a, v = (double)y * p->scale_b, low = p->difference ? u - v : u,
	       high = p->difference ? u + v : v;
	*first += low * low;
	*second += high * high;
}

/*
 * partial[block][2]; wide: both addresses are multiples of 16. The order of additions is the same
 * either way.
 */
template <bool wide> static __global__ void __launch_bounds__(THREADS) pair_kernel(double *partial, struct pair p)
{
	__shared__ double warps[2][THREADS / 32];
	double first = 0, second = 0;
	size_t stride = (size_t)gridDim.x * THREADS * 4;

	for (size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * 4; at < p.n; at += stride) {
		float a[4] = {}, b[4] = {};
		int count = p.n - at < 4 ? (int)(p.n - at) : 4;

		if (wide && count == 4) {
			gn_load(a, p.a + at);
			gn_load(b, p.b + at);
		} else {
			for (int i = 0; i < count; i++) {
				a[i] = p.a[at + i];
				b[i] = p.b[at + i];
			}
		}
#pragma unroll
		for (int i = 0; i < 4; i++) /* what is past the end adds 0 */
			add_pair(&first, &second, &p, a[i], b[i]);
	}
	first = gn_warp_sum(first);
	second = gn_warp_sum(second);
	if (threadIdx.x % 32 == 0) {
		warps[0][threadIdx.x / 32] = first;
		warps[1][threadIdx.x / 32] = second;
	}
	__syncthreads();
	if (threadIdx.x > 1)
		return;
	double sum = 0;
	for (int i = 0; i < THREADS / 32; i++)
		sum += warps[threadIdx.x][i];
	partial[blockIdx.x * 2 + threadIdx.x] = sum;
}

/*
 * sums[2] = the blocks' sums, in order: a warp each, so that the loads do not wait for one another.
 */
static __global__ void __launch_bounds__(64) finish_kernel(double *sums, const double *partial, int blocks)
{
	int which = (int)threadIdx.x / 32;
	double sum = 0;

	for (int i = (int)threadIdx.x % 32; i < blocks; i += 32)
		sum += partial[i * 2 + which];
	sum = gn_warp_sum(sum);
	if (threadIdx.x % 32 == 0)
		sums[which] = sum;
}

void gn_cuda_pair_sums(struct gn_ctx *ctx, double *sums, const float *a, const float *b, size_t n, double scale_a,
                       double scale_b, bool difference)
{
	double *partial = (double *)ctx->scratch[GN_SCRATCH_PARTIAL], *result = partial + 2 * BLOCKS;
	struct pair p = {a, b, n, scale_a, scale_b, difference};
	unsigned blocks = gn_blocks(n, (size_t)THREADS * 4, BLOCKS);

	if (gn_aligned16(a) && gn_aligned16(b))
		GN_RUN(ctx, pair_kernel<true>, blocks, THREADS, 0, partial, p);
	else
		GN_RUN(ctx, pair_kernel<false>, blocks, THREADS, 0, partial, p);
	GN_RUN(ctx, finish_kernel, 1, 64, 0, result, partial, (int)blocks);
	gn_cuda_download(ctx, sums, result, 2 * sizeof *sums);
}
