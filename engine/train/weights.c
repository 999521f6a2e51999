/*
 * The tensors of a run. Tuned ones live in four flat device buffers of equal layout: weights, gradients, first and
 * second moment. Frozen ones stay where the model file is mapped, shared with every other process that reads it,
 * unless the device has a memory of its own.
 */
#include "train/trainer.h"

#include "checkpoint/position.h"
#include "fileio.h"
#include "random.h"
#include "tune/angles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t padded(size_t n)
{
	return (n + 31) / 32 * 32;
}

/* The model's tensor of the same role and block, or NULL. */
static const float *model_tensor(const struct gn_trainer *t, const struct gn_tensor *tensor, size_t *numel)
{
	const struct gn_model *model = t->options->model;
	int i = gn_layout_find(&model->layout, tensor->role, tensor->block);

	*numel = i < 0 ? 0 : model->layout.tensors[i].numel;
	return i < 0 ? NULL : model->tensors[i];
}

/* A tensor of the model that the run has a copy of, or has measured itself against: its pages need not stay in
 * memory. */
static void forget(const struct gn_trainer *t, const float *value, size_t numel)
{
	if (t->options->model->map)
		gn_file_forget(value, numel * sizeof *value);
}

/* ---------------------------------------------------------------- initial values --------------------------------- */

static int resize_position(float *out, const struct gn_trainer *t, const float *in, struct gn_error *err)
{
	const struct gn_arch *from = &t->options->model->arch, *to = &t->arch;
	size_t prefix = to->pos_on_prefix ? (size_t)(to->class_token + to->distilled) * (size_t)to->dim : 0;

	memcpy(out, in, prefix * sizeof *out);
	return gn_position_resample(out + prefix, in + prefix, to->image_size / to->patch_size,
	                            from->image_size / from->patch_size, to->dim, t->options->model->pos_resample, err);
}

/* The tensor's value before the first step, in host memory. */
static int initial_value(float *out, const struct gn_trainer *t, int index, struct gn_error *err)
{
	const struct gn_tensor *tensor = &t->layout.tensors[index];
	size_t numel;
	const float *value = model_tensor(t, tensor, &numel);

	if (tensor->group == GN_GROUP_HEAD && t->config.head != GN_HEAD_KEEP) {
		struct gn_random random;

		memset(out, 0, tensor->numel * sizeof *out);
		if (t->config.head == GN_HEAD_RANDOM && tensor->rank > 1) {
			gn_random_init(&random, t->config.seed, GN_RANDOM_HEAD, (uint32_t)tensor->role, 0);
			gn_random_truncated_normal(&random, out, tensor->numel, 0.02);
		}
		return 0;
	}
	gn_assert(value);
	if (tensor->role == GN_POS_EMBED && numel != tensor->numel)
		return resize_position(out, t, value, err);
	gn_assert(numel == tensor->numel);
	memcpy(out, value, numel * sizeof *out);
	forget(t, value, numel);
	return 0;
}

static bool is_resized(const struct gn_trainer *t, int index)
{
	size_t numel;

	return t->layout.tensors[index].role == GN_POS_EMBED && model_tensor(t, &t->layout.tensors[index], &numel) &&
	       numel != t->layout.tensors[index].numel;
}

static int upload_initial(struct gn_trainer *t, float *device, int index, struct gn_error *err)
{
	size_t numel = t->layout.tensors[index].numel;
	float *host = t->backend->unified ? device : gn_alloc(numel, sizeof *host, err);
	int result = host ? initial_value(host, t, index, err) : -1;

	if (host && !t->backend->unified) {
		if (result == 0)
			t->backend->upload(t->ctx, device, host, numel * sizeof *host);
		t->backend->sync(t->ctx, NULL); /* host must stay until the copy is done */
		free(host);
	}
	return result;
}

/* ---------------------------------------------------------------- buffers ---------------------------------------- */

static int alloc_tuned(struct gn_trainer *t, struct gn_error *err)
{
	size_t bytes;

	for (int i = 0; i < t->layout.count; i++)
		t->tuned_floats += t->tuned[i] ? padded(t->layout.tensors[i].numel) : 0;
	bytes = t->tuned_floats * sizeof(float);
	t->w = t->backend->alloc(t->ctx, bytes, err);
	t->g = t->backend->alloc(t->ctx, bytes, err);
	t->m = t->backend->alloc(t->ctx, bytes, err);
	if (t->config.optimizer == GN_ADAMW)
		t->v = t->backend->alloc(t->ctx, bytes, err);
	return !t->w || !t->g || !t->m || (t->config.optimizer == GN_ADAMW && !t->v) ? -1 : 0;
}

/* Where a frozen tensor is read from. */
static int bind_frozen(struct gn_trainer *t, int index, struct gn_error *err)
{
	const struct gn_tensor *tensor = &t->layout.tensors[index];
	size_t numel, bytes = tensor->numel * sizeof(float);
	const float *value = model_tensor(t, tensor, &numel);

	if (is_resized(t, index)) {
		t->position = t->backend->alloc(t->ctx, bytes, err);
		t->tensors[index] = t->position;
		return t->position ? upload_initial(t, t->position, index, err) : -1;
	}
	if (t->backend->unified) {
		t->tensors[index] = (void *)(uintptr_t)value; /* read-only: a frozen tensor has no gradient */
		return 0;
	}
	t->uploaded[index] = t->backend->alloc(t->ctx, bytes, err);
	if (!t->uploaded[index])
		return -1;
	t->backend->upload(t->ctx, t->uploaded[index], value, bytes);
	t->tensors[index] = t->uploaded[index];
	return 0;
}

static int bind_tuned(struct gn_trainer *t, int index, size_t offset, struct gn_error *err)
{
	const struct gn_tensor *tensor = &t->layout.tensors[index];

	t->tensors[index] = t->w + offset;
	t->gradients[index] = t->g + offset;
	t->lr_scale[t->opt_count] = gn_layer_scale(tensor, &t->arch, t->config.layer_decay);
	t->opt[t->opt_count++] = (struct gn_opt_tensor){.weight = t->w + offset,
	                                                .grad = t->g + offset,
	                                                .m = t->m + offset,
	                                                .v = t->v ? t->v + offset : NULL,
	                                                .n = tensor->numel,
	                                                .decay = tensor->no_decay ? 0 : (float)t->config.weight_decay};
	return upload_initial(t, t->w + offset, index, err);
}

int gn_weights_init(struct gn_trainer *t, struct gn_error *err)
{
	size_t count = (size_t)t->layout.count, offset = 0;

	t->tensors = gn_alloc(count, sizeof *t->tensors, err);
	t->gradients = gn_alloc(count, sizeof *t->gradients, err);
	t->uploaded = gn_alloc(count, sizeof *t->uploaded, err);
	t->opt = gn_alloc(count, sizeof *t->opt, err);
	t->lr_scale = gn_alloc(count, sizeof *t->lr_scale, err);
	if (!t->tensors || !t->gradients || !t->uploaded || !t->opt || !t->lr_scale || alloc_tuned(t, err))
		return -1;
	for (int i = 0; i < t->layout.count; i++) {
		if (!t->tuned[i]) {
			if (bind_frozen(t, i, err))
				return -1;
			continue;
		}
		if (bind_tuned(t, i, offset, err))
			return -1;
		offset += padded(t->layout.tensors[i].numel);
	}
	if (gn_bind_init(&t->weights, &t->layout, t->arch.depth, t->tensors, err) ||
	    gn_bind_init(&t->grads, &t->layout, t->arch.depth, t->gradients, err))
		return -1;
	return t->backend->sync(t->ctx, err);
}

static void device_free(struct gn_trainer *t, void *device, size_t bytes)
{
	if (device)
		t->backend->free(t->ctx, device, bytes);
}

void gn_weights_release(struct gn_trainer *t)
{
	size_t bytes = t->tuned_floats * sizeof(float);
	int position = gn_layout_find(&t->layout, GN_POS_EMBED, -1);

	for (int i = 0; t->uploaded && i < t->layout.count; i++)
		device_free(t, t->uploaded[i], t->layout.tensors[i].numel * sizeof(float));
	if (position >= 0)
		device_free(t, t->position, t->layout.tensors[position].numel * sizeof(float));
	device_free(t, t->w, bytes);
	device_free(t, t->g, bytes);
	device_free(t, t->m, bytes);
	device_free(t, t->v, bytes);
	gn_bind_release(&t->weights);
	gn_bind_release(&t->grads);
	free(t->tensors);
	free(t->gradients);
	free(t->uploaded);
	free(t->opt);
	free(t->lr_scale);
}

/* ---------------------------------------------------------------- results ---------------------------------------- */

/* Host pointers to the current values of what the run holds itself (tuned, resized); NULL for the rest. *copy,
 * where the device has memory of its own, is what the pointers lie in; caller frees both. */
static const float **current_values(struct gn_trainer *t, float **copy, struct gn_error *err)
{
	const float **values = gn_alloc((size_t)t->layout.count, sizeof *values, err);
	size_t offset = 0;

	*copy = NULL;
	if (!values)
		return NULL;
	if (!t->backend->unified) {
		*copy = gn_alloc(t->layout.floats, sizeof **copy, err);
		if (!*copy) {
			free(values);
			return NULL;
		}
	}
	for (int i = 0; i < t->layout.count; i++) {
		size_t numel = t->layout.tensors[i].numel;

		if (!t->tuned[i] && !is_resized(t, i))
			continue;
		values[i] = t->tensors[i];
		if (*copy) {
			t->backend->download(t->ctx, *copy + offset, t->tensors[i], numel * sizeof(float));
			values[i] = *copy + offset;
			offset += padded(numel);
		}
	}
	return values;
}

int gn_weights_write(struct gn_trainer *t, struct gn_error *err)
{
	const struct gn_model *model = t->options->model;
	const char **labels = gn_alloc((size_t)t->arch.classes, sizeof *labels, err);
	float *copy = NULL;
	const float **values = current_values(t, &copy, err);
	char path[4096];
	int result = -1;

	if (labels && values) {
		for (int k = 0; k < t->arch.classes; k++)
			labels[k] = t->dataset->classes[k].name;
		snprintf(path, sizeof path, "%s/model.safetensors", t->options->folder);
		result = gn_model_write(path,
		                        &(struct gn_model_parts){.arch = &t->arch,
		                                                 .preprocess = &model->preprocess,
		                                                 .scheme = model->scheme,
		                                                 .pos_resample = model->pos_resample,
		                                                 .layout = &t->layout,
		                                                 .tensors = values,
		                                                 .labels = labels,
		                                                 .label_count = t->arch.classes},
		                        err);
	}
	free(copy);
	free(values);
	free(labels);
	return result;
}

struct angle_base {
	const struct gn_trainer *t;
	const float *const *base;
};

static void forget_base(void *user, int tensor)
{
	const struct angle_base *b = user;

	forget(b->t, b->base[tensor], b->t->layout.tensors[tensor].numel);
}

int gn_weights_angles(struct gn_angles *out, struct gn_trainer *t, struct gn_error *err)
{
	float *copy = NULL;
	const float **values = current_values(t, &copy, err);
	const float **base = gn_alloc((size_t)t->layout.count, sizeof *base, err);
	struct gn_device_info device;
	int result = -1;

	if (values && base) {
		for (int i = 0; i < t->layout.count; i++) {
			size_t numel;

			base[i] = model_tensor(t, &t->layout.tensors[i], &numel);
			if (!t->tuned[i])
				values[i] = base[i];
		}
		t->backend->describe(t->ctx, &device);
		result = gn_angles_of(out, &t->layout, values, base, device.threads, forget_base,
		                      &(struct angle_base){t, base}, err);
	}
	free(copy);
	free(base);
	free(values);
	return result;
}
