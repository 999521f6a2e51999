/* The counting backend. Its memory is address space without pages: a pointer into it can be compared, never
 * followed. */
#include "backend/count/count.h"

#include <stdlib.h>
#include <sys/mman.h>

struct count_ctx {
	struct gn_ctx_base base;
	double flops;
};

static void add(struct gn_ctx *ctx, double flops)
{
	((struct count_ctx *)(void *)ctx)->flops += flops;
}

double gn_count_flops(const struct gn_ctx *ctx)
{
	return ((const struct count_ctx *)(const void *)ctx)->flops;
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

/* Most operations have no products in them: nothing to count. */
#define IGNORE_ALL __attribute__((unused))

static void count_upload(struct gn_ctx *ctx IGNORE_ALL, void *device IGNORE_ALL, const void *host IGNORE_ALL,
                         size_t bytes IGNORE_ALL)
{
}

static void count_zero(struct gn_ctx *ctx IGNORE_ALL, void *device IGNORE_ALL, size_t bytes IGNORE_ALL)
{
}

static void count_cast(struct gn_ctx *ctx IGNORE_ALL, gn_mat *out IGNORE_ALL, const float *in IGNORE_ALL,
                       size_t n IGNORE_ALL)
{
}

static double product(int M, int N, int K)
{
	return 2.0 * M * N * K;
}

static void count_linear(struct gn_ctx *ctx, gn_act *out IGNORE_ALL, const gn_act *x IGNORE_ALL,
                         const gn_mat *w IGNORE_ALL, const struct gn_epilogue *e IGNORE_ALL, int M, int N, int K)
{
	add(ctx, product(M, N, K));
}

static void count_linear_dx(struct gn_ctx *ctx, gn_act *dx IGNORE_ALL, const gn_act *dout IGNORE_ALL,
                            const gn_mat *w IGNORE_ALL, const gn_act *pre IGNORE_ALL,
                            enum gn_activation activation IGNORE_ALL, gn_act *act_out IGNORE_ALL, int M, int N, int K)
{
	add(ctx, product(M, N, K));
}

static void count_linear_dw(struct gn_ctx *ctx, float *dw, float *db IGNORE_ALL, const gn_act *dout IGNORE_ALL,
                            const gn_act *x IGNORE_ALL, int M, int N, int K)
{
	if (dw)
		add(ctx, product(M, N, K));
}

static void count_attention(struct gn_ctx *ctx, gn_act *out IGNORE_ALL, float *lse IGNORE_ALL,
                            const gn_act *qkv IGNORE_ALL, int B, int T, int Q, int H, int D)
{
	add(ctx, 2 * product(B * Q, T, H * D)); /* scores, and scores times values */
}

static void count_attention_backward(struct gn_ctx *ctx, gn_act *dqkv IGNORE_ALL, const gn_act *dout IGNORE_ALL,
                                     const gn_act *qkv IGNORE_ALL, const gn_act *out IGNORE_ALL,
                                     const float *lse IGNORE_ALL, int B, int T, int Q, int H, int D)
{
	add(ctx, 5 * product(B * Q, T, H * D)); /* scores again, dP, dV, dQ, dK */
}

static void count_layernorm(struct gn_ctx *ctx IGNORE_ALL, gn_act *out IGNORE_ALL, const gn_act *x IGNORE_ALL,
                            const float *w IGNORE_ALL, const float *b IGNORE_ALL, float eps IGNORE_ALL,
                            int M IGNORE_ALL, int C IGNORE_ALL)
{
}

static void count_layernorm_backward(struct gn_ctx *ctx IGNORE_ALL, gn_act *dx IGNORE_ALL, float *dw IGNORE_ALL,
                                     float *db IGNORE_ALL, const gn_act *sum IGNORE_ALL, const gn_act *dout IGNORE_ALL,
                                     const gn_act *x IGNORE_ALL, const float *w IGNORE_ALL, float eps IGNORE_ALL,
                                     int M IGNORE_ALL, int C IGNORE_ALL)
{
}

static void count_scale_backward(struct gn_ctx *ctx IGNORE_ALL, gn_act *dbranch IGNORE_ALL, float *dgamma IGNORE_ALL,
                                 const gn_act *dout IGNORE_ALL, const gn_act *branch IGNORE_ALL,
                                 const float *gamma IGNORE_ALL, int M IGNORE_ALL, int C IGNORE_ALL)
{
}

static void count_embed(struct gn_ctx *ctx, gn_act *hidden IGNORE_ALL, const float *images IGNORE_ALL,
                        const gn_mat *w IGNORE_ALL, const float *bias IGNORE_ALL, const float *pos IGNORE_ALL,
                        int pos_prefix IGNORE_ALL, const float *const *tokens IGNORE_ALL, int prefix IGNORE_ALL, int B,
                        int G, int P, int C)
{
	add(ctx, product(B * G * G, C, 3 * P * P));
}

static void count_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias IGNORE_ALL, float *dpos IGNORE_ALL,
                                 int pos_prefix IGNORE_ALL, float *const *dprefix IGNORE_ALL, int prefix IGNORE_ALL,
                                 const gn_act *dhidden IGNORE_ALL, const float *images IGNORE_ALL, int B, int G, int P,
                                 int C)
{
	if (dw)
		add(ctx, product(B * G * G, C, 3 * P * P));
}

static void count_pool(struct gn_ctx *ctx IGNORE_ALL, gn_act *out IGNORE_ALL, const gn_act *hidden IGNORE_ALL,
                       int first IGNORE_ALL, int count IGNORE_ALL, int B IGNORE_ALL, int T IGNORE_ALL, int C IGNORE_ALL)
{
}

static void count_take_backward(struct gn_ctx *ctx IGNORE_ALL, gn_act *dhidden IGNORE_ALL,
                                const gn_act *dout IGNORE_ALL, int first IGNORE_ALL, int n IGNORE_ALL,
                                bool accumulate IGNORE_ALL, int B IGNORE_ALL, int T IGNORE_ALL, int C IGNORE_ALL)
{
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
    .pool_backward = count_pool,
    .take = count_pool,
    .take_backward = count_take_backward,
};
