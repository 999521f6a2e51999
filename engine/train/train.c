/*
 * The training loop. Whatever a step needs is a function of (configuration, weights, moments,
 * progress): an interrupted run continues bit for bit.
 */
#include "train/trainer.h"

#include "base/files.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- steps ----------------------- */

/* Adds the time since the last call to the run's clocks. */
static void account(struct gn_trainer *t)
{
	double now = gn_clock();

	t->progress.seconds += now - t->started;
	t->progress.epoch_seconds += now - t->started;
	t->attempt_seconds += now - t->started;
	t->started = now;
}

/* Takes the results of queued steps, until at most `most` are queued, and reports them. */
static int collect_steps(struct gn_trainer *t, int most, struct gn_error *err)
{
	struct gn_step step;
	int got;

	while ((got = gn_trainer_collect(&step, t, most, err)) > 0) {
		t->progress.epoch_steps++;
		t->progress.images += step.images;
		t->attempt_images += step.images;
		t->progress.loss_sum += step.loss * step.images;
		account(t);
		gn_train_report_step(t, &step);
	}
	return got;
}

/* Everything that has been queued is part of a checkpoint. */
static int save_checkpoint(struct gn_trainer *t, struct gn_error *err)
{
	if (collect_steps(t, 0, err) || gn_resume_save(t, err))
		return -1;
	gn_train_emit(t, &(struct gn_event){.kind = GN_EVENT_CHECKPOINT, .epoch = t->progress.epoch + 1});
	return 0;
}

/*
 * Queues a step; reports and writes what has come of it, or of the one before on a device that
 * computes by itself.
 */
static int train_step(struct gn_trainer *t, const uint8_t *images, const int32_t *labels, const int32_t *samples, int n,
                      struct gn_error *err)
{
	if (gn_trainer_step(t, images, labels, samples, n, err) ||
	    collect_steps(t, t->backend->asynchronous ? GN_TRAINER_LAG : 0, err))
		return -1;
	if (t->started - t->last_checkpoint > t->config.checkpoint_every_seconds)
		return save_checkpoint(t, err);
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
	const uint8_t *images;
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
	gn_train_emit(t,
	              &(struct gn_event){.kind = GN_EVENT_ANGLES, .epoch = t->progress.epoch + 1, .angles = &angles});
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

/*
 * Early stopping looks at the accuracy alone: a loss that creeps down for ever is no reason to go
 * on.
 */
static int judge_epoch(struct gn_trainer *t, const struct gn_evaluation *e, struct gn_error *err)
{
	struct gn_progress *p = &t->progress;

	p->evaluations_since_best =
	    p->best_epoch == 0 || e->accuracy > p->best_accuracy ? 0 : p->evaluations_since_best + 1;
	p->stopped = t->config.early_stop_epochs > 0 && p->evaluations_since_best >= t->config.early_stop_epochs;
	if (!is_best(p, e))
		return 0;
	p->best_epoch = p->epoch + 1;
	p->best_accuracy = e->accuracy;
	p->best_f1 = e->macro_f1;
	p->best_loss = e->loss;
	return t->options->discard_model ? 0 : gn_weights_write(t, err);
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
	result = t->cut ? steps_from_rows(t, order, count, err) : steps_from_images(t, order, count, err);
	if (result == 0)
		result = collect_steps(t, 0, err);
	if (!t->cut)
		gn_loader_stop(t->loader);
	free(order);
	if (result)
		return -1;
	p->last_train_loss = p->loss_sum / t->dataset->totals[GN_TRAIN];
	if (evaluate && (gn_evaluate(&evaluation, t, err) || judge_epoch(t, &evaluation, err)))
		return -1;
	account(t);
	gn_train_emit(t, &(struct gn_event){.kind = GN_EVENT_EPOCH,
	                                    .epoch = p->epoch + 1,
	                                    .train_loss = p->last_train_loss,
	                                    .val_loss = evaluation.loss,
	                                    .val_accuracy = evaluation.accuracy,
	                                    .val_macro_f1 = evaluation.macro_f1,
	                                    .seconds = p->epoch_seconds});
	if (emit_angles(t, err))
		return -1;
	p->epoch++;
	p->epoch_steps = 0;
	p->loss_sum = 0;
	p->epoch_seconds = 0;
	return 0;
}

/* ---------------------------------------------------------------- the run ---------------------------------------- */

static int open_loader(struct gn_trainer *t, struct gn_error *err)
{
	return gn_loader_new(&t->loader, t->dataset, &t->options->model->preprocess, t->tuning.arch.image_size,
	                     t->config.augment, t->config.seed, t->options->loader_threads, t->plan.memory.pixel_cache,
	                     t->options->max_pixels, err);
}

static int run(struct gn_trainer *t, struct gn_error *err)
{
	bool resumed;

	if (gn_trainer_init(t, err) || open_loader(t, err) || gn_resume_load(t, &resumed, err))
		return -1;
	gn_train_report_start(t, resumed);
	t->started = t->last_checkpoint = gn_clock();
	if (gn_prefix_fill(t, err) || gn_trainer_open_pass(t, err))
		return -1;
	while (t->progress.epoch < t->config.epochs && !t->progress.stopped) {
		struct gn_error why = {0};

		if (run_epoch(t, &why) == 0)
			continue;
		/* what was done is kept, whether the run was stopped or failed */
		if (why.code == GN_CANCELLED && save_checkpoint(t, err))
			return -1;
		return gn_fail(err, why.code, why.where, "%s", why.text);
	}
	return 0;
}

int gn_train(struct gn_train_result *result, const struct gn_train_options *options, struct gn_error *err)
{
	struct gn_trainer t = {.options = options,
	                       .config = *options->config,
	                       .backend = options->device->backend,
	                       .ctx = options->device->ctx,
	                       .dataset = options->dataset};
	int failed = run(&t, err);

	if (!failed)
		*result = (struct gn_train_result){.val_accuracy = t.progress.best_accuracy,
		                                   .val_macro_f1 = t.progress.best_f1,
		                                   .val_loss = t.progress.best_loss,
		                                   .train_loss = t.progress.last_train_loss,
		                                   .best_epoch = t.progress.best_epoch,
		                                   .epochs_done = t.progress.epoch,
		                                   .seconds = t.progress.seconds,
		                                   .peak_memory_bytes = gn_peak_memory(),
		                                   .images = t.progress.images};
	gn_trainer_release(&t);
	return failed;
}
