/* A model ready to classify. On a device that reads host memory the weights stay in the mapped files. */
#include "vit/vit.h"

#include "backend/arena.h"
#include "fileio.h"

#include <math.h>
#include <stdlib.h>

#define USEFUL_ROWS 2048 /* as in training: past this, a pass gets no faster on a CPU */

struct gn_infer {
	struct gn_device *device;
	const struct gn_model *model;
	struct gn_arena memory; /* device: the weights, where the device has a memory of its own, and the pass */
	void **tensors;         /* [layout.count] what the pass reads */
	struct gn_bind weights;
	struct gn_pass *pass;
	void *pass_memory;
	int batch;
};

static bool has_mat(const struct gn_infer *infer, int index)
{
	return infer->device->backend->mat_bytes != sizeof(float) &&
	       gn_role_is_mat(infer->model->layout.tensors[index].role);
}

static void place(struct gn_infer *infer)
{
	const struct gn_backend *be = infer->device->backend;
	const struct gn_model *model = infer->model;

	for (int i = 0; i < model->layout.count; i++) /* a forward pass only reads */
		infer->tensors[i] = be->unified ? (void *)(uintptr_t)model->tensors[i]
		                                : gn_arena_take(&infer->memory, model->layout.tensors[i].numel,
		                                                has_mat(infer, i) ? be->mat_bytes : sizeof(float));
	infer->pass_memory = gn_arena_take(
	    &infer->memory, 1, gn_pass_bytes(be, &model->arch, NULL, infer->batch, 0, model->arch.depth + 2));
}

static void upload_weights(struct gn_infer *infer)
{
	const struct gn_backend *be = infer->device->backend;
	const struct gn_layout *layout = &infer->model->layout;

	for (int i = 0; i < layout->count; i++) {
		const float *value = infer->model->tensors[i];

		if (has_mat(infer, i))
			be->upload_mat(infer->device->ctx, infer->tensors[i], value, layout->tensors[i].numel);
		else
			be->upload(infer->device->ctx, infer->tensors[i], value,
			           layout->tensors[i].numel * sizeof *value);
	}
}

static int prepare(struct gn_infer *infer, struct gn_error *err)
{
	const struct gn_backend *be = infer->device->backend;
	struct gn_ctx *ctx = infer->device->ctx;
	const struct gn_model *model = infer->model;

	be->enter(ctx);
	infer->tensors = gn_alloc((size_t)model->layout.count, sizeof *infer->tensors, err);
	if (!infer->tensors)
		return -1;
	place(infer);
	if (gn_arena_open(&infer->memory, be, ctx, err))
		return -1;
	place(infer);
	if (!be->unified)
		upload_weights(infer);
	if (gn_bind_init(&infer->weights, &model->layout, model->arch.depth, infer->tensors, err))
		return -1;
	return gn_pass_new_in(&infer->pass, infer->pass_memory, be, ctx, &model->arch, NULL, infer->batch, 0,
	                      model->arch.depth + 2, err);
}

int gn_infer_new(struct gn_infer **out, struct gn_device *device, const struct gn_model *model, int max_batch,
                 struct gn_error *err)
{
	struct gn_infer *infer;
	int useful = USEFUL_ROWS / gn_arch_tokens(&model->arch), batch = useful < 1 ? 1 : useful;

	if (model->arch.classes == 0)
		return gn_fail(err, GN_CONFLICT, "", "the model has no classification head");
	infer = gn_alloc(1, sizeof *infer, err);
	if (!infer)
		return -1;
	infer->device = device;
	infer->model = model;
	infer->batch = batch < max_batch && device->backend->unified ? batch : max_batch;
	if (prepare(infer, err)) {
		gn_infer_free(infer);
		return -1;
	}
	*out = infer;
	return 0;
}

int gn_infer_run(struct gn_infer *infer, const float *images, int batch, float *logits, struct gn_error *err)
{
	const struct gn_backend *be = infer->device->backend;
	struct gn_ctx *ctx = infer->device->ctx;
	size_t side = (size_t)infer->model->arch.image_size, image = 3 * side * side,
	       K = (size_t)infer->model->arch.classes;

	be->enter(ctx);
	for (int at = 0; at < batch; at += infer->pass->batch) {
		int n = batch - at < infer->pass->batch ? batch - at : infer->pass->batch;

		be->upload(ctx, gn_pass_input(infer->pass), images + (size_t)at * image,
		           (size_t)n * image * sizeof *images);
		gn_vit_forward(infer->pass, &infer->weights, n, false);
		be->download(ctx, logits + (size_t)at * K, gn_pass_output(infer->pass), (size_t)n * K * sizeof *logits);
	}
	return be->sync(ctx, err);
}

uint64_t gn_infer_bytes(const struct gn_infer *infer)
{
	return infer->memory.size;
}

void gn_infer_free(struct gn_infer *infer)
{
	if (!infer)
		return;
	infer->device->backend->enter(infer->device->ctx);
	gn_pass_free(infer->pass);
	gn_arena_release(&infer->memory);
	gn_bind_release(&infer->weights);
	free(infer->tensors);
	free(infer);
}

void gn_softmax(float *probabilities, const float *logits, int classes)
{
	double largest = (double)logits[0], sum = 0;

	for (int k = 1; k < classes; k++)
		largest = (double)logits[k] > largest ? (double)logits[k] : largest;
	for (int k = 0; k < classes; k++)
		sum += exp((double)logits[k] - largest);
	for (int k = 0; k < classes; k++)
		probabilities[k] = (float)(exp((double)logits[k] - largest) / sum);
}
