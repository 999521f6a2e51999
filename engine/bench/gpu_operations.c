/*
 * The operations of a GPU's backend table at ViT-B/16's shapes: time by the device's own clock, and the rate that follows from the
 * operations or bytes which the work asks for at least, against a ceiling measured in the same run: a large product, a large copy.
 */
#include "bench/bench.h"
#include "backend/arena.h"
#include "base/files.h"

#include <math.h>
#include <stdlib.h>

enum { BATCH = 32, SIDE = 14, PATCH = 16, T = 1 + SIDE * SIDE, C = 768, H = 12, CLASSES = 1000 };
enum { PIXELS = 3 * SIDE * PATCH * SIDE * PATCH, WEIGHTS = 4 * C * C, CUBE = 4096, COPY_MIB = 256 };

struct rig {
	const struct gn_bench_options *options;
	const struct gn_backend *be;
	struct gn_ctx *ctx;
	struct gn_arena memory;
	int B, M;                 /* images, and their rows */
	gn_act *x, *y, *out;      /* [M, C] */
	gn_act *wide[2], *qkv[2]; /* [M, 4C], [M, 3C] */
	gn_mat *w;                /* [4C, C] */
	float *master, *gradient, *moments[2], *vector, *lse;
	float *images, *logits, *losses; /* [B, PIXELS], [B, CLASSES], [B] */
	int32_t *labels;                 /* [B] */
	double *sums;                    /* [WEIGHTS] */
	char *block[2];                  /* of the ceilings */
	struct gn_step_numbers *numbers;
	struct gn_opt_list *list;
};

/* ---------------------------------------------------------------- the work --------------------------------------- */

static void run_linear(struct rig *r, gn_act *out, const gn_act *x, struct gn_epilogue e, int N, int K)
{
	e.bias = r->vector;
	r->be->linear(r->ctx, out, x, r->w, &e, r->M, N, K);
}

static void do_qkv(struct rig *r)
{
	run_linear(r, r->qkv[0], r->x, (struct gn_epilogue){0}, 3 * C, C);
}

static void do_proj(struct rig *r)
{
	run_linear(r, r->out, r->x, (struct gn_epilogue){.residual = r->y}, C, C);
}

static void do_fc1(struct rig *r)
{
	run_linear(r, r->wide[0], r->x, (struct gn_epilogue){.activate = true, .pre = r->wide[1]}, 4 * C, C);
}

static void do_fc2(struct rig *r)
{
	run_linear(r, r->out, r->wide[0], (struct gn_epilogue){.residual = r->y}, C, 4 * C);
}

static void do_fc2_dx(struct rig *r)
{
	r->be->linear_dx(r->ctx, r->wide[0], r->x, r->w, r->wide[1], GN_ACT_GELU, NULL, r->M, C, 4 * C);
}

static void do_fc1_dw(struct rig *r)
{
	r->be->linear_dw(r->ctx, r->gradient, r->vector, r->wide[0], r->x, r->M, 4 * C, C);
}

static void do_attention(struct rig *r)
{
	r->be->attention(r->ctx, r->out, r->lse, r->qkv[0], r->B, T, T, H, C / H);
}

static void do_attention_backward(struct rig *r)
{
	r->be->attention_backward(r->ctx, r->qkv[1], r->x, r->qkv[0], r->out, r->lse, r->B, T, T, H, C / H);
}

static void do_layernorm(struct rig *r)
{
	r->be->layernorm(r->ctx, r->out, r->x, r->vector, r->vector, 1e-6f, r->M, C);
}

static void do_layernorm_backward(struct rig *r)
{
	r->be->layernorm_backward(r->ctx, r->out, r->gradient, r->gradient + C, r->y, r->y, r->x, r->vector, 1e-6f,
	                          r->M, C);
}

static void do_adamw(struct rig *r)
{
	r->be->adamw(r->ctx, r->list, &(struct gn_adamw){.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f}, r->numbers);
}

static void do_grad_norm(struct rig *r)
{
	r->be->grad_norm(r->ctx, r->numbers, r->list);
}

static void do_embed(struct rig *r)
{
	r->be->embed(r->ctx, r->out, r->images, r->w, r->vector, r->master, 1, &(const float *){r->vector}, 1, r->B,
	             SIDE, PATCH, C);
}

static void do_embed_backward(struct rig *r)
{
	r->be->embed_backward(r->ctx, r->gradient, r->vector, r->moments[0], 1, &(float *){r->vector}, 1, r->x,
	                      r->images, r->B, SIDE, PATCH, C);
}

static void do_pool(struct rig *r)
{
	r->be->pool(r->ctx, r->out, r->x, 1, T - 1, r->B, T, C);
}

static void do_cross_entropy(struct rig *r)
{
	r->be->cross_entropy(r->ctx, r->losses, r->wide[0], r->numbers, r->logits, r->labels, NULL, 0.1f, r->B,
	                     CLASSES);
}

static void do_pair_sums(struct rig *r)
{
	double sums[2];

	r->be->pair_sums(r->ctx, sums, r->master, r->gradient, WEIGHTS, 1, 1, true);
}

static void do_soup_add(struct rig *r)
{
	r->be->soup_add(r->ctx, r->sums, r->gradient, 0.5, WEIGHTS, false);
}

static void do_soup_mean(struct rig *r)
{
	r->be->soup_mean(r->ctx, r->moments[0], r->sums, 2, WEIGHTS);
}

static void do_cast(struct rig *r)
{
	r->be->cast_mat(r->ctx, r->w, r->gradient, WEIGHTS);
}

static void do_sgd(struct rig *r)
{
	r->be->sgd(r->ctx, r->list, 0.9f, r->numbers);
}

static void do_cube(struct rig *r)
{
	struct gn_epilogue nothing = {0};

	r->be->linear(r->ctx, r->block[0], r->block[1], r->block[1], &nothing, CUBE, CUBE, CUBE);
}

static void do_copy(struct rig *r)
{
	r->be->copy(r->ctx, r->block[0], r->block[1], (size_t)COPY_MIB << 20);
}

/* ---------------------------------------------------------------- measuring -------------------------------------- */

/* Seconds of one call, from batches of calls that grow until one takes its share of the time allowed. */
static double measure(struct rig *r, void (*work)(struct rig *r))
{
	double seconds = 0;

	work(r); /* kernels are loaded, products chosen */
	for (int calls = 1; calls <= 1 << 20; calls *= 4) {
		r->be->clock_start(r->ctx);
		for (int i = 0; i < calls; i++)
			work(r);
		seconds = r->be->clock_stop(r->ctx) / calls;
		if (!(seconds * calls < r->options->seconds / 4))
			break;
	}
	return seconds;
}

/* Operations, and bytes that must move, of which the one that takes longer at the ceilings bounds the work. */
struct cost {
	const char *name;
	void (*work)(struct rig *r);
	double flops, acts, floats; /* acts: numbers of the activation type */
};

static void report(struct rig *r, const struct cost *cost, const struct gn_bench_ceilings *most)
{
	double bytes = cost->acts * (double)r->be->act_bytes + 4 * cost->floats, seconds;

	if (!gn_bench_wants(r->options, "device", cost->name))
		return;
	seconds = measure(r, cost->work);
	gn_bench_row(r->options, "device", cost->name, "s", seconds, NAN);
	if (cost->flops > 0)
		gn_bench_row(r->options, "device", cost->name, "GFLOP/s", cost->flops / seconds * 1e-9,
		             most->product * 1e-9);
	gn_bench_row(r->options, "device", cost->name, "GB/s", bytes / seconds * 1e-9, most->copy * 1e-9);
}

static void report_all(struct rig *r, const struct gn_bench_ceilings *most)
{
	const double MC = (double)r->M * C, CC = (double)C * C, scores = 4.0 * r->B * T * T * C;
	const double pixels = (double)r->B * PIXELS, patches = 2 * pixels * C;
	const bool cast = r->be->mat_bytes != sizeof(float);
	const struct cost costs[] = {
	    {"qkv", do_qkv, 6 * MC * C, 4 * MC + 3 * CC, 0},
	    {"proj, residual", do_proj, 2 * MC * C, 3 * MC + CC, 0},
	    {"fc1, GELU", do_fc1, 8 * MC * C, 9 * MC + 4 * CC, 0},
	    {"fc2, residual", do_fc2, 8 * MC * C, 6 * MC + 4 * CC, 0},
	    {"fc2 input gradient, GELU", do_fc2_dx, 8 * MC * C, 9 * MC + 4 * CC, 0},
	    {"fc1 weight gradient", do_fc1_dw, 8 * MC * C, 5 * MC, 8 * CC},
	    {"attention", do_attention, scores, 4 * MC, 0},
	    {"attention backward", do_attention_backward, 2.5 * scores, 8 * MC, 0},
	    {"layer norm", do_layernorm, 0, 2 * MC, 0},
	    {"layer norm backward", do_layernorm_backward, 0, 4 * MC, 0},
	    {"embedding", do_embed, patches, MC + CC, pixels + (double)T * C},
	    {"embedding backward", do_embed_backward, patches, MC, pixels + 2 * CC + 2.0 * T * C},
	    {"mean over tokens", do_pool, 0, MC, 0},
	    {"cross-entropy", do_cross_entropy, 0, (double)r->B * CLASSES, (double)r->B * CLASSES},
	    {"gradient norm", do_grad_norm, 0, 0, WEIGHTS},
	    {"AdamW", do_adamw, 0, cast ? WEIGHTS : 0, 7.0 * WEIGHTS},
	    {"SGD", do_sgd, 0, cast ? WEIGHTS : 0, 5.0 * WEIGHTS},
	    {"weights as products read them", do_cast, 0, WEIGHTS, WEIGHTS},
	    {"sums for an angle", do_pair_sums, 0, 0, 2.0 * WEIGHTS},
	    {"soup, a model added", do_soup_add, 0, 0, 5.0 * WEIGHTS}, /* a sum is two floats long */
	    {"soup, the mean", do_soup_mean, 0, 0, 3.0 * WEIGHTS},
	};

	for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++)
		report(r, &costs[i], most);
}

/* ---------------------------------------------------------------- memory ----------------------------------------- */

static void place(struct rig *r)
{
	size_t act = r->be->act_bytes, rows = (size_t)r->M, images = (size_t)r->B, weights = WEIGHTS;

	r->x = gn_arena_take(&r->memory, rows * C, act);
	r->y = gn_arena_take(&r->memory, rows * C, act);
	r->out = gn_arena_take(&r->memory, rows * C, act);
	for (int i = 0; i < 2; i++) {
		r->wide[i] = gn_arena_take(&r->memory, rows * 4 * C, act);
		r->qkv[i] = gn_arena_take(&r->memory, rows * 3 * C, act);
		r->moments[i] = gn_arena_take(&r->memory, weights, sizeof(float));
		r->block[i] = gn_arena_take(&r->memory, COPY_MIB, (size_t)1 << 20);
	}
	r->w = gn_arena_take(&r->memory, weights, r->be->mat_bytes);
	r->master = gn_arena_take(&r->memory, weights, sizeof(float));
	r->gradient = gn_arena_take(&r->memory, weights, sizeof(float));
	r->vector = gn_arena_take(&r->memory, (size_t)4 * C, sizeof(float));
	r->lse = gn_arena_take(&r->memory, rows * H, sizeof(float));
	r->images = gn_arena_take(&r->memory, images * PIXELS, sizeof(float));
	r->logits = gn_arena_take(&r->memory, images * CLASSES, sizeof(float));
	r->losses = gn_arena_take(&r->memory, images, sizeof(float));
	r->labels = gn_arena_take(&r->memory, images, sizeof *r->labels);
	r->sums = gn_arena_take(&r->memory, weights, sizeof *r->sums);
	r->numbers = gn_arena_take(&r->memory, 1, sizeof *r->numbers);
}

/* Numbers in -1 .. 1: power, and so the clock, depend on the bits that move. Activations have the type of weights. */
static int fill(struct rig *r, struct gn_error *err)
{
	size_t rows = (size_t)r->M * C, pixels = (size_t)r->B * PIXELS, n = (size_t)CUBE * CUBE;
	float *noise;
	const struct gn_step_numbers numbers = {
	    .lr = 1e-9, .correct1 = 0.65, .correct2 = 0.01, .step = 10, .loss_scale = 1, .grad_scale = 1};

	n = n > 4 * rows ? n : 4 * rows;
	n = n > pixels ? n : pixels;
	noise = gn_alloc(n + 1, sizeof *noise, err);
	if (!noise)
		return -1;
	for (size_t i = 0; i <= n; i++)
		noise[i] = (float)((i * 2654435761u >> 8) % 65536) / 32768.0f - 1;
	r->be->upload_mat(r->ctx, r->x, noise, rows);
	r->be->upload_mat(r->ctx, r->y, noise + 1, rows);
	r->be->upload_mat(r->ctx, r->wide[0], noise, 4 * rows);
	r->be->upload_mat(r->ctx, r->wide[1], noise, 4 * rows);
	r->be->upload_mat(r->ctx, r->qkv[0], noise, 3 * rows);
	r->be->upload_mat(r->ctx, r->w, noise, WEIGHTS);
	r->be->upload_mat(r->ctx, r->block[1], noise, (size_t)CUBE * CUBE);
	r->be->upload(r->ctx, r->vector, noise, (size_t)4 * C * sizeof *noise);
	r->be->upload(r->ctx, r->gradient, noise, WEIGHTS * sizeof *noise);
	r->be->upload(r->ctx, r->images, noise, pixels * sizeof *noise);
	r->be->upload(r->ctx, r->logits, noise, (size_t)r->B * CLASSES * sizeof *noise);
	r->be->upload(r->ctx, r->numbers, &numbers, sizeof numbers);
	free(noise);
	return 0;
}

static int open_rig(struct rig *r, struct gn_error *err)
{
	struct gn_opt_tensor tensor;

	r->be->enter(r->ctx);
	gn_arena_begin(&r->memory, r->be, r->ctx);
	place(r);
	if (gn_arena_open(&r->memory, err))
		return -1;
	place(r);
	tensor = (struct gn_opt_tensor){.weight = r->master,
	                                .grad = r->gradient,
	                                .m = r->moments[0],
	                                .v = r->moments[1],
	                                .mat = r->be->mat_bytes == sizeof(float) ? NULL : r->w,
	                                .n = WEIGHTS,
	                                .lr_scale = 1,
	                                .decay = 0.05f};
	r->list = r->be->opt_list_new(r->ctx, &tensor, 1, err);
	return r->list && fill(r, err) == 0 ? r->be->sync(r->ctx, err) : -1;
}

int gn_bench_device(struct gn_bench_ceilings *ceilings, const struct gn_bench_options *options, struct gn_error *err)
{
	struct rig r = {.options = options, .be = options->device->backend, .ctx = options->device->ctx};
	int result;

	r.B = options->batch ? options->batch : BATCH;
	r.M = r.B * T;
	result = open_rig(&r, err);
	if (result == 0) {
		ceilings->product = 2.0 * CUBE * CUBE * CUBE / measure(&r, do_cube);
		ceilings->copy = 2.0 * ((size_t)COPY_MIB << 20) / measure(&r, do_copy);
		gn_bench_row(options, "device", "product 4096 x 4096 x 4096", "GFLOP/s", ceilings->product * 1e-9, NAN);
		gn_bench_row(options, "device", "copy of 256 MiB, read and written", "GB/s", ceilings->copy * 1e-9,
		             NAN);
		report_all(&r, ceilings);
		result = r.be->sync(r.ctx, err);
	}
	if (r.list)
		r.be->opt_list_free(r.ctx, r.list);
	gn_arena_release(&r.memory);
	return result;
}
