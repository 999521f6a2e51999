/* See kernels_device.h. */
#include "tests/support/kernels_device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { PLAIN, ACT, MAT, LOOSE }; /* LOOSE: plain, and 4-byte aligned only */

/* An argument of the running call: n values at host, and their twin. */
struct twin {
	void *host, *block;
	char *device;
	size_t n, bytes; /* values; the block's size */
	enum kind kind;
	bool changed;
};

enum { TWINS = 24 };

struct shim {
	struct gn_ctx_base base;
	struct gn_backend table;
	const struct gn_backend *real;
	struct gn_ctx *ctx;
	struct twin twins[TWINS];
	int count;
	struct gn_error failure; /* of the shim itself */
};

struct gn_opt_list {
	struct gn_opt_tensor *host, *twins; /* [count] */
	int count;
	struct gn_opt_list *real;
};

static struct shim *shim_of(struct gn_ctx *ctx)
{
	return (struct shim *)(void *)ctx;
}

/* ---------------------------------------------------------------- types ------------------------------------------ */

static size_t size_of(const struct shim *s, enum kind kind)
{
	return kind == ACT ? s->real->act_bytes : kind == MAT ? s->real->mat_bytes : sizeof(float);
}

/*
 * Host floats in the device's type; whatever is given to an operation must be a value of that type.
 */
static void narrow(void *to, const float *from, size_t n)
{
	uint16_t *halves = to;
	for (size_t i = 0; i < n; i++) {
		halves[i] = kt_bf16(from[i]);
		gn_assert(isnan(from[i]) || kt_float(halves[i]) == from[i]);
	}
}

static void widen(float *to, const void *from, size_t n)
{
	const uint16_t *halves = from;
	for (size_t i = 0; i < n; i++)
		to[i] = kt_float(halves[i]);
}

static void send(struct shim *s, void *device, const void *host, size_t n, enum kind kind)
{
	size_t size = size_of(s, kind);
	void *packed = malloc(n * size + 1);
	gn_assert(packed);
	if (size == sizeof(float))
		memcpy(packed, host, n * size);
	else
		narrow(packed, host, n);
	s->real->upload(s->ctx, device, packed, n * size);
	free(packed);
}

static void receive(struct shim *s, void *host, const void *device, size_t n, enum kind kind)
{
	size_t size = size_of(s, kind);
	void *packed = malloc(n * size + 1);
	gn_assert(packed);
	memset(packed, 0xff, n * size + 1); /* NaN where a failed device gives nothing */
	s->real->download(s->ctx, packed, device, n * size);
	if (size == sizeof(float))
		memcpy(host, packed, n * size);
	else
		widen(host, packed, n);
	free(packed);
}

/* ---------------------------------------------------------------- arguments -------------------------------------- */

static void *twin(struct shim *s, const void *host, size_t n, enum kind kind, bool changed)
{
	struct twin *w;
	if (!host)
		return NULL;
	for (int i = 0; i < s->count; i++)
		if (s->twins[i].host == host) {
			gn_assert(s->twins[i].n == n && s->twins[i].kind == kind);
			s->twins[i].changed |= changed;
			return s->twins[i].device;
		}
	gn_assert(s->count < TWINS);
	w = &s->twins[s->count++];
	*w = (struct twin){.host = (void *)(uintptr_t)host, .n = n, .kind = kind, .changed = changed};
	w->bytes = n * size_of(s, kind) + (kind == LOOSE ? sizeof(float) : 0);
	w->block = s->real->alloc(s->ctx, w->bytes, &s->failure);
	if (!w->block) {
		printf("FAIL: %s\n", s->failure.text);
		abort();
	}
	w->device = (char *)w->block + (kind == LOOSE ? sizeof(float) : 0);
	send(s, w->device, host, n, kind);
	return w->device;
}

static const void *in(struct shim *s, const void *host, size_t n, enum kind kind)
{
	return twin(s, host, n, kind, false);
}

/* Set or added to by the operation. */
static void *out(struct shim *s, void *host, size_t n, enum kind kind)
{
	return twin(s, host, n, kind, true);
}

/* The call is made: what it changed goes back. */
static void done(struct shim *s)
{
	for (int i = 0; i < s->count; i++) {
		struct twin *w = &s->twins[i];
		if (w->changed)
			receive(s, w->host, w->device, w->n, w->kind);
	}
	s->real->sync(s->ctx, &s->failure);
	while (s->count > 0) {
		struct twin *w = &s->twins[--s->count];
		s->real->free(s->ctx, w->block, w->bytes);
	}
}

static size_t mul(int a, int b)
{
	return (size_t)a * (size_t)b;
}

/* ---------------------------------------------------------------- products --------------------------------------- */

static void shim_linear(struct gn_ctx *ctx, gn_act *o, const gn_act *x, const gn_mat *w, const struct gn_epilogue *e,
                        int M, int N, int K)
{
	struct shim *s = shim_of(ctx);
	struct gn_epilogue twins = *e;
	enum kind kind = e->float_out ? PLAIN : ACT;
	twins.bias = in(s, e->bias, (size_t)N, e->float_out ? PLAIN : MAT);
	twins.scale = in(s, e->scale, (size_t)N, PLAIN);
	twins.residual = in(s, e->residual, mul(M, N), kind);
	twins.pre = out(s, e->pre, mul(M, N), ACT);
	twins.branch = out(s, e->branch, mul(M, N), ACT);
	s->real->linear(s->ctx, out(s, o, mul(M, N), kind), in(s, x, mul(M, K), ACT), in(s, w, mul(N, K), MAT), &twins,
	                M, N, K);
	done(s);
}

static void shim_linear_dx(struct gn_ctx *ctx, gn_act *dx, const gn_act *dout, const gn_mat *w, const gn_act *pre,
                           enum gn_activation activation, gn_act *act_out, int M, int N, int K)
{
	struct shim *s = shim_of(ctx);
	s->real->linear_dx(s->ctx, out(s, dx, mul(M, K), ACT), in(s, dout, mul(M, N), ACT), in(s, w, mul(N, K), MAT),
	                   in(s, pre, mul(M, K), ACT), activation, out(s, act_out, mul(M, K), ACT), M, N, K);
	done(s);
}

static void shim_linear_dw(struct gn_ctx *ctx, float *dw, float *db, const gn_act *dout, const gn_act *x, bool add,
                           int M, int N, int K)
{
	struct shim *s = shim_of(ctx);
	s->real->linear_dw(s->ctx, out(s, dw, mul(N, K), PLAIN), out(s, db, (size_t)N, PLAIN),
	                   in(s, dout, mul(M, N), ACT), in(s, x, mul(M, K), ACT), add, M, N, K);
	done(s);
}

/* ---------------------------------------------------------------- attention -------------------------------------- */

static void shim_attention(struct gn_ctx *ctx, gn_act *o, float *lse, const gn_act *qkv, int B, int T, int Q, int H,
                           int D)
{
	struct shim *s = shim_of(ctx);
	size_t n = mul(B, Q) * mul(H, D);
	s->real->attention(s->ctx, out(s, o, n, ACT), out(s, lse, mul(B, Q) * (size_t)H, PLAIN),
	                   in(s, qkv, mul(B, T) * 3 * mul(H, D), ACT), B, T, Q, H, D);
	done(s);
}

static void shim_attention_backward(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
                                    const gn_act *o, const float *lse, int B, int T, int Q, int H, int D)
{
	struct shim *s = shim_of(ctx);
	size_t n = mul(B, Q) * mul(H, D), all = mul(B, T) * 3 * mul(H, D);
	s->real->attention_backward(s->ctx, out(s, dqkv, all, ACT), in(s, dout, n, ACT), in(s, qkv, all, ACT),
	                            in(s, o, n, ACT), in(s, lse, mul(B, Q) * (size_t)H, PLAIN), B, T, Q, H, D);
	done(s);
}

/* ---------------------------------------------------------------- rows ------------------------------------------- */

static void shim_layernorm(struct gn_ctx *ctx, gn_act *o, const gn_act *x, const float *w, const float *b, float eps,
                           int M, int C)
{
	struct shim *s = shim_of(ctx);
	const void *from = in(s, x, mul(M, C), ACT);
	s->real->layernorm(s->ctx, out(s, o, mul(M, C), ACT), from, in(s, w, (size_t)C, PLAIN),
	                   in(s, b, (size_t)C, PLAIN), eps, M, C);
	done(s);
}

static void shim_layernorm_backward(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed,
                                    const gn_act *add, const gn_act *dout, const gn_act *x, const float *w,
                                    const float *b, float eps, int M, int C)
{
	struct shim *s = shim_of(ctx);
	size_t n = mul(M, C), c = (size_t)C;
	s->real->layernorm_backward(s->ctx, out(s, dx, n, ACT), out(s, dw, c, PLAIN), out(s, db, c, PLAIN),
	                            out(s, normed, n, ACT), in(s, add, n, ACT), in(s, dout, n, ACT), in(s, x, n, ACT),
	                            in(s, w, c, PLAIN), in(s, b, c, PLAIN), eps, M, C);
	done(s);
}

static void shim_scale_backward(struct gn_ctx *ctx, gn_act *dbranch, float *dgamma, const gn_act *dout,
                                const gn_act *branch, const float *gamma, int M, int C)
{
	struct shim *s = shim_of(ctx);
	size_t n = mul(M, C), c = (size_t)C;
	s->real->scale_backward(s->ctx, out(s, dbranch, n, ACT), out(s, dgamma, c, PLAIN), in(s, dout, n, ACT),
	                        in(s, branch, n, ACT), in(s, gamma, c, PLAIN), M, C);
	done(s);
}

/* ---------------------------------------------------------------- tokens ----------------------------------------- */

enum { MOST_PREFIX = 8 };

static void shim_embed(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
                       const float *pos, int pos_prefix, const float *const *tokens, int prefix, int B, int G, int P,
                       int C)
{
	struct shim *s = shim_of(ctx);
	size_t width = mul(3 * P, P), c = (size_t)C;
	const float *twins[MOST_PREFIX];
	gn_assert(prefix <= MOST_PREFIX);
	for (int i = 0; i < prefix; i++)
		twins[i] = in(s, tokens[i], c, LOOSE);
	s->real->embed(s->ctx, out(s, hidden, mul(B, prefix + G * G) * c, ACT),
	               in(s, images, mul(B, G * G) * width, PLAIN), in(s, w, c * width, MAT), in(s, bias, c, PLAIN),
	               in(s, pos, mul(pos_prefix + G * G, C), LOOSE), pos_prefix, twins, prefix, B, G, P, C);
	done(s);
}

static void shim_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
                                float *const *dprefix, int prefix, const gn_act *dhidden, const float *images, int B,
                                int G, int P, int C)
{
	struct shim *s = shim_of(ctx);
	size_t width = mul(3 * P, P), c = (size_t)C;
	float *twins[MOST_PREFIX];
	gn_assert(prefix <= MOST_PREFIX);
	for (int i = 0; i < prefix; i++)
		twins[i] = out(s, dprefix[i], c, LOOSE);
	s->real->embed_backward(s->ctx, out(s, dw, c * width, PLAIN), out(s, dbias, c, PLAIN),
	                        out(s, dpos, mul(pos_prefix + G * G, C), LOOSE), pos_prefix, twins, prefix,
	                        in(s, dhidden, mul(B, prefix + G * G) * c, ACT),
	                        in(s, images, mul(B, G * G) * width, PLAIN), B, G, P, C);
	done(s);
}

static void shim_pool(struct gn_ctx *ctx, gn_act *o, const gn_act *hidden, int first, int count, int B, int T, int C)
{
	struct shim *s = shim_of(ctx);
	s->real->pool(s->ctx, out(s, o, mul(B, C), ACT), in(s, hidden, mul(B, T) * (size_t)C, ACT), first, count, B, T,
	              C);
	done(s);
}

static void shim_pool_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int count, int B,
                               int T, int C)
{
	struct shim *s = shim_of(ctx);
	s->real->pool_backward(s->ctx, out(s, dhidden, mul(B, T) * (size_t)C, ACT), in(s, dout, mul(B, C), ACT), first,
	                       count, B, T, C);
	done(s);
}

static void shim_take(struct gn_ctx *ctx, gn_act *o, const gn_act *hidden, int first, int n, int B, int T, int C)
{
	struct shim *s = shim_of(ctx);
	s->real->take(s->ctx, out(s, o, mul(B, n) * (size_t)C, ACT), in(s, hidden, mul(B, T) * (size_t)C, ACT), first,
	              n, B, T, C);
	done(s);
}

static void shim_take_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n,
                               bool accumulate, int B, int T, int C)
{
	struct shim *s = shim_of(ctx);
	s->real->take_backward(s->ctx, out(s, dhidden, mul(B, T) * (size_t)C, ACT),
	                       in(s, dout, mul(B, n) * (size_t)C, ACT), first, n, accumulate, B, T, C);
	done(s);
}

/* ---------------------------------------------------------------- loss, optimiser, angles ------------------------ */

static struct gn_step_numbers *numbers(struct shim *s, const struct gn_step_numbers *step)
{
	return out(s, (void *)(uintptr_t)step, sizeof *step / sizeof(float), PLAIN);
}

static void shim_cross_entropy(struct gn_ctx *ctx, float *losses, gn_act *dlogits, struct gn_step_numbers *step,
                               const float *logits, const int32_t *labels, const float *cw, float smoothing, int B,
                               int K)
{
	struct shim *s = shim_of(ctx);
	s->real->cross_entropy(s->ctx, out(s, losses, (size_t)B, PLAIN), out(s, dlogits, mul(B, K), ACT),
	                       numbers(s, step), in(s, logits, mul(B, K), PLAIN), in(s, labels, (size_t)B, PLAIN),
	                       in(s, cw, (size_t)K, PLAIN), smoothing, B, K);
	done(s);
}

static void *block(struct shim *s, size_t bytes)
{
	void *device = s->real->alloc(s->ctx, bytes, &s->failure);
	gn_assert(device);
	return device;
}

static struct gn_opt_list *shim_opt_list_new(struct gn_ctx *ctx, const struct gn_opt_tensor *tensors, int count,
                                             struct gn_error *err)
{
	struct shim *s = shim_of(ctx);
	struct gn_opt_list *list = calloc(1, sizeof *list);
	size_t bytes = (size_t)count * sizeof *tensors;
	gn_assert(list && count > 0);
	*list = (struct gn_opt_list){malloc(bytes), malloc(bytes), count, NULL};
	gn_assert(list->host && list->twins);
	memcpy(list->host, tensors, bytes);
	memcpy(list->twins, tensors, bytes);
	for (int i = 0; i < count; i++) {
		struct gn_opt_tensor *w = &list->twins[i];
		w->weight = block(s, w->n * sizeof(float));
		w->grad = block(s, w->n * sizeof(float));
		w->m = block(s, w->n * sizeof(float));
		w->v = w->v ? block(s, w->n * sizeof(float)) : NULL;
		w->mat = s->real->mat_bytes != sizeof(float) && i != 1 ? block(s, w->n * s->real->mat_bytes) : NULL;
	}
	list->real = s->real->opt_list_new(s->ctx, list->twins, count, err);
	gn_assert(list->real);
	return list;
}

static void shim_opt_list_free(struct gn_ctx *ctx, struct gn_opt_list *list)
{
	struct shim *s = shim_of(ctx);
	s->real->opt_list_free(s->ctx, list->real);
	for (int i = 0; i < list->count; i++) {
		struct gn_opt_tensor *w = &list->twins[i];
		void *floats[] = {w->weight, (void *)(uintptr_t)w->grad, w->m, w->v};
		for (int j = 0; j < 4; j++)
			if (floats[j])
				s->real->free(s->ctx, floats[j], w->n * sizeof(float));
		if (w->mat)
			s->real->free(s->ctx, w->mat, w->n * s->real->mat_bytes);
	}
	free(list->host);
	free(list->twins);
	free(list);
}

static void send_list(struct shim *s, const struct gn_opt_list *list)
{
	for (int i = 0; i < list->count; i++) {
		const struct gn_opt_tensor *h = &list->host[i], *w = &list->twins[i];
		send(s, w->weight, h->weight, h->n, PLAIN);
		send(s, (void *)(uintptr_t)w->grad, h->grad, h->n, PLAIN);
		send(s, w->m, h->m, h->n, PLAIN);
		if (w->v)
			send(s, w->v, h->v, h->n, PLAIN);
	}
}

/* The copy for products must be the new weight in their type. */
static void check_mat(struct shim *s, const struct gn_opt_tensor *h, const struct gn_opt_tensor *w)
{
	float *mat = malloc(h->n * sizeof *mat);
	gn_assert(mat);
	receive(s, mat, w->mat, h->n, MAT);
	for (size_t i = 0; i < h->n; i++)
		if (kt_float(kt_bf16(h->weight[i])) != mat[i]) {
			gn_fail(&s->failure, GN_DEVICE, "", "the optimiser's mat[%zu] is %g for a weight of %g", i,
			        (double)mat[i], (double)h->weight[i]);
			break;
		}
	free(mat);
}

static void receive_list(struct shim *s, const struct gn_opt_list *list)
{
	for (int i = 0; i < list->count; i++) {
		const struct gn_opt_tensor *h = &list->host[i], *w = &list->twins[i];
		receive(s, h->weight, w->weight, h->n, PLAIN);
		receive(s, h->m, w->m, h->n, PLAIN);
		if (w->v)
			receive(s, h->v, w->v, h->n, PLAIN);
		if (w->mat)
			check_mat(s, h, w);
	}
	done(s);
}

static void shim_grad_norm(struct gn_ctx *ctx, struct gn_step_numbers *step, const struct gn_opt_list *list)
{
	struct shim *s = shim_of(ctx);
	send_list(s, list);
	s->real->grad_norm(s->ctx, numbers(s, step), list->real);
	done(s);
}

static void shim_adamw(struct gn_ctx *ctx, const struct gn_opt_list *list, const struct gn_adamw *how,
                       const struct gn_step_numbers *step)
{
	struct shim *s = shim_of(ctx);
	send_list(s, list);
	s->real->adamw(s->ctx, list->real, how, in(s, step, sizeof *step / sizeof(float), PLAIN));
	receive_list(s, list);
}

static void shim_sgd(struct gn_ctx *ctx, const struct gn_opt_list *list, float momentum,
                     const struct gn_step_numbers *step)
{
	struct shim *s = shim_of(ctx);
	send_list(s, list);
	s->real->sgd(s->ctx, list->real, momentum, in(s, step, sizeof *step / sizeof(float), PLAIN));
	receive_list(s, list);
}

static void shim_pair_sums(struct gn_ctx *ctx, double *sums, const float *a, const float *b, size_t n, double scale_a,
                           double scale_b, bool difference)
{
	struct shim *s = shim_of(ctx);
	s->real->pair_sums(s->ctx, sums, in(s, a, n, PLAIN), in(s, b, n, PLAIN), n, scale_a, scale_b, difference);
	done(s);
}

/*
 * Doubles are two floats each. An odd number of values stands off 16 bytes, so that both ways of
 * loading them are seen.
 */
static enum kind any_place(size_t n)
{
	return n % 2 ? LOOSE : PLAIN;
}

static void shim_soup_add(struct gn_ctx *ctx, double *sum, const float *x, double weight, size_t n, bool first)
{
	struct shim *s = shim_of(ctx);
	s->real->soup_add(s->ctx, out(s, sum, 2 * n, PLAIN), in(s, x, n, any_place(n)), weight, n, first);
	done(s);
}

static void shim_soup_mean(struct gn_ctx *ctx, float *o, const double *sum, double total, size_t n)
{
	struct shim *s = shim_of(ctx);
	s->real->soup_mean(s->ctx, out(s, o, n, any_place(n)), in(s, sum, 2 * n, PLAIN), total, n);
	done(s);
}

/* ---------------------------------------------------------------- memory: device pointers as they are ------------ */

static void shim_close(struct gn_ctx *ctx)
{
	free(ctx);
}

static void shim_enter(struct gn_ctx *ctx)
{
	shim_of(ctx)->real->enter(shim_of(ctx)->ctx);
}

static void shim_describe(const struct gn_ctx *ctx, struct gn_device_info *info)
{
	const struct shim *s = (const struct shim *)(const void *)ctx;
	s->real->describe(s->ctx, info);
}

static void *shim_alloc(struct gn_ctx *ctx, size_t bytes, struct gn_error *err)
{
	return shim_of(ctx)->real->alloc(shim_of(ctx)->ctx, bytes, err);
}

static void shim_free(struct gn_ctx *ctx, void *device, size_t bytes)
{
	shim_of(ctx)->real->free(shim_of(ctx)->ctx, device, bytes);
}

static void shim_upload(struct gn_ctx *ctx, void *device, const void *host, size_t bytes)
{
	shim_of(ctx)->real->upload(shim_of(ctx)->ctx, device, host, bytes);
}

static void shim_upload_rows(struct gn_ctx *ctx, void *device, const void *rows, size_t row_bytes,
                             const int32_t *indices, int n)
{
	shim_of(ctx)->real->upload_rows(shim_of(ctx)->ctx, device, rows, row_bytes, indices, n);
}

static void shim_upload_pixels(struct gn_ctx *ctx, float *images, const uint8_t *pixels, const float *levels, int n,
                               int S)
{
	shim_of(ctx)->real->upload_pixels(shim_of(ctx)->ctx, images, pixels, levels, n, S);
}

static void shim_download(struct gn_ctx *ctx, void *host, const void *device, size_t bytes)
{
	shim_of(ctx)->real->download(shim_of(ctx)->ctx, host, device, bytes);
}

static void shim_zero(struct gn_ctx *ctx, void *device, size_t bytes)
{
	shim_of(ctx)->real->zero(shim_of(ctx)->ctx, device, bytes);
}

static void shim_copy(struct gn_ctx *ctx, void *to, const void *from, size_t bytes)
{
	shim_of(ctx)->real->copy(shim_of(ctx)->ctx, to, from, bytes);
}

static void shim_cast_mat(struct gn_ctx *ctx, gn_mat *o, const float *from, size_t n)
{
	struct shim *s = shim_of(ctx);
	s->real->cast_mat(s->ctx, out(s, o, n, MAT), in(s, from, n, PLAIN), n);
	done(s);
}

static void shim_upload_mat(struct gn_ctx *ctx, gn_mat *o, const float *host, size_t n)
{
	struct shim *s = shim_of(ctx);
	s->real->upload_mat(s->ctx, out(s, o, n, MAT), host, n);
	done(s);
}

static int shim_sync(struct gn_ctx *ctx, struct gn_error *err)
{
	struct shim *s = shim_of(ctx);
	s->real->sync(s->ctx, &s->failure);
	if (s->failure.code == GN_OK)
		return 0;
	gn_fail(err, s->failure.code, s->failure.where, "%s", s->failure.text);
	s->failure = (struct gn_error){0};
	return -1;
}

static void shim_download_begin(struct gn_ctx *ctx, void *host, void *spare, const void *device, size_t bytes)
{
	shim_of(ctx)->real->download_begin(shim_of(ctx)->ctx, host, spare, device, bytes);
}

static int shim_download_end(struct gn_ctx *ctx, struct gn_error *err)
{
	return shim_of(ctx)->real->download_end(shim_of(ctx)->ctx, err);
}

static void shim_fetch(struct gn_ctx *ctx, int slot, const void *device, size_t bytes)
{
	shim_of(ctx)->real->fetch(shim_of(ctx)->ctx, slot, device, bytes);
}

static int shim_fetched(struct gn_ctx *ctx, int slot, void *host, size_t bytes, struct gn_error *err)
{
	return shim_of(ctx)->real->fetched(shim_of(ctx)->ctx, slot, host, bytes, err);
}

static bool shim_record_begin(struct gn_ctx *ctx, uint64_t key)
{
	return shim_of(ctx)->real->record_begin(shim_of(ctx)->ctx, key);
}

static void shim_record_end(struct gn_ctx *ctx)
{
	shim_of(ctx)->real->record_end(shim_of(ctx)->ctx);
}

static void shim_record_forget(struct gn_ctx *ctx)
{
	shim_of(ctx)->real->record_forget(shim_of(ctx)->ctx);
}

static void shim_clock_start(struct gn_ctx *ctx)
{
	shim_of(ctx)->real->clock_start(shim_of(ctx)->ctx);
}

static double shim_clock_stop(struct gn_ctx *ctx)
{
	return shim_of(ctx)->real->clock_stop(shim_of(ctx)->ctx);
}

/* ---------------------------------------------------------------- the table -------------------------------------- */

static const struct gn_backend shim_table = {
    .name = "shim",
    .close = shim_close,
    .enter = shim_enter,
    .describe = shim_describe,
    .alloc = shim_alloc,
    .free = shim_free,
    .upload = shim_upload,
    .upload_rows = shim_upload_rows,
    .upload_pixels = shim_upload_pixels,
    .upload_mat = shim_upload_mat,
    .download = shim_download,
    .download_begin = shim_download_begin,
    .download_end = shim_download_end,
    .zero = shim_zero,
    .copy = shim_copy,
    .cast_mat = shim_cast_mat,
    .sync = shim_sync,
    .fetch = shim_fetch,
    .fetched = shim_fetched,
    .record_begin = shim_record_begin,
    .record_end = shim_record_end,
    .record_forget = shim_record_forget,
    .clock_start = shim_clock_start,
    .clock_stop = shim_clock_stop,
    .linear = shim_linear,
    .linear_dx = shim_linear_dx,
    .linear_dw = shim_linear_dw,
    .attention = shim_attention,
    .attention_backward = shim_attention_backward,
    .layernorm = shim_layernorm,
    .layernorm_backward = shim_layernorm_backward,
    .scale_backward = shim_scale_backward,
    .embed = shim_embed,
    .embed_backward = shim_embed_backward,
    .pool = shim_pool,
    .pool_backward = shim_pool_backward,
    .take = shim_take,
    .take_backward = shim_take_backward,
    .cross_entropy = shim_cross_entropy,
    .opt_list_new = shim_opt_list_new,
    .opt_list_free = shim_opt_list_free,
    .grad_norm = shim_grad_norm,
    .adamw = shim_adamw,
    .sgd = shim_sgd,
    .pair_sums = shim_pair_sums,
    .soup_add = shim_soup_add,
    .soup_mean = shim_soup_mean,
};

struct gn_ctx *kt_device_open(const struct gn_backend **table, const struct gn_device *device)
{
	struct shim *s = calloc(1, sizeof *s);
	gn_assert(s);
	s->real = device->backend;
	s->ctx = device->ctx;
	s->table = shim_table;
	s->table.precision = s->real->precision;
	s->table.act_bytes = s->real->act_bytes;
	s->table.mat_bytes = s->real->mat_bytes;
	s->table.attention_needs_out = s->real->attention_needs_out;
	s->table.attention_needs_lse = s->real->attention_needs_lse;
	s->base.backend = &s->table;
	*table = &s->table;
	s->real->enter(s->ctx);
	return (struct gn_ctx *)(void *)s;
}
