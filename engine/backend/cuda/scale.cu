/*
 * Layer scale, backward: one pass over the rows gives the branch's gradient and the sums for
 * gamma's. Forward is part of linear.cu.
 */
#include "backend/cuda/cuda.h"

template <typename act>
void gn_cuda_scale_backward(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout,
                            const gn_act *branch, const float *gamma, int M, int C)
{
	gn_cuda_columns<act>(ctx, dgamma, (act *)dbranch, (const act *)dout, dgamma ? (const act *)branch : NULL, gamma,
	                     M, C);
}

template void gn_cuda_scale_backward<float>(struct gn_ctx *, gn_act *, float *, const gn_act *, const gn_act *,
                                            const float *, int, int);
template void gn_cuda_scale_backward<__nv_bfloat16>(struct gn_ctx *, gn_act *, float *, const gn_act *, const gn_act *,
                                                    const float *, int, int);
