/* Passes over reference batches: see golden_trial.h. */
#include "tests/support/golden_trial.h"

#include "tests/support/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct gn_device *shared;

static void close_shared(void)
{
	gn_device_close(shared);
}

struct gn_device *golden_device(void)
{
	const char *spec = getenv("GONIO_TEST_DEVICE"), *name = getenv("GONIO_TEST_PRECISION");
	int precision = name ? gn_precision_from_name(name) : GN_PRECISION_AUTO;
	struct gn_error err = {0};

	if (shared)
		return shared;
	assert_true(precision >= 0);
	if (gn_device_open(&shared, spec ? spec : "cpu", 2, (enum gn_precision)precision, &err)) {
		print_message("SKIPPED: %s\n", err.text);
		exit(getenv("GONIO_DEVICE_REQUIRED") ? 1 : 77);
	}
	(void)atexit(close_shared);
	return shared;
}

double golden_tolerance(double fp32, double bf16)
{
	return golden_device()->backend->precision == GN_PRECISION_FP32 ? fp32 : bf16;
}

/* ---------------------------------------------------------------- memory ---------------------- */

static float *flat(const struct gn_layout *layout)
{
	float *values = aligned_alloc(128, layout->floats * sizeof *values);

	assert_non_null(values);
	memset(values, 0, layout->floats * sizeof *values);
	return values;
}

/* Zeroed memory that the backend computes with, until trial_release. */
static void *block(struct trial *t, size_t bytes)
{
	struct gn_error err = {0};
	void *memory = t->backend->alloc(t->device->ctx, bytes, &err);

	if (!memory)
		fail_msg("%s", err.text);
	assert_true(t->on.count < 32);
	t->on.bytes[t->on.count] = bytes;
	t->on.blocks[t->on.count++] = memory;
	return memory;
}

/* The weights as passes read them: in float32, and where products want another type, that too. */
static void place_weights(struct trial *t)
{
	const struct gn_layout *layout = &t->model->layout;
	size_t mat = t->backend->mat_bytes;
	char *mats = mat == sizeof(float) ? NULL : block(t, layout->floats * mat);

	t->on.tensors = calloc((size_t)layout->count, sizeof *t->on.tensors);
	assert_non_null(t->on.tensors);
	t->backend->upload(t->device->ctx, t->on.weights, t->weights, layout->floats * sizeof(float));
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *tensor = &layout->tensors[i];

		t->on.tensors[i] = t->on.weights + tensor->offset;
		if (!mats || !gn_role_is_mat(tensor->role))
			continue;
		t->on.tensors[i] = mats + tensor->offset * mat;
		t->backend->cast_mat(t->device->ctx, t->on.tensors[i], t->on.weights + tensor->offset, tensor->numel);
	}
}

static void bind_all(struct trial *t)
{
	const struct gn_layout *layout = &t->model->layout;
	void **gradients = calloc((size_t)layout->count, sizeof *gradients);
	struct gn_error err = {0};

	assert_non_null(gradients);
	for (int i = 0; i < layout->count; i++)
		gradients[i] = t->tuned[i] ? t->on.gradients + layout->tensors[i].offset : NULL;
	if (gn_bind_init(&t->bound_weights, layout, t->model->arch.depth, t->on.tensors, &err) ||
	    gn_bind_init(&t->bound_gradients, layout, t->model->arch.depth, gradients, &err) ||
	    gn_gradplan_init(&t->plan, &t->model->arch, layout, t->tuned, &err))
		fail_msg("%s: %s", err.where, err.text);
	free(gradients);
}

struct trial trial_new(const struct gn_model *model, const bool *tuned, const struct golden *ref)
{
	struct trial t = {.model = model, .tuned = tuned, .device = golden_device()};
	const struct gn_layout *layout = &model->layout;
	size_t pixels = 3 * (size_t)model->arch.image_size * (size_t)model->arch.image_size, count;
	size_t bytes = layout->floats * sizeof(float), K = (size_t)model->arch.classes;

	t.backend = t.device->backend;
	t.images = golden_find(ref, "images", &count);
	assert_non_null(t.images);
	t.batch = (int)(count / pixels);
	t.labels = golden_labels(ref, (size_t)t.batch);
	t.weights = flat(layout);
	t.gradients = flat(layout);
	t.d_logits = calloc((size_t)t.batch * K, sizeof *t.d_logits);
	assert_non_null(t.d_logits);
	for (int i = 0; i < layout->count; i++)
		memcpy(t.weights + layout->tensors[i].offset, model->tensors[i],
		       layout->tensors[i].numel * sizeof(float));
	t.on.weights = block(&t, bytes);
	t.on.gradients = block(&t, bytes);
	t.on.m = block(&t, bytes);
	t.on.v = block(&t, bytes);
	t.on.labels = block(&t, (size_t)t.batch * sizeof *t.on.labels);
	t.on.class_weights = block(&t, K * sizeof *t.on.class_weights);
	t.on.numbers = block(&t, sizeof *t.on.numbers);
	t.backend->upload(t.device->ctx, t.on.labels, t.labels, (size_t)t.batch * sizeof *t.on.labels);
	place_weights(&t);
	bind_all(&t);
	return t;
}

void trial_release(struct trial *t)
{
	gn_bind_release(&t->bound_weights);
	gn_bind_release(&t->bound_gradients);
	gn_pass_free(t->pass);
	gn_gradplan_release(&t->plan);
	while (t->on.count > 0) {
		t->on.count--;
		t->backend->free(t->device->ctx, t->on.blocks[t->on.count], t->on.bytes[t->on.count]);
	}
	free(t->on.tensors);
	free(t->weights);
	free(t->gradients);
	free(t->d_logits);
}

/* ---------------------------------------------------------------- passes ---------------------- */

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

struct gn_step_numbers *trial_numbers(struct trial *t, const struct gn_step_numbers *numbers)
{
	t->backend->upload(t->device->ctx, t->on.numbers, numbers, sizeof *numbers);
	return t->on.numbers;
}

/* The gradient of the logits in float32. */
static void pull_d_logits(struct trial *t)
{
	size_t count = (size_t)t->batch * (size_t)t->model->arch.classes;
	uint16_t *halves = (uint16_t *)(void *)t->d_logits;

	t->backend->download(t->device->ctx, t->d_logits, t->pass->d_logits, count * t->backend->act_bytes);
	for (size_t i = count; t->backend->act_bytes == 2 && i-- > 0;)
		t->d_logits[i] = kt_float(halves[i]);
}

double trial_loss(struct trial *t, const float *class_weights, float smoothing)
{
	struct gn_step_numbers numbers = {0};
	int K = t->model->arch.classes;
	double weight = 0;

	for (int i = 0; i < t->batch; i++)
		weight += class_weights ? (double)class_weights[t->labels[i]] : 1;
	numbers.loss_scale = (float)(1 / weight);
	if (class_weights)
		t->backend->upload(t->device->ctx, t->on.class_weights, class_weights, (size_t)K * sizeof(float));
	t->backend->cross_entropy(t->device->ctx, t->pass->losses, t->pass->d_logits, trial_numbers(t, &numbers),
	                          t->pass->logits, t->on.labels, class_weights ? t->on.class_weights : NULL, smoothing,
	                          t->batch, K);
	t->backend->download(t->device->ctx, &numbers, t->on.numbers, sizeof numbers);
	pull_d_logits(t);
	return numbers.loss / weight;
}

/* The logits are the mean of two heads, and gn_vit_backward gives each what stands in d_logits. */
static void halve_d_logits(struct trial *t)
{
	size_t count = (size_t)t->batch * (size_t)t->model->arch.classes;
	uint16_t *halves = (uint16_t *)(void *)t->d_logits;

	for (size_t i = 0; i < count; i++)
		t->d_logits[i] /= 2;
	for (size_t i = 0; t->backend->act_bytes == 2 && i < count; i++)
		halves[i] = kt_bf16(t->d_logits[i]);
	t->backend->upload(t->device->ctx, t->pass->d_logits, t->d_logits, count * t->backend->act_bytes);
}

void trial_backward(struct trial *t)
{
	if (t->model->arch.dist_head)
		halve_d_logits(t);
	t->backend->zero(t->device->ctx, t->on.gradients, t->model->layout.floats * sizeof(float));
	gn_vit_backward(t->pass, &t->bound_weights, &t->bound_gradients, true, t->batch);
}

void trial_pull(struct trial *t)
{
	size_t bytes = t->model->layout.floats * sizeof(float);
	struct gn_error err = {0};

	t->backend->download(t->device->ctx, t->weights, t->on.weights, bytes);
	t->backend->download(t->device->ctx, t->gradients, t->on.gradients, bytes);
	if (t->backend->sync(t->device->ctx, &err))
		fail_msg("%s", err.text);
}
