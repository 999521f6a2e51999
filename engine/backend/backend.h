/*
 * The backend table: every operation that the ViT, the trainer, the angles and the soups need from
 * a device. vit/, tune/ and train/ are written once against this table. Each backend (cpu/, cuda/)
 * fills one table and has one file for each operation.
 *
 * Rules:
 *   - A context belongs to one thread at a time. That thread calls enter() before it uses the
 *     context. The context holds the threads, streams, handles and workspace of the device.
 *   - Operations run in the order of the calls and may run asynchronously. They return nothing: a
 *     backend remembers its first error, and sync() waits and reports it. The CPU backend runs them
 *     at once.
 *   - Device pointers come from alloc() and belong to the caller. All other memory of the
 *     operations is allocated by open() and counted in overhead_bytes, so that a run's plan is
 *     complete.
 *   - Argument order: outputs, inputs, sizes. "=" sets the output, "+=" adds to it. Outputs never
 *     overlap inputs unless the comment says "in place".
 *   - Vector operations sum in float64, and are named after their use: pair_sums computes the dot
 *     products of angles, grad_norm the norm for clipping, soup_add and soup_mean the averages of
 *     soups.
 *   - gn_act is an activation in the context's activation type (act_bytes each). gn_mat is a weight
 *     in the type that matrix products read (mat_bytes each). float is always float32. On the CPU
 *     all three are float32.
 *   - Results depend only on the inputs and on the context's thread count: the order of summation
 *     is fixed.
 *   - An input or output that "may be NULL" costs nothing if it is NULL. Letters: B images, T
 *     tokens, C width, H heads, D = C / H, M rows (B * T), N and K columns, P patch side, G patches
 *     a side.
 */
#ifndef GN_BACKEND_H
#define GN_BACKEND_H

#include "gonio.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A plugin and the program that loads it must have been built with the same value. */
#define GN_BACKEND_ABI 5

typedef void gn_act;
typedef void gn_mat;

/* Each backend defines its own. The first member is `const struct gn_backend *backend` */
struct gn_ctx;

struct gn_ctx_base {
	const struct gn_backend *backend;
};

/* Operations on the output of a product, done in the same pass. */
struct gn_epilogue {
	/* [N], may be NULL: gn_mat, but float with float_out */
	const void *bias;
	enum gn_activation activation;
	bool activate; /* out = act(z), where z = x W^T + bias */
	gn_act *pre;   /* [M, N] = z, only with activate; may be NULL */
	/* [N] layer scale gamma: out = residual + scale * z (residual or 0); may be NULL */
	const float *scale;
	/* [M, N] = z before scale, kept for the gradient of scale; may be NULL */
	gn_act *branch;
	const gn_act *residual; /* [M, N], may be NULL; may be the same memory as out */
	bool float_out;         /* out is float whatever gn_act is: logits */
};

/* One tensor of an optimiser step. */
struct gn_opt_tensor {
	float *weight;     /* [n] in place */
	const float *grad; /* [n] */
	/* [n] first and second moment; v NULL for SGD (m is the momentum buffer) */
	float *m, *v;
	/* [n] = the new weight in the type that products read; NULL if that is float32 */
	gn_mat *mat;
	size_t n;
	double lr_scale; /* this tensor's rate is (float)(the step's rate * lr_scale) */
	float decay;     /* weight decay; 0: none */
};

/* A list of such tensors, prepared for many steps. Each backend defines its own. */
struct gn_opt_list;

struct gn_adamw {
	float beta1, beta2, eps;
};

/*
 * The numbers of one optimiser step, in device memory. The step reads here what changes from step
 * to step, so that a recorded step can be replayed. It writes its results here, so that nothing has
 * to wait for them. The trainer uploads the whole struct before each step, with the results zeroed.
 */
struct gn_step_numbers {
	double lr;                 /* the schedule's rate */
	double clip_norm;          /* 0: no clipping */
	double correct1, correct2; /* AdamW: 1 - beta1^step, 1 - beta2^step */
	int64_t step;              /* from 1 */
	double loss;               /* result: each cross_entropy of the step adds its losses */
	double grad_norm;          /* result: before clipping */
	float loss_scale;          /* cross_entropy multiplies its gradients by it */
	float grad_scale;          /* result: the optimiser multiplies gradients by it */
};

enum { GN_FETCH_SLOTS = 4, GN_FETCH_BYTES = 256 };

struct gn_backend {
	const char *name;            /* "cpu", "cuda" */
	enum gn_precision precision; /* of matrix products; never AUTO */
	size_t act_bytes, mat_bytes;
	/* device memory that open() needs, at most: code, streams, workspace */
	size_t overhead_bytes;
	size_t guard;    /* see piece */
	bool unified;    /* host pointers are device pointers: weights need no copy */
	int widest_head; /* largest D that attention supports; 0: any */
	/* operations run while the caller continues, so it should fetch results late */
	bool asynchronous;
	/* attention_backward reads out, lse beside qkv, so they are kept */
	bool attention_needs_out, attention_needs_lse;

	/* ---- life cycle and memory (device memory is 128-byte aligned and zeroed) ---- */
	int (*open)(struct gn_ctx **out, int index, int threads, struct gn_error *err);
	void (*close)(struct gn_ctx *ctx);
	void (*enter)(struct gn_ctx *ctx); /* from now on the calling thread uses the context */
	void (*describe)(const struct gn_ctx *ctx, struct gn_device_info *info);
	/* NULL on failure: GN_NO_MEMORY "needs N bytes, M free on DEVICE". */
	void *(*alloc)(struct gn_ctx *ctx, size_t bytes, struct gn_error *err);
	void (*free)(struct gn_ctx *ctx, void *device, size_t bytes);
	/* The caller may change the host memory as soon as an upload returns. Operations that are
	 * queued later read the new bytes. A backend may copy while earlier operations compute. */
	void (*upload)(struct gn_ctx *ctx, void *device, const void *host, size_t bytes);
	/* device[i] = rows[indices[i]] for i < n; a row has row_bytes bytes. */
	void (*upload_rows)(struct gn_ctx *ctx, void *device, const void *rows, size_t row_bytes,
	                    const int32_t *indices, int n);
	/* images[n,3,S,S] = levels[c][x] for each byte x of channel c in pixels[n,S,S,3], which is
	 * in host memory. levels[3][256] says what number each pixel value becomes
	 * (gn_image_levels). */
	void (*upload_pixels)(struct gn_ctx *ctx, float *images, const uint8_t *pixels, const float *levels, int n,
	                      int S);
	/* out[n] = the host's floats in the type that products read. */
	void (*upload_mat)(struct gn_ctx *ctx, gn_mat *out, const float *host, size_t n);
	/* waits */
	void (*download)(struct gn_ctx *ctx, void *host, const void *device, size_t bytes);
	/* A download beside work that is queued later, one at a time. begin queues a copy of
	 * device memory into spare, of as many bytes. Work that is queued next may then write
	 * device. end waits for these bytes alone, and host has them. Nothing may use spare
	 * between the two. */
	void (*download_begin)(struct gn_ctx *ctx, void *host, void *spare, const void *device, size_t bytes);
	int (*download_end)(struct gn_ctx *ctx, struct gn_error *err);
	void (*zero)(struct gn_ctx *ctx, void *device, size_t bytes);
	void (*copy)(struct gn_ctx *ctx, void *to, const void *from, size_t bytes);
	/* =, both on the device */
	void (*cast_mat)(struct gn_ctx *ctx, gn_mat *out, const float *in, size_t n);
	/* For a backend that checks every access (tests/cuda_host); otherwise NULL, and guard is 0.
	 * Pieces of one allocation lie `guard` bytes apart. This call says that memory[bytes] is a
	 * piece, and that no one may access the bytes after it. fresh: its old content must not be
	 * read any more. */
	void (*piece)(struct gn_ctx *ctx, void *memory, size_t bytes, bool fresh);
	/* Waits, and reports the first failure since the last sync. A device that has failed never
	 * works again. */
	int (*sync)(struct gn_ctx *ctx, struct gn_error *err);

	/* ---- results without a stall ---- */
	/* Queues a copy of bytes <= GN_FETCH_BYTES of device memory into a slot < GN_FETCH_SLOTS of
	 * the context. */
	void (*fetch)(struct gn_ctx *ctx, int slot, const void *device, size_t bytes);
	/* Waits for the slot's last fetch, but not for operations that were queued after it. */
	int (*fetched)(struct gn_ctx *ctx, int slot, void *host, size_t bytes, struct gn_error *err);

	/* ---- recorded work ---- */
	/* Records work that is queued many times with the same arguments. false: the backend has
	 * queued the work of this key again from its record, or it has failed and sync() says why.
	 * true: the caller queues the work now and then calls record_end(). Between the two calls
	 * only operations on device memory are allowed: no transfer, and nothing that waits. A
	 * backend that gains nothing from records always returns true. */
	bool (*record_begin)(struct gn_ctx *ctx, uint64_t key);
	void (*record_end)(struct gn_ctx *ctx);
	/* forgets all records; call it before freeing memory or lists that they use */
	void (*record_forget)(struct gn_ctx *ctx);

	/*
	 * The work queued from now on belongs to this phase, for a profiler; NULL: to the phase
	 * around it. NULL where a backend has no profiler: gn_mark.
	 */
	void (*mark)(struct gn_ctx *ctx, const char *phase);

	/* ---- clock ---- */
	void (*clock_start)(struct gn_ctx *ctx);
	/* waits; the seconds that the work queued since clock_start took */
	double (*clock_stop)(struct gn_ctx *ctx);

	/* ---- products ---- */
	/* out[M,N] = epilogue(x[M,K] w[N,K]^T). out may be the epilogue's residual. */
	void (*linear)(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
	               int M, int N, int K);
	/* dx[M,K] = dout[M,N] w[N,K]. With pre != NULL the product is the gradient of act(pre): dx
	 * = (dout w) * act'(pre), and act_out[M,K] = act(pre); act_out may be NULL. One of act_out
	 * and dx, but not both, may be pre itself (in place). */
	void (*linear_dx)(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
	                  enum gn_activation activation, gn_act *act_out, int M, int N, int K);
	/* dw[N,K] = dout[M,N]^T x[M,K], or += that with add; db[N] += column sums of dout. Either
	 * may be NULL. */
	void (*linear_dw)(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, bool add,
	                  int M, int N, int K);

	/* ---- attention ---- */
	/* qkv [B,T,3,H,D] -> out[B,Q,H,D] = softmax(q k^T / sqrt(D)) v with the first Q tokens of
	 * each image as queries and all T as keys. Q < T only in a last block whose other rows are
	 * not read. lse[B,H,Q] may be NULL. */
	void (*attention)(struct gn_ctx *ctx, gn_act *out, float *lse, const gn_act *qkv, int B, int T, int Q, int H,
	                  int D);
	/* dqkv[B,T,3,H,D] = ; dq is 0 for tokens from Q on. dout [B,Q,H,D]; out and lse as the
	 * flags above say, else NULL. */
	void (*attention_backward)(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
	                           const gn_act *out, const float *lse, int B, int T, int Q, int H, int D);

	/* ---- norms and scales over rows of C ---- */
	/* out[M,C] = (x - mean) / sqrt(var + eps) * w + b. out may be x. */
	void (*layernorm)(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const float *w, const float *b, float eps,
	                  int M, int C);
	/* With xhat = (x - mean) rstd recomputed from x: dx[M,C] = add + (gradient of dout), dw[C]
	 * +=, db[C] +=, normed[M,C] = xhat * w + b, which the forward pass gave. dx, dw, db and
	 * normed may be NULL; add may be NULL (then dx is just the gradient) and may be dx itself;
	 * dout may be dx too. b is read for normed only. */
	void (*layernorm_backward)(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed,
	                           const gn_act *add, const gn_act *dout, const gn_act *x, const float *w,
	                           const float *b, float eps, int M, int C);
	/* Layer scale backward: dbranch[M,C] = dout * gamma (may be NULL), dgamma[C] += sum dout *
	 * branch (may be NULL). */
	void (*scale_backward)(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout,
	                       const gn_act *branch, const float *gamma, int M, int C);

	/* ---- embedding: images [B,3,S,S] float, S = G * P; T = prefix + G * G ---- */
	/* Prefix tokens: cls, dist, registers. */
	/* hidden[B,T,C] = prefix tokens and patches w [C,3,P,P] (bias may be NULL), positions
	 * added. prefix_tokens[prefix] holds one pointer [C] per prefix token; pos is [pos_prefix +
	 * G*G, C], and its first pos_prefix rows go to the first pos_prefix tokens. */
	void (*embed)(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
	              const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix, int B, int G,
	              int P, int C);
	/* += for each output that is not NULL. dprefix[prefix]: one pointer [C] each, entries may
	 * be NULL. */
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
	/* dhidden[B,T,C] = dout on those tokens, 0 elsewhere (accumulate false), or += on those
	 * tokens only (accumulate true). */
	void (*take_backward)(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n,
	                      bool accumulate, int B, int T, int C);

	/* ---- loss ---- */
	/* Softmax cross-entropy with label smoothing s and class weights cw[K] (may be NULL; then
	 * 1). logits [B,K]. Loss of sample i: (1-s) cw[y] nll_y + s/K sum_k cw[k] nll_k (as
	 * PyTorch). losses[B] = ; step->loss += their sum, in double; dlogits[B,K] =
	 * step->loss_scale * gradient, may be NULL. */
	void (*cross_entropy)(struct gn_ctx *ctx, float *losses, gn_act *dlogits, struct gn_step_numbers *step,
	                      const float *logits, const int32_t *labels, const float *cw, float smoothing, int B,
	                      int K);

	/* ---- optimiser, over many tensors in one call ---- */
	/* Copies the table; NULL on failure. The list owns its device memory: about 64 bytes a
	 * tensor, and 16 bytes for each 64 Ki elements. */
	struct gn_opt_list *(*opt_list_new)(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count,
	                                    struct gn_error *err);
	void (*opt_list_free)(struct gn_ctx *ctx, struct gn_opt_list *list);
	/* step->grad_norm = square root of the sum of squares over all gradients of the list, in
	 * double, fixed order; step->grad_scale = (float)(clip_norm / (grad_norm + 1e-6)) where
	 * clip_norm > 0 and grad_norm > clip_norm, else 1 (as torch.nn.utils.clip_grad_norm_). */
	void (*grad_norm)(struct gn_ctx *ctx, struct gn_step_numbers *step, const struct gn_opt_list *list);
	/* PyTorch's AdamW, with lr the tensor's rate: weight *= 1 - lr * decay; moments of grad *
	 * grad_scale; weight -= lr / correct1 * m / (sqrt(v / correct2) + eps). */
	void (*adamw)(struct gn_ctx *ctx, const struct gn_opt_list *list, const struct gn_adamw *how,
	              const struct gn_step_numbers *step);
	/* PyTorch's SGD with momentum: g = grad * grad_scale + decay * weight; m = momentum * m + g
	 * (m = g at step 1); weight -= lr * m. */
	void (*sgd)(struct gn_ctx *ctx, const struct gn_opt_list *list, float momentum,
	            const struct gn_step_numbers *step);

	/* ---- angles: sums in double, fixed order ---- */
	/* difference false: sums[2] = (|a|^2, |b|^2). true: (|u - v|^2, |u + v|^2) with u = a *
	 * scale_a, v = b * scale_b, both in double. sums is in host memory. Waits. */
	void (*pair_sums)(struct gn_ctx *ctx, double *sums, const float *a, const float *b, size_t n, double scale_a,
	                  double scale_b, bool difference);

	/* ---- soups: sums in double, value by value, in the order of the calls ---- */
	/* Each product, sum and quotient is rounded separately, so that all backends give the same
	 * bits; a NaN may have other bits. sum[n] = weight * x[n] where first, else += it. x needs
	 * 4-byte alignment only. */
	void (*soup_add)(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n, bool first);
	/* out[n] = (float)(sum[n] / total). */
	void (*soup_mean)(struct gn_ctx *ctx, float *out, const double *sum, double total, size_t n);
};

static inline void gn_mark(const struct gn_backend *backend, struct gn_ctx *ctx, const char *phase)
{
	if (backend->mark)
		backend->mark(ctx, phase);
}

extern const struct gn_backend gn_backend_cpu;

/* The function that a CUDA plugin exports. It returns the table for a precision other than AUTO, or
 * NULL if abi is not the plugin's. */
#define GN_CUDA_ENTRY "gn_cuda_backend"
const struct gn_backend *gn_cuda_backend(int abi, enum gn_precision precision);

/* A device: a backend, its context, and the function that returns a GPU's tables for other
 * precisions. */
struct gn_body;
struct gn_weights;
struct gn_device {
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	const struct gn_backend *(*entry)(int abi, enum gn_precision precision); /* NULL on a CPU */
	int index;
	int threads;            /* as requested; 0: all */
	char remark[480];       /* see gn_device_info */
	struct gn_body *bodies; /* memory that the models on it share: inference/resident.h */
	struct gn_weights *weights;
};
/* The table that computes in this precision on this device, or on a CPU if device is NULL. Returns
 * NULL if the device does not support the precision. */
const struct gn_backend *gn_device_table(const struct gn_device *device, enum gn_precision precision);

#ifdef __cplusplus
}
#endif
#endif
