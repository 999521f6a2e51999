/*
 * Models that are ready to classify. All models of one shape share the buffers from the images to
 * the features (resident.h); each model has its own buffers for the head. If models of one base
 * have the same memory for their first blocks, these blocks are computed once for an image.
 */
#include "inference/resident.h"

#include <math.h>
#include <stdlib.h>

#include "base/files.h"

#define USEFUL_ROWS 2048 /* as in training: beyond this, a pass gets no faster on a CPU */

struct gn_infer {
	struct gn_device *device;
	const struct gn_model *model;
	struct gn_weights *weights;
	struct gn_bind bind;
	struct gn_body *body;
	struct gn_arena memory; /* of the head's pass */
	struct gn_pass *head;
};

static int prepare(struct gn_infer *infer, int batch, struct gn_error *err)
{
	struct gn_device *device = infer->device;
	const struct gn_arch *arch = &infer->model->arch;
	int from = arch->depth + 1, to = arch->depth + 2;
	size_t bytes = gn_pass_bytes(device->backend, arch, NULL, batch, from, to);

	device->backend->enter(device->ctx);
	if (gn_weights_hold(&infer->weights, device, infer->model, err) ||
	    gn_bind_init(&infer->bind, &infer->model->layout, arch->depth, infer->weights->tensors, err) ||
	    gn_body_hold(&infer->body, device, arch, batch, err))
		return -1;
	gn_arena_begin(&infer->memory, device->backend, device->ctx);
	gn_arena_take(&infer->memory, 1, bytes);
	if (gn_arena_open(&infer->memory, err))
		return -1;
	return gn_pass_new_in(&infer->head, gn_arena_take(&infer->memory, 1, bytes), device->backend, device->ctx, arch,
	                      NULL, batch, from, to, err);
}

int gn_infer_new(struct gn_infer **out, struct gn_device *device, const struct gn_model *model, int max_batch,
                 struct gn_error *err)
{
	struct gn_infer *infer;
	int useful = USEFUL_ROWS / gn_arch_tokens(&model->arch), batch = useful < 1 ? 1 : useful;

	if (model->arch.classes == 0)
		return gn_fail(err, GN_CONFLICT, "", "the model has no classification head");
	if (gn_vit_check(device->backend, &model->arch, err))
		return -1;
	infer = gn_alloc(1, sizeof *infer, err);
	if (!infer)
		return -1;
	infer->device = device;
	infer->model = model;
	if (prepare(infer, batch < max_batch && device->backend->unified ? batch : max_batch, err)) {
		gn_infer_free(infer);
		return -1;
	}
	*out = infer;
	return 0;
}

/* ---------------------------------------------------------------- running --------------------- */

static void run_body(const struct gn_infer *infer, int B, int from, int to)
{
	gn_vit_forward_between(infer->body->pass, &infer->bind, B, from, to, false);
}

/* features -> logits [B, K] */
static void run_head(const struct gn_infer *infer, int B, float *logits)
{
	const struct gn_backend *be = infer->device->backend;
	struct gn_ctx *ctx = infer->device->ctx;
	size_t features = gn_cut_floats(&infer->head->shape, infer->head->from) * (size_t)B;

	be->copy(ctx, gn_pass_input(infer->head), gn_pass_output(infer->body->pass), features * be->act_bytes);
	gn_vit_forward(infer->head, &infer->bind, B, false);
	be->download(ctx, logits, gn_pass_output(infer->head),
	             (size_t)B * (size_t)infer->model->arch.classes * sizeof *logits);
}

/*
 * Pictures of one size: normalised floats [n, 3, S, S], or 8 bits [n, S, S, 3] and what each level
 * becomes.
 */
struct pictures {
	const float *images;   /* or NULL */
	const uint8_t *pixels; /* or NULL */
	const float *levels;   /* [3][256], with pixels */
	int side;
};

/* The body's input = B pictures from number `first` on. */
static void upload_pictures(const struct gn_infer *infer, const struct pictures *pictures, int first, int B)
{
	const struct gn_backend *be = infer->device->backend;
	size_t image = 3 * (size_t)pictures->side * (size_t)pictures->side, at = (size_t)first * image;
	void *input = gn_pass_input(infer->body->pass);

	if (pictures->pixels)
		be->upload_pixels(infer->device->ctx, input, pictures->pixels + at, pictures->levels, B,
		                  pictures->side);
	else
		be->upload(infer->device->ctx, input, pictures->images + at, (size_t)B * image * sizeof(float));
}

/* Every model from the images on. */
static void run_apart(struct gn_infer *const *infers, int count, const struct pictures *pictures, int at, int B,
                      float *const *logits)
{
	for (int i = 0; i < count; i++) {
		const struct gn_infer *infer = infers[i];

		upload_pictures(infer, pictures, at, B);
		run_body(infer, B, 0, infer->model->arch.depth + 1);
		run_head(infer, B, logits[i]);
	}
}

/* The first `shared` blocks once, the rest for each. All have one body. */
static void run_together(struct gn_infer *const *infers, int count, int shared, const struct pictures *pictures, int at,
                         int B, float *const *logits)
{
	const struct gn_infer *first = infers[0];
	const struct gn_backend *be = first->device->backend;
	struct gn_ctx *ctx = first->device->ctx;
	struct gn_pass *pass = first->body->pass;
	size_t bytes = gn_cut_floats(&pass->shape, shared) * (size_t)B * be->act_bytes;

	upload_pictures(first, pictures, at, B);
	run_body(first, B, 0, shared);
	be->copy(ctx, first->body->shared_output, pass->x[shared], bytes);
	for (int i = 0; i < count; i++) {
		if (i > 0)
			be->copy(ctx, pass->x[shared], first->body->shared_output, bytes);
		run_body(infers[i], B, shared, infers[i]->model->arch.depth + 1);
		run_head(infers[i], B, logits[i]);
	}
}

static bool one_body(struct gn_infer *const *infers, int count)
{
	for (int i = 1; i < count; i++)
		if (infers[i]->body != infers[0]->body)
			return false;
	return true;
}

/* The largest batch that all models support. */
static int piece_of(struct gn_infer *const *infers, int count)
{
	int piece = infers[0]->body->pass->batch;

	for (int i = 1; i < count; i++)
		piece = infers[i]->body->pass->batch < piece ? infers[i]->body->pass->batch : piece;
	return piece;
}

static int shared_by(struct gn_infer *const *infers, int count, struct gn_error *err)
{
	const struct gn_model **models;
	int shared;

	if (count == 1 || !one_body(infers, count))
		return 0;
	models = gn_alloc((size_t)count, sizeof *models, err);
	if (!models)
		return -1;
	for (int i = 0; i < count; i++)
		models[i] = infers[i]->model;
	shared = gn_models_shared_blocks(models, count);
	free(models);
	if (shared > 0 && gn_body_alloc_shared(infers[0]->body, infers[0]->device, err))
		return -1;
	return shared;
}

static int run_pictures(struct gn_infer *const *infers, int count, const struct pictures *pictures, int batch,
                        float *const *logits, struct gn_error *err)
{
	struct gn_device *device = infers[0]->device;
	int piece = piece_of(infers, count), shared;
	float **at;

	device->backend->enter(device->ctx);
	shared = shared_by(infers, count, err);
	at = shared < 0 ? NULL : gn_alloc((size_t)count, sizeof *at, err);
	if (!at)
		return -1;
	for (int done = 0; done < batch; done += piece) {
		int n = batch - done < piece ? batch - done : piece;

		for (int i = 0; i < count; i++)
			at[i] = logits[i] + (size_t)done * (size_t)infers[i]->model->arch.classes;
		if (shared > 0)
			run_together(infers, count, shared, pictures, done, n, at);
		else
			run_apart(infers, count, pictures, done, n, at);
	}
	free(at);
	return device->backend->sync(device->ctx, err);
}

int gn_infer_run_many(struct gn_infer *const *infers, int count, const float *images, int batch, float *const *logits,
                      struct gn_error *err)
{
	struct pictures pictures = {.images = images, .side = infers[0]->model->arch.image_size};

	return run_pictures(infers, count, &pictures, batch, logits, err);
}

int gn_infer_run_pixels(struct gn_infer *infer, const uint8_t *pixels, const float *levels, int batch, float *logits,
                        struct gn_error *err)
{
	struct pictures pictures = {.pixels = pixels, .levels = levels, .side = infer->model->arch.image_size};

	return run_pictures(&infer, 1, &pictures, batch, &logits, err);
}

int gn_infer_run(struct gn_infer *infer, const float *images, int batch, float *logits, struct gn_error *err)
{
	return gn_infer_run_many(&infer, 1, images, batch, &logits, err);
}

uint64_t gn_infer_bytes(const struct gn_infer *infer)
{
	return infer->memory.size;
}

uint64_t gn_infer_gpu_bytes(const struct gn_device *device, enum gn_precision precision, const struct gn_arch *arch,
                            int max_batch)
{
	const struct gn_backend *be = gn_device_table(device, precision);
	struct gn_layout layout;
	uint64_t bytes;

	if (!be || be->unified || gn_layout_init(&layout, arch, NULL))
		return 0;
	bytes = be->overhead_bytes + gn_pass_bytes(be, arch, NULL, max_batch, 0, arch->depth + 1) +
	        gn_pass_bytes(be, arch, NULL, max_batch, arch->depth + 1, arch->depth + 2);
	for (int i = 0; i < layout.count; i++)
		bytes +=
		    layout.tensors[i].numel * (gn_role_is_mat(layout.tensors[i].role) ? be->mat_bytes : sizeof(float));
	gn_layout_release(&layout);
	return bytes;
}

void gn_infer_free(struct gn_infer *infer)
{
	if (!infer)
		return;
	infer->device->backend->enter(infer->device->ctx);
	gn_pass_free(infer->head);
	gn_arena_release(&infer->memory);
	gn_body_drop(infer->body, infer->device);
	gn_bind_release(&infer->bind);
	gn_weights_drop(infer->weights, infer->device);
	free(infer);
}

/* ---------------------------------------------------------------- what models share ----------- */

/* Whether tensor i is the same memory in all models. */
static bool is_shared(const struct gn_model *const *models, int count, int i)
{
	for (int m = 1; m < count; m++)
		if (models[m]->tensors[i] != models[0]->tensors[i])
			return false;
	return true;
}

int gn_models_shared_blocks(const struct gn_model *const *models, int count)
{
	const struct gn_layout *layout = &models[0]->layout;
	int shared = models[0]->arch.depth;

	for (int m = 1; m < count; m++)
		if (!gn_same_body(&models[m]->arch, &models[0]->arch))
			return 0;
	/* same bodies have the same tensors in the same order, up to the head's at the end */
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *t = &layout->tensors[i];

		if (t->role > GN_LS2 || is_shared(models, count, i))
			continue;
		if (t->block < 0)
			return 0;
		shared = t->block < shared ? t->block : shared;
	}
	return shared;
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
