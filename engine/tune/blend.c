/*
 * Averages of models, computed on a device. Every value is read once from its mapped file, and its
 * page is then dropped: the memory is that of one piece of a tensor, for any number of models. A
 * piece is copied to a GPU while the one before it is added. Sums are in double. Sums of float32
 * values are exact there unless their magnitudes differ much, so that the average of one model, or
 * of copies of one model, has the bits of that model. All devices give the same bits.
 */
#include "tune/blend.h"

#include "backend/arena.h"
#include "checkpoint/model.h"
#include "base/files.h"

#include <stdlib.h>
#include <string.h>

struct share {
	const struct gn_blend_input *input;
	double weight;
};

struct blend {
	struct share *shares; /* [count] weights above 0, in the order of the sum */
	int count;
	double total;
	const struct gn_backend *backend;
	struct gn_ctx *ctx, *own; /* own: opened only for this average */
	struct gn_arena memory;   /* of the device */
	double *sum;              /* [GN_MODEL_PIECE] in memory */
	/* [GN_MODEL_PIECE] on the device: a model's values, if they must be copied there; the
	 * average */
	float *piece;
	/* [GN_MODEL_PIECE] the average, for the file; equal to piece if the host can read that */
	float *values;
	const volatile int *stop;
};

static int check_stop(const volatile int *stop, struct gn_error *err)
{
	return stop && *stop ? gn_fail(err, GN_CANCELLED, "", "stopped while models were averaged") : 0;
}

/* ---------------------------------------------------------------- hashes ---------------------- */

int gn_blend_hash(struct gn_blend_input *input, const volatile int *stop, struct gn_error *err)
{
	const struct gn_model *model = input->model;
	struct gn_sha256 hash;
	int result = 0;

	if (gn_sha256_begin(&hash, err))
		return -1;
	for (int i = 0; i < model->layout.count && result == 0; i++) {
		const struct gn_tensor *t = &model->layout.tensors[i];

		if (!model->own[i])
			continue;
		gn_sha256_update(&hash, t->name, strlen(t->name) + 1);
		gn_sha256_update(&hash, model->tensors[i], t->numel * sizeof(float));
		gn_model_forget(model, i, 0, t->numel);
		result = check_stop(stop, err);
	}
	gn_sha256_end(&hash, input->hash);
	return result;
}

void gn_blend_forget(const struct gn_model *model)
{
	for (int i = 0; i < model->layout.count; i++)
		gn_model_forget(model, i, 0, model->layout.tensors[i].numel);
}

/* ---------------------------------------------------------------- what the delta holds -------- */

/* The base's tensor of this name and size, or NULL. */
static const float *base_tensor(const struct gn_model *base, const struct gn_tensor *t)
{
	int i = gn_layout_find_name(&base->layout, t->name);

	return i >= 0 && base->layout.tensors[i].numel == t->numel ? base->tensors[i] : NULL;
}

/* Whether the tensor of any model differs from the base's. */
static bool is_tuned(const struct blend *b, int index)
{
	const struct gn_model *first = b->shares[0].input->model;
	const struct gn_tensor *t = &first->layout.tensors[index];
	const float *base = base_tensor(first->base, t);
	bool tuned = !base;

	for (int i = 0; i < b->count && !tuned; i++) {
		const struct gn_model *model = b->shares[i].input->model;

		tuned =
		    model->tensors[index] != base && memcmp(model->tensors[index], base, t->numel * sizeof *base) != 0;
		gn_model_forget(model, index, 0, t->numel);
	}
	return tuned;
}

/* ---------------------------------------------------------------- the average ----------------- */

/* Counts or places the device memory of an average. */
static void place(struct blend *b)
{
	b->sum = gn_arena_take(&b->memory, GN_MODEL_PIECE, sizeof *b->sum);
	b->piece = gn_arena_take(&b->memory, GN_MODEL_PIECE, sizeof *b->piece);
}

uint64_t gn_soup_gpu_bytes(const struct gn_device *device, enum gn_precision precision)
{
	const struct gn_backend *backend = gn_device_table(device, precision);
	struct blend count = {0};

	if (!backend || backend->unified)
		return 0;
	gn_arena_begin(&count.memory, backend, NULL);
	place(&count);
	return backend->overhead_bytes + count.memory.used;
}

static const float *average_piece(void *user, int tensor, size_t at, size_t n, struct gn_error *err)
{
	struct blend *b = user;
	const struct gn_backend *be = b->backend;

	if (check_stop(b->stop, err))
		return NULL;
	for (int i = 0; i < b->count; i++) {
		const struct gn_model *model = b->shares[i].input->model;
		const float *x = model->tensors[tensor] + at;

		if (!be->unified) {
			be->upload(b->ctx, b->piece, x, n * sizeof *x);
			x = b->piece;
		}
		/* the first is not added to 0, because -0 would become 0 */
		be->soup_add(b->ctx, b->sum, x, b->shares[i].weight, n, i == 0);
		gn_model_forget(model, tensor, at, n);
	}
	be->soup_mean(b->ctx, b->piece, b->sum, b->total, n);
	if (!be->unified)
		be->download(b->ctx, b->values, b->piece, n * sizeof *b->values);
	return be->sync(b->ctx, err) ? NULL : b->values;
}

static int by_hash(const void *left, const void *right)
{
	const struct share *a = left, *b = right;
	int order = strcmp(a->input->hash, b->input->hash);

	return order ? order : (a->weight > b->weight) - (a->weight < b->weight);
}

static int weigh(struct blend *b, const struct gn_blend_input *inputs, const double *weights, int count,
                 struct gn_error *err)
{
	b->shares = gn_alloc((size_t)count, sizeof *b->shares, err);
	if (!b->shares)
		return -1;
	for (int i = 0; i < count; i++)
		if (weights[i] > 0)
			b->shares[b->count++] = (struct share){&inputs[i], weights[i]};
	gn_assert(b->count > 0);
	qsort(b->shares, (size_t)b->count, sizeof *b->shares, by_hash);
	for (int i = 0; i < b->count; i++)
		b->total += b->shares[i].weight;
	return 0;
}

static int take_memory(struct blend *b, struct gn_device *device, struct gn_error *err)
{
	b->backend = device ? device->backend : &gn_backend_cpu;
	if (!device && b->backend->open(&b->own, 0, 0, err))
		return -1;
	b->ctx = device ? device->ctx : b->own;
	b->backend->enter(b->ctx);
	gn_arena_begin(&b->memory, b->backend, b->ctx);
	place(b);
	if (gn_arena_open(&b->memory, err))
		return -1;
	place(b);
	b->values = b->backend->unified ? b->piece : gn_alloc(GN_MODEL_PIECE, sizeof *b->values, err);
	return b->values ? 0 : -1;
}

static void blend_release(struct blend *b)
{
	if (b->values != b->piece)
		free(b->values);
	gn_arena_release(&b->memory);
	if (b->own)
		b->backend->close(b->own);
	free(b->shares);
}

static int blend_write(struct blend *b, const char *path, struct gn_error *err)
{
	const struct gn_model *model = b->shares[0].input->model;
	char base[65];
	struct gn_model_parts parts = gn_model_parts_of(model);
	bool *has = gn_alloc((size_t)model->layout.count, sizeof *has, err);
	int result;

	if (!has)
		return -1;
	parts.base = base;
	for (int i = 0; i < model->layout.count; i++)
		has[i] = is_tuned(b, i);
	result = gn_model_hash(base, model->base, err);
	if (result == 0)
		result = gn_model_write_pieces(path, &parts, has, &(struct gn_model_source){average_piece, b}, err);
	free(has);
	return result;
}

int gn_blend_write(const char *path, const struct gn_blend_input *inputs, const double *weights, int count,
                   struct gn_device *device, const volatile int *stop, struct gn_error *err)
{
	struct blend blend = {.stop = stop};
	int result = weigh(&blend, inputs, weights, count, err) || take_memory(&blend, device, err)
	                 ? -1
	                 : blend_write(&blend, path, err);

	blend_release(&blend);
	return result;
}
