/*
 * The activations of ViTs and their slopes, in float32. The exact GELU is that of timm, Hugging
 * Face and DINOv2; cuBLASLt's is the tanh form.
 *
 * Both come from one function, because they share their expensive part; what a kernel does not use
 * the compiler leaves out. Where the results are rounded to bf16 anyway, the quick way is taken:
 * two instructions of the special function unit an element (a reciprocal and a power of two) and no
 * branch.
 */
#ifndef GN_CUDA_ACTIVATION_CUH
#define GN_CUDA_ACTIVATION_CUH

#include "backend/cuda/cuda.h"
#include "backend/cuda/ptx.h"

#define GN_SQRT_HALF        0.70710678118654752F
#define GN_SQRT_TWO_OVER_PI 0.79788456080286536F
#define GN_RSQRT_TWO_PI     0.39894228040143268F

struct gn_activated {
	float value, slope;
};

/*
 * Phi(x), the normal distribution's cumulative function, and its density.
 *
 * quick: formula 26.2.17 of Abramowitz and Stegun, Handbook of Mathematical Functions: the upper
 * tail of a = |x| is density(a) t (b1 + t (b2 + ... t b5)) with t = 1 / (1 + 0.2316419 a), off by
 * less than 7.5e-8; with the roundings of float32, 2.4e-7. Half a unit in the last place of bf16
 * near 1 is 2e-3. Not quick: by erfc, so that the tail keeps its digits.
 */
template <bool quick> __device__ __forceinline__ void gn_normal(float *phi, float *density, float x)
{
	if constexpr (quick) {
		float e = gn_exp2(x * x * (-0.5F * GN_LOG2E)), t = gn_reciprocal(fmaf(fabsf(x), 0.2316419F, 1.0F));
		float sum = fmaf(1.330274429F, t, -1.821255978F), tail;

		*density = GN_RSQRT_TWO_PI * e;
		sum = fmaf(sum, t, 1.781477937F);
		sum = fmaf(sum, t, -0.356563782F);
		sum = fmaf(sum, t, 0.319381530F);
		tail = sum * t * *density;
		*phi = x < 0 ? tail : 1.0F - tail;
	} else {
		*phi = 0.5F * erfcf(-GN_SQRT_HALF * x);
		*density = GN_RSQRT_TWO_PI * expf(-0.5F * x * x);
	}
}

/* 1 / (1 + e^-x) */
template <bool quick> __device__ __forceinline__ float gn_sigmoid(float x)
{
	if constexpr (quick)
		return gn_reciprocal(1.0F + gn_exp2(-GN_LOG2E * x));
	else
		return 1.0F / (1.0F + expf(-x));
}

template <enum gn_activation kind, bool quick> __device__ __forceinline__ struct gn_activated gn_activate(float x)
{
	if constexpr (kind == GN_ACT_GELU) {
		float phi, density;
		gn_normal<quick>(&phi, &density, x);
		return {x * phi, fmaf(x, density, phi)};
	} else if constexpr (kind == GN_ACT_GELU_TANH) { /* (1 + tanh u) / 2 is the sigmoid of 2 u */
		float square = x * x;
		float s = gn_sigmoid<quick>(2 * GN_SQRT_TWO_OVER_PI * x * fmaf(0.044715F, square, 1.0F));
		float inner = 2 * GN_SQRT_TWO_OVER_PI * fmaf(3 * 0.044715F, square, 1.0F);
		return {x * s, fmaf(x * s * (1.0F - s), inner, s)};
	} else {
		float s = gn_sigmoid<quick>(1.702F * x);
		return {x * s, fmaf(1.702F * x * s, 1.0F - s, s)};
	}
}

#endif
