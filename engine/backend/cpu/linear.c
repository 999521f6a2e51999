/*
 * Linear layers: forward, input gradient, weight gradient, each one parallel region over the kernels' packed products.
 *
 * The right operand is packed into panels once per call, by all threads, in slices of bounded size. Then each thread takes a part of
 * the rows, or, where the rows are too few to share evenly (one image), of the columns.
 */
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu.h"

#define SLICE_FLOATS ((size_t)3 << 20) /* of the right operand packed at a time: it stays in L3 */
#define DEPTH        768               /* rows of x and dout that a weight gradient takes at a time */

/* How the work of M x N is shared: rows x columns = threads. */
struct grid {
	int rows, cols;
};

static int most(int units, int parts)
{
	return (units + parts - 1) / parts;
}

/* The grid whose largest share is smallest; rows first where that is equal. */
static struct grid choose_grid(const struct gn_kernels *k, int threads, int M, int N)
{
	int tiles = most(M, k->mr), panels = most(N, k->nr);
	struct grid best = {threads, 1};
	int64_t least = INT64_MAX;
	for (int r = threads; r >= 1; r--) {
		int64_t share = (int64_t)most(tiles, r) * most(panels, threads / r);
		if (threads % r == 0 && share < least) {
			least = share;
			best = (struct grid){r, threads / r};
		}
	}
	return best;
}

/* This thread's part of g: its rows and columns, in whole tiles and panels. */
static bool take_share(struct gn_gemm *g, const struct gn_kernels *k, struct grid grid, int thread, int M, int first_col, int cols)
{
	ptrdiff_t r0, r1, c0, c1;
	gn_share(most(M, k->mr), thread % grid.rows, grid.rows, &r0, &r1);
	gn_share(most(cols, k->nr), thread / grid.rows, grid.cols, &c0, &c1);
	g->row0 = (int)r0 * k->mr;
	g->rows = (r1 * k->mr < M ? (int)r1 * k->mr : M) - g->row0;
	g->col0 = first_col + (int)c0 * k->nr;
	g->cols = (c1 * k->nr < cols ? (int)c1 * k->nr : cols) - (int)c0 * k->nr;
	return g->rows > 0 && g->cols > 0;
}

/* Packs this thread's share of `cols` columns of the right operand from column `first` on. */
static void pack_share(const struct gn_kernels *k, float *packed, const float *b, ptrdiff_t ldb, bool transposed, int K, int first,
                       int cols)
{
	ptrdiff_t p0, p1;
	gn_share(most(cols, k->nr), omp_get_thread_num(), omp_get_num_threads(), &p0, &p1);
	int c0 = (int)p0 * k->nr, c1 = p1 * k->nr < cols ? (int)p1 * k->nr : cols;
	if (c1 > c0)
		k->pack_b(packed + (ptrdiff_t)c0 * K, b + (transposed ? (ptrdiff_t)(first + c0) * ldb : first + c0), ldb,
		          transposed, K, c1 - c0);
}

/* out[M,N] = finish(a[M,K] b[K,N]) as `job` says; b is [K,N], or [N,K] when transposed. */
static void product(struct gn_ctx *ctx, const struct gn_gemm *job, const float *b, bool transposed, int M, int N)
{
	const struct gn_kernels *k = ctx->kernels;
	int K = job->K, panels = most(N, k->nr);
	size_t panel = (size_t)k->nr * (size_t)K;
	int slice = panel > SLICE_FLOATS ? 1 : (int)(SLICE_FLOATS / panel);
	slice = slice < panels ? slice : panels;
	size_t right = gn_pad32((size_t)slice * panel), left = gn_pad32(k->gemm_floats(K));
	float *packed = gn_cpu_work(ctx, GN_SLOT_PRODUCT, right + left * (size_t)ctx->threads);
	if (!packed)
		return;
	ptrdiff_t ldb = transposed ? K : N;
#pragma omp parallel num_threads(ctx->threads)
	{
		for (int first = 0; first < N; first += slice * k->nr) {
			int cols = N - first < slice * k->nr ? N - first : slice * k->nr;
			struct gn_gemm g = *job;
			pack_share(k, packed, b, ldb, transposed, K, first, cols);
#pragma omp barrier
			if (take_share(&g, k, choose_grid(k, omp_get_num_threads(), M, cols), omp_get_thread_num(), M, first,
			               cols)) {
				g.a += g.row0 * g.a_row;
				g.work = packed + right + left * (size_t)omp_get_thread_num();
				g.b = packed + (ptrdiff_t)(g.col0 - first) * K;
				k->gemm(&g);
			}
#pragma omp barrier
		}
	}
}

void gn_cpu_linear(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e, int M, int N,
                   int K)
{
	struct gn_gemm job = {
	    .out = out, .a = x, .a_row = K, .ld = N, .K = K, .finish = GN_FINISH_EPILOGUE, .epilogue = e};
	product(ctx, &job, w, true, M, N);
}

void gn_cpu_linear_dx(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
                      enum gn_activation activation, gn_act *act_out, int M, int N, int K)
{
	struct gn_gemm job = {.out = dx,
	                      .a = dout,
	                      .a_row = N,
	                      .ld = K,
	                      .K = N,
	                      .finish = pre ? GN_FINISH_ACT_GRAD : GN_FINISH_SET,
	                      .pre = pre,
	                      .act_out = act_out,
	                      .activation = activation};
	product(ctx, &job, w, false, M, K);
}

/* One slab of `depth` rows: dw += dout^T x, db += column sums; each thread owns rows of dw and the same columns of dout. */
static void weight_slab(const struct gn_kernels *k, float *dw, float *db, const float *dout, const float *packed, float *mine,
                        struct grid grid, int depth, int N, int K)
{
	struct gn_gemm g = {.out = dw, .K = depth, .ld = K, .finish = GN_FINISH_ADD};
	bool busy = take_share(&g, k, grid, omp_get_thread_num(), N, 0, K);
	float *sums = db && g.col0 == 0 ? db + g.row0 : NULL;
	if (!busy || (!dw && !sums))
		return;
	k->pack_a(mine, sums, dout + g.row0, N, g.rows, depth);
	if (!dw)
		return;
	g.a = mine;
	g.b = packed + (ptrdiff_t)g.col0 * depth;
	k->gemm(&g);
}

/* What a thread's packed columns of dout take. */
static size_t left_floats(const struct gn_kernels *k, struct grid grid, int N, int depth)
{
	return gn_pad32((size_t)most(most(N, k->mr), grid.rows) * (size_t)k->mr * (size_t)depth);
}

void gn_cpu_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, int M, int N, int K)
{
	const struct gn_kernels *k = ctx->kernels;
	int depth = M < DEPTH ? M : DEPTH;
	size_t right = gn_pad32((size_t)most(K, k->nr) * (size_t)k->nr * (size_t)depth), left = 0;
	/* OpenMP may give fewer threads than asked for. */
	for (int threads = 1; threads <= ctx->threads; threads++) {
		size_t all = (size_t)threads * left_floats(k, choose_grid(k, threads, N, K), N, depth);
		left = all > left ? all : left;
	}
	float *packed = gn_cpu_work(ctx, GN_SLOT_PRODUCT, right + left);
	if (!packed)
		return;
#pragma omp parallel num_threads(ctx->threads)
	{
		struct grid grid = choose_grid(k, omp_get_num_threads(), N, K);
		float *mine = packed + right + (size_t)omp_get_thread_num() * left_floats(k, grid, N, depth);
		for (ptrdiff_t m = 0; m < M; m += depth) {
			int rows = M - m < depth ? (int)(M - m) : depth;
			if (dw)
				pack_share(k, packed, (const float *)x + m * K, K, false, rows, 0, K);
#pragma omp barrier
			weight_slab(k, dw, db, (const float *)dout + m * N, packed, mine, grid, rows, N, K);
#pragma omp barrier
		}
	}
}
