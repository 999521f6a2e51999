/* Shared buffers and weights: see resident.h. */
#include "inference/resident.h"

#include <stdlib.h>

#include "base/files.h"

/* ---------------------------------------------------------------- bodies ---------------------- */

bool gn_same_body(const struct gn_arch *a, const struct gn_arch *b)
{
	struct gn_arch same_head = *a;

	same_head.classes = b->classes;
	return !gn_arch_difference(&same_head, b);
}

static int open_body(struct gn_body *body, struct gn_device *device, int batch, struct gn_error *err)
{
	const struct gn_backend *be = device->backend;
	int to = body->arch.depth + 1;
	size_t bytes = gn_pass_bytes(be, &body->arch, NULL, batch, 0, to);

	gn_arena_begin(&body->memory, be, device->ctx);
	gn_arena_take(&body->memory, 1, bytes);
	if (gn_arena_open(&body->memory, err))
		return -1;
	return gn_pass_new_in(&body->pass, gn_arena_take(&body->memory, 1, bytes), be, device->ctx, &body->arch, NULL,
	                      batch, 0, to, err);
}

static void close_body(struct gn_body *body)
{
	gn_pass_free(body->pass);
	gn_arena_release(&body->memory);
	gn_arena_release(&body->shared_memory);
	free(body);
}

int gn_body_hold(struct gn_body **out, struct gn_device *device, const struct gn_arch *arch, int batch,
                 struct gn_error *err)
{
	struct gn_body *body = device->bodies;

	while (body && (body->pass->batch != batch || !gn_same_body(&body->arch, arch)))
		body = body->next;
	if (!body) {
		body = gn_alloc(1, sizeof *body, err);
		if (!body)
			return -1;
		body->arch = *arch;
		body->arch.classes = 0;
		if (open_body(body, device, batch, err)) {
			close_body(body);
			return -1;
		}
		body->next = device->bodies;
		device->bodies = body;
	}
	body->holders++;
	*out = body;
	return 0;
}

int gn_body_alloc_shared(struct gn_body *body, struct gn_device *device, struct gn_error *err)
{
	size_t floats = gn_cut_floats(&body->pass->shape, 1) * (size_t)body->pass->batch;

	if (body->shared_output)
		return 0;
	gn_arena_begin(&body->shared_memory, device->backend, device->ctx);
	gn_arena_take(&body->shared_memory, floats, device->backend->act_bytes);
	if (gn_arena_open(&body->shared_memory, err)) {
		gn_arena_release(&body->shared_memory);
		return -1;
	}
	body->shared_output = gn_arena_take(&body->shared_memory, floats, device->backend->act_bytes);
	return 0;
}

void gn_body_drop(struct gn_body *body, struct gn_device *device)
{
	struct gn_body **at = &device->bodies;

	if (!body || --body->holders > 0)
		return;
	while (*at != body)
		at = &(*at)->next;
	*at = body->next;
	close_body(body);
}

/* ---------------------------------------------------------------- weights --------------------- */

static bool has_mat(const struct gn_device *device, const struct gn_tensor *tensor)
{
	return device->backend->mat_bytes != sizeof(float) && gn_role_is_mat(tensor->role);
}

/* Places each tensor: in the model's mapped file, in the base's device memory, or in its own device
 * memory. */
static void place(struct gn_weights *w, const struct gn_device *device)
{
	const struct gn_model *model = w->model;

	for (int i = 0; i < model->layout.count; i++) {
		const struct gn_tensor *t = &model->layout.tensors[i];
		size_t each = has_mat(device, t) ? device->backend->mat_bytes : sizeof(float);

		if (device->backend->unified) /* a forward pass only reads */
			w->tensors[i] = (void *)(uintptr_t)model->tensors[i];
		else if (w->base && !model->own[i])
			w->tensors[i] = w->base->tensors[gn_layout_find_name(&model->base->layout, t->name)];
		else
			w->tensors[i] = gn_arena_take(&w->memory, t->numel, each);
	}
}

static void upload(const struct gn_weights *w, const struct gn_device *device)
{
	const struct gn_model *model = w->model;

	for (int i = 0; i < model->layout.count; i++) {
		const struct gn_tensor *t = &model->layout.tensors[i];
		const float *values = model->tensors[i];

		if (w->base && !model->own[i])
			continue;
		if (has_mat(device, t))
			device->backend->upload_mat(device->ctx, w->tensors[i], values, t->numel);
		else
			device->backend->upload(device->ctx, w->tensors[i], values, t->numel * sizeof *values);
	}
}

static int open_weights(struct gn_weights *w, struct gn_device *device, struct gn_error *err)
{
	const struct gn_backend *be = device->backend;

	w->tensors = gn_alloc((size_t)w->model->layout.count, sizeof *w->tensors, err);
	if (!w->tensors)
		return -1;
	if (!be->unified && w->model->base && gn_weights_hold(&w->base, device, w->model->base, err))
		return -1;
	gn_arena_begin(&w->memory, be, device->ctx);
	place(w, device);
	if (be->unified)
		return 0;
	if (gn_arena_open(&w->memory, err))
		return -1;
	place(w, device);
	upload(w, device);
	return 0;
}

static void close_weights(struct gn_weights *w, struct gn_device *device)
{
	gn_arena_release(&w->memory);
	gn_weights_drop(w->base, device);
	free(w->tensors);
	free(w);
}

int gn_weights_hold(struct gn_weights **out, struct gn_device *device, const struct gn_model *model,
                    struct gn_error *err)
{
	struct gn_weights *w = device->weights;

	while (w && w->model != model)
		w = w->next;
	if (!w) {
		w = gn_alloc(1, sizeof *w, err);
		if (!w)
			return -1;
		w->model = model;
		if (open_weights(w, device, err)) {
			close_weights(w, device);
			return -1;
		}
		w->next = device->weights;
		device->weights = w;
	}
	w->holders++;
	*out = w;
	return 0;
}

void gn_weights_drop(struct gn_weights *w, struct gn_device *device)
{
	struct gn_weights **at = &device->weights;

	if (!w || --w->holders > 0)
		return;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	close_weights(w, device);
}

/* ---------------------------------------------------------------- sizes ----------------------- */

uint64_t gn_device_resident_bytes(const struct gn_device *device)
{
	uint64_t bytes = 0;

	for (const struct gn_body *b = device->bodies; b; b = b->next)
		bytes += b->memory.size + b->shared_memory.size;
	for (const struct gn_weights *w = device->weights; w; w = w->next)
		bytes += w->memory.size;
	return bytes;
}
