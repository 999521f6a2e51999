/*
 * `gonio bench`, operations: the product library's rate at 2048 cubed, then every operation of the
 * table at the shapes of ViT-Ti, S and B/16 at 224 pixels (16 images), and the products of one
 * image. Products are compared with the library's rate, if there is a library. The others are
 * counted in bytes that must be read and written once.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "bench/bench.h"
#include "bench/reference.h"
#include "base/files.h"

enum { TOKENS = 197, GRID = 14, PATCH = 16, BATCH = 16, CLASSES = 1000, MOST = 300 };
/*
 * Sides of the products of cubes: the reference library's, and the device's own, which a request
 * waits for, in builds for a sanitizer too.
 */
enum { CUBE = 2048, OWN_CUBE = 512 };

/* One network's buffers; C wide, up to M = BATCH * TOKENS rows. */
struct rig {
	const struct gn_bench_options *options;
	struct gn_ctx *ctx;
	const struct gn_backend *backend;
	double rate; /* of the library, FLOP/s; NAN without one */
	const char *network;
	int B, M, C, H;
	float *wide[2];                        /* [M, 4C] */
	float *act[3];                         /* [M, C] */
	float *weight, *gradient, *moments[2]; /* [4C, C] */
	float *vector;                         /* [4C], positive */
	float *images, *loss;
	int32_t labels[BATCH];
	struct gn_opt_list *opt;
	struct gn_step_numbers step;
};

typedef void action(struct rig *r);

/* Median seconds of a call, after one that is not counted. */
static double time_action(struct rig *r, action *act)
{
	double times[MOST], from;
	int n = 0;
	act(r);
	from = gn_clock();
	do {
		double start = gn_clock();
		act(r);
		times[n++] = gn_clock() - start;
	} while (n < MOST && (n < 3 || gn_clock() - from < r->options->seconds / 4));
	return gn_bench_median(times, n);
}

static void figure(struct rig *r, const char *what, action *act, double flops, double bytes)
{
	char name[72];
	snprintf(name, sizeof name, "%s %s, %d image%s", r->network, what, r->B, r->B == 1 ? "" : "s");
	if (!gn_bench_wants(r->options, "operation", name))
		return;
	double seconds = time_action(r, act);
	if (flops > 0)
		gn_bench_row(r->options, "operation", name, "GFLOP/s", flops / seconds * 1e-9, r->rate * 1e-9);
	gn_bench_row(r->options, "operation", name, "GB/s", bytes / seconds * 1e-9, NAN);
}

/* ---------------------------------------------------------------- products --------------------------------------- */

static void do_qkv(struct rig *r)
{
	struct gn_epilogue e = {.bias = r->vector};
	r->backend->linear(r->ctx, r->wide[0], r->act[0], r->weight, &e, r->M, 3 * r->C, r->C);
}

static void do_proj(struct rig *r)
{
	struct gn_epilogue e = {.bias = r->vector, .scale = r->vector, .residual = r->act[1]};
	r->backend->linear(r->ctx, r->act[2], r->act[0], r->weight, &e, r->M, r->C, r->C);
}

static void do_fc1(struct rig *r)
{
	struct gn_epilogue e = {.bias = r->vector, .activation = GN_ACT_GELU, .activate = true, .pre = r->wide[1]};
	r->backend->linear(r->ctx, r->wide[0], r->act[0], r->weight, &e, r->M, 4 * r->C, r->C);
}

static void do_fc2(struct rig *r)
{
	struct gn_epilogue e = {.bias = r->vector, .residual = r->act[1]};
	r->backend->linear(r->ctx, r->act[2], r->wide[0], r->weight, &e, r->M, r->C, 4 * r->C);
}

static void do_fc1_dx(struct rig *r)
{
	r->backend->linear_dx(r->ctx, r->act[2], r->wide[0], r->weight, NULL, GN_ACT_GELU, NULL, r->M, 4 * r->C, r->C);
}

static void do_fc2_dx(struct rig *r)
{
	r->backend->linear_dx(r->ctx, r->wide[0], r->act[0], r->weight, r->wide[1], GN_ACT_GELU, NULL, r->M, r->C,
	                      4 * r->C);
}

static void do_fc1_dw(struct rig *r)
{
	r->backend->linear_dw(r->ctx, r->gradient, r->vector, r->wide[1], r->act[0], true, r->M, 4 * r->C, r->C);
}

static void do_proj_dw(struct rig *r)
{
	r->backend->linear_dw(r->ctx, r->gradient, r->vector, r->act[1], r->act[0], true, r->M, r->C, r->C);
}

static void do_attention(struct rig *r)
{
	r->backend->attention(r->ctx, r->act[2], NULL, r->wide[0], r->B, TOKENS, TOKENS, r->H, r->C / r->H);
}

static void do_attention_backward(struct rig *r)
{
	r->backend->attention_backward(r->ctx, r->wide[1], r->act[0], r->wide[0], NULL, NULL, r->B, TOKENS, TOKENS,
	                               r->H, r->C / r->H);
}

static void do_embed(struct rig *r)
{
	const float *prefix[1] = {r->vector};
	r->backend->embed(r->ctx, r->act[2], r->images, r->weight, r->vector, r->act[0], 1, prefix, 1, r->B, GRID,
	                  PATCH, r->C);
}

static void do_embed_backward(struct rig *r)
{
	r->backend->embed_backward(r->ctx, r->gradient, r->vector, NULL, 1, NULL, 1, r->act[0], r->images, r->B, GRID,
	                           PATCH, r->C);
}

static void products(struct rig *r)
{
	double M = r->M, C = r->C, act = 4 * M * C, weight = 4 * C * C, unit = 2 * M * C * C;
	double patches = 2.0 * r->B * GRID * GRID * 3 * PATCH * PATCH * C, scores = 4.0 * r->B * TOKENS * TOKENS * C;
	double pixels = 12.0 * r->B * GRID * GRID * PATCH * PATCH, filter = 12.0 * PATCH * PATCH * C;

	figure(r, "linear qkv", do_qkv, 3 * unit, 4 * act + 3 * weight);
	figure(r, "linear proj + scale + residual", do_proj, unit, 3 * act + weight);
	figure(r, "linear fc1 + GELU", do_fc1, 4 * unit, 9 * act + 4 * weight);
	figure(r, "linear fc2 + residual", do_fc2, 4 * unit, 6 * act + 4 * weight);
	figure(r, "attention", do_attention, scores, 4 * act);
	figure(r, "embed", do_embed, patches, act + pixels + filter);
	if (r->B == 1)
		return;
	figure(r, "linear_dx fc1", do_fc1_dx, 4 * unit, 5 * act + 4 * weight);
	figure(r, "linear_dx fc2 + GELU", do_fc2_dx, 4 * unit, 9 * act + 4 * weight);
	figure(r, "linear_dw fc1", do_fc1_dw, 4 * unit, 5 * act + 8 * weight);
	figure(r, "linear_dw proj", do_proj_dw, unit, 2 * act + 2 * weight);
	figure(r, "attention_backward", do_attention_backward, 2.5 * scores, 7 * act);
	figure(r, "embed_backward", do_embed_backward, patches, act + pixels + 2 * filter);
}

/* ---------------------------------------------------------------- the others ------------------------------------- */

static void do_layernorm(struct rig *r)
{
	r->backend->layernorm(r->ctx, r->act[2], r->act[0], r->vector, r->vector, 1e-6F, r->M, r->C);
}

static void do_layernorm_backward(struct rig *r)
{
	r->backend->layernorm_backward(r->ctx, r->act[2], r->gradient, r->gradient + r->C, NULL, r->act[2], r->act[1],
	                               r->act[0], r->vector, NULL, 1e-6F, r->M, r->C);
}

static void do_scale_backward(struct rig *r)
{
	r->backend->scale_backward(r->ctx, r->act[2], r->gradient, r->act[1], r->act[0], r->vector, r->M, r->C);
}

static void do_pool(struct rig *r)
{
	r->backend->pool(r->ctx, r->act[1], r->act[0], 1, TOKENS - 1, r->B, TOKENS, r->C);
}

static void do_pool_backward(struct rig *r)
{
	r->backend->pool_backward(r->ctx, r->act[2], r->act[0], 1, TOKENS - 1, r->B, TOKENS, r->C);
}

static void do_take(struct rig *r)
{
	r->backend->take(r->ctx, r->act[2], r->act[0], 1, TOKENS - 1, r->B, TOKENS, r->C);
}

static void do_take_backward(struct rig *r)
{
	r->backend->take_backward(r->ctx, r->act[2], r->act[0], 1, TOKENS - 1, true, r->B, TOKENS, r->C);
}

static void do_cross_entropy(struct rig *r)
{
	r->backend->cross_entropy(r->ctx, r->loss, r->wide[1], &r->step, r->wide[0], r->labels, NULL, 0.1F, r->B,
	                          CLASSES);
}

static size_t weight_count(const struct rig *r)
{
	return (size_t)4 * (size_t)r->C * (size_t)r->C;
}

static struct gn_opt_tensor opt_tensor(const struct rig *r)
{
	return (struct gn_opt_tensor){.weight = r->weight,
	                              .grad = r->gradient,
	                              .m = r->moments[0],
	                              .v = r->moments[1],
	                              .n = weight_count(r),
	                              .lr_scale = 1,
	                              .decay = 0.05F};
}

static void do_adamw(struct rig *r)
{
	struct gn_adamw how = {.beta1 = 0.9F, .beta2 = 0.999F, .eps = 1e-8F};
	r->backend->adamw(r->ctx, r->opt, &how, &r->step);
}

static void do_sgd(struct rig *r)
{
	r->backend->sgd(r->ctx, r->opt, 0.9F, &r->step);
}

static void do_grad_norm(struct rig *r)
{
	r->backend->grad_norm(r->ctx, &r->step, r->opt);
}

static void do_zero(struct rig *r)
{
	r->backend->zero(r->ctx, r->wide[1], (size_t)r->M * 4 * (size_t)r->C * sizeof(float));
}

static void do_copy(struct rig *r)
{
	r->backend->copy(r->ctx, r->wide[1], r->wide[0], (size_t)r->M * 4 * (size_t)r->C * sizeof(float));
}

static void streams(struct rig *r)
{
	double act = 4.0 * r->M * r->C, weights = 4.0 * (double)weight_count(r), logits = 4.0 * r->B * CLASSES;

	figure(r, "layernorm", do_layernorm, 0, 2 * act);
	figure(r, "layernorm_backward", do_layernorm_backward, 0, 4 * act);
	figure(r, "scale_backward", do_scale_backward, 0, 3 * act);
	figure(r, "pool", do_pool, 0, act);
	figure(r, "pool_backward", do_pool_backward, 0, act);
	figure(r, "take", do_take, 0, 2 * act);
	figure(r, "take_backward", do_take_backward, 0, 3 * act);
	figure(r, "cross_entropy", do_cross_entropy, 0, 2 * logits);
	figure(r, "adamw", do_adamw, 0, 7 * weights);
	figure(r, "sgd", do_sgd, 0, 5 * weights);
	figure(r, "grad_sumsq", do_grad_norm, 0, weights);
	figure(r, "zero", do_zero, 0, 4 * act);
	figure(r, "copy", do_copy, 0, 8 * act);
}

/* ---------------------------------------------------------------- set-up ----------------------------------------- */

/* n numbers around `centre`; without a pattern that arithmetic could profit from. */
static float *numbers(size_t n, float centre, struct gn_error *err)
{
	float *values = gn_alloc(n, sizeof *values, err);
	uint32_t state = 1;
	for (size_t i = 0; values && i < n; i++) {
		state = state * 1664525U + 1013904223U;
		values[i] = centre + ((float)(state >> 8) * 0x1p-24F - 0.5F) * 0.1F;
	}
	return values;
}

static int rig_init(struct rig *r, struct gn_error *err)
{
	size_t act = (size_t)BATCH * TOKENS * (size_t)r->C, weights = weight_count(r);
	size_t filter =
	    (size_t)3 * PATCH * PATCH * (size_t)r->C; /* the embedding's weight, larger than a small network's fc1 */
	weights = weights > filter ? weights : filter;
	r->weight = numbers(weights, 0, err);
	r->gradient = numbers(weights, 0, err);
	r->moments[0] = numbers(weights, 0, err);
	r->moments[1] = numbers(weights, 1, err);
	r->vector = numbers((size_t)4 * (size_t)r->C, 1, err);
	r->images = numbers((size_t)BATCH * 3 * GRID * GRID * PATCH * PATCH, 0, err);
	r->loss = numbers(BATCH, 0, err);
	bool whole = r->weight && r->gradient && r->moments[0] && r->moments[1] && r->vector && r->images && r->loss;
	for (int i = 0; i < 2; i++)
		whole = (r->wide[i] = numbers(4 * act, 0, err)) && whole;
	for (int i = 0; i < 3; i++)
		whole = (r->act[i] = numbers(act, 0, err)) && whole;
	if (!whole)
		return -1;
	struct gn_opt_tensor t = opt_tensor(r);
	r->step = (struct gn_step_numbers){
	    .lr = 1e-9, .correct1 = 0.65, .correct2 = 0.01, .step = 10, .loss_scale = 1, .grad_scale = 1};
	r->opt = r->backend->opt_list_new(r->ctx, &t, 1, err);
	return r->opt ? 0 : -1;
}

static void rig_release(struct rig *r)
{
	float *all[] = {r->weight, r->gradient, r->moments[0], r->moments[1], r->vector, r->images,
	                r->loss,   r->wide[0],  r->wide[1],    r->act[0],     r->act[1], r->act[2]};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		free(all[i]);
	if (r->opt)
		r->backend->opt_list_free(r->ctx, r->opt);
}

static int bench_network(const struct gn_bench_options *options, struct gn_ctx *ctx, double rate, const char *network,
                         int C, struct gn_error *err)
{
	struct rig r = {.options = options,
	                .ctx = ctx,
	                .backend = &gn_backend_cpu,
	                .rate = rate,
	                .network = network,
	                .B = BATCH,
	                .M = BATCH * TOKENS,
	                .C = C,
	                .H = C / 64};
	int result = rig_init(&r, err);
	if (result == 0) {
		products(&r);
		streams(&r);
		r.B = 1;
		r.M = TOKENS;
		products(&r);
		result = r.backend->sync(ctx, err);
	}
	rig_release(&r);
	return result;
}

static void do_reference(struct rig *r)
{
	gn_reference_product(r->ctx->threads, r->wide[0], r->act[0], r->weight, false, r->M, r->M, r->M);
}

/* The device's own product. */
static void do_own(struct rig *r)
{
	struct gn_epilogue nothing = {0};

	r->backend->linear(r->ctx, r->wide[0], r->act[0], r->weight, &nothing, r->M, r->M, r->M);
}

/* act multiplies M x M matrices. */
static int cube_rate(double *rate, const struct gn_bench_options *options, struct gn_device *device, action *act, int M,
                     struct gn_error *err)
{
	struct rig r = {.options = options, .ctx = device->ctx, .backend = device->backend, .M = M};
	size_t numel = (size_t)M * (size_t)M;
	int result = -1;

	if (device->backend != &gn_backend_cpu)
		return gn_fail(err, GN_UNSUPPORTED, "device", "the product rate is measured on the CPU only");
	r.wide[0] = numbers(numel, 0, err);
	r.act[0] = numbers(numel, 0, err);
	r.weight = numbers(numel, 0, err);
	if (r.wide[0] && r.act[0] && r.weight) {
		*rate = 2.0 * M * M * M / time_action(&r, act);
		result = device->backend->sync(device->ctx, err);
	}
	rig_release(&r);
	return result;
}

int gn_bench_reference_rate(double *rate, const struct gn_bench_options *options, struct gn_device *device,
                            struct gn_error *err)
{
	*rate = NAN;
	return gn_reference_library() ? cube_rate(rate, options, device, do_reference, CUBE, err) : 0;
}

int gn_bench_product_rate(double *rate, struct gn_device *device, double seconds, struct gn_error *err)
{
	const struct gn_bench_options options = {.seconds = seconds};

	return cube_rate(rate, &options, device, do_own, OWN_CUBE, err);
}

int gn_bench_ops(const struct gn_bench_options *options, struct gn_error *err)
{
	static const struct {
		const char *name;
		int C;
	} networks[] = {{"ViT-Ti/16", 192}, {"ViT-S/16", 384}, {"ViT-B/16", 768}};
	struct gn_device device = {.backend = &gn_backend_cpu};
	int result = -1;
	if (device.backend->open(&device.ctx, 0, options->threads, err))
		return -1;
	double rate;
	if (gn_bench_reference_rate(&rate, options, &device, err))
		goto done;
	if (!isnan(rate) && gn_bench_wants(options, "product", "SGEMM 2048 x 2048 x 2048"))
		gn_bench_row(options, "product", "SGEMM 2048 x 2048 x 2048", "GFLOP/s", rate * 1e-9, NAN);
	result = 0;
	for (size_t i = 0; i < sizeof networks / sizeof networks[0] && result == 0; i++)
		result = bench_network(options, device.ctx, rate, networks[i].name, networks[i].C, err);
done:
	device.backend->close(device.ctx);
	return result;
}
