/*
 * The training loop. One optimiser step sums the gradients of its micro-batches, so that their size changes memory and not the
 * result. Whatever a step needs is a function of (configuration, weights, moments, progress): an interrupted run continues bit for bit.
 */
#include "train/trainer.h"

#include "fileio.h"
#include "random.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEP_EVENT_SECONDS 0.05 /* small models take thousands of steps a second; nobody reads that many */

double gn_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

bool gn_train_stopped(const struct gn_trainer *t)
{
	return t->options->stop && *t->options->stop;
}

/* ---------------------------------------------------------------- events ----------------------------------------- */

static void emit(struct gn_trainer *t, struct gn_event *event)
{
	event->step = t->progress.step;
	event->steps = t->plan.steps;
	event->epochs = t->config.epochs;
	if (t->options->on_event)
		t->options->on_event(t->options->user, event);
}

void gn_train_log(struct gn_trainer *t, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	emit(t, &(struct gn_event){.kind = GN_EVENT_LOG, .epoch = t->progress.epoch, .text = text});
}

/* Adds the time since the last call to the run's clocks. */
static void account(struct gn_trainer *t)
{
	double now = gn_clock();

	t->progress.seconds += now - t->started;
	t->progress.epoch_seconds += now - t->started;
	t->attempt_seconds += now - t->started;
	t->started = now;
}

static void emit_step(struct gn_trainer *t, double loss, double lr, double grad_norm)
{
	bool last = t->progress.epoch_steps == t->plan.steps_per_epoch;
	double rate;

	if (!last && t->started - t->last_step_event < STEP_EVENT_SECONDS)
		return;
	t->last_step_event = t->started;
	rate = (double)t->attempt_images / t->attempt_seconds;
	emit(t, &(struct gn_event){.kind = GN_EVENT_STEP, .epoch = t->progress.epoch + 1, .loss = loss, .lr = lr, .grad_norm = grad_norm,
	                           .images_per_second = rate,
	                           .eta_seconds = (double)(t->plan.steps - t->progress.step) * (double)t->config.batch_size / rate});
}

/* ---------------------------------------------------------------- one step --------------------------------------- */

/* One micro-batch: its share of the gradients, and the sum of its losses. */
static int micro_batch(double *loss, struct gn_trainer *t, const float *images, const int32_t *labels, const int32_t *samples, int n, double total_weight,
                       struct gn_error *err)
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
	be->cross_entropy(t->ctx, p->losses, p->d_logits, p->logits, t->device_labels, t->device_class_weights, (float)t->config.label_smoothing,
	                  (float)(1 / (total_weight * p->shape.features)), n, K);
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
		                  &(struct gn_adamw){.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .step = t->progress.step + 1, .grad_scale = (float)scale});
	else
		t->backend->sgd(t->ctx, t->opt, t->opt_count, 0.9f, t->progress.step + 1, (float)scale);
}

/* One optimiser step on n samples; images is NULL where the prefix is kept. */
static int train_step(struct gn_trainer *t, const float *images, const int32_t *labels, const int32_t *samples, int n, struct gn_error *err)
{
	size_t image = 3 * (size_t)t->arch.image_size * (size_t)t->arch.image_size;
	double loss = 0, total_weight = n, grad_norm, lr = gn_schedule_lr(&t->config, &t->plan, t->progress.step);

	if (t->class_weights) {
		total_weight = 0;
		for (int i = 0; i < n; i++)
			total_weight += (double)t->class_weights[labels[i]];
	}
	t->backend->zero(t->ctx, t->g, t->tuned_floats * sizeof *t->g);
	for (int at = 0; at < n; at += t->pass->batch) {
		int part = n - at < t->pass->batch ? n - at : t->pass->batch;

		if (micro_batch(&loss, t, images ? images + (size_t)at * image : NULL, labels + at, samples + at, part, total_weight, err))
			return -1;
		if (gn_train_stopped(t))
			return gn_fail(err, GN_CANCELLED, "", "stopped at step %lld", (long long)t->progress.step);
	}
	loss /= total_weight;
	if (!isfinite(loss))
		return gn_fail(err, GN_INVALID, "lr", "the loss is no longer a number at step %lld: the learning rate %g is too high for this model",
		               (long long)t->progress.step + 1, t->config.lr);
	optimiser_step(t, lr, &grad_norm);
	if (t->backend->sync(t->ctx, err))
		return -1;
	t->progress.step++;
	t->progress.epoch_steps++;
	t->progress.images += n;
	t->attempt_images += n;
	t->progress.loss_sum += loss * n;
	account(t);
	emit_step(t, loss, lr, grad_norm);
	if (t->started - t->last_checkpoint > t->config.checkpoint_every_seconds) {
		if (gn_resume_save(t, err))
			return -1;
		emit(t, &(struct gn_event){.kind = GN_EVENT_CHECKPOINT, .epoch = t->progress.epoch + 1});
	}
	return 0;
}

/* ---------------------------------------------------------------- one epoch -------------------------------------- */

/* The training samples in this epoch's order, without those whose steps are done. */
static int32_t *epoch_order(const struct gn_trainer *t, int *count, struct gn_error *err)
{
	int total = t->dataset->totals[GN_TRAIN];
	int64_t done = t->progress.epoch_steps * t->config.batch_size;
	int32_t *order = gn_alloc((size_t)total, sizeof *order, err);
	struct gn_random random;

	if (!order)
		return NULL;
	for (int i = 0; i < total; i++)
		order[i] = i;
	gn_random_init(&random, t->config.seed, GN_RANDOM_ORDER, (uint32_t)t->progress.epoch, 0);
	gn_random_shuffle(&random, order, total);
	*count = done < total ? total - (int)done : 0;
	memmove(order, order + (total - *count), (size_t)*count * sizeof *order);
	return order;
}

static int steps_from_images(struct gn_trainer *t, const int32_t *order, int count, struct gn_error *err)
{
	float *images;
	int32_t *labels;
	const int32_t *samples;
	int n, end;

	if (gn_loader_begin(t->loader, order, count, t->config.batch_size, t->progress.epoch, true, err))
		return -1;
	while ((end = gn_loader_next(t->loader, &images, &labels, &samples, &n, err)) == 0)
		if (train_step(t, images, labels, samples, n, err))
			return -1;
	return end < 0 ? -1 : 0;
}

static int steps_from_rows(struct gn_trainer *t, const int32_t *order, int count, struct gn_error *err)
{
	int32_t *labels = gn_alloc((size_t)t->config.batch_size, sizeof *labels, err);
	int result = labels ? 0 : -1;

	for (int at = 0; result == 0 && at < count; at += t->config.batch_size) {
		int n = count - at < t->config.batch_size ? count - at : t->config.batch_size;

		for (int i = 0; i < n; i++)
			labels[i] = t->dataset->samples[order[at + i]].label;
		result = train_step(t, NULL, labels, order + at, n, err);
	}
	free(labels);
	return result;
}

static int emit_angles(struct gn_trainer *t, struct gn_error *err)
{
	struct gn_angles angles;

	if (gn_weights_angles(&angles, t, err))
		return -1;
	emit(t, &(struct gn_event){.kind = GN_EVENT_ANGLES, .epoch = t->progress.epoch + 1, .angles = &angles});
	gn_angles_release(&angles);
	return 0;
}

/* Better: higher accuracy, then lower loss. Without validation images the last epoch counts. */
static bool is_best(const struct gn_progress *p, const struct gn_evaluation *e)
{
	if (p->best_epoch == 0 || isnan(e->accuracy))
		return true;
	return e->accuracy > p->best_accuracy || (e->accuracy == p->best_accuracy && e->loss < p->best_loss);
}

static int judge_epoch(struct gn_trainer *t, const struct gn_evaluation *e, struct gn_error *err)
{
	struct gn_progress *p = &t->progress;

	if (!is_best(p, e)) {
		p->evaluations_since_best++;
		p->stopped = t->config.early_stop_epochs > 0 && p->evaluations_since_best >= t->config.early_stop_epochs;
		return 0;
	}
	p->best_epoch = p->epoch + 1;
	p->best_accuracy = e->accuracy;
	p->best_f1 = e->macro_f1;
	p->best_loss = e->loss;
	p->evaluations_since_best = 0;
	return gn_weights_write(t, err);
}

static int run_epoch(struct gn_trainer *t, struct gn_error *err)
{
	struct gn_progress *p = &t->progress;
	struct gn_evaluation evaluation = {NAN, NAN, NAN};
	bool evaluate = (p->epoch + 1) % t->config.eval_every_epochs == 0 || p->epoch + 1 == t->config.epochs;
	int count, result;
	int32_t *order = epoch_order(t, &count, err);

	if (!order)
		return -1;
	result = t->stage ? steps_from_rows(t, order, count, err) : steps_from_images(t, order, count, err);
	if (!t->stage)
		gn_loader_stop(t->loader);
	free(order);
	if (result)
		return -1;
	p->last_train_loss = p->loss_sum / t->dataset->totals[GN_TRAIN];
	if (evaluate && (gn_evaluate(&evaluation, t, err) || judge_epoch(t, &evaluation, err)))
		return -1;
	account(t);
	emit(t, &(struct gn_event){.kind = GN_EVENT_EPOCH, .epoch = p->epoch + 1, .train_loss = p->last_train_loss, .val_loss = evaluation.loss,
	                           .val_accuracy = evaluation.accuracy, .val_macro_f1 = evaluation.macro_f1, .seconds = p->epoch_seconds});
	if (emit_angles(t, err))
		return -1;
	p->epoch++;
	p->epoch_steps = 0;
	p->loss_sum = 0;
	p->epoch_seconds = 0;
	return 0;
}

/* ---------------------------------------------------------------- set-up ----------------------------------------- */

static int init_class_weights(struct gn_trainer *t, struct gn_error *err)
{
	int K = t->arch.classes, with_images = 0;

	if (t->config.class_weights == GN_WEIGHTS_NONE)
		return 0;
	t->class_weights = gn_alloc((size_t)K, sizeof *t->class_weights, err);
	if (!t->class_weights)
		return -1;
	for (int k = 0; k < K; k++)
		with_images += t->dataset->classes[k].counts[GN_TRAIN] > 0;
	for (int k = 0; k < K; k++) { /* every class weighs the same in an epoch; one without training images never occurs */
		int images = t->dataset->classes[k].counts[GN_TRAIN];

		t->class_weights[k] = images ? (float)((double)t->dataset->totals[GN_TRAIN] / ((double)with_images * images)) : 0;
	}
	t->device_class_weights = t->backend->alloc(t->ctx, (size_t)K * sizeof(float), err);
	if (!t->device_class_weights)
		return -1;
	t->backend->upload(t->ctx, t->device_class_weights, t->class_weights, (size_t)K * sizeof(float));
	return 0;
}

static int init_network(struct gn_trainer *t, struct gn_error *err)
{
	const struct gn_model *model = t->options->model;

	if (t->dataset->totals[GN_TRAIN] < 1)
		return gn_fail(err, GN_INVALID, "dataset", "has no training images");
	if (gn_plan_make(&t->plan, &model->arch, &t->config, t->dataset->class_count, t->dataset->totals[GN_TRAIN], t->dataset->totals[GN_VAL], 0, err) ||
	    gn_run_arch(&t->arch, &model->arch, &t->config, t->dataset->class_count, err) || gn_layout_init(&t->layout, &t->arch, err))
		return -1;
	t->tuned = gn_alloc((size_t)t->layout.count, sizeof *t->tuned, err);
	if (!t->tuned || gn_strategy_select(t->tuned, &t->layout, &t->config.strategy, err) ||
	    gn_gradplan_init(&t->grad, &t->arch, &t->layout, t->tuned, err))
		return -1;
	t->stage = t->plan.prefix_cached ? gn_prefix_stage(&t->grad) : 0;
	return 0;
}

static int init_buffers(struct gn_trainer *t, struct gn_error *err)
{
	int micro = t->plan.micro_batch_size;
	uint64_t pixels = gn_pixel_cache_bytes(t->arch.image_size, t->stage > 0, t->config.augment, t->dataset->totals[GN_TRAIN], t->dataset->totals[GN_VAL]);

	t->losses = gn_alloc((size_t)micro, sizeof *t->losses, err);
	t->device_labels = t->backend->alloc(t->ctx, (size_t)micro * sizeof *t->device_labels, err);
	if (!t->losses || !t->device_labels || init_class_weights(t, err))
		return -1;
	if (gn_loader_new(&t->loader, t->dataset, &t->options->model->preprocess, t->arch.image_size, t->config.augment, t->config.seed,
	                  t->options->loader_threads, pixels, t->options->max_pixels, err))
		return -1;
	return 0;
}

static void release(struct gn_trainer *t)
{
	gn_pass_free(t->pass);
	gn_prefix_release(t);
	gn_loader_free(t->loader);
	gn_weights_release(t);
	if (t->device_labels)
		t->backend->free(t->ctx, t->device_labels, (size_t)t->plan.micro_batch_size * sizeof *t->device_labels);
	if (t->device_class_weights)
		t->backend->free(t->ctx, t->device_class_weights, (size_t)t->arch.classes * sizeof(float));
	gn_gradplan_release(&t->grad);
	gn_layout_release(&t->layout);
	free(t->tuned);
	free(t->losses);
	free(t->class_weights);
}

/* ---------------------------------------------------------------- the run ---------------------------------------- */

/* The process's largest resident size so far, from the kernel's own account. */
static uint64_t peak_memory(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	unsigned long long kib = 0;

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

static void start_event(struct gn_trainer *t, bool resumed)
{
	char text[160];

	if (resumed)
		snprintf(text, sizeof text, "going on from step %lld of %lld", (long long)t->progress.step, (long long)t->plan.steps);
	else
		snprintf(text, sizeof text, "%lld steps, micro-batches of %d", (long long)t->plan.steps, t->plan.micro_batch_size);
	emit(t, &(struct gn_event){.kind = GN_EVENT_START, .epoch = t->progress.epoch, .text = text});
}

static int run(struct gn_trainer *t, struct gn_error *err)
{
	bool resumed;

	if (init_network(t, err) || gn_weights_init(t, err) || init_buffers(t, err) || gn_resume_load(t, &resumed, err))
		return -1;
	start_event(t, resumed);
	t->started = t->last_checkpoint = gn_clock();
	if (gn_prefix_fill(t, err) ||
	    gn_pass_new(&t->pass, t->backend, t->ctx, &t->arch, &t->grad, t->plan.micro_batch_size, t->stage, t->arch.depth + 2, err))
		return -1;
	while (t->progress.epoch < t->config.epochs && !t->progress.stopped) {
		struct gn_error why = {0};

		if (run_epoch(t, &why) == 0)
			continue;
		/* what was done is kept, whether the run was stopped or failed */
		if (why.code == GN_CANCELLED && gn_resume_save(t, err) == 0)
			emit(t, &(struct gn_event){.kind = GN_EVENT_CHECKPOINT, .epoch = t->progress.epoch + 1});
		return gn_fail(err, why.code, why.where, "%s", why.text);
	}
	return 0;
}

int gn_train(struct gn_train_result *result, const struct gn_train_options *options, struct gn_error *err)
{
	struct gn_trainer t = {.options = options, .config = *options->config, .backend = options->device->backend, .ctx = options->device->ctx,
	                       .dataset = options->dataset};
	int failed = run(&t, err);

	if (!failed)
		*result = (struct gn_train_result){.val_accuracy = t.progress.best_accuracy, .val_macro_f1 = t.progress.best_f1, .val_loss = t.progress.best_loss,
		                                   .train_loss = t.progress.last_train_loss, .best_epoch = t.progress.best_epoch, .epochs_done = t.progress.epoch,
		                                   .seconds = t.progress.seconds, .peak_memory_bytes = peak_memory(), .images = t.progress.images};
	release(&t);
	return failed;
}
