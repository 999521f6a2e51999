/*
 * The single-threaded kernels of the CPU backend, compiled once for each instruction set
 * (kernels_avx512.c, kernels_avx2.c, kernels_plain.c) from the *_kernel.h files. They are called
 * through one table, so that the rest of the backend is compiled once, for the base machine, and
 * chooses at run time.
 *
 * A kernel processes the rows, columns or elements that it is given; the caller shares them among
 * threads. No kernel allocates.
 */
#ifndef GN_CPU_KERNELS_H
#define GN_CPU_KERNELS_H

#include "backend/backend.h"

/* How a tile of a product is stored. */
enum gn_finish {
	GN_FINISH_SET,      /* out = z */
	GN_FINISH_ADD,      /* out += z */
	GN_FINISH_EPILOGUE, /* out = epilogue(z) */
	GN_FINISH_ACT_GRAD  /* out = z * act'(pre), act_out = act(pre) */
};

/*
 * One thread's part of out[M,N] = finish(a[M,K] b[K,N]): rows row0 .. row0+rows-1, columns col0 ..
 * col0+cols-1. a points at row row0; element (i, k) is a[i * a_row + k]. If a_row is 0, a has row
 * tiles from pack_a. b holds panels of `nr` columns from col0 on, each [K, nr]: col0 is a multiple
 * of nr. out, pre, act_out and the epilogue's matrices are [M, ld], pointing at row 0, column 0.
 */
struct gn_gemm {
	float *out;
	const float *a, *b;
	ptrdiff_t a_row, ld;
	int K, row0, rows, col0, cols;
	enum gn_finish finish;
	const struct gn_epilogue *epilogue;
	const float *pre;
	float *act_out;
	enum gn_activation activation;
	/* memory of gemm_floats(K) to copy left rows to, group by group; NULL: they are read in
	 * place */
	float *work;
};

/* One image's head: tokens are `stride` floats apart in q, k and v, out_stride in out and dout. */
struct gn_head {
	const float *q, *k, *v;
	ptrdiff_t stride, out_stride;
	int T, Q, D;
	/* q of this thread's next head, to be prefetched; NULL if there is none */
	const float *next;
	float *scratch; /* attention_floats or attention_backward_floats of it, 64-byte aligned */
};

struct gn_kernels {
	const char *name;
	int mr, nr; /* the tile of a product: rows and columns */

	/* ---- products ---- */
	/* A matrix [rows, K] given transposed, element (i, k) at a[k * lda + i], as row tiles: tile
	 * t, of mr rows or the rest, at out + t * mr * K. sums[rows] += the sum over k; may be
	 * NULL. */
	void (*pack_a)(float *out, float *sums, const float *a, ptrdiff_t lda, int rows, int K);
	/* Columns of b[K, cols] (transposed false: element (k, j) is b[k * ldb + j]; true: b[j *
	 * ldb + k]) as panels; short ones are padded with zeros. */
	void (*pack_b)(float *out, const float *b, ptrdiff_t ldb, bool transposed, int K, int cols);
	size_t (*gemm_floats)(int K);
	int (*gemm_group)(int K); /* row tiles that one pass over the right operand serves */
	void (*gemm)(const struct gn_gemm *g);

	/* ---- attention ---- */
	size_t (*attention_floats)(int T, int D);
	size_t (*attention_backward_floats)(int T, int D);
	/* Packs k and v of a head into its scratch. */
	void (*attention_load)(const struct gn_head *h);
	int (*attention_tiles)(int Q);
	/* Query tiles first .. last-1 after attention_load. out is [Q, ...] of this head; lse[Q]
	 * may be NULL. */
	void (*attention_tile)(float *out, float *lse, const struct gn_head *h, int first, int last);
	/* dq, dk, dv [T, ...] have h->stride; dout [Q, ...] has h->out_stride. */
	void (*attention_backward)(float *dq, float *dk, float *dv, const float *dout, const struct gn_head *h);

	/* ---- rows of C ---- */
	void (*layernorm)(float *out, const float *x, const float *w, const float *b, float eps, int rows, int C);
	/* dw[C], db[C] +=: of these rows. Arguments as in the backend table. */
	void (*layernorm_backward)(float *dx, float *dw, float *db, const float *add, const float *dout, const float *x,
	                           const float *w, float eps, int rows, int C);
	void (*scale_backward)(float *dbranch, float *dgamma, const float *dout, const float *branch,
	                       const float *gamma, int rows, int C);
	/* out[n] += in[n] */
	void (*add)(float *out, const float *in, size_t n);
	/* out[n] += factor * in[n] */
	void (*axpy)(float *out, float factor, const float *in, size_t n);

	/* ---- optimiser: elements first .. first+n-1 of a tensor ---- */
	void (*adamw)(const struct gn_opt_tensor *t, const struct gn_adamw *how, const struct gn_step_numbers *step,
	              size_t first, size_t n);
	void (*sgd)(const struct gn_opt_tensor *t, float momentum, const struct gn_step_numbers *step, size_t first,
	            size_t n);
	double (*sumsq)(const float *x, size_t n);
};

extern const struct gn_kernels gn_kernels_plain;
#if defined(__x86_64__)
extern const struct gn_kernels gn_kernels_avx2, gn_kernels_avx512;
#endif

#endif
