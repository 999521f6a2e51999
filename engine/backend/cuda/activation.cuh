/* The activations of ViTs and their slopes, in float32. The exact GELU is that of timm, Hugging Face and DINOv2; cuBLASLt's is the tanh form. */
#ifndef GN_CUDA_ACTIVATION_CUH
#define GN_CUDA_ACTIVATION_CUH

#include "backend/cuda/cuda.h"

#define GN_SQRT_HALF        0.70710678118654752F
#define GN_SQRT_TWO_OVER_PI 0.79788456080286536F
#define GN_RSQRT_TWO_PI     0.39894228040143268F

/* Half of 1 + erf(x / sqrt(2)), by erfc so that the tail keeps its digits. */
__device__ __forceinline__ float gn_normal_cdf(float x)
{
	return 0.5F * erfcf(-GN_SQRT_HALF * x);
}

__device__ __forceinline__ float gn_tanh_inner(float x)
{
	return tanhf(GN_SQRT_TWO_OVER_PI * (x + 0.044715F * x * x * x));
}

__device__ __forceinline__ float gn_activate(enum gn_activation kind, float x)
{
	if (kind == GN_ACT_GELU)
		return x * gn_normal_cdf(x);
	if (kind == GN_ACT_GELU_TANH)
		return 0.5F * x * (1.0F + gn_tanh_inner(x));
	return x / (1.0F + expf(-1.702F * x));
}

__device__ __forceinline__ float gn_activation_slope(enum gn_activation kind, float x)
{
	if (kind == GN_ACT_GELU)
		return gn_normal_cdf(x) + x * GN_RSQRT_TWO_PI * expf(-0.5F * x * x);
	if (kind == GN_ACT_GELU_TANH) {
		float t = gn_tanh_inner(x);
		return 0.5F * (1.0F + t) +
		       0.5F * x * (1.0F - t * t) * GN_SQRT_TWO_OVER_PI * (1.0F + 3 * 0.044715F * x * x);
	}
	float s = 1.0F / (1.0F + expf(-1.702F * x));
	return s + 1.702F * x * s * (1.0F - s);
}

#endif
