/*
 * Linear layers: forward, input gradient, weight gradient, each one parallel region over the
 * kernels' packed products.
 *
 * The right operand is packed into panels once per call, by all threads, in slices of bounded size.
 * Then the threads take row tiles until none is left. If the rows are too few to share evenly (one
 * image), each thread takes a part of the columns. The bits of a tile do not depend on its thread.
 */
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

#include "backend/cpu/cpu.h"

/* of the right operand are packed at a time and stay in L3 */
#define SLICE_FLOATS ((size_t)3 << 20)
/* up to this many rows, threads share the columns: an image of 224 pixels, the head of a batch */
#define FEW_ROWS 280
#define DEPTH    768 /* rows of x and dout that a weight gradient processes at a time */

/* How the work of M x N is shared: rows x columns = threads. */
struct grid {
	int rows, cols;
};

static int most(int units, int parts)
{
	return (units + parts - 1) / parts;
}

/* Shares only the rows if each thread gets enough row tiles for an even share. Otherwise chooses
 * the grid whose largest share is smallest. */
static struct grid choose_grid(const struct gn_kernels *k, int threads, int M, int N)
{
	int tiles = most(M, k->mr), panels = most(N, k->nr);
	struct grid best = {threads, 1};
	int64_t least = tiles >= 12 * threads ? 0 : INT64_MAX;
	for (int r = threads; r >= 1 && least > 0; r--) {
		int64_t share = (int64_t)most(tiles, r) * most(panels, threads / r);
		if (threads % r == 0 && share < least) {
			least = share;
			best = (struct grid){r, threads / r};
		}
	}
	return best;
}

/* Row tiles first .. last-1 of M rows; a is the left operand from row 0 on. */
static void run_rows(const struct gn_kernels *k, struct gn_gemm *g, const float *a, int M, int first, int last)
{
	g->row0 = first * k->mr;
	g->rows = (last * k->mr < M ? last * k->mr : M) - g->row0;
	g->a = a + (ptrdiff_t)g->row0 * (g->a_row ? g->a_row : g->K);
	if (g->rows > 0)
		k->gemm(g);
}

/* Takes the next row tiles of `count`: a share of the remaining ones, at most `most`. Returns their
 * number, 0 at the end. */
static int take_tiles(atomic_int *next, int count, int threads, int most_tiles, int *first)
{
	int at = atomic_load_explicit(next, memory_order_relaxed), n;
	do {
		n = (count - at) / (2 * threads);
		n = n > most_tiles ? most_tiles : n < 2 ? 2 : n;
		n = n > count - at ? count - at : n;
		if (n <= 0)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(next, &at, at + n, memory_order_relaxed, memory_order_relaxed));
	*first = at;
	return n;
}

/*
 * Runs this thread's part of the rows 0 .. M-1 and columns first_col .. first_col+cols-1 of `job`,
 * whose a is at row 0 and whose b at first_col. If there are enough rows, each thread takes the
 * next row tiles when it is free, so that a delayed thread does not delay the others. Otherwise
 * each thread has a rectangle of the grid.
 */
static void run_share(const struct gn_kernels *k, const struct gn_gemm *job, atomic_int *next, int M, int first_col,
                      int cols)
{
	int threads = omp_get_num_threads(), thread = omp_get_thread_num(), tiles = most(M, k->mr);
	struct grid grid = choose_grid(k, threads, M, cols);
	ptrdiff_t r0, r1, c0, c1;
	struct gn_gemm g = *job;
	if (grid.cols == 1) {
		int first, n;
		g.col0 = first_col;
		g.cols = cols;
		while ((n = take_tiles(next, tiles, threads, k->gemm_group(job->K), &first)) > 0)
			run_rows(k, &g, job->a, M, first, first + n);
		return;
	}
	gn_share(tiles, thread % grid.rows, grid.rows, &r0, &r1);
	gn_share(most(cols, k->nr), thread / grid.rows, grid.cols, &c0, &c1);
	g.col0 = first_col + (int)c0 * k->nr;
	g.cols = (c1 * k->nr < cols ? (int)c1 * k->nr : cols) - (int)c0 * k->nr;
	g.b += c0 * k->nr * job->K;
	if (g.cols > 0)
		run_rows(k, &g, job->a, M, (int)r0, (int)r1);
}

/* Packs this thread's share of `cols` columns of the right operand from column `first` on. */
static void pack_share(const struct gn_kernels *k, float *packed, const float *b, ptrdiff_t ldb, bool transposed, int K,
                       int first, int cols)
{
	ptrdiff_t p0, p1;
	gn_share(most(cols, k->nr), omp_get_thread_num(), omp_get_num_threads(), &p0, &p1);
	int c0 = (int)p0 * k->nr, c1 = p1 * k->nr < cols ? (int)p1 * k->nr : cols;
	if (c1 > c0)
		k->pack_b(packed + (ptrdiff_t)c0 * K, b + (transposed ? (ptrdiff_t)(first + c0) * ldb : first + c0),
		          ldb, transposed, K, c1 - c0);
}

/* Whether rows of K floats use only a few sets of the L1 cache. */
static bool aliases(int K)
{
	return K % 512 == 0;
}

/*
 * Few rows (one image): each thread packs a panel of its columns and multiplies all rows by it
 * while it is in L2. `copy` has room for M rows of K + 16 floats if rows alias, else NULL. panels
 * has room for one panel for each thread.
 */
static void product_by_columns(struct gn_ctx *ctx, const struct gn_gemm *job, const float *b, ptrdiff_t ldb,
                               bool transposed, int M, int N, float *panels, float *copy)
{
	const struct gn_kernels *k = ctx->kernels;
	ptrdiff_t K = job->K, width = k->nr;
#pragma omp parallel num_threads(ctx->threads)
	{
		struct gn_gemm g = *job;
		ptrdiff_t p0, p1, r0, r1;
		float *panel = panels + gn_pad32((size_t)(K * width)) * (size_t)omp_get_thread_num();
		if (copy) {
			gn_share(M, omp_get_thread_num(), omp_get_num_threads(), &r0, &r1);
			for (ptrdiff_t r = r0; r < r1; r++)
				memcpy(copy + r * (K + 16), job->a + r * job->a_row, (size_t)K * sizeof(float));
#pragma omp barrier
			g.a = copy;
			g.a_row = K + 16;
		}
		gn_share(most(N, k->nr), omp_get_thread_num(), omp_get_num_threads(), &p0, &p1);
		for (ptrdiff_t p = p0; p < p1; p++) {
			g.col0 = (int)(p * width);
			g.cols = N - g.col0 < k->nr ? N - g.col0 : k->nr;
			k->pack_b(panel, b + p * width * (transposed ? ldb : 1), ldb, transposed, (int)K, g.cols);
			g.b = panel;
			g.rows = M;
			k->gemm(&g);
		}
	}
}

/* Many rows: the right operand is packed slice by slice, and each slice is for all threads. */
static void product_by_rows(struct gn_ctx *ctx, const struct gn_gemm *job, const float *b, ptrdiff_t ldb,
                            bool transposed, int M, int N, int slice, float *packed, float *work)
{
	const struct gn_kernels *k = ctx->kernels;
	size_t left = gn_pad32(k->gemm_floats(job->K));
	atomic_int next[2] = {0, 0};
#pragma omp parallel num_threads(ctx->threads)
	{
		struct gn_gemm g = *job;
		g.work = work + left * (size_t)omp_get_thread_num();
		g.b = packed;
		for (int first = 0, at = 0; first < N; first += slice, at = 1 - at) {
			int cols = N - first < slice ? N - first : slice;
			pack_share(k, packed, b, ldb, transposed, job->K, first, cols);
#pragma omp barrier
#pragma omp master
			atomic_store(&next[1 - at], 0);
			run_share(k, &g, &next[at], M, first, cols);
#pragma omp barrier
		}
	}
}

/* out[M,N] = finish(a[M,K] b[K,N]) as `job` says; b is [K,N], or [N,K] when transposed. */
static void product(struct gn_ctx *ctx, const struct gn_gemm *job, const float *b, bool transposed, int M, int N)
{
	const struct gn_kernels *k = ctx->kernels;
	int K = job->K, panels = most(N, k->nr);
	size_t panel = (size_t)k->nr * (size_t)K, threads = (size_t)ctx->threads;
	bool by_columns = M <= FEW_ROWS && panels >= 2 * ctx->threads;
	int slice = panel > SLICE_FLOATS ? 1 : (int)(SLICE_FLOATS / panel);
	slice = slice < panels ? slice : panels;
	size_t right = by_columns ? gn_pad32(panel) * threads : gn_pad32((size_t)slice * panel);
	size_t left = !by_columns  ? gn_pad32(k->gemm_floats(K)) * threads
	              : aliases(K) ? (size_t)M * ((size_t)K + 16)
	                           : 0;
	float *work = gn_cpu_work(ctx, GN_SLOT_PRODUCT, right + left);
	if (!work)
		return;
	if (by_columns)
		product_by_columns(ctx, job, b, transposed ? K : N, transposed, M, N, work, left ? work + right : NULL);
	else
		product_by_rows(ctx, job, b, transposed ? K : N, transposed, M, N, slice * k->nr, work, work + right);
}

void gn_cpu_linear(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
                   int M, int N, int K)
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

/* Packs this thread's share of the columns of dout[depth, N] as rows of the left operand; db[N] +=
 * their sums. */
static void pack_columns(const struct gn_kernels *k, float *packed, float *db, const float *dout, int depth, int N)
{
	ptrdiff_t t0, t1;
	gn_share(most(N, k->mr), omp_get_thread_num(), omp_get_num_threads(), &t0, &t1);
	ptrdiff_t c0 = t0 * k->mr, c1 = t1 * k->mr < N ? t1 * k->mr : N;
	if (c1 > c0)
		k->pack_a(packed + c0 * depth, db ? db + c0 : NULL, dout + c0, N, (int)(c1 - c0), depth);
}

/* By slabs of DEPTH rows: both operands are packed by all threads, then multiplied by all. */
void gn_cpu_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, bool add, int M,
                      int N, int K)
{
	const struct gn_kernels *k = ctx->kernels;
	int depth = M < DEPTH ? M : DEPTH;
	size_t right = gn_pad32((size_t)most(K, k->nr) * (size_t)k->nr * (size_t)depth);
	float *packed = gn_cpu_work(ctx, GN_SLOT_PRODUCT, right + (size_t)N * (size_t)depth);
	if (!packed)
		return;
	atomic_int next[2] = {0, 0};
#pragma omp parallel num_threads(ctx->threads)
	{
		struct gn_gemm g = {.out = dw, .a = packed + right, .b = packed, .ld = K};
		int at = 0;
		for (ptrdiff_t m = 0; m < M; m += depth, at = 1 - at) {
			g.K = M - m < depth ? (int)(M - m) : depth;
			g.finish = m == 0 && !add ? GN_FINISH_SET : GN_FINISH_ADD;
			if (dw)
				pack_share(k, packed, (const float *)x + m * K, K, false, g.K, 0, K);
			pack_columns(k, packed + right, db, (const float *)dout + m * N, g.K, N);
#pragma omp barrier
#pragma omp master
			atomic_store(&next[1 - at], 0);
			if (dw)
				run_share(k, &g, &next[at], N, 0, K);
#pragma omp barrier
		}
	}
}
