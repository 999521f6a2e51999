/*
 * One optimiser step. It sums the gradients of its micro-batches, so that their size changes memory
 * and not the result.
 *
 * A step is queued, and its numbers are asked for later: on a device that computes by itself
 * nothing waits for it. What changes from step to step lies in t->numbers, so that the rest can be
 * recorded once and replayed.
 */
#include "train/trainer.h"

#include <math.h>

/*
 * Keys of recorded work: 2 n for the first micro-batch of a step with n images, 2 n + 1 for
 * another.
 */
enum { KEY_OPTIMISER = 0 };

static const struct gn_adamw adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};

void gn_trainer_upload(struct gn_trainer *t, struct gn_pass *pass, const uint8_t *images, int n)
{
	t->backend->upload_pixels(t->ctx, gn_pass_input(pass), images, t->levels[0], n, t->tuning.arch.image_size);
}

/* One micro-batch: adds its share of the gradients, and its losses. add: see gn_vit_backward. */
static void micro_batch(struct gn_trainer *t, const uint8_t *images, const int32_t *labels, const int32_t *samples,
                        bool add, int n)
{
	const struct gn_backend *be = t->backend;
	struct gn_pass *p = t->pass;

	gn_mark(be, t->ctx, "upload");
	if (t->cut)
		gn_prefix_load(t, samples, n);
	else
		gn_trainer_upload(t, p, images, n);
	be->upload(t->ctx, t->device_labels, labels, (size_t)n * sizeof *labels);
	gn_mark(be, t->ctx, NULL);
	if (!be->record_begin(t->ctx, 2 * (uint64_t)n + add))
		return;
	gn_mark(be, t->ctx, "forward");
	gn_vit_forward(p, &t->weights, n, true);
	gn_mark(be, t->ctx, NULL);
	gn_mark(be, t->ctx, "loss");
	be->cross_entropy(t->ctx, p->losses, p->d_logits, t->numbers, p->logits, t->device_labels,
	                  t->device_class_weights, (float)t->config.label_smoothing, n, t->tuning.arch.classes);
	gn_mark(be, t->ctx, NULL);
	gn_mark(be, t->ctx, "backward");
	gn_vit_backward(p, &t->weights, &t->grads, add, n);
	gn_mark(be, t->ctx, NULL);
	be->record_end(t->ctx);
}

static void optimiser_step(struct gn_trainer *t)
{
	const struct gn_backend *be = t->backend;

	if (!be->record_begin(t->ctx, KEY_OPTIMISER))
		return;
	gn_mark(be, t->ctx, "optimiser");
	be->grad_norm(t->ctx, t->numbers, t->opt);
	if (t->config.optimizer == GN_ADAMW)
		be->adamw(t->ctx, t->opt, &adamw, t->numbers);
	else
		be->sgd(t->ctx, t->opt, 0.9f, t->numbers);
	gn_mark(be, t->ctx, NULL);
	be->record_end(t->ctx);
}

/* What the losses of n samples are divided by, as PyTorch does. */
static double total_weight(const struct gn_trainer *t, const int32_t *labels, int n)
{
	double total = t->class_weights ? 0 : n;

	for (int i = 0; t->class_weights && i < n; i++)
		total += (double)t->class_weights[labels[i]];
	return total;
}

static void upload_numbers(struct gn_trainer *t, const struct gn_step *step, int64_t number)
{
	struct gn_step_numbers numbers = {.lr = step->lr,
	                                  .clip_norm = t->config.clip_norm,
	                                  .correct1 = 1.0 - pow((double)adamw.beta1, (double)number),
	                                  .correct2 = 1.0 - pow((double)adamw.beta2, (double)number),
	                                  .step = number,
	                                  /* two heads share the gradient of their mean */
	                                  .loss_scale = (float)(1 / (step->weight * t->pass->shape.features))};

	t->backend->upload(t->ctx, t->numbers, &numbers, sizeof numbers);
}

int gn_trainer_step(struct gn_trainer *t, const uint8_t *images, const int32_t *labels, const int32_t *samples, int n,
                    struct gn_error *err)
{
	size_t image = 3 * (size_t)t->tuning.arch.image_size * (size_t)t->tuning.arch.image_size;
	int64_t index = t->progress.step + t->queued_count; /* from 0 */
	struct gn_step step = {
	    .lr = gn_schedule_lr(&t->config, &t->plan, index), .weight = total_weight(t, labels, n), .images = n};

	gn_assert(t->queued_count <= GN_TRAINER_LAG);
	upload_numbers(t, &step, index + 1);
	t->backend->zero(t->ctx, t->g + t->set_floats, (t->tuned_floats - t->set_floats) * sizeof *t->g);
	for (int at = 0; at < n; at += t->pass->batch) {
		int part = n - at < t->pass->batch ? n - at : t->pass->batch;

		micro_batch(t, images ? images + (size_t)at * image : NULL, labels + at, samples ? samples + at : NULL,
		            at > 0, part);
		if (gn_train_stopped(t))
			return gn_fail(err, GN_CANCELLED, "", "stopped at step %lld", (long long)index);
	}
	optimiser_step(t);
	t->backend->fetch(t->ctx, (int)(index % (GN_TRAINER_LAG + 1)), t->numbers, sizeof *t->numbers);
	t->queued[index % (GN_TRAINER_LAG + 1)] = step;
	t->queued_count++;
	return 0;
}

int gn_trainer_collect(struct gn_step *out, struct gn_trainer *t, int most, struct gn_error *err)
{
	int slot = (int)(t->progress.step % (GN_TRAINER_LAG + 1));
	struct gn_step_numbers numbers;

	if (t->queued_count <= most)
		return 0;
	if (t->backend->fetched(t->ctx, slot, &numbers, sizeof numbers, err))
		return -1;
	*out = t->queued[slot];
	out->loss = numbers.loss / out->weight;
	out->grad_norm = numbers.grad_norm;
	if (!isfinite(out->loss))
		return gn_fail(
		    err, GN_INVALID, "lr",
		    "the loss is no longer a number at step %lld: the learning rate %g is too high for this model",
		    (long long)t->progress.step + 1, t->config.lr);
	t->progress.step++;
	t->queued_count--;
	return 1;
}
