/* Passes over reference batches: see golden_trial.h. */
#include "tests/support/golden_trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *flat(const struct gn_layout *layout)
{
	float *values = aligned_alloc(128, layout->floats * sizeof *values);

	assert_non_null(values);
	memset(values, 0, layout->floats * sizeof *values);
	return values;
}

static void bind(struct gn_bind *bind, const struct gn_model *model, float *values, const bool *only)
{
	void **pointers = calloc((size_t)model->layout.count, sizeof *pointers);
	struct gn_error err = {0};

	assert_non_null(pointers);
	for (int i = 0; i < model->layout.count; i++)
		pointers[i] = !only || only[i] ? values + model->layout.tensors[i].offset : NULL;
	if (gn_bind_init(bind, &model->layout, model->arch.depth, pointers, &err))
		fail_msg("%s: %s", err.where, err.text);
	free(pointers);
}

struct trial trial_new(const struct gn_model *model, const bool *tuned, const struct golden *ref, int threads)
{
	struct trial t = {.model = model, .tuned = tuned};
	const struct gn_layout *layout = &model->layout;
	size_t pixels = 3 * (size_t)model->arch.image_size * (size_t)model->arch.image_size, count;
	struct gn_error err = {0};

	t.images = golden_find(ref, "images", &count);
	assert_non_null(t.images);
	t.batch = (int)(count / pixels);
	t.labels = golden_labels(ref, (size_t)t.batch);
	t.weights = flat(layout);
	t.gradients = flat(layout);
	t.m = flat(layout);
	t.v = flat(layout);
	for (int i = 0; i < layout->count; i++)
		memcpy(t.weights + layout->tensors[i].offset, model->tensors[i],
		       layout->tensors[i].numel * sizeof(float));
	bind(&t.bound_weights, model, t.weights, NULL);
	bind(&t.bound_gradients, model, t.gradients, tuned);
	if (gn_device_open(&t.device, "cpu", threads, GN_PRECISION_AUTO, &err) ||
	    gn_gradplan_init(&t.plan, &model->arch, layout, tuned, &err))
		fail_msg("%s: %s", err.where, err.text);
	t.backend = t.device->backend;
	return t;
}

void trial_release(struct trial *t)
{
	gn_bind_release(&t->bound_weights);
	gn_bind_release(&t->bound_gradients);
	gn_pass_free(t->pass);
	gn_gradplan_release(&t->plan);
	gn_device_close(t->device);
	free(t->weights);
	free(t->gradients);
	free(t->m);
	free(t->v);
}

void trial_forward(struct trial *t)
{
	const struct gn_arch *arch = &t->model->arch;
	size_t pixels = 3 * (size_t)arch->image_size * (size_t)arch->image_size;
	struct gn_error err = {0};

	if (!t->pass &&
	    gn_pass_new(&t->pass, t->backend, t->device->ctx, arch, &t->plan, t->batch, 0, arch->depth + 2, &err))
		fail_msg("%s: %s", err.where, err.text);
	t->backend->upload(t->device->ctx, gn_pass_input(t->pass), t->images,
	                   (size_t)t->batch * pixels * sizeof(float));
	gn_vit_forward(t->pass, &t->bound_weights, t->batch, true);
}

double trial_loss(struct trial *t, const float *class_weights, float smoothing)
{
	struct gn_step_numbers step = {0};
	double total = 0, weight = 0;

	for (int i = 0; i < t->batch; i++)
		weight += class_weights ? (double)class_weights[t->labels[i]] : 1;
	step.loss_scale = (float)(1 / weight);
	t->backend->cross_entropy(t->device->ctx, t->pass->losses, t->pass->d_logits, &step, t->pass->logits, t->labels,
	                          class_weights, smoothing, t->batch, t->model->arch.classes);
	for (int i = 0; i < t->batch; i++)
		total += (double)t->pass->losses[i] / weight;
	return total;
}

void trial_backward(struct trial *t)
{
	float *d_logits = t->pass->d_logits;

	if (t->model->arch
	        .dist_head) /* the logits are the mean of two heads, and gn_vit_backward gives each what stands here */
		for (int i = 0; i < t->batch * t->model->arch.classes; i++)
			d_logits[i] /= 2;
	memset(t->gradients, 0, t->model->layout.floats * sizeof(float));
	gn_vit_backward(t->pass, &t->bound_weights, &t->bound_gradients, t->batch);
}
