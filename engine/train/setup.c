/* Setting a run up: its network, its buffers, its class weights; and taking it all down again. */
#include "train/trainer.h"

#include "base/files.h"

#include <stdlib.h>

static int init_class_weights(struct gn_trainer *t, struct gn_error *err)
{
	int K = t->tuning.arch.classes, with_images = 0;

	if (t->config.class_weights == GN_WEIGHTS_NONE)
		return 0;
	t->class_weights = gn_alloc((size_t)K, sizeof *t->class_weights, err);
	if (!t->class_weights)
		return -1;
	for (int k = 0; k < K; k++)
		with_images += t->dataset->classes[k].counts[GN_TRAIN] > 0;
	for (int k = 0; k < K;
	     k++) { /* every class weighs the same in an epoch; one without training images never occurs */
		int images = t->dataset->classes[k].counts[GN_TRAIN];

		t->class_weights[k] =
		    images ? (float)((double)t->dataset->totals[GN_TRAIN] / ((double)with_images * images)) : 0;
	}
	return 0;
}

static int init_network(struct gn_trainer *t, struct gn_error *err)
{
	const struct gn_model *model = t->options->model;

	if (t->dataset->totals[GN_TRAIN] < 1)
		return gn_fail(err, GN_INVALID, "dataset", "has no training images");
	if (gn_plan_make_on(&t->plan, t->options->device, t->backend->precision, &model->arch, &t->config,
	                    t->dataset->class_count, t->dataset->totals[GN_TRAIN], t->dataset->totals[GN_VAL], 0,
	                    err) ||
	    gn_tuning_init(&t->tuning, t->backend, &model->arch, &t->config, t->dataset->class_count, err))
		return -1;
	t->cut = t->plan.prefix_cut;
	return 0;
}

static void place_all(struct gn_trainer *t)
{
	gn_weights_place(t);
	t->numbers = gn_arena_take(&t->memory, 1, sizeof *t->numbers);
	t->device_labels = gn_arena_take(&t->memory, (size_t)t->plan.micro_batch_size, sizeof *t->device_labels);
	if (t->class_weights)
		t->device_class_weights = gn_arena_take(&t->memory, (size_t)t->tuning.arch.classes, sizeof(float));
	t->pass_bytes = gn_tuning_pass_bytes(&t->tuning, t->backend, t->plan.micro_batch_size, t->cut);
	t->pass_memory = gn_arena_take(&t->memory, 1, t->pass_bytes);
}

static int init_memory(struct gn_trainer *t, struct gn_error *err)
{
	gn_arena_begin(&t->memory, t->backend, t->ctx);
	place_all(t);
	if (gn_arena_open(&t->memory, err))
		return -1;
	place_all(t);
	if (t->class_weights)
		t->backend->upload(t->ctx, t->device_class_weights, t->class_weights,
		                   (size_t)t->tuning.arch.classes * sizeof(float));
	return 0;
}

void gn_trainer_release(struct gn_trainer *t)
{
	t->backend->record_forget(t->ctx);
	gn_pass_free(t->pass);
	gn_prefix_release(t);
	gn_loader_free(t->loader);
	gn_weights_release(t);
	gn_arena_release(&t->memory);
	gn_tuning_release(&t->tuning);
	free(t->class_weights);
}

int gn_trainer_init(struct gn_trainer *t, struct gn_error *err)
{
	t->backend->enter(t->ctx);
	gn_image_levels(t->levels, &t->options->model->preprocess);
	return init_network(t, err) || init_class_weights(t, err) || gn_weights_init(t, err) || init_memory(t, err) ||
	               gn_weights_fill(t, err)
	           ? -1
	           : 0;
}

int gn_trainer_open_pass(struct gn_trainer *t, struct gn_error *err)
{
	return gn_pass_new_in(&t->pass, t->pass_memory, t->backend, t->ctx, &t->tuning.arch, &t->tuning.grad,
	                      t->plan.micro_batch_size, t->cut, t->tuning.arch.depth + 2, err);
}
