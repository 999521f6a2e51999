/*
 * The backend table: every operation that the ViT, the trainer and the angles need from a device. vit/, tune/ and
 * train/ are written once against it; each backend (cpu/, later cuda/) fills one table, in one file per operation.
 *
 * Rules:
 *   - A context belongs to one thread at a time. It holds what a device call needs (threads, streams, handles,
 *     workspace).
 *   - Operations are queued in order and may run asynchronously; sync() waits and reports the first failure. They
 *     return nothing:
 *     a backend remembers its first error. The CPU backend runs them at once.
 *   - Argument order: outputs, inputs, sizes. "=" sets the output, "+=" adds to it. Outputs never overlap inputs
 *     unless the
 *     comment says "in place".
 *   - gn_act is an activation in the context's activation type (act_bytes each), gn_mat a weight in the type that
 *     matrix
 *     products read (mat_bytes each); float is always float32. On the CPU all three are float32.
 *   - Results do not depend on anything but the inputs and the context's thread count: fixed orders of summation.
 *   - "may be NULL" inputs or outputs are left out of the work, not computed and thrown away. Letters: B images, T
 *     tokens, C width, H heads, D = C / H, M rows (B * T), N and K columns, P patch side, G patches a side.
 */
#ifndef GN_BACKEND_H
#define GN_BACKEND_H

#include "gonio.h"

typedef void gn_act;
typedef void gn_mat;

struct gn_ctx; /* each backend defines its own; the first member is `const struct gn_backend *backend` */

struct gn_ctx_base {
	const struct gn_backend *backend;
};

/* What follows a product in the same pass over its output. */
struct gn_epilogue {
	const float *bias; /* [N], may be NULL */
	enum gn_activation activation;
	bool activate;          /* out = act(z), where z = x W^T + bias */
	gn_act *pre;            /* [M, N] = z, only with activate; may be NULL */
	const float *scale;     /* [N] layer scale gamma: out = residual + scale * z (residual or 0); may be NULL */
	gn_act *branch;         /* [M, N] = z before scale, kept for the gradient of scale; may be NULL */
	const gn_act *residual; /* [M, N], may be NULL; may be the same memory as out */
	bool float_out;         /* out is float whatever gn_act is: logits */
};

/* One tensor of an optimiser step. */
struct gn_opt_tensor {
	float *weight;     /* [n] in place */
	const float *grad; /* [n] */
	float *m, *v;      /* [n] first and second moment; v NULL for SGD (m is the momentum buffer) */
	gn_mat *mat;       /* copy for products, NULL where it is the weight itself */
	size_t n;
	float lr, decay; /* this tensor's rate (layer decay applied) and weight decay (0: none) */
};

struct gn_adamw {
	float beta1, beta2, eps;
	int64_t step;     /* from 1 */
	float grad_scale; /* clipping */
};

struct gn_backend {
	const char *name; /* "cpu" */
	size_t act_bytes, mat_bytes;
	bool attention_needs_out,
	    attention_needs_lse; /* what attention_backward reads beside qkv; the plan keeps it then */

	/* ---- life cycle and memory (device memory is 128-byte aligned and zeroed) ---- */
	int (*open)(struct gn_ctx **out, int index, int threads, struct gn_error *err);
	void (*close)(struct gn_ctx *ctx);
	void (*describe)(const struct gn_ctx *ctx, struct gn_device_info *info);
	void *(*alloc)(struct gn_ctx *ctx, size_t bytes, struct gn_error *err); /* NULL on failure */
	void (*free)(struct gn_ctx *ctx, void *device, size_t bytes);
	void (*upload)(struct gn_ctx *ctx, void *device, const void *host, size_t bytes);
	void (*download)(struct gn_ctx *ctx, void *host, const void *device, size_t bytes); /* waits */
	void (*zero)(struct gn_ctx *ctx, void *device, size_t bytes);
	void (*copy)(struct gn_ctx *ctx, void *to, const void *from, size_t bytes);
	void (*cast_mat)(struct gn_ctx *ctx, gn_mat *out, const float *in, size_t n); /* =, where mat_bytes != 4 */
	int (*sync)(struct gn_ctx *ctx, struct gn_error *err);
	bool unified; /* host pointers are device pointers: weights need no copy */

	/* ---- products ---- */
	/* out[M,N] = epilogue(x[M,K] w[N,K]^T). out may be the epilogue's residual. */
	void (*linear)(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
	               int M, int N, int K);
	/* dx[M,K] = dout[M,N] w[N,K]. With pre != NULL the product is the gradient of act(pre): dx = (dout w) *
	 * act'(pre), and act_out (may be NULL) [M,K] = act(pre) on the way. act_out or dx may be pre itself (in
	 * place), not both. */
	void (*linear_dx)(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
	                  enum gn_activation activation, gn_act *act_out, int M, int N, int K);
	/* dw[N,K] += dout[M,N]^T x[M,K]; db[N] += column sums of dout. Either may be NULL. */
	void (*linear_dw)(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, int M, int N,
	                  int K);

	/* ---- attention ---- */
	/* qkv [B,T,3,H,D] -> out[B,Q,H,D] = softmax(q k^T / sqrt(D)) v for the first Q tokens of each image as
	 * queries, all T as keys (Q = T, but in a last block whose other rows nothing reads). lse[B,H,Q] may be
	 * NULL. */
	void (*attention)(struct gn_ctx *ctx, gn_act *out, float *lse, const gn_act *qkv, int B, int T, int Q, int H,
	                  int D);
	/* dqkv[B,T,3,H,D] = ; dq is 0 for tokens from Q on. dout [B,Q,H,D]; out and lse as the flags above say,
	 * else NULL. */
	void (*attention_backward)(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
	                           const gn_act *out, const float *lse, int B, int T, int Q, int H, int D);

	/* ---- norms and scales over rows of C ---- */
	/* out[M,C] = (x - mean) / sqrt(var + eps) * w + b. out may be x. */
	void (*layernorm)(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const float *w, const float *b, float eps,
	                  int M, int C);
	/* With xhat = (x - mean) rstd recomputed from x: dx[M,C] = add + (gradient of dout), dw[C] +=, db[C] +=.
	 * dx, dw, db may be NULL; add may be NULL (then dx is just the gradient) and may be dx itself; dout may be
	 * dx too. */
	void (*layernorm_backward)(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, const gn_act *add,
	                           const gn_act *dout, const gn_act *x, const float *w, float eps, int M, int C);
	/* Layer scale backward: dbranch[M,C] = dout * gamma (may be NULL), dgamma[C] += sum dout * branch (may be
	 * NULL). */
	void (*scale_backward)(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout,
	                       const gn_act *branch, const float *gamma, int M, int C);

	/* ---- embedding: images [B,3,S,S] float, S = G * P; T = prefix + G * G; prefix: cls, dist, registers ---- */
	/* hidden[B,T,C] = prefix tokens and patches w [C,3,P,P] (bias may be NULL), positions added.
	 * prefix_tokens[prefix] holds one pointer [C] per prefix token; pos is [pos_prefix + G*G, C], and its
	 * first pos_prefix rows go to the first pos_prefix tokens. */
	void (*embed)(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
	              const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix, int B, int G,
	              int P, int C);
	/* += of whatever is not NULL. dprefix[prefix]: one pointer [C] each, entries may be NULL. */
	void (*embed_backward)(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
	                       float *const *dprefix, int prefix, const gn_act *dhidden, const float *images, int B,
	                       int G, int P, int C);

	/* ---- pooling ---- */
	/* out[B,C] = mean over tokens first .. first+count-1 of hidden[B,T,C]. */
	void (*pool)(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int count, int B, int T, int C);
	/* dhidden[B,T,C] = dout / count on those tokens, 0 elsewhere. */
	void (*pool_backward)(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int count, int B,
	                      int T, int C);
	/* out[B,n,C] = tokens first .. first+n-1 of hidden[B,T,C]. */
	void (*take)(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int n, int B, int T, int C);
	/* dhidden[B,T,C] = dout on those tokens, 0 elsewhere (accumulate false), or += on those tokens only
	 * (accumulate true). */
	void (*take_backward)(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n,
	                      bool accumulate, int B, int T, int C);

	/* ---- loss ---- */
	/* Softmax cross-entropy with label smoothing s and class weights cw[K] (may be NULL; then 1). logits
	 * [B,K]. Loss of sample i: (1-s) cw[y] nll_y + s/K sum_k cw[k] nll_k (as PyTorch). losses[B] = (unscaled);
	 * dlogits[B,K] = scale * gradient, may be NULL. */
	void (*cross_entropy)(struct gn_ctx *ctx, float *losses, gn_act *dlogits, const float *logits,
	                      const int32_t *labels, const float *cw, float smoothing, float scale, int B, int K);

	/* ---- optimiser, over many tensors in one call ---- */
	/* PyTorch's AdamW: weight *= 1 - lr * decay; moments of grad * grad_scale; weight -= lr * mhat /
	 * (sqrt(vhat) + eps). */
	void (*adamw)(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count, const struct gn_adamw *how);
	/* PyTorch's SGD with momentum: g = grad * grad_scale + decay * weight; m = momentum * m + g (m = g at step
	 * 1); weight -= lr * m. */
	void (*sgd)(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count, float momentum, int64_t step,
	            float grad_scale);
	/* Sum of squares over all gradients of the list, in double, fixed order. Waits. */
	double (*grad_sumsq)(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count);
};

extern const struct gn_backend gn_backend_cpu;

/* A device handle is a backend and its context. */
struct gn_device {
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
};

#endif
