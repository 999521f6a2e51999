/*
 * The tensors of a run. Tuned ones live in four flat device buffers of equal layout: weights,
 * gradients, first and second moment. Frozen ones stay where the model file is mapped, shared with
 * every other process that reads it, unless the device has a memory of its own.
 */
#include "train/trainer.h"

#include "checkpoint/position.h"
#include "base/files.h"
#include "base/random.h"
#include "tune/angles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The model's tensor of the same role and block, or NULL. */
static const float *model_tensor(const struct gn_trainer *t, const struct gn_tensor *tensor, size_t *numel)
{
	const struct gn_model *model = t->options->model;
	int i = gn_layout_find(&model->layout, tensor->role, tensor->block);

	*numel = i < 0 ? 0 : model->layout.tensors[i].numel;
	return i < 0 ? NULL : model->tensors[i];
}

/*
 * A tensor of the model that the run has a copy of, or has measured itself against: its pages need
 * not stay in memory.
 */
static void forget(const struct gn_trainer *t, const float *value, size_t numel)
{
	if (t->options->model->map)
		gn_file_forget(value, numel * sizeof *value);
}

/* ---------------------------------------------------------------- initial values --------------------------------- */

static int resize_position(float *out, const struct gn_trainer *t, const float *in, struct gn_error *err)
{
	const struct gn_arch *from = &t->options->model->arch, *to = &t->tuning.arch;
	size_t prefix = to->pos_on_prefix ? (size_t)(to->class_token + to->distilled) * (size_t)to->dim : 0;

	memcpy(out, in, prefix * sizeof *out);
	return gn_position_resample(out + prefix, in + prefix, to->image_size / to->patch_size,
	                            from->image_size / from->patch_size, to->dim, t->options->model->pos_resample, err);
}

/* The tensor's value before the first step, in host memory. */
static int initial_value(float *out, const struct gn_trainer *t, int index, struct gn_error *err)
{
	const struct gn_tensor *tensor = &t->tuning.layout.tensors[index];
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

	return t->tuning.layout.tensors[index].role == GN_POS_EMBED &&
	       model_tensor(t, &t->tuning.layout.tensors[index], &numel) &&
	       numel != t->tuning.layout.tensors[index].numel;
}

static int upload_initial(struct gn_trainer *t, float *device, int index, struct gn_error *err)
{
	size_t numel = t->tuning.layout.tensors[index].numel;
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

int gn_weights_init(struct gn_trainer *t, struct gn_error *err)
{
	size_t count = (size_t)t->tuning.layout.count;

	t->tensors = gn_alloc(count, sizeof *t->tensors, err);
	t->values = gn_alloc(count, sizeof *t->values, err);
	t->gradients = gn_alloc(count, sizeof *t->gradients, err);
	if (!t->tensors || !t->values || !t->gradients)
		return -1;
	t->tuned_floats = gn_tuning_floats(&t->tuning);
	return 0;
}

static bool has_mat(const struct gn_trainer *t, int index)
{
	return gn_tuning_has_mat(&t->tuning, t->backend, index);
}

/* The form of a tensor that passes read, if it is not its float32 value. */
static void *take_read(struct gn_trainer *t, int index)
{
	return gn_arena_take(&t->memory, 1, gn_tuning_read_bytes(&t->tuning, t->backend, index));
}

static void place_tuned(struct gn_trainer *t, int index, size_t offset)
{
	t->values[index] = t->w ? t->w + offset : NULL;
	t->tensors[index] = has_mat(t, index) ? take_read(t, index) : t->values[index];
}

/* A frozen tensor is read from the mapped model where the device can: a pass only reads it. */
static void place_frozen(struct gn_trainer *t, int index)
{
	size_t numel;

	if (is_resized(t, index))
		t->tensors[index] = t->values[index] = take_read(t, index);
	else if (t->backend->unified)
		t->tensors[index] = (void *)(uintptr_t)model_tensor(t, &t->tuning.layout.tensors[index], &numel);
	else
		t->tensors[index] = take_read(t, index);
}

/* Room for the base's form of a layer's two matrices, the largest layer's. */
static void place_angle_base(struct gn_trainer *t)
{
	for (int place = 0; place < 2; place++)
		t->angle_base[place] =
		    gn_arena_take(&t->memory, gn_tuning_angle_floats(&t->tuning, place), sizeof(float));
}

/* In g those that are set come first, so that the others are cleared in one piece. */
static void place_gradients(struct gn_trainer *t)
{
	size_t offset = 0;

	for (int set = 1; set >= 0; set--) {
		for (int i = 0; i < t->tuning.layout.count; i++) {
			const struct gn_tensor *tensor = &t->tuning.layout.tensors[i];

			if (!t->tuning.tuned[i] || gn_role_is_set(tensor->role) != (set == 1))
				continue;
			t->gradients[i] = t->g ? t->g + offset : NULL;
			offset += gn_tuned_span(tensor);
		}
		if (set)
			t->set_floats = offset;
	}
}

void gn_weights_place(struct gn_trainer *t)
{
	size_t offset = 0;

	t->w = gn_arena_take(&t->memory, t->tuned_floats, sizeof(float));
	t->g = gn_arena_take(&t->memory, t->tuned_floats, sizeof(float));
	t->m = gn_arena_take(&t->memory, t->tuned_floats, sizeof(float));
	if (t->config.optimizer == GN_ADAMW)
		t->v = gn_arena_take(&t->memory, t->tuned_floats, sizeof(float));
	for (int i = 0; i < t->tuning.layout.count; i++) {
		if (!t->tuning.tuned[i]) {
			place_frozen(t, i);
			continue;
		}
		place_tuned(t, i, offset);
		offset += gn_tuned_span(&t->tuning.layout.tensors[i]);
	}
	place_gradients(t);
	if (!t->backend->unified)
		place_angle_base(t);
}

static int fill_tensor(struct gn_trainer *t, int index, struct gn_error *err)
{
	const struct gn_tensor *tensor = &t->tuning.layout.tensors[index];
	size_t numel;

	if (t->values[index])
		return upload_initial(t, t->values[index], index, err);
	if (t->backend->unified)
		return 0;
	if (has_mat(t, index))
		t->backend->upload_mat(t->ctx, t->tensors[index], model_tensor(t, tensor, &numel), tensor->numel);
	else
		t->backend->upload(t->ctx, t->tensors[index], model_tensor(t, tensor, &numel),
		                   tensor->numel * sizeof(float));
	forget(t, model_tensor(t, tensor, &numel), tensor->numel);
	return 0;
}

static int list_tuned(struct gn_trainer *t, struct gn_error *err)
{
	struct gn_opt_tensor *list = gn_alloc((size_t)t->tuning.layout.count, sizeof *list, err);
	int count = 0;

	if (!list)
		return -1;
	for (int i = 0; i < t->tuning.layout.count; i++) {
		const struct gn_tensor *tensor = &t->tuning.layout.tensors[i];
		ptrdiff_t at = t->values[i] ? t->values[i] - t->w : 0;

		if (t->tuning.tuned[i])
			list[count++] = (struct gn_opt_tensor){
			    .weight = t->w + at,
			    .grad = t->gradients[i],
			    .m = t->m + at,
			    .v = t->v ? t->v + at : NULL,
			    .mat = has_mat(t, i) ? t->tensors[i] : NULL,
			    .n = tensor->numel,
			    .lr_scale = gn_layer_scale(tensor, &t->tuning.arch, t->config.layer_decay),
			    .decay = tensor->no_decay ? 0 : (float)t->config.weight_decay};
	}
	t->opt = t->backend->opt_list_new(t->ctx, list, count, err);
	free(list);
	return t->opt ? 0 : -1;
}

int gn_weights_fill(struct gn_trainer *t, struct gn_error *err)
{
	for (int i = 0; i < t->tuning.layout.count; i++)
		if (fill_tensor(t, i, err))
			return -1;
	gn_weights_refresh(t);
	if (gn_bind_init(&t->weights, &t->tuning.layout, t->tuning.arch.depth, t->tensors, err) ||
	    gn_bind_init(&t->grads, &t->tuning.layout, t->tuning.arch.depth, t->gradients, err) || list_tuned(t, err))
		return -1;
	return t->backend->sync(t->ctx, err);
}

void gn_weights_refresh(struct gn_trainer *t)
{
	for (int i = 0; i < t->tuning.layout.count; i++)
		if (t->tuning.tuned[i] && has_mat(t, i))
			t->backend->cast_mat(t->ctx, t->tensors[i], t->values[i], t->tuning.layout.tensors[i].numel);
}

void gn_weights_release(struct gn_trainer *t)
{
	if (t->opt)
		t->backend->opt_list_free(t->ctx, t->opt);
	gn_bind_release(&t->weights);
	gn_bind_release(&t->grads);
	free(t->tensors);
	free(t->values);
	free(t->gradients);
}

/* ---------------------------------------------------------------- results ---------------------------------------- */

/*
 * Host pointers to the current values of what the run holds itself (tuned, resized); NULL for the
 * rest. *copy, where the device has memory of its own, is what the pointers lie in; caller frees
 * both.
 */
static const float **current_values(struct gn_trainer *t, float **copy, struct gn_error *err)
{
	const float **values = gn_alloc((size_t)t->tuning.layout.count, sizeof *values, err);
	size_t offset = 0;

	*copy = NULL;
	if (!values)
		return NULL;
	if (!t->backend->unified) {
		*copy = gn_alloc(t->tuning.layout.floats, sizeof **copy, err);
		if (!*copy) {
			free(values);
			return NULL;
		}
	}
	for (int i = 0; i < t->tuning.layout.count; i++) {
		size_t numel = t->tuning.layout.tensors[i].numel;

		values[i] = t->values[i];
		if (*copy && values[i]) {
			t->backend->download(t->ctx, *copy + offset, t->values[i], numel * sizeof(float));
			values[i] = *copy + offset;
			offset += gn_tuned_span(&t->tuning.layout.tensors[i]);
		}
	}
	return values;
}

int gn_weights_write(struct gn_trainer *t, struct gn_error *err)
{
	const struct gn_model *model = t->options->model;
	const char **labels = gn_alloc((size_t)t->tuning.arch.classes, sizeof *labels, err);
	float *copy = NULL;
	const float **values = current_values(t, &copy, err);
	char path[4096], base[65];
	int result = -1;

	if (labels && values && t->backend->sync(t->ctx, err) == 0 && gn_model_hash(base, model, err) == 0) {
		for (int k = 0; k < t->tuning.arch.classes; k++)
			labels[k] = t->dataset->classes[k].name;
		snprintf(path, sizeof path, "%s/model.safetensors", t->options->folder);
		result = gn_model_write(path,
		                        &(struct gn_model_parts){.arch = &t->tuning.arch,
		                                                 .preprocess = &model->preprocess,
		                                                 .scheme = model->scheme,
		                                                 .pos_resample = model->pos_resample,
		                                                 .layout = &t->tuning.layout,
		                                                 .tensors = values,
		                                                 .labels = labels,
		                                                 .label_count = t->tuning.arch.classes,
		                                                 .base = base},
		                        err);
	}
	free(copy);
	free(values);
	free(labels);
	return result;
}

struct angle_base {
	struct gn_trainer *t;
	const float *const *base;
};

/* Where the device has a memory of its own. */
static const float *bring_base(void *user, int tensor, int place)
{
	const struct angle_base *b = user;
	struct gn_trainer *t = b->t;

	t->backend->upload(t->ctx, t->angle_base[place], b->base[tensor],
	                   t->tuning.layout.tensors[tensor].numel * sizeof(float));
	return t->angle_base[place];
}

static void forget_base(void *user, int tensor)
{
	const struct angle_base *b = user;

	forget(b->t, b->base[tensor], b->t->tuning.layout.tensors[tensor].numel);
}

int gn_weights_angles(struct gn_angles *out, struct gn_trainer *t, struct gn_error *err)
{
	size_t count = (size_t)t->tuning.layout.count, numel;
	const float **tuned = gn_alloc(count, sizeof *tuned, err);
	const float **base = gn_alloc(count, sizeof *base, err);
	struct angle_base user = {t, base};
	struct gn_angle_weights weights = {.layout = &t->tuning.layout,
	                                   .tuned = tuned,
	                                   .base = base,
	                                   .backend = t->backend,
	                                   .ctx = t->ctx,
	                                   .bring = t->backend->unified ? NULL : bring_base,
	                                   .done = forget_base,
	                                   .user = &user};
	int result = -1;

	for (int i = 0; tuned && base && i < t->tuning.layout.count; i++) {
		base[i] = model_tensor(t, &t->tuning.layout.tensors[i], &numel);
		tuned[i] = t->tuning.tuned[i] ? t->values[i] : base[i];
	}
	if (tuned && base)
		result = gn_angles_of(out, &weights, err);
	free(tuned);
	free(base);
	return result;
}
