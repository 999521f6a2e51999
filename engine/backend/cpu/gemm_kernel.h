/*
 * Products: tiles of MR x NR outputs in registers, over packed panels of the right operand.
 *
 * The left operand is read in place, with one broadcast for each row; the panel is read from L2. A
 * tile's sum over k is one chain of multiply-adds, so that its bits do not depend on how threads
 * share the rows or columns. The epilogue runs on each tile while it is in L1, on lines that were
 * prefetched before the tile's sum began.
 */
#ifndef GN_CPU_GEMM_KERNEL_H
#define GN_CPU_GEMM_KERNEL_H

#include "backend/cpu/simd.h"

/* 32 registers: 28 sums, two of the right operand, one of the left */
#if GN_SIMD == 512 || defined(__aarch64__)
#define MR 14
#else
#define MR 6
#endif
#define NR (2 * VL)

#if defined(__clang__)
#define GN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GN_UNROLL _Pragma("GCC unroll 16")
#endif

/* c[rows, vectors * VL] = (or +=) sum over k < K of a[i * a_row + k * a_k] * b[k * vectors * VL +
 * j]. */
static inline __attribute__((always_inline)) void tile_body(const int rows, const int vectors, float *c, ptrdiff_t ldc,
                                                            bool add, const float *a, ptrdiff_t a_row, ptrdiff_t a_k,
                                                            const float *b, int K)
{
	vf acc[MR][2];
	GN_UNROLL
	for (int i = 0; i < rows; i++) {
		GN_UNROLL
		for (int j = 0; j < vectors; j++)
			acc[i][j] = add ? vload(c + i * ldc + j * VL) : vzero();
	}
	for (int k = 0; k < K; k++) {
		vf bv[2];
		GN_UNROLL
		for (int j = 0; j < vectors; j++)
			bv[j] = vload(b + j * VL);
		GN_UNROLL
		for (int i = 0; i < rows; i++) {
			vf av = vset1(a[i * a_row]);
			GN_UNROLL
			for (int j = 0; j < vectors; j++)
				acc[i][j] = vfma(av, bv[j], acc[i][j]);
		}
		a += a_k;
		b += vectors * VL;
	}
	GN_UNROLL
	for (int i = 0; i < rows; i++) {
		GN_UNROLL
		for (int j = 0; j < vectors; j++)
			vstore(c + i * ldc + j * VL, acc[i][j]);
	}
}

typedef void gn_tile(float *c, ptrdiff_t ldc, bool add, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *b,
                     int K);

#define TILE(rows, vectors)                                                                                            \
	static void tile_##rows##_##vectors(float *c, ptrdiff_t ldc, bool add, const float *a, ptrdiff_t a_row,        \
	                                    ptrdiff_t a_k, const float *b, int K)                                      \
	{                                                                                                              \
		tile_body(rows, vectors, c, ldc, add, a, a_row, a_k, b, K);                                            \
	}
#define TILES(rows)                                                                                                    \
	TILE(rows, 1)                                                                                                  \
	TILE(rows, 2)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
#if MR == 14
TILES(7)
TILES(8)
TILES(9)
TILES(10)
TILES(11)
TILES(12)
TILES(13)
TILES(14)
#endif

#define ENTRY(rows)                                                                                                    \
	{                                                                                                              \
		tile_##rows##_1, tile_##rows##_2                                                                       \
	}
static gn_tile *const tiles[MR + 1][2] = {{NULL, NULL}, ENTRY(1), ENTRY(2), ENTRY(3),  ENTRY(4),  ENTRY(5),  ENTRY(6),
#if MR == 14
                                          ENTRY(7),     ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13),
                                          ENTRY(14)
#endif
};

/* Row tile `index` of `rows` rows. The tiles are as equal as possible and have at most MR rows.
 * Packed left operands instead have whole tiles and one smaller one, so that their places do not
 * depend on how the rows are shared. */
static inline int tile_count(int rows)
{
	return (rows + MR - 1) / MR;
}

static inline int tile_start(int rows, int index)
{
	int count = tile_count(rows);
	int extra = rows % count;
	return index * (rows / count) + (index < extra ? index : extra);
}

/* Rows that are packed at a time: their lines stay in L1 until every tile or panel has its part. */
#define PACK_ROWS 16

/*
 * Rows k .. k+depth-1 of one tile's n columns. The first `loose` rows are written in whole vectors.
 * The next row overwrites the values beyond column n. They may be read because the row of `a` has
 * more columns.
 */
static inline void pack_a_tile(float *out, float *sums, const float *a, ptrdiff_t lda, int n, int depth, int loose)
{
	for (int j = 0; j < n; j += VL) {
		vf sum = vzero();
		ptrdiff_t k = 0;
		for (; k < loose; k++) {
			vf x = vload(a + k * lda + j);
			sum += x;
			vstore(out + k * n + j, x);
		}
		for (; k < depth; k++) {
			vf x = vload_upto(a + k * lda + j, n - j);
			sum += x;
			vstore_upto(out + k * n + j, x, n - j);
		}
		if (sums)
			vstore_upto(sums + j, vload_upto(sums + j, n - j) + sum, n - j);
	}
}

static void pack_a(float *out, float *sums, const float *a, ptrdiff_t lda, int rows, int K)
{
	int count = tile_count(rows);
	for (ptrdiff_t k = 0; k < K; k += PACK_ROWS) {
		int depth = K - k < PACK_ROWS ? (int)(K - k) : PACK_ROWS;
		for (int t = 0; t < count; t++) {
			int r = t * MR, n = rows - r < MR ? rows - r : MR;
			int loose = n > VL || r + VL > rows ? 0 : k + depth < K ? depth : depth - 1;
			pack_a_tile(out + (ptrdiff_t)r * K + k * n, sums ? sums + r : NULL, a + k * lda + r, lda, n,
			            depth, loose);
		}
	}
}

/* out[columns][ldo] = VL rows of b, transposed; `rows` of them exist, the others count as zeros. */
static inline void pack_block(float *out, ptrdiff_t ldo, const float *b, ptrdiff_t ldb, int rows, int columns)
{
	vf r[VL];
	for (int j = 0; j < VL; j++)
		r[j] = j < rows ? vload_upto(b + j * ldb, columns) : vzero();
	vtranspose(r);
	for (int k = 0; k < columns; k++)
		vstore(out + k * ldo, r[k]);
}

/* The same for a complete block. */
static inline void pack_whole_block(float *out, ptrdiff_t ldo, const float *b, ptrdiff_t ldb)
{
	vf r[VL];
	GN_UNROLL
	for (int j = 0; j < VL; j++)
		r[j] = vload(b + j * ldb);
	vtranspose(r);
	GN_UNROLL
	for (int k = 0; k < VL; k++)
		vstore(out + k * ldo, r[k]);
}

/* One vector's columns of a panel of `width` columns: n of them exist. */
static inline void pack_column(float *out, int width, const float *b, ptrdiff_t ldb, bool transposed, int K, int n)
{
	int k = 0;
	if (n <= 0) {
		for (; k < K; k++)
			vstore(out + (ptrdiff_t)k * width, vzero());
	} else if (transposed) {
		for (; n >= VL && k + VL <= K; k += VL)
			pack_whole_block(out + (ptrdiff_t)k * width, width, b + k, ldb);
		for (; k < K; k += VL)
			pack_block(out + (ptrdiff_t)k * width, width, b + k, ldb, n, K - k < VL ? K - k : VL);
	} else {
		for (; k < K; k++)
			vstore(out + (ptrdiff_t)k * width, vload_upto(b + k * ldb, n));
	}
}

/* One panel of `width` columns (a multiple of VL), of which `cols` exist. */
static void pack_panel(float *out, int width, const float *b, ptrdiff_t ldb, bool transposed, int K, int cols)
{
	for (int j = 0; j < width; j += VL)
		pack_column(out + j, width, b + (transposed ? j * ldb : j), ldb, transposed, K, cols - j);
}

static void pack_b(float *out, const float *b, ptrdiff_t ldb, bool transposed, int K, int cols)
{
	for (int j = 0; transposed && j < cols; j += NR)
		pack_panel(out + (ptrdiff_t)j * K, NR, b + j * ldb, ldb, true, K, cols - j);
	for (ptrdiff_t k = 0; !transposed && k < K; k += PACK_ROWS) {
		int depth = K - k < PACK_ROWS ? (int)(K - k) : PACK_ROWS;
		for (int j = 0; j < cols; j += NR)
			pack_panel(out + (ptrdiff_t)j * K + k * NR, NR, b + k * ldb + j, ldb, false, depth, cols - j);
	}
}

/* act(x), and its derivative. */
static inline vf activate(enum gn_activation activation, vf x, vf *derivative)
{
	if (activation == GN_ACT_GELU) {
		vf bell, tail = vnormal_tail(x, &bell);
		*derivative = vfma(x * vset1(0.3989422804F), bell, vif_negative(x, tail, vset1(1.0F) - tail));
		return vfnma(vabs(x), tail, vmax(vzero(), x));
	}
	if (activation == GN_ACT_QUICK_GELU) {
		vf s = vsigmoid(vset1(1.702F) * x);
		*derivative = vfma(vset1(1.702F) * x * s, vset1(1.0F) - s, s);
		return x * s;
	}
	/* x (1 + tanh u) / 2 = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
	vf xx = x * x;
	vf s = vsigmoid(x * vfma(vset1(0.0713548163F), xx, vset1(1.5957691216F)));
	*derivative = vfma(x * s * (vset1(1.0F) - s), vfma(vset1(0.2140644489F), xx, vset1(1.5957691216F)), s);
	return x * s;
}

/*
 * Epilogue of one vector of columns, over the tile's rows: z is the tile's, `at` the offset of its
 * first element in [M, ld] matrices, col its column, n how many of the lanes exist. The callers
 * pass constant flags, so that each case is a loop without branches.
 */
static inline __attribute__((always_inline)) void epilogue_vector(const struct gn_gemm *g, const float *z, ptrdiff_t at,
                                                                  int rows, int col, const int n, const bool activated,
                                                                  const bool pre, const bool scaled, const bool branch,
                                                                  const bool residual)
{
	const struct gn_epilogue *e = g->epilogue;
	float *out = g->out + at, *pre_out = pre ? (float *)e->pre + at : NULL;
	float *branch_out = branch ? (float *)e->branch + at : NULL;
	const float *add = residual ? (const float *)e->residual + at : NULL;
	const float *biases = e->bias;
	vf bias = biases ? vload_upto(biases + col, n) : vzero(), unused;
	vf scale = scaled ? vload_upto(e->scale + col, n) : vzero();
	for (ptrdiff_t i = 0, o = 0; i < rows; i++, o += g->ld) {
		vf x = vload(z + i * NR) + bias;
		if (pre)
			vstore_upto(pre_out + o, x, n);
		if (activated)
			x = activate(e->activation, x, &unused);
		if (branch)
			vstore_upto(branch_out + o, x, n);
		if (scaled)
			x *= scale;
		if (residual)
			x += vload_upto(add + o, n);
		vstore_upto(out + o, x, n);
	}
}

static void finish_epilogue(const struct gn_gemm *g, float z[MR][NR], ptrdiff_t at, int rows, int col, int cols)
{
	const struct gn_epilogue *e = g->epilogue;
	bool rare = e->scale || e->branch || (e->activate && e->residual);
	for (int j = 0; j < cols; j += VL) {
		int n = cols - j;
		if (rare || n < VL)
			epilogue_vector(g, z[0] + j, at + j, rows, col + j, n, e->activate, e->pre, e->scale, e->branch,
			                e->residual);
		else if (e->activate && e->pre)
			epilogue_vector(g, z[0] + j, at + j, rows, col + j, VL, true, true, false, false, false);
		else if (e->activate)
			epilogue_vector(g, z[0] + j, at + j, rows, col + j, VL, true, false, false, false, false);
		else if (e->residual)
			epilogue_vector(g, z[0] + j, at + j, rows, col + j, VL, false, false, false, false, true);
		else
			epilogue_vector(g, z[0] + j, at + j, rows, col + j, VL, false, false, false, false, false);
	}
}

static inline __attribute__((always_inline)) void act_grad_vector(const struct gn_gemm *g, const float *z, ptrdiff_t at,
                                                                  int rows, const int n)
{
	for (ptrdiff_t i = 0; i < rows; i++, at += g->ld) {
		vf derivative;
		vf y = activate(g->activation, vload_upto(g->pre + at, n), &derivative);
		if (g->act_out)
			vstore_upto(g->act_out + at, y, n);
		vstore_upto(g->out + at, vload(z + i * NR) * derivative, n);
	}
}

static void finish_act_grad(const struct gn_gemm *g, float z[MR][NR], ptrdiff_t at, int rows, int cols)
{
	for (int j = 0; j < cols; j += VL) {
		if (cols - j >= VL)
			act_grad_vector(g, z[0] + j, at + j, rows, VL);
		else
			act_grad_vector(g, z[0] + j, at + j, rows, cols - j);
	}
}

/* The short tiles at the right edge, and sums. */
static void finish_plain(const struct gn_gemm *g, float z[MR][NR], ptrdiff_t at, int rows, int cols)
{
	bool sum = g->finish == GN_FINISH_ADD;
	for (int i = 0; i < rows; i++, at += g->ld) {
		if (cols == NR && sum) {
			vstore(g->out + at, vload(g->out + at) + vload(z[i]));
			vstore(g->out + at + VL, vload(g->out + at + VL) + vload(z[i] + VL));
			continue;
		}
		for (int j = 0; j < cols; j += VL) {
			vf x = vload(z[i] + j);
			if (sum)
				x += vload_upto(g->out + at + j, cols - j);
			vstore_upto(g->out + at + j, x, cols - j);
		}
	}
}

/* Prefetches the lines that finishing a tile will use; the tile's sum hides the latency. */
static inline void prefetch_tile(const struct gn_gemm *g, ptrdiff_t at, int rows)
{
	const float *reads = g->finish == GN_FINISH_ACT_GRAD ? g->pre : g->epilogue ? g->epilogue->residual : NULL;
	for (int i = 0; i < rows; i++, at += g->ld) {
		for (int j = 0; j < NR; j += 16) {
			__builtin_prefetch(g->out + at + j, 1);
			if (reads)
				__builtin_prefetch(reads + at + j, 0);
		}
	}
}

static void gemm_tile(const struct gn_gemm *g, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *b, int row,
                      int rows, int col, int cols)
{
	float z[MR][NR] __attribute__((aligned(64)));
	ptrdiff_t at = row * g->ld + col;
	prefetch_tile(g, at, rows);
	if (cols == NR && g->finish == GN_FINISH_SET) {
		tiles[rows][1](g->out + at, g->ld, false, a, a_row, a_k, b, g->K);
		return;
	}
	tiles[rows][1](z[0], NR, false, a, a_row, a_k, b, g->K);
	if (g->finish == GN_FINISH_EPILOGUE)
		finish_epilogue(g, z, at, rows, col, cols);
	else if (g->finish == GN_FINISH_ACT_GRAD)
		finish_act_grad(g, z, at, rows, cols);
	else
		finish_plain(g, z, at, rows, cols);
}

#define GROUP_FLOATS 131072 /* of the left operand: half of L2 */
#define COPY_PAD     16

static int group_tiles(int K)
{
	int tiles_fit = GROUP_FLOATS / (MR * (K > 0 ? K : 1));
	return tiles_fit < 1 ? 1 : tiles_fit > 16 ? 16 : tiles_fit;
}

static size_t gemm_floats(int K)
{
	return (size_t)group_tiles(K) * MR * ((size_t)K + COPY_PAD);
}

/* Rows side by side in a block of their own, at a distance that does not put them all into the same
 * sets of the cache. */
static void copy_rows(float *out, const float *a, ptrdiff_t a_row, int rows, int K)
{
	for (ptrdiff_t i = 0; i < rows; i++)
		memcpy(out + i * (K + COPY_PAD), a + i * a_row, (size_t)K * sizeof(float));
}

static inline int row_start(const struct gn_gemm *g, int index)
{
	if (g->a_row)
		return tile_start(g->rows, index);
	return index * MR < g->rows ? index * MR : g->rows;
}

/* Row tiles by groups that stay in L2 while every panel passes by. */
static void gemm(const struct gn_gemm *g)
{
	int count = tile_count(g->rows), group = group_tiles(g->K);
	ptrdiff_t a_row = g->work ? g->K + COPY_PAD : g->a_row ? g->a_row : 1;
	for (int first = 0; first < count; first += group) {
		int last = first + group < count ? first + group : count;
		int r0 = row_start(g, first), r1 = row_start(g, last);
		const float *left = g->a + r0 * (g->a_row ? g->a_row : g->K);
		if (g->work) {
			copy_rows(g->work, g->a + r0 * g->a_row, g->a_row, r1 - r0, g->K);
			left = g->work;
		}
		for (int j = 0; j < g->cols; j += NR) {
			int cols = g->cols - j < NR ? g->cols - j : NR;
			const float *b = g->b + (ptrdiff_t)j * g->K;
			for (int t = first; t < last; t++) {
				int r = row_start(g, t), rows = row_start(g, t + 1) - r;
				const float *a = left + (r - r0) * (g->a_row ? a_row : g->K);
				gemm_tile(g, a, a_row, g->a_row ? 1 : rows, b, g->row0 + r, rows, g->col0 + j, cols);
			}
		}
	}
}

#endif
