/*
 * The instructions of engine/backend/cuda/ptx.h on the host: same names and signatures, written
 * from the PTX ISA (runner/ptx.cpp).
 */
#ifndef GN_HOST_PTX_H
#define GN_HOST_PTX_H

#include <cmath>
#include <cstdint>

#define GN_LOG2E 1.44269504088896341F

void gn_mma_m16n8k16_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
void gn_ldmatrix_x4(uint32_t r[4], const void *row);
void gn_ldmatrix_x4_trans(uint32_t r[4], const void *row);
void gn_cp_async_16(void *shared, const void *global, int bytes);
void gn_cp_async_4(void *shared, const void *global, int bytes);
void gn_cp_async_commit(void);
void gn_host_cp_async_wait(int pending);

template <int PENDING> static inline void gn_cp_async_wait(void)
{
	gn_host_cp_async_wait(PENDING);
}

/* ex2.approx.ftz.f32: subnormal arguments count as 0, subnormal results are 0. */
static inline float gn_exp2(float x)
{
	const float y = exp2f(std::fpclassify(x) == FP_SUBNORMAL ? 0.0F : x);

	return std::fpclassify(y) == FP_SUBNORMAL ? 0.0F : y;
}

/* rcp.approx.ftz.f32: subnormal arguments count as 0, subnormal results are 0. */
static inline float gn_reciprocal(float x)
{
	const float y = 1.0F / (std::fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0F, x) : x);

	return std::fpclassify(y) == FP_SUBNORMAL ? copysignf(0.0F, y) : y;
}

#endif
