/* The counting backend. Its memory is address space without pages: a pointer into it can be
 * compared, but not dereferenced. */
#include "backend/count/count.h"

#include <stdlib.h>
#include <sys/mman.h>

struct count_ctx {
	struct gn_ctx_base base;
	struct gn_count sum;
};

static void add(struct gn_ctx *ctx, double flops, double acts, double mats, double floats)
{
	struct gn_count *sum = &((struct count_ctx *)(void *)ctx)->sum;

	sum->flops += flops;
	sum->acts += acts;
	sum->mats += mats;
	sum->floats += floats;
}

struct gn_count gn_count_of(const struct gn_ctx *ctx)
{
	return ((const struct count_ctx *)(const void *)ctx)->sum;
}

static int count_open(struct gn_ctx **out, int index, int threads, struct gn_error *err)
{
	struct count_ctx *c = calloc(1, sizeof *c);

	(void)index;
	(void)threads;
	if (!c)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for counting");
	c->base.backend = &gn_backend_count;
	*out = (struct gn_ctx *)(void *)c;
	return 0;
}

static void count_close(struct gn_ctx *ctx)
{
	free(ctx);
}

static void count_describe(const struct gn_ctx *ctx, struct gn_device_info *info)
{
	(void)ctx;
	*info = (struct gn_device_info){.backend = "count", .name = "counting", .threads = 1};
}

static void *count_alloc(struct gn_ctx *ctx, size_t bytes, struct gn_error *err)
{
	void *address = mmap(NULL, bytes ? bytes : 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)ctx;
	if (address == MAP_FAILED) {
		gn_fail(err, GN_NO_MEMORY, "", "no address space for %zu bytes", bytes);
		return NULL;
	}
	return address;
}

static void count_free(struct gn_ctx *ctx, void *device, size_t bytes)
{
	(void)ctx;
	munmap(device, bytes ? bytes : 1);
}

static int count_sync(struct gn_ctx *ctx, struct gn_error *err)
{
	(void)ctx;
	(void)err;
	return 0;
}

#define UNUSED __attribute__((unused))

static void count_upload(struct gn_ctx *ctx UNUSED, void *device UNUSED, const void *host UNUSED, size_t bytes UNUSED)
{
}

static void count_upload_pixels(struct gn_ctx *ctx UNUSED, float *images UNUSED, const uint8_t *pixels UNUSED,
                                const float *levels UNUSED, int n UNUSED, int S UNUSED)
{
}

static void count_zero(struct gn_ctx *ctx, void *device UNUSED, size_t bytes)
{
	add(ctx, 0, 0, 0, (double)bytes / sizeof(float));
}

static void count_cast(struct gn_ctx *ctx, gn_mat *out UNUSED, const float *in UNUSED, size_t n)
{
	add(ctx, 0, 0, (double)n, (double)n);
}

/* ---------------------------------------------------------------- products -------------------- */

static double product(int M, int N, int K)
{
	return 2.0 * M * N * K;
}

static double times(int a, int b)
{
	return (double)a * b;
}

static void count_linear(struct gn_ctx *ctx, gn_act *out UNUSED, const gn_act *x UNUSED, const gn_mat *w UNUSED,
                         const struct gn_epilogue *e, int M, int N, int K)
{
	int beside = (e->pre != NULL) + (e->branch != NULL) + (e->residual != NULL) + !e->float_out;
	int vectors = (e->bias != NULL) + (e->scale != NULL);

	add(ctx, product(M, N, K), times(M, K) + beside * times(M, N), times(N, K),
	    times(vectors, N) + e->float_out * times(M, N));
}

static void count_linear_dx(struct gn_ctx *ctx, gn_act *dx UNUSED, const gn_act *dout UNUSED, const gn_mat *w UNUSED,
                            const gn_act *pre, enum gn_activation activation UNUSED, gn_act *act_out, int M, int N,
                            int K)
{
	add(ctx, product(M, N, K), times(M, N) + (1 + (pre != NULL) + (act_out != NULL)) * times(M, K), times(N, K), 0);
}

static void count_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout UNUSED, const gn_act *x UNUSED,
                            bool adds, int M, int N, int K)
{
	add(ctx, dw ? product(M, N, K) : 0, times(M, N) + (dw ? times(M, K) : 0), 0,
	    (dw ? (1 + adds) * times(N, K) : 0) + (db ? 2.0 * N : 0));
}

/* ---------------------------------------------------------------- attention ------------------- */

/* q of Q tokens, k and v of all, and what lies beside the queries. */
static double attention_acts(int B, int T, int Q, int H, int D, int beside)
{
	return times(B, H * D) * (2.0 * T + (1.0 + beside) * Q);
}

static void count_attention(struct gn_ctx *ctx, gn_act *out UNUSED, float *lse, const gn_act *qkv UNUSED, int B, int T,
                            int Q, int H, int D)
{
	add(ctx, 2 * product(B * Q, T, H * D), /* scores, and scores times values */
	    attention_acts(B, T, Q, H, D, 1), 0, lse ? times(B * H, Q) : 0);
}

static void count_attention_backward(struct gn_ctx *ctx, gn_act *dqkv UNUSED, const gn_act *dout UNUSED,
                                     const gn_act *qkv UNUSED, const gn_act *out, const float *lse, int B, int T, int Q,
                                     int H, int D)
{
	add(ctx, 5 * product(B * Q, T, H * D), /* scores again, dP, dV, dQ, dK */
	    attention_acts(B, T, Q, H, D, 1 + (out != NULL)) + 3 * times(B * T, H * D), 0, lse ? times(B * H, Q) : 0);
}

/* ---------------------------------------------------------------- rows ------------------------ */

static void count_layernorm(struct gn_ctx *ctx, gn_act *out UNUSED, const gn_act *x UNUSED, const float *w UNUSED,
                            const float *b UNUSED, float eps UNUSED, int M, int C)
{
	add(ctx, 0, 2 * times(M, C), 0, 2.0 * C);
}

static void count_layernorm_backward(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed,
                                     const gn_act *sum, const gn_act *dout UNUSED, const gn_act *x UNUSED,
                                     const float *w UNUSED, const float *b UNUSED, float eps UNUSED, int M, int C)
{
	int acts = 2 + (dx != NULL) + (dx && sum) + (normed != NULL);
	int vectors = 1 + 2 * (dw != NULL) + 2 * (db != NULL) + (normed != NULL);

	add(ctx, 0, acts * times(M, C), 0, times(vectors, C));
}

static void count_scale_backward(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout UNUSED,
                                 const gn_act *branch UNUSED, const float *gamma UNUSED, int M, int C)
{
	add(ctx, 0, (1 + (dbranch != NULL) + (dgamma != NULL)) * times(M, C), 0, times(1 + 2 * (dgamma != NULL), C));
}

/* ---------------------------------------------------------------- tokens ---------------------- */

static void count_embed(struct gn_ctx *ctx, gn_act *hidden UNUSED, const float *images UNUSED, const gn_mat *w UNUSED,
                        const float *bias, const float *pos UNUSED, int pos_prefix, const float *const *tokens UNUSED,
                        int prefix, int B, int G, int P, int C)
{
	add(ctx, product(B * G * G, C, 3 * P * P), times(B * (prefix + G * G), C), times(C, 3 * P * P),
	    times(B * G * G, 3 * P * P) + times(G * G + pos_prefix + prefix + (bias != NULL), C));
}

static void count_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
                                 float *const *dprefix UNUSED, int prefix, const gn_act *dhidden UNUSED,
                                 const float *images UNUSED, int B, int G, int P, int C)
{
	add(ctx, dw ? product(B * G * G, C, 3 * P * P) : 0, times(B * (prefix + G * G), C), 0,
	    (dw ? times(B * G * G, 3 * P * P) + 2 * times(C, 3 * P * P) : 0) + (dbias ? 2.0 * C : 0) +
	        (dpos ? 2 * times(G * G + pos_prefix, C) : 0));
}

static void count_pool(struct gn_ctx *ctx, gn_act *out UNUSED, const gn_act *hidden UNUSED, int first UNUSED, int count,
                       int B, int T UNUSED, int C)
{
	add(ctx, 0, times(B * (count + 1), C), 0, 0);
}

static void count_pool_backward(struct gn_ctx *ctx, gn_act *dhidden UNUSED, const gn_act *dout UNUSED, int first UNUSED,
                                int count UNUSED, int B, int T, int C)
{
	add(ctx, 0, times(B * (T + 1), C), 0, 0);
}

static void count_take(struct gn_ctx *ctx, gn_act *out UNUSED, const gn_act *hidden UNUSED, int first UNUSED, int n,
                       int B, int T UNUSED, int C)
{
	add(ctx, 0, 2 * times(B * n, C), 0, 0);
}

static void count_take_backward(struct gn_ctx *ctx, gn_act *dhidden UNUSED, const gn_act *dout UNUSED, int first UNUSED,
                                int n, bool accumulate, int B, int T, int C)
{
	add(ctx, 0, times(B * (accumulate ? 3 * n : n + T), C), 0, 0);
}

/* The plan counts the passes through the network; loss and optimiser never run on this backend. */
const struct gn_backend gn_backend_count = {
    .name = "count",
    .act_bytes = sizeof(float),
    .mat_bytes = sizeof(float),
    .unified = false,
    .open = count_open,
    .close = count_close,
    .describe = count_describe,
    .alloc = count_alloc,
    .free = count_free,
    .upload = count_upload,
    .upload_pixels = count_upload_pixels,
    .zero = count_zero,
    .cast_mat = count_cast,
    .sync = count_sync,
    .linear = count_linear,
    .linear_dx = count_linear_dx,
    .linear_dw = count_linear_dw,
    .attention = count_attention,
    .attention_backward = count_attention_backward,
    .layernorm = count_layernorm,
    .layernorm_backward = count_layernorm_backward,
    .scale_backward = count_scale_backward,
    .embed = count_embed,
    .embed_backward = count_embed_backward,
    .pool = count_pool,
    .pool_backward = count_pool_backward,
    .take = count_take,
    .take_backward = count_take_backward,
};
