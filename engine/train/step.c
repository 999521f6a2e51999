/*
 * One optimiser step. It sums the gradients of its micro-batches, so that their size changes memory and not the result.
 */
#include "train/trainer.h"

#include <math.h>

/* One micro-batch: its share of the gradients, and the sum of its losses. */
static int micro_batch(double *loss, struct gn_trainer *t, const float *images, const int32_t *labels,
                       const int32_t *samples, int n, double total_weight, struct gn_error *err)
{
	const struct gn_backend *be = t->backend;
	struct gn_pass *p = t->pass;
	int K = t->arch.classes;
	size_t image = 3 * (size_t)t->arch.image_size * (size_t)t->arch.image_size;

	if (t->stage)
		gn_prefix_load(t, samples, n);
	else
		be->upload(t->ctx, gn_pass_input(p), images, (size_t)n * image * sizeof *images);
	be->upload(t->ctx, t->device_labels, labels, (size_t)n * sizeof *labels);
	gn_vit_forward(p, &t->weights, n, true);
	/* two heads share the gradient of their mean */
	be->cross_entropy(t->ctx, p->losses, p->d_logits, p->logits, t->device_labels, t->device_class_weights,
	                  (float)t->config.label_smoothing, (float)(1 / (total_weight * p->shape.features)), n, K);
	gn_vit_backward(p, &t->weights, &t->grads, n);
	be->download(t->ctx, t->losses, p->losses, (size_t)n * sizeof *t->losses);
	if (be->sync(t->ctx, err))
		return -1;
	for (int i = 0; i < n; i++)
		*loss += (double)t->losses[i];
	return 0;
}

static void optimiser_step(struct gn_trainer *t, double lr, double *grad_norm)
{
	const struct gn_run_config *c = &t->config;
	double scale = 1;

	*grad_norm = sqrt(t->backend->grad_sumsq(t->ctx, t->opt, t->opt_count));
	if (c->clip_norm > 0 && *grad_norm > c->clip_norm)
		scale = c->clip_norm / (*grad_norm + 1e-6); /* as torch.nn.utils.clip_grad_norm_ */
	for (int i = 0; i < t->opt_count; i++)
		t->opt[i].lr = (float)(lr * t->lr_scale[i]);
	if (c->optimizer == GN_ADAMW)
		t->backend->adamw(t->ctx, t->opt, t->opt_count,
		                  &(struct gn_adamw){.beta1 = 0.9f,
		                                     .beta2 = 0.999f,
		                                     .eps = 1e-8f,
		                                     .step = t->progress.step + 1,
		                                     .grad_scale = (float)scale});
	else
		t->backend->sgd(t->ctx, t->opt, t->opt_count, 0.9f, t->progress.step + 1, (float)scale);
}

int gn_trainer_step(struct gn_step *out, struct gn_trainer *t, const float *images, const int32_t *labels,
                    const int32_t *samples, int n, struct gn_error *err)
{
	size_t image = 3 * (size_t)t->arch.image_size * (size_t)t->arch.image_size;
	double total_weight = n;

	*out = (struct gn_step){.lr = gn_schedule_lr(&t->config, &t->plan, t->progress.step)};
	if (t->class_weights) {
		total_weight = 0;
		for (int i = 0; i < n; i++)
			total_weight += (double)t->class_weights[labels[i]];
	}
	t->backend->zero(t->ctx, t->g, t->tuned_floats * sizeof *t->g);
	for (int at = 0; at < n; at += t->pass->batch) {
		int part = n - at < t->pass->batch ? n - at : t->pass->batch;

		if (micro_batch(&out->loss, t, images ? images + (size_t)at * image : NULL, labels + at,
		                samples ? samples + at : NULL, part, total_weight, err))
			return -1;
		if (gn_train_stopped(t))
			return gn_fail(err, GN_CANCELLED, "", "stopped at step %lld", (long long)t->progress.step);
	}
	out->loss /= total_weight;
	if (!isfinite(out->loss))
		return gn_fail(
		    err, GN_INVALID, "lr",
		    "the loss is no longer a number at step %lld: the learning rate %g is too high for this model",
		    (long long)t->progress.step + 1, t->config.lr);
	optimiser_step(t, out->lr, &out->grad_norm);
	if (t->backend->sync(t->ctx, err))
		return -1;
	t->progress.step++;
	return 0;
}
