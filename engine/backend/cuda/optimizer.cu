/*
 * Optimiser steps and the gradient's norm, over all tuned tensors in one launch each.
 *
 * A list of tensors is made once, on the device: the tensors, and the pieces of PIECE elements that
 * they are cut into; a block takes a piece. What changes from step to step is read from the step's
 * numbers in device memory, so that a captured step can be replayed.
 *
 * Bound by bytes: AdamW reads weight, gradient and both moments and writes three of them and the
 * bf16 copy, 30 bytes an element, four elements a thread in 16-byte accesses (8 for the copy).
 * Blocks of 256 threads, 4 or more a multiprocessor (at most 64 registers a thread).
 */
#include "backend/cuda/vec.cuh"

#include <stdlib.h>

#define PIECE   16384
#define THREADS 256

struct tensor {
	float *weight;
	const float *grad;
	float *m, *v;
	void *mat;
	uint64_t n;
	double lr_scale;
	float decay;
	bool wide; /* all of it aligned to 16 bytes */
};

struct piece {
	uint32_t tensor, number;
};

struct gn_opt_list {
	struct tensor *tensors; /* device */
	struct piece *pieces;   /* device [count] */
	double *sums;           /* device [count] */
	int count;
	bool mat_bf16;
};

/* ---------------------------------------------------------------- lists ------------------------------------------ */

static int fill_list(struct gn_ctx *ctx, struct gn_opt_list *list, const struct gn_opt_tensor *from, int count,
                     struct tensor *tensors, struct piece *pieces, struct gn_error *err)
{
	int at = 0;

	for (int i = 0; i < count; i++) {
		const struct gn_opt_tensor *t = &from[i];

		tensors[i] = {t->weight, t->grad, t->m, t->v, t->mat, t->n, t->lr_scale, t->decay, false};
		tensors[i].wide = gn_aligned16(t->weight) && gn_aligned16(t->grad) && gn_aligned16(t->m) &&
		                  gn_aligned16(t->v) && gn_aligned16(t->mat);
		for (size_t piece = 0; piece * PIECE < t->n; piece++)
			pieces[at++] = {(uint32_t)i, (uint32_t)piece};
	}
	gn_assert(at == list->count);
	const struct gn_backend *backend = ctx->base.backend;
	list->tensors = (struct tensor *)backend->alloc(ctx, (size_t)count * sizeof *tensors, err);
	list->pieces = (struct piece *)backend->alloc(ctx, (size_t)at * sizeof *pieces, err);
	list->sums = (double *)backend->alloc(ctx, (size_t)at * sizeof *list->sums, err);
	if (!list->tensors || !list->pieces || !list->sums)
		return -1;
	gn_cuda_upload(ctx, list->tensors, tensors, (size_t)count * sizeof *tensors);
	gn_cuda_upload(ctx, list->pieces, pieces, (size_t)at * sizeof *pieces);
	return 0;
}

struct gn_opt_list *gn_cuda_opt_list_new(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count,
                                         struct gn_error *err)
{
	struct gn_opt_list *list = (struct gn_opt_list *)calloc(1, sizeof *list);
	struct tensor *host = (struct tensor *)calloc((size_t)count + 1, sizeof *host);
	struct piece *pieces = NULL;
	bool ok = list && host;

	for (int i = 0; ok && i < count; i++)
		list->count += (int)((tensors[i].n + PIECE - 1) / PIECE);
	if (ok) {
		list->mat_bf16 = ctx->precision == GN_PRECISION_BF16;
		pieces = (struct piece *)calloc((size_t)list->count + 1, sizeof *pieces);
		ok = pieces != NULL;
	}
	if (!ok)
		gn_fail(err, GN_NO_MEMORY, "", "no memory for the list of tuned tensors");
	else
		ok = fill_list(ctx, list, tensors, count, host, pieces, err) == 0;
	free(pieces);
	free(host);
	if (ok)
		return list;
	gn_cuda_opt_list_free(ctx, list);
	return NULL;
}

void gn_cuda_opt_list_free(struct gn_ctx *ctx, struct gn_opt_list *list)
{
	if (!list)
		return;
	cudaStreamSynchronize(ctx->stream);
	cudaFree(list->tensors);
	cudaFree(list->pieces);
	cudaFree(list->sums);
	free(list);
}

/* ---------------------------------------------------------------- steps ------------------------------------------ */

/* The numbers of a step for one tensor. */
struct rates {
	float lr, decay, grad_scale;
	float beta1, beta2, eps; /* AdamW; SGD: beta1 is the momentum */
	float step_size, correct2;
	bool first;
};

/*
 * One element's AdamW: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, in PyTorch's order of
 * operations.
 */
__device__ __forceinline__ void adamw_element(float *w, float *m, float *v, float g, const struct rates *r)
{
	g *= r->grad_scale;
	*w *= 1.0F - r->lr * r->decay;
	*m = r->beta1 * *m + (1.0F - r->beta1) * g;
	*v = r->beta2 * *v + (1.0F - r->beta2) * g * g;
	*w -= r->step_size * *m / (sqrtf(*v / r->correct2) + r->eps);
}

__device__ __forceinline__ void sgd_element(float *w, float *m, float g, const struct rates *r)
{
	g = g * r->grad_scale + r->decay * *w;
	*m = r->first ? g : r->beta1 * *m + g;
	*w -= r->lr * *m;
}

/* Elements first .. last-1 of a tensor, n a thread at a time. */
template <bool adam, int n>
__device__ __forceinline__ void step_elements(const struct tensor *t, const struct rates *r, size_t first, size_t last,
                                              bool mat_bf16)
{
	float *weight = gn_global(t->weight), *first_moment = gn_global(t->m),
	      *second_moment = adam ? gn_global(t->v) : NULL;

	for (size_t at = first + (size_t)threadIdx.x * n; at < last; at += THREADS * n) {
		float w[n], m[n], v[n] = {}, g[n];

		gn_load(w, weight + at);
		gn_load(m, first_moment + at);
		gn_load(g, gn_global(t->grad) + at);
		if (adam)
			gn_load(v, second_moment + at);
#pragma unroll
		for (int i = 0; i < n; i++)
			if (adam)
				adamw_element(&w[i], &m[i], &v[i], g[i], r);
			else
				sgd_element(&w[i], &m[i], g[i], r);
		gn_store(weight + at, w);
		gn_store(first_moment + at, m);
		if (adam)
			gn_store(second_moment + at, v);
		if (t->mat && mat_bf16)
			gn_store((__nv_bfloat16 *)gn_global(t->mat) + at, w);
		else if (t->mat)
			gn_store((float *)gn_global(t->mat) + at, w);
	}
}

template <bool adam>
static __global__ void __launch_bounds__(THREADS, 4)
    step_kernel(const struct tensor *tensors, const struct piece *pieces, const struct gn_step_numbers *step,
                struct gn_adamw how, bool mat_bf16)
{
	const struct piece piece = pieces[blockIdx.x];
	const struct tensor t = tensors[piece.tensor];
	size_t first = (size_t)piece.number * PIECE, last = t.n - first < PIECE ? t.n : first + PIECE,
	       wide = t.wide ? first + (last - first) / 4 * 4 : first;
	struct rates r = {};

	r.lr = (float)(step->lr * t.lr_scale);
	r.decay = t.decay;
	r.grad_scale = step->grad_scale;
	r.beta1 = how.beta1;
	r.beta2 = how.beta2;
	r.eps = how.eps;
	r.first = step->step <= 1;
	if (adam) {
		r.step_size = (float)((double)r.lr / step->correct1);
		r.correct2 = (float)step->correct2;
	}
	step_elements<adam, 4>(&t, &r, first, wide, mat_bf16);
	step_elements<adam, 1>(&t, &r, wide, last, mat_bf16);
}

void gn_cuda_adamw(struct gn_ctx *ctx, const struct gn_opt_list *list, const struct gn_adamw *how,
                   const struct gn_step_numbers *step)
{
	if (list->count)
		GN_RUN(ctx, step_kernel<true>, (unsigned)list->count, THREADS, 0, list->tensors, list->pieces, step,
		       *how, list->mat_bf16);
}

void gn_cuda_sgd(struct gn_ctx *ctx, const struct gn_opt_list *list, float momentum, const struct gn_step_numbers *step)
{
	struct gn_adamw how = {};

	how.beta1 = momentum;
	if (list->count)
		GN_RUN(ctx, step_kernel<false>, (unsigned)list->count, THREADS, 0, list->tensors, list->pieces, step,
		       how, list->mat_bf16);
}

/* ---------------------------------------------------------------- the gradient's norm ---------------------------- */

/*
 * sums[piece] = its gradients' sum of squares; a thread's elements in order, then the block's
 * threads in a tree.
 */
static __global__ void __launch_bounds__(THREADS)
    squares_kernel(double *sums, const struct tensor *tensors, const struct piece *pieces)
{
	__shared__ double warps[THREADS / 32];
	const struct piece piece = pieces[blockIdx.x];
	const float *grad = gn_global(tensors[piece.tensor].grad);
	size_t n = tensors[piece.tensor].n, first = (size_t)piece.number * PIECE,
	       last = n - first < PIECE ? n : first + PIECE,
	       wide = tensors[piece.tensor].wide ? first + (last - first) / 4 * 4 : first;
	double sum = 0;

	for (size_t at = first + threadIdx.x * 4; at < wide; at += THREADS * 4) {
		float g[4];
		gn_load(g, grad + at);
		for (int i = 0; i < 4; i++)
			sum += (double)g[i] * (double)g[i];
	}
	for (size_t at = wide + threadIdx.x; at < last; at += THREADS)
		sum += (double)grad[at] * (double)grad[at];
	sum = gn_warp_sum(sum);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = sum;
	__syncthreads();
	if (threadIdx.x > 0)
		return;
	for (int i = 1; i < THREADS / 32; i++)
		sum += warps[i];
	sums[blockIdx.x] = sum;
}

/* The norm from the pieces' sums, and what the gradients are multiplied with. One block. */
static __global__ void __launch_bounds__(THREADS)
    norm_kernel(struct gn_step_numbers *step, const double *sums, int count)
{
	__shared__ double threads[THREADS];
	double sum = 0, norm;

	for (int i = (int)threadIdx.x; i < count; i += THREADS)
		sum += sums[i];
	threads[threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.x > 0)
		return;
	for (int i = 1; i < THREADS; i++)
		sum += threads[i];
	norm = sqrt(sum);
	step->grad_norm = norm;
	step->grad_scale =
	    step->clip_norm > 0 && norm > step->clip_norm ? (float)(step->clip_norm / (norm + 1e-6)) : 1.0F;
}

void gn_cuda_grad_norm(struct gn_ctx *ctx, struct gn_step_numbers *step, const struct gn_opt_list *list)
{
	if (list->count)
		GN_RUN(ctx, squares_kernel, (unsigned)list->count, THREADS, 0, list->sums, list->tensors, list->pieces);
	GN_RUN(ctx, norm_kernel, 1, THREADS, 0, step, list->sums, list->count);
}
