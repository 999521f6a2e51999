/*
 * CUDA's device math on the host's library. The fast forms (__expf and its like) are the exact ones
 * here: a kernel's tolerance has to allow for the 2 or 3 units in the last place that the
 * hardware's may be off.
 */
#ifndef GN_HOST_MATH_H
#define GN_HOST_MATH_H

#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstring>

using std::isfinite;
using std::isinf;
using std::isnan;

static inline int min(int a, int b)
{
	return a < b ? a : b;
}
static inline unsigned int min(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}
static inline long long min(long long a, long long b)
{
	return a < b ? a : b;
}
static inline unsigned long long min(unsigned long long a, unsigned long long b)
{
	return a < b ? a : b;
}
static inline long min(long a, long b)
{
	return a < b ? a : b;
}
static inline unsigned long min(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}
static inline float min(float a, float b)
{
	return fminf(a, b);
}
static inline double min(double a, double b)
{
	return fmin(a, b);
}
static inline int max(int a, int b)
{
	return a > b ? a : b;
}
static inline unsigned int max(unsigned int a, unsigned int b)
{
	return a > b ? a : b;
}
static inline long long max(long long a, long long b)
{
	return a > b ? a : b;
}
static inline unsigned long long max(unsigned long long a, unsigned long long b)
{
	return a > b ? a : b;
}
static inline long max(long a, long b)
{
	return a > b ? a : b;
}
static inline unsigned long max(unsigned long a, unsigned long b)
{
	return a > b ? a : b;
}
static inline float max(float a, float b)
{
	return fmaxf(a, b);
}
static inline double max(double a, double b)
{
	return fmax(a, b);
}

static inline float rsqrtf(float x)
{
	return (float)(1.0 / sqrt((double)x));
}
static inline double rsqrt(double x)
{
	return 1.0 / sqrt(x);
}
static inline float normcdff(float x)
{
	return (float)(0.5 * erfc((double)x * -0.70710678118654752440));
}
/* Macros, because glibc declares functions of these names. */
#define __expf(x)  expf(x)
#define __logf(x)  logf(x)
#define __log2f(x) log2f(x)

static inline float __fdividef(float a, float b)
{
	return a / b;
}
static inline float __frcp_rn(float x)
{
	return 1.0F / x;
}
static inline float __fsqrt_rn(float x)
{
	return sqrtf(x);
}
static inline float __frsqrt_rn(float x)
{
	return rsqrtf(x);
}
static inline float __fdiv_rn(float a, float b)
{
	return a / b;
}
static inline float __fadd_rn(float a, float b)
{
	return a + b;
}
static inline float __fsub_rn(float a, float b)
{
	return a - b;
}
static inline float __fmul_rn(float a, float b)
{
	return a * b;
}
static inline float __fmaf_rn(float a, float b, float c)
{
	return fmaf(a, b, c);
}
static inline double __dadd_rn(double a, double b)
{
	return a + b;
}
static inline double __dmul_rn(double a, double b)
{
	return a * b;
}
static inline double __ddiv_rn(double a, double b)
{
	return a / b;
}
static inline double __fma_rn(double a, double b, double c)
{
	return fma(a, b, c);
}
static inline float __saturatef(float x)
{
	return fminf(fmaxf(x, 0.0F), 1.0F);
}

template <typename to, typename from> static inline to gn_host_bits(from value)
{
	static_assert(sizeof(to) == sizeof(from), "the same bits");
	to out;

	std::memcpy(&out, &value, sizeof out);
	return out;
}
static inline float __int_as_float(int bits)
{
	return gn_host_bits<float>(bits);
}
static inline float __uint_as_float(unsigned int bits)
{
	return gn_host_bits<float>(bits);
}
static inline int __float_as_int(float x)
{
	return gn_host_bits<int>(x);
}
static inline unsigned int __float_as_uint(float x)
{
	return gn_host_bits<unsigned int>(x);
}
static inline double __longlong_as_double(long long bits)
{
	return gn_host_bits<double>(bits);
}
static inline long long __double_as_longlong(double x)
{
	return gn_host_bits<long long>(x);
}
static inline int __float2int_rn(float x)
{
	return (int)rintf(x);
}
static inline int __float2int_rd(float x)
{
	return (int)floorf(x);
}
static inline int __float2int_rz(float x)
{
	return (int)x;
}
static inline int __popc(unsigned int x)
{
	return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
	return __builtin_ffs(x);
}
static inline int __clz(int x)
{
	return x ? __builtin_clz((unsigned int)x) : 32;
}
static inline unsigned int __umulhi(unsigned int a, unsigned int b)
{
	return (unsigned int)(((uint64_t)a * b) >> 32);
}

#endif
