/*
 * The CUDA backend from the inside: its context, how failures are kept, scratch memory, and its
 * operations by file.
 *
 * C-style CUDA in C++20: no classes, no standard library. One .cu file per operation, named as its
 * CPU twin. Kernels that touch activations are templates over `act`, the activation type:
 * __nv_bfloat16 in bf16 precision, float in fp32 and tf32. Arithmetic is in float32 inside, sums
 * that decide something (loss, norms, angles) in float64. No sum's order depends on timing: there
 * are no atomics.
 *
 * Only sync, download, fetched and clock_stop wait for the device, and what the table says waits.
 * The first failure stays in the context, with the call, the file and the line; sync() reports it.
 */
#ifndef GN_CUDA_H
#define GN_CUDA_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/cuda/launch.h"

/*
 * The context's scratch memory has a fixed size, taken by open(). What does not fit goes in pieces.
 * Two uses at one time have two slots.
 */
enum gn_cuda_slot {
	GN_SCRATCH_LIBRARY, /* cuBLASLt's workspace */
	GN_SCRATCH_A,       /* a product's operands, laid out so that the library takes them */
	GN_SCRATCH_B,
	GN_SCRATCH_D,
	GN_SCRATCH_BIAS,    /* an unaligned bias, or a bias gradient */
	GN_SCRATCH_PARTIAL, /* partial sums over rows */
	GN_SCRATCH_PATCHES, /* embedding: patches as rows */
	GN_SCRATCH_TOKENS,  /* embedding: the patches' tokens, or their gradients, as rows; linear: rows in place */
	GN_SCRATCH_COUNT
};

#define GN_MIB ((size_t)1 << 20)

/*
 * Uploads pass through rings of pinned pieces, each with its twin in device memory: see
 * transfer.cu.
 */
#define GN_PIECES         4
#define GN_PIECE_BYTES    (16 * GN_MIB)
#define GN_SMALL_PIECES   16
#define GN_SMALL_BYTES    ((size_t)16384)
#define GN_TRANSFER_BYTES (GN_PIECES * GN_PIECE_BYTES + GN_SMALL_PIECES * GN_SMALL_BYTES)

/* account.cu: the device's memory. */
struct gn_cuda_account {
	void *library, *device;    /* NVML's; library NULL: the account is kept without it */
	unsigned long long before; /* bytes in use when it was opened */
};

struct gn_cuda_products;  /* products.cu: what was chosen for each shape of product */
struct gn_cuda_transfer;  /* transfer.cu: pinned buffers and the copy stream */
struct gn_cuda_records;   /* record.cu: captured graphs */
struct gn_cuda_downloads; /* download.cu; NULL: none yet */

struct gn_ctx {
	struct gn_ctx_base base;
	int index;
	enum gn_precision precision;
	int sm;  /* compute capability: 75, 80, ... */
	int sms; /* multiprocessors */
	size_t memory_bytes;
	struct gn_cuda_account account;
	char name[96], software[96];
	cudaStream_t stream;
	cudaEvent_t clock[2];
	struct gn_cuda_products *products;
	struct gn_cuda_transfer *transfer;
	struct gn_cuda_records *records;
	struct gn_cuda_downloads *downloads;
	char *scratch_block;
	void *scratch[GN_SCRATCH_COUNT];
	size_t scratch_bytes[GN_SCRATCH_COUNT];
	bool synchronous;      /* GONIO_CUDA_SYNC=1: every call waits, so that a failure names the kernel that failed */
	bool marks;            /* GONIO_CUDA_NVTX=1 */
	struct gn_error error; /* the first failure */
};

/* ---------------------------------------------------------------- failures --------------------------------------- */

/*
 * True where status is success; else notes call, file and line as the context's failure, unless it
 * has one.
 */
bool gn_cuda_note(struct gn_ctx *ctx, cudaError_t status, const char *call, const char *file, int line);
bool gn_cuda_note_product(struct gn_ctx *ctx, cublasStatus_t status, const char *call, const char *file, int line);

#define GN_CUDA(ctx, call)   gn_cuda_note((ctx), (call), #call, __FILE__, __LINE__)
#define GN_CUBLAS(ctx, call) gn_cuda_note_product((ctx), (call), #call, __FILE__, __LINE__)

/*
 * Launches a kernel on the context's stream. A kernel with commas in its name stands in
 * parentheses.
 */
#define GN_RUN(ctx, kernel, grid, block, shared_bytes, ...)                                                            \
	do {                                                                                                           \
		GN_LAUNCH(kernel, grid, block, shared_bytes, (ctx)->stream, __VA_ARGS__);                              \
		gn_cuda_note((ctx), cudaGetLastError(), "launch of " #kernel, __FILE__, __LINE__);                     \
	} while (0)

/* ---------------------------------------------------------------- sizes of launches ------------------------------ */

/*
 * Blocks for `work` units at `per_block` each, at least 1, at most `most`: kernels stride over what
 * is left.
 */
static inline unsigned gn_blocks(size_t work, size_t per_block, size_t most)
{
	size_t blocks = (work + per_block - 1) / per_block;
	return (unsigned)(blocks > most ? most : blocks ? blocks : 1);
}

static inline bool gn_aligned16(const void *p)
{
	return (uintptr_t)p % 16 == 0; /* NULL too: what is left out fits everything */
}

/* ---------------------------------------------------------------- context.cu, transfer.cu, record.cu ------------- */

/* Device memory, its content undefined; GN_NO_MEMORY "needs N bytes, M free on DEVICE". */
int gn_cuda_malloc(struct gn_ctx *ctx, void **out, size_t bytes, struct gn_error *err);

int gn_cuda_transfer_open(struct gn_ctx *ctx, struct gn_error *err);
void gn_cuda_transfer_close(struct gn_ctx *ctx);
void gn_cuda_upload(struct gn_ctx *ctx, void *device, const void *host, size_t bytes);
void gn_cuda_upload_rows(struct gn_ctx *ctx, void *device, const void *rows, size_t row_bytes, const int32_t *indices,
                         int n);
void gn_cuda_upload_pixels(struct gn_ctx *ctx, float *images, const uint8_t *pixels, const float *levels, int n, int S);
void gn_cuda_upload_mat(struct gn_ctx *ctx, gn_mat *out, const float *host, size_t n);
void gn_cuda_cast_mat(struct gn_ctx *ctx, gn_mat *out, const float *in, size_t n);
void gn_cuda_download(struct gn_ctx *ctx, void *host, const void *device, size_t bytes);
void gn_cuda_downloads_close(struct gn_ctx *ctx);
void gn_cuda_download_begin(struct gn_ctx *ctx, void *host, void *spare, const void *device, size_t bytes);
int gn_cuda_download_end(struct gn_ctx *ctx, struct gn_error *err);
void gn_cuda_fetch(struct gn_ctx *ctx, int slot, const void *device, size_t bytes);
int gn_cuda_fetched(struct gn_ctx *ctx, int slot, void *host, size_t bytes, struct gn_error *err);
/* The context's failure, if any, as err and -1. */
int gn_cuda_report(const struct gn_ctx *ctx, struct gn_error *err);

/* open before the process has a context on the device, begin with one; taken: the bytes that the
 * device has lost to the process since then, 0 where that is not known. */
void gn_cuda_account_open(struct gn_cuda_account *account, int index);
int gn_cuda_account_begin(struct gn_ctx *ctx, struct gn_error *err);
size_t gn_cuda_account_taken(const struct gn_cuda_account *account);
void gn_cuda_account_close(struct gn_cuda_account *account);

int gn_cuda_records_open(struct gn_ctx *ctx, struct gn_error *err);
void gn_cuda_records_close(struct gn_ctx *ctx);
bool gn_cuda_record_begin(struct gn_ctx *ctx, uint64_t key);
void gn_cuda_record_end(struct gn_ctx *ctx);
void gn_cuda_record_forget(struct gn_ctx *ctx);
void gn_cuda_mark(struct gn_ctx *ctx, const char *phase);

/* ---------------------------------------------------------------- products.cu ------------------------------------ */

int gn_cuda_products_open(struct gn_ctx *ctx, struct gn_error *err);
void gn_cuda_products_close(struct gn_ctx *ctx);

/* A row-major operand: element (i, j) stands at data[i * ld + j]. */
struct gn_operand {
	const void *data;
	size_t ld;
	bool transposed; /* (i, j) at data[j * ld + i] */
};

/* What the library is asked to do after a product. */
enum gn_finish {
	GN_FINISH_NONE,
	GN_FINISH_BIAS,      /* out += bias[cols] */
	GN_FINISH_GELU,      /* tanh form; with aux: aux = what went into it */
	GN_FINISH_GELU_BIAS, /* the bias first */
	GN_FINISH_DGELU,     /* out *= slope of GELU's tanh form at aux */
	GN_FINISH_ROW_SUMS   /* sums[rows] = sums over the depth of the left operand's rows */
};

/*
 * out[rows, cols] (+)= left[rows, depth] right[depth, cols], row-major, in the context's precision.
 * left and right are gn_act; out is float or gn_act.
 */
struct gn_product {
	int rows, cols, depth;
	struct gn_operand left, right;
	void *out;
	size_t ld; /* of out, add and aux */
	bool out_float;
	const void *add; /* out = product + add; of out's type, may be out. NULL: nothing */
	enum gn_finish finish;
	const void *bias; /* [cols], of out's type */
	void *aux;        /* [rows, cols] of gn_act */
	float *sums;      /* [rows], where finish says so: only with float out */
};

/*
 * Queues it. Operands that the library would refuse (unaligned, odd leading dimensions) are copied
 * into scratch memory, in pieces where they are large. False: the library has nothing for this
 * `finish`, and nothing was queued; never with GN_FINISH_NONE.
 */
bool gn_cuda_product(struct gn_ctx *ctx, const struct gn_product *p);

/* ---------------------------------------------------------------- rows.cu ---------------------------------------- */

/*
 * out[i, j] = in[i, j] over rows x cols of `element` bytes (2 or 4), each with its own leading
 * dimension in elements.
 */
void gn_cuda_copy_rows(struct gn_ctx *ctx, void *out, size_t out_ld, const void *in, size_t in_ld, int rows, int cols,
                       int element);
/*
 * Column sums in fixed order: sums[N] += over rows of a[M,N], or of a * b where b is given; with
 * scaled, scaled[M,N] = a * gamma[N] on the way. sums or scaled may be NULL.
 */
template <typename act>
void gn_cuda_columns(struct gn_ctx *ctx, float *sums, act *scaled, const act *a, const act *b, const float *gamma,
                     int M, int N);
/* sums[N] += partial[parts, stride] over parts, in order. */
void gn_cuda_add_parts(struct gn_ctx *ctx, float *sums, const float *partial, size_t stride, int parts, int N);

/* linear_dw with rows of x that stand x_ld elements apart. */
template <typename act>
void gn_cuda_weight_gradient(struct gn_ctx *ctx, float *dw, float *db, const act *dout, const act *x, size_t x_ld,
                             bool add, int M, int N, int K);

/* ---------------------------------------------------------------- operations: contracts in backend.h ------------- */

template <typename act>
void gn_cuda_linear(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
                    int M, int N, int K);
template <typename act>
void gn_cuda_linear_dx(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
                       enum gn_activation activation, gn_act *act_out, int M, int N, int K);
template <typename act>
void gn_cuda_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, bool add, int M,
                       int N, int K);
template <typename act>
void gn_cuda_attention(struct gn_ctx *ctx, gn_act *out, float *lse, const gn_act *qkv, int B, int T, int Q, int H,
                       int D);
template <typename act>
void gn_cuda_attention_backward(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
                                const gn_act *out, const float *lse, int B, int T, int Q, int H, int D);
template <typename act>
void gn_cuda_layernorm(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const float *w, const float *b, float eps,
                       int M, int C);
template <typename act>
void gn_cuda_layernorm_backward(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed, const gn_act *add,
                                const gn_act *dout, const gn_act *x, const float *w, const float *b, float eps, int M,
                                int C);
template <typename act>
void gn_cuda_scale_backward(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout,
                            const gn_act *branch, const float *gamma, int M, int C);
template <typename act>
void gn_cuda_embed(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
                   const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix, int B, int G, int P,
                   int C);
template <typename act>
void gn_cuda_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
                            float *const *dprefix, int prefix, const gn_act *dhidden, const float *images, int B, int G,
                            int P, int C);
template <typename act>
void gn_cuda_pool(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int count, int B, int T, int C);
template <typename act>
void gn_cuda_pool_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int count, int B, int T,
                           int C);
template <typename act>
void gn_cuda_take(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int n, int B, int T, int C);
template <typename act>
void gn_cuda_take_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n, bool accumulate,
                           int B, int T, int C);
template <typename act>
void gn_cuda_cross_entropy(struct gn_ctx *ctx, float *losses, gn_act *dlogits, struct gn_step_numbers *step,
                           const float *logits, const int32_t *labels, const float *cw, float smoothing, int B, int K);

struct gn_opt_list *gn_cuda_opt_list_new(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count,
                                         struct gn_error *err);
void gn_cuda_opt_list_free(struct gn_ctx *ctx, struct gn_opt_list *list);
void gn_cuda_grad_norm(struct gn_ctx *ctx, struct gn_step_numbers *step, const struct gn_opt_list *list);
void gn_cuda_adamw(struct gn_ctx *ctx, const struct gn_opt_list *list, const struct gn_adamw *how,
                   const struct gn_step_numbers *step);
void gn_cuda_sgd(struct gn_ctx *ctx, const struct gn_opt_list *list, float momentum,
                 const struct gn_step_numbers *step);
void gn_cuda_pair_sums(struct gn_ctx *ctx, double *sums, const float *a, const float *b, size_t n, double scale_a,
                       double scale_b, bool difference);
void gn_cuda_soup_add(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n, bool first);
void gn_cuda_soup_mean(struct gn_ctx *ctx, float *out, const double *sum, double total, size_t n);

#endif
