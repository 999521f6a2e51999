/* A model ready to classify. On a device that reads host memory the weights stay in the mapped files. */
#include "vit/vit.h"

#include "fileio.h"

#include <math.h>
#include <stdlib.h>

#define USEFUL_ROWS 2048 /* as in training: past this, a pass gets no faster on a CPU */

struct gn_infer {
	struct gn_device *device;
	const struct gn_model *model;
	struct gn_bind weights;
	struct gn_pass *pass;
	void **uploaded; /* [layout.count], where the device has its own memory; else NULL */
	size_t uploaded_bytes;
};

static int bind_weights(struct gn_infer *infer, struct gn_error *err)
{
	const struct gn_backend *be = infer->device->backend;
	const struct gn_layout *layout = &infer->model->layout;
	void **pointers = gn_alloc((size_t)layout->count, sizeof *pointers, err);

	if (!pointers)
		return -1;
	if (!be->unified) {
		infer->uploaded = pointers;
		for (int i = 0; i < layout->count; i++) {
			size_t bytes = layout->tensors[i].numel * sizeof(float);

			pointers[i] = be->alloc(infer->device->ctx, bytes, err);
			if (!pointers[i])
				return -1;
			be->upload(infer->device->ctx, pointers[i], infer->model->tensors[i], bytes);
			infer->uploaded_bytes += bytes;
		}
		return gn_bind_init(&infer->weights, layout, infer->model->arch.depth, pointers, err);
	}
	for (int i = 0; i < layout->count; i++)
		pointers[i] = (void *)(uintptr_t)infer->model->tensors[i]; /* a forward pass only reads */
	int result = gn_bind_init(&infer->weights, layout, infer->model->arch.depth, pointers, err);
	free(pointers);
	return result;
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
	if (bind_weights(infer, err) ||
	    gn_pass_new(&infer->pass, device->backend, device->ctx, &model->arch, NULL,
	                batch < max_batch ? batch : max_batch, 0, model->arch.depth + 2, err)) {
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
	return infer->pass->bytes + infer->uploaded_bytes;
}

void gn_infer_free(struct gn_infer *infer)
{
	if (!infer)
		return;
	gn_pass_free(infer->pass);
	for (int i = 0; infer->uploaded && i < infer->model->layout.count; i++)
		if (infer->uploaded[i])
			infer->device->backend->free(infer->device->ctx, infer->uploaded[i],
			                             infer->model->layout.tensors[i].numel * sizeof(float));
	free(infer->uploaded);
	gn_bind_release(&infer->weights);
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
