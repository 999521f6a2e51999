/*
 * Optimiser steps over many tensors: the threads share the elements of all tensors in chunks, as if
 * they were one array, so that one region processes all tensors evenly. The gradient's norm sums
 * fixed chunks in double and then the chunks in order: its bits do not depend on threads.
 */
#include <math.h>
#include <stdlib.h>

#include "backend/cpu/cpu.h"

#define CHUNK ((size_t)1 << 16) /* elements */

/* Elements first .. first+n-1 of a tensor. */
struct chunk {
	const struct gn_opt_tensor *tensor;
	size_t first, n;
};

struct gn_opt_list {
	struct gn_opt_tensor *tensors;
	struct chunk *chunks;
	ptrdiff_t count; /* of chunks */
};

static ptrdiff_t chunk_count(const struct gn_opt_tensor *tensors, int count)
{
	size_t chunks = 0;
	for (int i = 0; i < count; i++)
		chunks += (tensors[i].n + CHUNK - 1) / CHUNK;
	return (ptrdiff_t)chunks;
}

struct gn_opt_list *gn_cpu_opt_list_new(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count,
                                        struct gn_error *err)
{
	struct gn_opt_list *list = calloc(1, sizeof *list);
	ptrdiff_t chunks = chunk_count(tensors, count);
	if (list) {
		list->tensors = calloc((size_t)count + 1, sizeof *list->tensors);
		list->chunks = calloc((size_t)chunks + 1, sizeof *list->chunks);
	}
	if (!list || !list->tensors || !list->chunks) {
		gn_fail(err, GN_NO_MEMORY, "", "no memory for the optimiser's table");
		gn_cpu_opt_list_free(ctx, list);
		return NULL;
	}
	for (int i = 0; i < count; i++) {
		list->tensors[i] = tensors[i];
		for (size_t at = 0; at < tensors[i].n; at += CHUNK)
			list->chunks[list->count++] = (struct chunk){
			    list->tensors + i, at, tensors[i].n - at < CHUNK ? tensors[i].n - at : CHUNK};
	}
	return list;
}

void gn_cpu_opt_list_free(struct gn_ctx *ctx, struct gn_opt_list *list)
{
	(void)ctx;
	if (!list)
		return;
	free(list->tensors);
	free(list->chunks);
	free(list);
}

void gn_cpu_adamw(struct gn_ctx *ctx, const struct gn_opt_list *list, const struct gn_adamw *how,
                  const struct gn_step_numbers *step)
{
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t i = 0; i < list->count; i++)
		ctx->kernels->adamw(list->chunks[i].tensor, how, step, list->chunks[i].first, list->chunks[i].n);
}

void gn_cpu_sgd(struct gn_ctx *ctx, const struct gn_opt_list *list, float momentum, const struct gn_step_numbers *step)
{
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t i = 0; i < list->count; i++)
		ctx->kernels->sgd(list->chunks[i].tensor, momentum, step, list->chunks[i].first, list->chunks[i].n);
}

void gn_cpu_grad_norm(struct gn_ctx *ctx, struct gn_step_numbers *step, const struct gn_opt_list *list)
{
	double *sums = (double *)(void *)gn_cpu_work(ctx, GN_SLOT_PRODUCT, 2 * (size_t)list->count + 2), total = 0;
	if (!sums)
		return;
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t i = 0; i < list->count; i++)
		sums[i] = ctx->kernels->sumsq(list->chunks[i].tensor->grad + list->chunks[i].first, list->chunks[i].n);
	for (ptrdiff_t i = 0; i < list->count; i++)
		total += sums[i];
	step->grad_norm = sqrt(total);
	step->grad_scale = step->clip_norm > 0 && step->grad_norm > step->clip_norm
	                       ? (float)(step->clip_norm / (step->grad_norm + 1e-6))
	                       : 1;
}
