/*
 * The CPU backend's context, and functions that its operations share.
 *
 * Every operation is one OpenMP region: threads take fixed shares (gn_share) of rows, tiles or
 * elements, so that the order of a sum depends only on the number of threads. Work memory belongs
 * to the context. It grows if an operation needs more than all before it, and is allocated before
 * the region starts. If that fails, the operation does nothing and sync() reports the error.
 */
#ifndef GN_CPU_H
#define GN_CPU_H

#include "backend/backend.h"
#include "backend/cpu/kernels.h"

enum gn_slot {
	GN_SLOT_PRODUCT,
	GN_SLOT_CALLER,
	GN_SLOT_COUNT
}; /* CALLER: of an operation that itself calls products */

struct gn_ctx {
	struct gn_ctx_base base;
	int threads;
	const struct gn_kernels *kernels;
	struct gn_error error; /* the first failure since the last sync */
	unsigned char fetched[GN_FETCH_SLOTS][GN_FETCH_BYTES];
	double clock; /* of gn_clock, when clock_start was called */
	struct {
		float *memory;
		size_t floats;
	} work[GN_SLOT_COUNT];
};

/* Work memory of at least `floats`, 128-byte aligned, not cleared, valid until the slot's next
 * call. NULL on a failure, which the context remembers. */
float *gn_cpu_work(struct gn_ctx *ctx, enum gn_slot slot, size_t floats);

/* Rounds up to 128 bytes, in floats: shares of work memory have this size. */
static inline size_t gn_pad32(size_t floats)
{
	return (floats + 31) & ~(size_t)31;
}

/* Share `part` of `parts` of n things: first .. last-1. */
static inline void gn_share(ptrdiff_t n, int part, int parts, ptrdiff_t *first, ptrdiff_t *last)
{
	*first = n * part / parts;
	*last = n * (part + 1) / parts;
}

/* The operations, one file each; contracts in backend.h. */
void gn_cpu_linear(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
                   int M, int N, int K);
void gn_cpu_linear_dx(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
                      enum gn_activation activation, gn_act *act_out, int M, int N, int K);
void gn_cpu_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, bool add, int M,
                      int N, int K);
void gn_cpu_attention(struct gn_ctx *ctx, gn_act *out, float *lse, const gn_act *qkv, int B, int T, int Q, int H,
                      int D);
void gn_cpu_attention_backward(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
                               const gn_act *out, const float *lse, int B, int T, int Q, int H, int D);
void gn_cpu_layernorm(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const float *w, const float *b, float eps,
                      int M, int C);
void gn_cpu_layernorm_backward(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed, const gn_act *add,
                               const gn_act *dout, const gn_act *x, const float *w, const float *b, float eps, int M,
                               int C);
void gn_cpu_scale_backward(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout, const gn_act *branch,
                           const float *gamma, int M, int C);
void gn_cpu_embed(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
                  const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix, int B, int G, int P,
                  int C);
void gn_cpu_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
                           float *const *dprefix, int prefix, const gn_act *dhidden, const float *images, int B, int G,
                           int P, int C);
void gn_cpu_pool(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int count, int B, int T, int C);
void gn_cpu_pool_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int count, int B, int T,
                          int C);
void gn_cpu_take(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int n, int B, int T, int C);
void gn_cpu_take_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n, bool accumulate,
                          int B, int T, int C);
void gn_cpu_cross_entropy(struct gn_ctx *ctx, float *losses, gn_act *dlogits, struct gn_step_numbers *step,
                          const float *logits, const int32_t *labels, const float *cw, float smoothing, int B, int K);
struct gn_opt_list *gn_cpu_opt_list_new(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count,
                                        struct gn_error *err);
void gn_cpu_opt_list_free(struct gn_ctx *ctx, struct gn_opt_list *list);
void gn_cpu_grad_norm(struct gn_ctx *ctx, struct gn_step_numbers *step, const struct gn_opt_list *list);
void gn_cpu_adamw(struct gn_ctx *ctx, const struct gn_opt_list *list, const struct gn_adamw *how,
                  const struct gn_step_numbers *step);
void gn_cpu_sgd(struct gn_ctx *ctx, const struct gn_opt_list *list, float momentum, const struct gn_step_numbers *step);
void gn_cpu_pair_sums(struct gn_ctx *ctx, double *sums, const float *a, const float *b, size_t n, double scale_a,
                      double scale_b, bool difference);
void gn_cpu_soup_add(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n, bool first);
void gn_cpu_soup_mean(struct gn_ctx *ctx, float *out, const double *sum, double total, size_t n);

#endif
