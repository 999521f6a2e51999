/*
 * Loads and stores of several neighbouring elements as float32, in accesses of 16 bytes: 8 of bf16
 * or 4 of float. The address must be aligned to the access; with n = 1 any address does. Kernels
 * take n as a template parameter, and whoever launches them looks at pointers and widths.
 */
#ifndef GN_CUDA_VEC_CUH
#define GN_CUDA_VEC_CUH

#include "backend/cuda/cuda.h"

/* Elements of 16 bytes. */
template <typename T> constexpr int gn_per16 = (int)(16 / sizeof(T));

__device__ __forceinline__ float gn_to_float(float x)
{
	return x;
}

__device__ __forceinline__ float gn_to_float(__nv_bfloat16 x)
{
	return __bfloat162float(x);
}

template <typename T> __device__ __forceinline__ T gn_from_float(float x)
{
	if constexpr (sizeof(T) == 2)
		return __float2bfloat16_rn(x);
	else
		return x;
}

/*
 * p, known to point to global memory: of a pointer that was itself loaded the compiler cannot tell,
 * and takes slower instructions.
 */
template <typename T> __device__ __forceinline__ T *gn_global(T *p)
{
#ifdef __NVCC__
	__builtin_assume(__isGlobal(p));
#endif
	return p;
}

/* v[n] = the n elements at p. */
template <int n> __device__ __forceinline__ void gn_load(float (&v)[n], const float *p)
{
	if constexpr (n % 4 == 0) {
#pragma unroll
		for (int i = 0; i < n; i += 4) {
			float4 f = *(const float4 *)(const void *)(p + i);
			v[i] = f.x;
			v[i + 1] = f.y;
			v[i + 2] = f.z;
			v[i + 3] = f.w;
		}
	} else {
#pragma unroll
		for (int i = 0; i < n; i++)
			v[i] = p[i];
	}
}

/* Two bf16 in one word, the first in its low half: widening is a shift. */
__device__ __forceinline__ void gn_widen2(float *v, unsigned pair)
{
	v[0] = __uint_as_float(pair << 16);
	v[1] = __uint_as_float(pair & 0xffff0000U);
}

__device__ __forceinline__ unsigned gn_narrow2(float low, float high)
{
	return (unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(low)) |
	       (unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(high)) << 16;
}

/* v = the elements in 16 bytes as they lie. */
__device__ __forceinline__ void gn_unpack(float (&v)[8], uint4 raw)
{
	gn_widen2(v, raw.x);
	gn_widen2(v + 2, raw.y);
	gn_widen2(v + 4, raw.z);
	gn_widen2(v + 6, raw.w);
}

__device__ __forceinline__ void gn_unpack(float (&v)[4], uint4 raw)
{
	v[0] = __uint_as_float(raw.x);
	v[1] = __uint_as_float(raw.y);
	v[2] = __uint_as_float(raw.z);
	v[3] = __uint_as_float(raw.w);
}

template <int n> __device__ __forceinline__ void gn_load(float (&v)[n], const __nv_bfloat16 *p)
{
	static_assert(n <= 8, "one access at most");
	if constexpr (n == 8) {
		gn_unpack(v, *(const uint4 *)(const void *)p);
	} else if constexpr (n == 4) {
		uint2 u = *(const uint2 *)(const void *)p;
		gn_widen2(v, u.x);
		gn_widen2(v + 2, u.y);
	} else {
#pragma unroll
		for (int i = 0; i < n; i++)
			v[i] = gn_to_float(p[i]);
	}
}

/* The n elements at p = v[n], rounded to nearest even. */
template <int n> __device__ __forceinline__ void gn_store(float *p, const float (&v)[n])
{
	if constexpr (n % 4 == 0) {
#pragma unroll
		for (int i = 0; i < n; i += 4)
			*(float4 *)(void *)(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
	} else {
#pragma unroll
		for (int i = 0; i < n; i++)
			p[i] = v[i];
	}
}

template <int n> __device__ __forceinline__ void gn_store(__nv_bfloat16 *p, const float (&v)[n])
{
	static_assert(n <= 8, "one access at most");
	if constexpr (n == 8) {
		*(uint4 *)(void *)p = make_uint4(gn_narrow2(v[0], v[1]), gn_narrow2(v[2], v[3]), gn_narrow2(v[4], v[5]),
		                                 gn_narrow2(v[6], v[7]));
	} else if constexpr (n == 4) {
		*(uint2 *)(void *)p = make_uint2(gn_narrow2(v[0], v[1]), gn_narrow2(v[2], v[3]));
	} else {
#pragma unroll
		for (int i = 0; i < n; i++)
			p[i] = gn_from_float<__nv_bfloat16>(v[i]);
	}
}

/* ---------------------------------------------------------------- sums over a warp ------------------------------- */

/* Every lane gets the sum over the warp; in a butterfly, so that all lanes have the same bits. */
__device__ __forceinline__ float gn_warp_sum(float x)
{
#pragma unroll
	for (int step = 16; step > 0; step /= 2)
		x += __shfl_xor_sync(0xffffffffU, x, step);
	return x;
}

__device__ __forceinline__ double gn_warp_sum(double x)
{
#pragma unroll
	for (int step = 16; step > 0; step /= 2)
		x += __shfl_xor_sync(0xffffffffU, x, step);
	return x;
}

__device__ __forceinline__ float gn_warp_max(float x)
{
#pragma unroll
	for (int step = 16; step > 0; step /= 2)
		x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, step));
	return x;
}

#endif
