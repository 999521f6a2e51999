/*
 * Linear layers: cuBLASLt's products, and the kernels for what its epilogues do not do.
 *
 * In the library's epilogue: the bias, a residual (as the matrix that is added), the bias gradient of linear_dw, and GELU in its tanh form, which
 * is what the library means by GELU. In kernels of ours: the exact GELU and quick-GELU, their gradients, and layer scale. A kernel takes
 * the bias too where the library has no algorithm with it.
 *
 * With bf16 the library takes a bias in bf16: it is rounded on the way, as PyTorch's autocast does. z = x w^T + bias is rounded to bf16 before the
 * activation, as there.
 *
 * The kernels are bound by bytes: two to four streams of M x N elements in 16-byte accesses. Blocks of 256 threads, 4 or more a
 * multiprocessor (at most 64 registers a thread).
 */
#include "backend/cuda/activation.cuh"
#include "backend/cuda/vec.cuh"

#define ROWS_PER_BLOCK 8 /* of 32 threads each */

/* Blocks of 32 x 8 threads over rows x cols, n columns a thread. */
static dim3 row_grid(int rows, int cols, int n)
{
	unsigned across = (unsigned)((cols + 32 * n - 1) / (32 * n));
	return dim3(across, gn_blocks((size_t)rows, ROWS_PER_BLOCK, 65535));
}

static const dim3 row_block(32, ROWS_PER_BLOCK);

/* ---------------------------------------------------------------- forward ---------------------------------------- */

/* What the epilogue kernel does to z[rows, cols], of type in; out is of type out. */
struct finish {
	const float *bias; /* NULL: z has it */
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
			gn_load(w, f.bias + col);
			for (int i = 0; i < n; i++)
				v[i] += w[i];
		}
		if (f.keep_z)
			gn_store(z + at, v);
		if (f.activate)
			for (int i = 0; i < n; i++)
				v[i] = gn_activate(f.activation, v[i]);
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
static bool product_and_bias(struct gn_ctx *ctx, struct gn_product *p, const float *bias)
{
	p->finish = bias ? GN_FINISH_BIAS : GN_FINISH_NONE;
	p->bias = bias;
	if (gn_cuda_product(ctx, p))
		return true;
	p->finish = GN_FINISH_NONE;
	gn_cuda_product(ctx, p);
	return false;
}

/* One layer whose out is of `type`, over rows of it that scratch memory has room for where z has no place of its own. */
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
		f.bias = product_and_bias(ctx, &p, e->bias) ? NULL : e->bias;
		f.keep_z = f.bias && e->activate && e->pre;
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
	if (e->activation != GN_ACT_GELU_TANH || e->residual || p->out_float)
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

/* dx = g * act'(pre), act_out = act(pre); dx or act_out may be NULL, one of them may be pre, and dx may be g. */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4)
    slope_kernel(act *dx, act *act_out, const act *g, const act *pre, enum gn_activation activation, size_t count)
{
	size_t stride = (size_t)gridDim.x * blockDim.x * n;
	for (size_t at = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * n; at < count; at += stride) {
		float z[n], v[n];
		gn_load(z, pre + at);
		if (dx) {
			gn_load(v, g + at);
			for (int i = 0; i < n; i++)
				v[i] *= gn_activation_slope(activation, z[i]);
			gn_store(dx + at, v);
		}
		if (act_out) {
			for (int i = 0; i < n; i++)
				z[i] = gn_activate(activation, z[i]);
			gn_store(act_out + at, z);
		}
	}
}

template <typename act>
static void run_slope(struct gn_ctx *ctx, act *dx, act *act_out, const act *g, const act *pre,
                      enum gn_activation activation, size_t count)
{
	constexpr int n = gn_per16<act>;
	bool aligned =
	    gn_aligned16(dx) && gn_aligned16(act_out) && gn_aligned16(g) && gn_aligned16(pre) && count % n == 0;
	size_t most = (size_t)ctx->sms * 64;
	if (aligned)
		GN_RUN(ctx, (slope_kernel<act, n>), gn_blocks(count, 256 * n, most), 256, 0, dx, act_out, g, pre,
		       activation, count);
	else
		GN_RUN(ctx, (slope_kernel<act, 1>), gn_blocks(count, 256, most), 256, 0, dx, act_out, g, pre,
		       activation, count);
}

/* dx of p's rows, which lands in p->out; with z, dx = p->out * act'(z) and act_out = act(z) after it. */
template <typename act>
static void dx_rows(struct gn_ctx *ctx, struct gn_product *p, act *dx, act *act_out, const act *z,
                    enum gn_activation activation)
{
	size_t count = (size_t)p->rows * (size_t)p->cols;

	if (z && activation == GN_ACT_GELU_TANH && p->out == dx) {
		p->aux = (void *)z;
		p->finish = GN_FINISH_DGELU;
		if (gn_cuda_product(ctx, p)) {
			if (act_out)
				run_slope<act>(ctx, NULL, act_out, NULL, z, activation, count);
			return;
		}
	}
	p->aux = NULL;
	p->finish = GN_FINISH_NONE;
	gn_cuda_product(ctx, p);
	if (z)
		run_slope<act>(ctx, dx, act_out, (const act *)p->out, z, activation, count);
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

template <typename act>
void gn_cuda_weight_gradient(struct gn_ctx *ctx, float *dw, float *db, const act *dout, const act *x, size_t x_ld,
                             int M, int N, int K)
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
	p.add = dw;
	if (dw && db && ctx->precision != GN_PRECISION_TF32) { /* there the library sums what it has rounded to tf32 */
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
void gn_cuda_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, int M, int N,
                       int K)
{
	gn_cuda_weight_gradient<act>(ctx, dw, db, (const act *)dout, (const act *)x, (size_t)K, M, N, K);
}

#define INSTANCES(act)                                                                                                 \
	template void gn_cuda_linear<act>(struct gn_ctx *, gn_act *, const gn_act *, const gn_mat *,                   \
	                                  const struct gn_epilogue *, int, int, int);                                  \
	template void gn_cuda_linear_dx<act>(struct gn_ctx *, gn_act *, const gn_act *, const gn_mat *,                \
	                                     const gn_act *, enum gn_activation, gn_act *, int, int, int);             \
	template void gn_cuda_weight_gradient<act>(struct gn_ctx *, float *, float *, const act *, const act *,        \
	                                           size_t, int, int, int);                                             \
	template void gn_cuda_linear_dw<act>(struct gn_ctx *, float *, float *, const gn_act *, const gn_act *, int,   \
	                                     int, int);
INSTANCES(float)
INSTANCES(__nv_bfloat16)
