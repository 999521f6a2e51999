/* Setting a run up: its network, its buffers, its class weights; and taking it all down again. */
#include "train/trainer.h"

#include "fileio.h"

#include <stdlib.h>

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
	for (int k = 0; k < K;
	     k++) { /* every class weighs the same in an epoch; one without training images never occurs */
		int images = t->dataset->classes[k].counts[GN_TRAIN];

		t->class_weights[k] =
		    images ? (float)((double)t->dataset->totals[GN_TRAIN] / ((double)with_images * images)) : 0;
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
	if (gn_plan_make(&t->plan, &model->arch, &t->config, t->dataset->class_count, t->dataset->totals[GN_TRAIN],
	                 t->dataset->totals[GN_VAL], 0, err) ||
	    gn_run_arch(&t->arch, &model->arch, &t->config, t->dataset->class_count, err) ||
	    gn_layout_init(&t->layout, &t->arch, err))
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

	t->losses = gn_alloc((size_t)micro, sizeof *t->losses, err);
	t->device_labels = t->backend->alloc(t->ctx, (size_t)micro * sizeof *t->device_labels, err);
	if (!t->losses || !t->device_labels || init_class_weights(t, err))
		return -1;
	return 0;
}

void gn_trainer_release(struct gn_trainer *t)
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

int gn_trainer_init(struct gn_trainer *t, struct gn_error *err)
{
	return init_network(t, err) || gn_weights_init(t, err) || init_buffers(t, err) ? -1 : 0;
}

int gn_trainer_open_pass(struct gn_trainer *t, struct gn_error *err)
{
	return gn_pass_new(&t->pass, t->backend, t->ctx, &t->arch, &t->grad, t->plan.micro_batch_size, t->stage,
	                   t->arch.depth + 2, err);
}
