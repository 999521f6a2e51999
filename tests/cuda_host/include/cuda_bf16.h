/* The stand-in for cuda_bf16.h: bfloat16 with the hardware's rounding (to nearest, ties to even;
 * NaN becomes 0x7fff). */
#ifndef GN_HOST_CUDA_BF16_H
#define GN_HOST_CUDA_BF16_H

#include <cstdint>
#include <cstring>

#include "vector_types.h"

static inline uint16_t gn_host_bf16_round(float value)
{
	uint32_t bits;

	std::memcpy(&bits, &value, sizeof bits);
	if ((bits & 0x7fffffffU) > 0x7f800000U)
		return 0x7fff;
	return (uint16_t)((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

static inline float gn_host_bf16_widen(uint16_t half)
{
	const uint32_t bits = (uint32_t)half << 16;
	float value;

	std::memcpy(&value, &bits, sizeof value);
	return value;
}

struct __nv_bfloat16_raw {
	unsigned short x;
};

/*
 * No constructors, unlike CUDA's: with them a static array of it, which is what __shared__ becomes,
 * would be initialised at run time. The raw member keeps numbers from becoming bits by accident.
 */
struct __nv_bfloat16 {
	__nv_bfloat16_raw raw;

	operator float() const
	{
		return gn_host_bf16_widen(raw.x);
	}
};

struct alignas(4) __nv_bfloat162 {
	__nv_bfloat16 x, y;
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline float __bfloat162float(__nv_bfloat16 value)
{
	return gn_host_bf16_widen(value.raw.x);
}
static inline __nv_bfloat16 __float2bfloat16(float value)
{
	return __nv_bfloat16{{gn_host_bf16_round(value)}};
}
static inline __nv_bfloat16 __float2bfloat16_rn(float value)
{
	return __nv_bfloat16{{gn_host_bf16_round(value)}};
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high)
{
	return __nv_bfloat162{__float2bfloat16(low), __float2bfloat16(high)};
}
static inline __nv_bfloat162 __float22bfloat162_rn(float2 pair)
{
	return __floats2bfloat162_rn(pair.x, pair.y);
}
static inline float2 __bfloat1622float2(__nv_bfloat162 pair)
{
	return make_float2(__bfloat162float(pair.x), __bfloat162float(pair.y));
}
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high)
{
	return __nv_bfloat162{low, high};
}
static inline __nv_bfloat162 __float2bfloat162_rn(float value)
{
	return __floats2bfloat162_rn(value, value);
}
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 pair)
{
	return pair.x;
}
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 pair)
{
	return pair.y;
}
static inline float __low2float(__nv_bfloat162 pair)
{
	return __bfloat162float(pair.x);
}
static inline float __high2float(__nv_bfloat162 pair)
{
	return __bfloat162float(pair.y);
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value)
{
	return value.raw.x;
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
	return __nv_bfloat16{{bits}};
}

#endif
