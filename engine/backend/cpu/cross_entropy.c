/* Softmax cross-entropy, internally in double: only a few thousand numbers a step. */
#include <math.h>

#include "backend/cpu/cpu.h"

/* One sample. With nll_k = log sum exp - z_k, the loss is sum_k weight_k nll_k for weight_k = s / K
 * cw_k, plus (1 - s) cw_y at y; so its gradient is (sum of the weights) softmax - weight. */
static void one_sample(float *loss, float *dlogits, const float *z, int label, const float *cw, double smoothing,
                       double scale, int K)
{
	double max = -INFINITY, sum = 0, weights = 0, total = 0;
	for (int k = 0; k < K; k++)
		max = z[k] > max ? z[k] : max;
	for (int k = 0; k < K; k++)
		sum += exp((double)z[k] - max);
	double lse = max + log(sum);
	for (int k = 0; k < K; k++) {
		double weight = (smoothing / K + (k == label ? 1.0 - smoothing : 0.0)) * (cw ? (double)cw[k] : 1.0);
		weights += weight;
		if (weight != 0)
			total += weight * (lse - (double)z[k]);
	}
	*loss = (float)total;
	for (int k = 0; dlogits && k < K; k++) {
		double weight = (smoothing / K + (k == label ? 1.0 - smoothing : 0.0)) * (cw ? (double)cw[k] : 1.0);
		dlogits[k] = (float)(scale * (weights * exp((double)z[k] - lse) - weight));
	}
}

void gn_cpu_cross_entropy(struct gn_ctx *ctx, float *losses, gn_act *dlogits, struct gn_step_numbers *step,
                          const float *logits, const int32_t *labels, const float *cw, float smoothing, int B, int K)
{
	double scale = (double)step->loss_scale;
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t b = 0; b < B; b++)
		one_sample(losses + b, dlogits ? (float *)dlogits + b * K : NULL, logits + b * K, labels[b], cw,
		           (double)smoothing, scale, K);
	for (ptrdiff_t b = 0; b < B; b++)
		step->loss += (double)losses[b];
}
