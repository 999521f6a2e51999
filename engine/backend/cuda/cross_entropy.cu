/*
 * Softmax cross-entropy: a block a sample, in double inside. A batch has some hundred samples of at
 * most some thousand classes, so this is bound by the time of a launch; double costs nothing that
 * shows, and makes the loss exact to its last float32 bit.
 */
#include "backend/cuda/vec.cuh"

#define THREADS 128

struct softmax_loss {
	const float *cw; /* may be NULL */
	double smoothing;
	int K;
};

/* The share of class k's negative log likelihood in the loss of a sample of class `label`. */
__device__ __forceinline__ double class_weight(const struct softmax_loss *l, int k, int label)
{
	return (l->smoothing / l->K + (k == label ? 1.0 - l->smoothing : 0.0)) * (l->cw ? (double)l->cw[k] : 1.0);
}

/* The sum over the block's threads, for all of them, in a fixed order. */
__device__ double block_sum(double x)
{
	__shared__ double warps[THREADS / 32];
	double total = 0;

	x = gn_warp_sum(x);
	__syncthreads(); /* the last sum has been read */
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = x;
	__syncthreads();
	for (int i = 0; i < THREADS / 32; i++)
		total += warps[i];
	return total;
}

__device__ float block_max(float x)
{
	__shared__ float warps[THREADS / 32];

	x = gn_warp_max(x);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = x;
	__syncthreads();
	for (int i = 0; i < THREADS / 32; i++)
		x = fmaxf(x, warps[i]);
	return x;
}

/*
 * With nll_k = log sum exp - z_k the loss is sum_k weight_k nll_k, and its gradient (sum of the
 * weights) softmax - weight.
 */
template <typename act>
static __global__ void __launch_bounds__(THREADS)
    cross_entropy_kernel(float *losses, act *dlogits, const struct gn_step_numbers *step, const float *logits,
                         const int32_t *labels, struct softmax_loss l)
{
	const float *z = logits + (size_t)blockIdx.x * (size_t)l.K;
	int label = labels[blockIdx.x];
	float top = -INFINITY;
	double sum = 0, weights = 0, total = 0;

	for (int k = (int)threadIdx.x; k < l.K; k += THREADS)
		top = fmaxf(top, z[k]);
	top = block_max(top);
	for (int k = (int)threadIdx.x; k < l.K; k += THREADS)
		sum += exp((double)z[k] - (double)top);
	double lse = (double)top + log(block_sum(sum));
	for (int k = (int)threadIdx.x; k < l.K; k += THREADS) {
		double weight = class_weight(&l, k, label);
		weights += weight;
		if (weight != 0)
			total += weight * (lse - (double)z[k]);
	}
	total = block_sum(total);
	if (threadIdx.x == 0)
		losses[blockIdx.x] = (float)total;
	if (!dlogits)
		return;
	weights = block_sum(weights);
	for (int k = (int)threadIdx.x; k < l.K; k += THREADS)
		dlogits[(size_t)blockIdx.x * (size_t)l.K + (size_t)k] =
		    gn_from_float<act>((float)((double)step->loss_scale *
		                               (weights * exp((double)z[k] - lse) - class_weight(&l, k, label))));
}

/* step->loss += the losses' sum. */
static __global__ void __launch_bounds__(THREADS)
    add_losses_kernel(struct gn_step_numbers *step, const float *losses, int B)
{
	double sum = 0;

	for (int b = (int)threadIdx.x; b < B; b += THREADS)
		sum += (double)losses[b];
	sum = block_sum(sum);
	if (threadIdx.x == 0)
		step->loss += sum;
}

template <typename act>
void gn_cuda_cross_entropy(struct gn_ctx *ctx, float *losses, gn_act *dlogits, struct gn_step_numbers *step,
                           const float *logits, const int32_t *labels, const float *cw, float smoothing, int B, int K)
{
	struct softmax_loss l = {cw, (double)smoothing, K};

	GN_RUN(ctx, cross_entropy_kernel<act>, (unsigned)B, THREADS, 0, losses, (act *)dlogits, step, logits, labels,
	       l);
	GN_RUN(ctx, add_losses_kernel, 1, THREADS, 0, step, losses, B);
}

template void gn_cuda_cross_entropy<float>(struct gn_ctx *, float *, gn_act *, struct gn_step_numbers *, const float *,
                                           const int32_t *, const float *, float, int, int);
template void gn_cuda_cross_entropy<__nv_bfloat16>(struct gn_ctx *, float *, gn_act *, struct gn_step_numbers *,
                                                   const float *, const int32_t *, const float *, float, int, int);
