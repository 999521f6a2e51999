/*
 * A soup's sums in float64, value by value. Each product, sum and quotient is rounded by itself, so
 * that the bits are a CPU's: nvcc would contract weight * x + sum to one rounding. A soup waits for
 * the bus, over which a model's 4 bytes a value come; on the device an addition moves 20 bytes a
 * value (12 the first), the mean 12.
 */
#include "backend/cuda/vec.cuh"

#define THREADS 256

/* s[n] = the n sums at p; with n even, p is 16-byte aligned. */
template <int n> __device__ __forceinline__ void load_sums(double (&s)[n], const double *p)
{
	if constexpr (n % 2 == 0) {
#pragma unroll
		for (int i = 0; i < n; i += 2) {
			double2 d = *(const double2 *)(const void *)(p + i);
			s[i] = d.x;
			s[i + 1] = d.y;
		}
	} else {
#pragma unroll
		for (int i = 0; i < n; i++)
			s[i] = p[i];
	}
}

template <int n> __device__ __forceinline__ void store_sums(double *p, const double (&s)[n])
{
	if constexpr (n % 2 == 0) {
#pragma unroll
		for (int i = 0; i < n; i += 2)
			*(double2 *)(void *)(p + i) = make_double2(s[i], s[i + 1]);
	} else {
#pragma unroll
		for (int i = 0; i < n; i++)
			p[i] = s[i];
	}
}

/* count is a multiple of n. */
template <int n, bool first>
static __global__ void __launch_bounds__(THREADS) add_kernel(double *sum, const float *x, double weight, size_t count)
{
	size_t stride = (size_t)gridDim.x * THREADS * n;

	for (size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * n; at < count; at += stride) {
		float v[n];
		double s[n];

		gn_load(v, x + at);
		if (!first)
			load_sums(s, sum + at);
#pragma unroll
		for (int i = 0; i < n; i++) {
			double term = __dmul_rn(weight, (double)v[i]);
			s[i] = first ? term : __dadd_rn(s[i], term);
		}
		store_sums(sum + at, s);
	}
}

template <int n>
static __global__ void __launch_bounds__(THREADS) mean_kernel(float *out, const double *sum, double total, size_t count)
{
	size_t stride = (size_t)gridDim.x * THREADS * n;

	for (size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * n; at < count; at += stride) {
		double s[n];
		float v[n];

		load_sums(s, sum + at);
#pragma unroll
		for (int i = 0; i < n; i++)
			v[i] = (float)__ddiv_rn(s[i], total);
		gn_store(out + at, v);
	}
}

/* How many of n values, from the first on, can go in accesses of 16 bytes. */
static size_t wide_part(const double *sum, const float *values, size_t n)
{
	return gn_aligned16(sum) && gn_aligned16(values) ? n / 4 * 4 : 0;
}

template <bool first> static void add(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n)
{
	size_t wide = wide_part(sum, x, n);

	if (wide)
		GN_RUN(ctx, (add_kernel<4, first>), gn_blocks(wide, THREADS * 4, 65535), THREADS, 0, sum, x, weight,
		       wide);
	if (wide < n)
		GN_RUN(ctx, (add_kernel<1, first>), gn_blocks(n - wide, THREADS, 65535), THREADS, 0, sum + wide,
		       x + wide, weight, n - wide);
}

void gn_cuda_soup_add(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n, bool first)
{
	if (first)
		add<true>(ctx, sum, x, weight, n);
	else
		add<false>(ctx, sum, x, weight, n);
}

void gn_cuda_soup_mean(struct gn_ctx *ctx, float *out, const double *sum, double total, size_t n)
{
	size_t wide = wide_part(sum, out, n);

	if (wide)
		GN_RUN(ctx, mean_kernel<4>, gn_blocks(wide, THREADS * 4, 65535), THREADS, 0, out, sum, total, wide);
	if (wide < n)
		GN_RUN(ctx, mean_kernel<1>, gn_blocks(n - wide, THREADS, 65535), THREADS, 0, out + wide, sum + wide,
		       total, n - wide);
}
