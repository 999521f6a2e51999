/*
 * Linear layers: cuBLASLt's products, and the kernels for what its epilogues do not do.
 *
 * In the library's epilogue: the bias, a residual (as the matrix that is added), the bias gradient
 * of linear_dw, and in bf16 GELU in its tanh form, which is what the library means by GELU. Its
 * tanh is an approximation, though: on an H200 it was off by 5e-5, too much for float32. In kernels
 * of ours: all other activations, their gradients, and layer scale. A kernel adds the bias too
 * where the library has no algorithm with it.
 *
 * In bf16 a bias is bf16, as the library reads it and as PyTorch's autocast rounds it; that of
 * logits is float32. z = x w^T + bias is rounded to bf16 before the activation, as there.
 *
 * The kernels are bound by bytes: two to four streams of M x N elements in 16-byte accesses. A step
 * of a large batch spends most of their time in activate_kernel, whose threads have two accesses a
 * stream under way at a time: bytes in flight are what the memory's rate depends on. Blocks of 256
 * threads, 4 or more a multiprocessor (at most 64 registers a thread).
 */
#include "backend/cuda/activation.cuh"
#include "backend/cuda/vec.cuh"

#define ROWS_PER_BLOCK 8 /* of 32 threads each */
#define AHEAD          2 /* accesses of a stream that a thread has under way: activate_kernel */

/* Blocks of 32 x 8 threads over rows x cols, n columns a thread. */
static dim3 row_grid(int rows, int cols, int n)
{
	unsigned across = (unsigned)((cols + 32 * n - 1) / (32 * n));
	return dim3(across, gn_blocks((size_t)rows, ROWS_PER_BLOCK, 65535));
}

static const dim3 row_block(32, ROWS_PER_BLOCK);

/* ---------------------------------------------------------------- activations ------------------------------------ */

/*
 * out = act(z) where out is given, dx = g * act'(z) where dx is; out or dx may be z, dx may be g.
 * slope: dx is given.
 */
template <typename act> struct activation_work {
	act *dx, *out;
	const act *g, *z;
	size_t count;
};

template <enum gn_activation kind, typename act, int n, bool slope>
static __global__ void __launch_bounds__(256, 4) activate_kernel(struct activation_work<act> w)
{
	size_t first = ((size_t)blockIdx.x * AHEAD * 256 + threadIdx.x) * n;
	float z[AHEAD][n] = {}, g[AHEAD][slope ? n : 1] = {};

#pragma unroll
	for (int i = 0; i < AHEAD; i++) {
		size_t at = first + (size_t)i * 256 * n;
		if (at < w.count)
			gn_load(z[i], w.z + at);
		if constexpr (slope)
			if (at < w.count)
				gn_load(g[i], w.g + at);
	}
#pragma unroll
	for (int i = 0; i < AHEAD; i++) {
		size_t at = first + (size_t)i * 256 * n;
#pragma unroll
		for (int j = 0; j < n; j++) {
			struct gn_activated a = gn_activate<kind, sizeof(act) == 2>(z[i][j]);
			z[i][j] = a.value;
			if constexpr (slope)
				g[i][j] *= a.slope;
		}
		if constexpr (slope)
			if (at < w.count)
				gn_store(w.dx + at, g[i]);
		if (w.out && at < w.count)
			gn_store(w.out + at, z[i]);
	}
}

template <enum gn_activation kind, typename act, int n>
static void launch_activate(struct gn_ctx *ctx, const struct activation_work<act> *w)
{
	unsigned blocks = gn_blocks(w->count, (size_t)AHEAD * 256 * n, INT32_MAX);

	if (w->dx)
		GN_RUN(ctx, (activate_kernel<kind, act, n, true>), blocks, 256, 0, *w);
	else
		GN_RUN(ctx, (activate_kernel<kind, act, n, false>), blocks, 256, 0, *w);
}

template <enum gn_activation kind, typename act>
static void activate_as(struct gn_ctx *ctx, const struct activation_work<act> *w)
{
	constexpr int n = gn_per16<act>;

	if (gn_aligned16(w->dx) && gn_aligned16(w->out) && gn_aligned16(w->g) && gn_aligned16(w->z) &&
	    w->count % n == 0)
		launch_activate<kind, act, n>(ctx, w);
	else
		launch_activate<kind, act, 1>(ctx, w);
}

template <typename act>
static void activate(struct gn_ctx *ctx, const struct activation_work<act> *w, enum gn_activation activation)
{
	if (activation == GN_ACT_GELU)
		activate_as<GN_ACT_GELU>(ctx, w);
	else if (activation == GN_ACT_GELU_TANH)
		activate_as<GN_ACT_GELU_TANH>(ctx, w);
	else
		activate_as<GN_ACT_QUICK_GELU>(ctx, w);
}

/* Whether the library's epilogue computes this activation well enough. */
static bool library_has(const struct gn_ctx *ctx, enum gn_activation activation)
{
	return activation == GN_ACT_GELU_TANH && ctx->precision == GN_PRECISION_BF16;
}

/* act(x) where the activation is known at run time only. */
template <bool quick> __device__ __forceinline__ float activation_of(enum gn_activation activation, float x)
{
	if (activation == GN_ACT_GELU)
		return gn_activate<GN_ACT_GELU, quick>(x).value;
	if (activation == GN_ACT_GELU_TANH)
		return gn_activate<GN_ACT_GELU_TANH, quick>(x).value;
	return gn_activate<GN_ACT_QUICK_GELU, quick>(x).value;
}

/* ---------------------------------------------------------------- forward ---------------------------------------- */

/* What the epilogue kernel does to z[rows, cols], of type in; out is of type out. */
struct finish {
	const void *bias; /* [cols] of out's type; NULL: z has it */
	const float *scale;
	enum gn_activation activation;
	bool activate, keep_z; /* keep_z: z + bias goes back to where z was */
};

template <typename in, typename act, typename type, int n>
static __global__ void __launch_bounds__(256, 4)
    finish_kernel(type *out, in *z, act *branch, const type *residual, struct finish f, int rows, int cols)
{
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n;
	if (col >= cols)
		return;
	for (int row = (int)(blockIdx.y * ROWS_PER_BLOCK + threadIdx.y); row < rows;
	     row += (int)(gridDim.y * ROWS_PER_BLOCK)) {
		size_t at = (size_t)row * (size_t)cols + (size_t)col;
		float v[n], w[n];
		gn_load(v, z + at);
		if (f.bias) {
			gn_load(w, (const type *)f.bias + col);
			for (int i = 0; i < n; i++)
				v[i] += w[i];
		}
		if (f.keep_z)
			gn_store(z + at, v);
		if (f.activate)
			for (int i = 0; i < n; i++)
				v[i] = activation_of<sizeof(act) == 2>(f.activation, v[i]);
		if (branch)
			gn_store(branch + at, v);
		if (f.scale) {
			gn_load(w, f.scale + col);
			for (int i = 0; i < n; i++)
				v[i] *= w[i];
		}
		if (residual) {
			gn_load(w, residual + at);
			for (int i = 0; i < n; i++)
				v[i] += w[i];
		}
		gn_store(out + at, v);
	}
}

template <typename in, typename act, typename type>
static void run_finish(struct gn_ctx *ctx, type *out, in *z, act *branch, const type *residual, const struct finish *f,
                       int rows, int cols)
{
	constexpr int n = gn_per16<act>;
	bool aligned = gn_aligned16(out) && gn_aligned16(z) && gn_aligned16(branch) && gn_aligned16(residual) &&
	               gn_aligned16(f->bias) && gn_aligned16(f->scale) && cols % n == 0;
	if (aligned)
		GN_RUN(ctx, (finish_kernel<in, act, type, n>), row_grid(rows, cols, n), row_block, 0, out, z, branch,
		       residual, *f, rows, cols);
	else
		GN_RUN(ctx, (finish_kernel<in, act, type, 1>), row_grid(rows, cols, 1), row_block, 0, out, z, branch,
		       residual, *f, rows, cols);
}

/* The product with its bias; false where the bias is left to the caller. */
static bool product_and_bias(struct gn_ctx *ctx, struct gn_product *p, const void *bias)
{
	p->finish = bias ? GN_FINISH_BIAS : GN_FINISH_NONE;
	p->bias = bias;
	if (gn_cuda_product(ctx, p))
		return true;
	p->finish = GN_FINISH_NONE;
	gn_cuda_product(ctx, p);
	return false;
}

/* Nothing follows the product and its bias but the activation. */
static bool only_activates(const struct gn_epilogue *e)
{
	return e->activate && !e->scale && !e->branch && !e->residual;
}

/*
 * One layer whose out is of `type`, over rows of it that scratch memory has room for where z has no
 * place of its own.
 */
template <typename act, typename type>
static void linear_rows(struct gn_ctx *ctx, const struct gn_product *whole, const struct gn_epilogue *e)
{
	int M = whole->rows, N = whole->cols;
	type *out = (type *)whole->out;
	const type *residual = (const type *)e->residual;
	act *kept = (act *)(e->activate && e->pre ? e->pre : e->branch);
	bool scratch = !kept && out == residual;
	size_t most = scratch ? ctx->scratch_bytes[GN_SCRATCH_TOKENS] / ((size_t)N * sizeof(type)) : (size_t)M;
	struct finish f = {NULL, e->scale, e->activation, e->activate, false};

	gn_assert(most > 0);
	for (int row = 0; row < M; row += (int)most) {
		size_t at = (size_t)row * (size_t)N;
		struct gn_product p = *whole;
		act *branch = e->branch ? (act *)e->branch + at : NULL;

		p.rows = (size_t)(M - row) < most ? M - row : (int)most;
		p.left.data = (const act *)p.left.data + (size_t)row * p.left.ld;
		p.out = kept ? (void *)(kept + at) : scratch ? ctx->scratch[GN_SCRATCH_TOKENS] : (void *)(out + at);
		p.out_float = sizeof(type) == 4 && !kept;
		f.bias = e->bias;
		if (sizeof(act) == 4 || p.out_float == e->float_out) { /* the bias has the product's type */
			if (product_and_bias(ctx, &p, e->bias))
				f.bias = NULL;
		} else {
			gn_cuda_product(ctx, &p);
		}
		f.keep_z = f.bias && e->activate && e->pre;
		if constexpr (sizeof(type) == sizeof(act))
			if (only_activates(e) && !f.bias) {
				struct activation_work<act> work = {NULL, out + at, NULL, (const act *)p.out,
				                                    (size_t)p.rows * (size_t)N};
				activate(ctx, &work, e->activation);
				continue;
			}
		if (kept)
			run_finish<act, act, type>(ctx, out + at, (act *)p.out, branch, residual ? residual + at : NULL,
			                           &f, p.rows, N);
		else
			run_finish<type, act, type>(ctx, out + at, (type *)p.out, branch,
			                            residual ? residual + at : NULL, &f, p.rows, N);
	}
}

/* The library does all of it: bias, residual, tanh-GELU. */
static bool linear_by_library(struct gn_ctx *ctx, struct gn_product *p, const struct gn_epilogue *e)
{
	if (e->scale || e->branch)
		return false;
	p->bias = e->bias;
	if (!e->activate) {
		p->add = e->residual;
		p->finish = e->bias ? GN_FINISH_BIAS : GN_FINISH_NONE;
		return gn_cuda_product(ctx, p);
	}
	if (!library_has(ctx, e->activation) || e->residual || p->out_float)
		return false;
	p->aux = e->pre;
	p->finish = e->bias ? GN_FINISH_GELU_BIAS : GN_FINISH_GELU;
	return gn_cuda_product(ctx, p);
}

template <typename act>
void gn_cuda_linear(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
                    int M, int N, int K)
{
	struct gn_product p = {}, by_library;
	p.rows = M;
	p.cols = N;
	p.depth = K;
	p.left = {x, (size_t)K, false};
	p.right = {w, (size_t)K, true};
	p.out = out;
	p.ld = (size_t)N;
	p.out_float = e->float_out;
	by_library = p;
	if (linear_by_library(ctx, &by_library, e))
		return;
	if (e->float_out)
		linear_rows<act, float>(ctx, &p, e);
	else
		linear_rows<act, act>(ctx, &p, e);
}

/* ---------------------------------------------------------------- input gradient --------------------------------- */

/*
 * dx of p's rows, which lands in p->out; with z, dx = p->out * act'(z) and act_out = act(z) after
 * it.
 */
template <typename act>
static void dx_rows(struct gn_ctx *ctx, struct gn_product *p, act *dx, act *act_out, const act *z,
                    enum gn_activation activation)
{
	struct activation_work<act> work = {dx, act_out, (const act *)p->out, z, (size_t)p->rows * (size_t)p->cols};

	if (z && p->out == dx && library_has(ctx, activation)) {
		p->aux = (void *)z;
		p->finish = GN_FINISH_DGELU;
		if (gn_cuda_product(ctx, p)) {
			work.dx = NULL;
			if (act_out)
				activate(ctx, &work, activation);
			return;
		}
	}
	p->aux = NULL;
	p->finish = GN_FINISH_NONE;
	gn_cuda_product(ctx, p);
	if (z)
		activate(ctx, &work, activation);
}

template <typename act>
void gn_cuda_linear_dx(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
                       enum gn_activation activation, gn_act *act_out, int M, int N, int K)
{
	struct gn_product p = {};
	bool in_place = pre && dx == pre; /* the product must not land on pre */
	size_t most = in_place ? ctx->scratch_bytes[GN_SCRATCH_TOKENS] / ((size_t)K * sizeof(act)) : (size_t)M;

	gn_assert(most > 0);
	p.cols = K;
	p.depth = N;
	p.right = {w, (size_t)K, false};
	p.ld = (size_t)K;
	p.out_float = sizeof(act) == 4;
	for (int row = 0; row < M; row += (int)most) {
		size_t at = (size_t)row * (size_t)K;
		act *to = (act *)dx + at;

		p.rows = (size_t)(M - row) < most ? M - row : (int)most;
		p.left = {(const act *)dout + (size_t)row * (size_t)N, (size_t)N, false};
		p.out = in_place ? ctx->scratch[GN_SCRATCH_TOKENS] : to;
		dx_rows<act>(ctx, &p, to, act_out ? (act *)act_out + at : NULL, pre ? (const act *)pre + at : NULL,
		             activation);
	}
}

/* ---------------------------------------------------------------- weight gradient -------------------------------- */

/*
 * Whether the library sums db beside the product. It cannot split the depth then, so dw must have
 * two waves of tiles for all multiprocessors: on an H200 a product with 144 tiles took 228 us with
 * the sums and 220 us with a kernel for them. In tf32 the library would sum what it has rounded.
 */
static bool sums_in_epilogue(const struct gn_ctx *ctx, int N, int K)
{
	enum { TILE = 128 };

	return ctx->precision != GN_PRECISION_TF32 && (N + TILE - 1) / TILE * ((K + TILE - 1) / TILE) >= 2 * ctx->sms;
}

template <typename act>
void gn_cuda_weight_gradient(struct gn_ctx *ctx, float *dw, float *db, const act *dout, const act *x, size_t x_ld,
                             bool add, int M, int N, int K)
{
	struct gn_product p = {};
	p.rows = N;
	p.cols = K;
	p.depth = M;
	p.left = {dout, (size_t)N, true};
	p.right = {x, x_ld, false};
	p.out = dw;
	p.ld = (size_t)K;
	p.out_float = true;
	p.add = add ? dw : NULL;
	if (dw && db && sums_in_epilogue(ctx, N, K)) {
		p.finish = GN_FINISH_ROW_SUMS;
		p.sums = (float *)ctx->scratch[GN_SCRATCH_BIAS];
		if (gn_cuda_product(ctx, &p)) {
			gn_cuda_add_parts(ctx, db, p.sums, 0, 1, N);
			return;
		}
		p.sums = NULL;
	}
	p.finish = GN_FINISH_NONE;
	if (dw)
		gn_cuda_product(ctx, &p);
	if (db)
		gn_cuda_columns<act>(ctx, db, NULL, dout, NULL, NULL, M, N);
}

template <typename act>
void gn_cuda_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, bool add,
                       int M, int N, int K)
{
	gn_cuda_weight_gradient<act>(ctx, dw, db, (const act *)dout, (const act *)x, (size_t)K, add, M, N, K);
}

#define INSTANCES(act)                                                                                                 \
	template void gn_cuda_linear<act>(struct gn_ctx *, gn_act *, const gn_act *, const gn_mat *,                   \
	                                  const struct gn_epilogue *, int, int, int);                                  \
	template void gn_cuda_linear_dx<act>(struct gn_ctx *, gn_act *, const gn_act *, const gn_mat *,                \
	                                     const gn_act *, enum gn_activation, gn_act *, int, int, int);             \
	template void gn_cuda_weight_gradient<act>(struct gn_ctx *, float *, float *, const act *, const act *,        \
	                                           size_t, bool, int, int, int);                                       \
	template void gn_cuda_linear_dw<act>(struct gn_ctx *, float *, float *, const gn_act *, const gn_act *, bool,  \
	                                     int, int, int);
INSTANCES(float)
INSTANCES(__nv_bfloat16)
