/*
 * Optimiser steps over many tensors: threads share the elements of all tensors laid end to end, in chunks, so that one region serves
 * them all evenly. The gradient's norm sums fixed chunks in double and then the chunks in order: its bits do not depend on threads.
 */
#include <omp.h>

#include "backend/cpu/cpu.h"

#define CHUNK ((size_t)1 << 16) /* elements */

static ptrdiff_t chunk_count(const struct gn_opt_tensor *tensors, int count)
{
	size_t chunks = 0;
	for (int i = 0; i < count; i++)
		chunks += (tensors[i].n + CHUNK - 1) / CHUNK;
	return (ptrdiff_t)chunks;
}

/* Walks the chunks from number `at` on: finds its tensor, first element and length. */
struct walk {
	const struct gn_opt_tensor *tensor;
	size_t first, n;
};

static struct walk start_walk(const struct gn_opt_tensor *tensors, ptrdiff_t at)
{
	size_t skip = (size_t)at;
	while (skip >= (tensors->n + CHUNK - 1) / CHUNK)
		skip -= (tensors++->n + CHUNK - 1) / CHUNK;
	struct walk w = {.tensor = tensors, .first = skip * CHUNK};
	w.n = tensors->n - w.first < CHUNK ? tensors->n - w.first : CHUNK;
	return w;
}

static void next_chunk(struct walk *w)
{
	w->first += w->n;
	while (w->first >= w->tensor->n) {
		w->tensor++;
		w->first = 0;
	}
	w->n = w->tensor->n - w->first < CHUNK ? w->tensor->n - w->first : CHUNK;
}

void gn_cpu_adamw(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count, const struct gn_adamw *how)
{
	ptrdiff_t chunks = chunk_count(tensors, count);
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last;
		struct walk w;
		gn_share(chunks, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		for (ptrdiff_t at = first; at < last; at++) {
			if (at == first)
				w = start_walk(tensors, at);
			else
				next_chunk(&w);
			ctx->kernels->adamw(w.tensor, how, w.first, w.n);
		}
	}
}

void gn_cpu_sgd(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count, float momentum, int64_t step,
                float grad_scale)
{
	ptrdiff_t chunks = chunk_count(tensors, count);
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last;
		struct walk w;
		gn_share(chunks, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		for (ptrdiff_t at = first; at < last; at++) {
			if (at == first)
				w = start_walk(tensors, at);
			else
				next_chunk(&w);
			ctx->kernels->sgd(w.tensor, momentum, step <= 1, grad_scale, w.first, w.n);
		}
	}
}

double gn_cpu_grad_sumsq(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count)
{
	ptrdiff_t chunks = chunk_count(tensors, count);
	double *sums = (double *)(void *)gn_cpu_work(ctx, GN_SLOT_PRODUCT, 2 * (size_t)chunks + 2), total = 0;
	if (!sums)
		return 0;
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last;
		struct walk w;
		gn_share(chunks, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		for (ptrdiff_t at = first; at < last; at++) {
			if (at == first)
				w = start_walk(tensors, at);
			else
				next_chunk(&w);
			sums[at] = ctx->kernels->sumsq(w.tensor->grad + w.first, w.n);
		}
	}
	for (ptrdiff_t at = 0; at < chunks; at++)
		total += sums[at];
	return total;
}
