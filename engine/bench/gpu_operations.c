/*
 * The operations of a GPU's backend table at ViT-B/16's shapes, all products of a block's step
 * among them: each one's time by the device's own clock, and its floor, which follows from the
 * operations and the bytes that the work needs at least and from two ceilings measured in the same
 * run, a large product and a large copy.
 */
#include "bench/gpu_rig.h"

#include <math.h>
#include <stdio.h>

enum { T = GN_RIG_T, C = GN_RIG_C, H = GN_RIG_H, SIDE = GN_RIG_SIDE, PATCH = GN_RIG_PATCH };
enum { CLASSES = GN_RIG_CLASSES, PIXELS = GN_RIG_PIXELS, WEIGHTS = GN_RIG_WEIGHTS };

/* ---------------------------------------------------------------- products
 * --------------------------------------- */

static void run_linear(struct gn_rig *r, enum gn_rig_buffer out, enum gn_rig_buffer x, struct gn_epilogue e, int N,
                       int K)
{
	e.bias = r->bias;
	r->be->linear(r->ctx, gn_rig_at(r, out), gn_rig_at(r, x), gn_rig_at(r, GN_RIG_W), &e, r->M, N, K);
}

static void do_qkv(struct gn_rig *r)
{
	run_linear(r, GN_RIG_QKV, GN_RIG_X, (struct gn_epilogue){0}, 3 * C, C);
}

static void do_proj(struct gn_rig *r)
{
	run_linear(r, GN_RIG_OUT, GN_RIG_X, (struct gn_epilogue){.residual = gn_rig_at(r, GN_RIG_Y)}, C, C);
}

static void do_fc1_plain(struct gn_rig *r)
{
	run_linear(r, GN_RIG_ACT, GN_RIG_X, (struct gn_epilogue){0}, 4 * C, C);
}

static void do_fc1(struct gn_rig *r)
{
	run_linear(r, GN_RIG_ACT, GN_RIG_X, (struct gn_epilogue){.activate = true, .pre = gn_rig_at(r, GN_RIG_PRE)},
	           4 * C, C);
}

static void do_fc2(struct gn_rig *r)
{
	run_linear(r, GN_RIG_OUT, GN_RIG_WIDE, (struct gn_epilogue){.residual = gn_rig_at(r, GN_RIG_Y)}, C, 4 * C);
}

static void run_dx(struct gn_rig *r, enum gn_rig_buffer dx, enum gn_rig_buffer dout, const gn_act *pre, gn_act *act_out,
                   int N, int K)
{
	r->be->linear_dx(r->ctx, gn_rig_at(r, dx), gn_rig_at(r, dout), gn_rig_at(r, GN_RIG_W), pre, GN_ACT_GELU,
	                 act_out, r->M, N, K);
}

static void do_fc2_dx_plain(struct gn_rig *r)
{
	run_dx(r, GN_RIG_ACT, GN_RIG_X, NULL, NULL, C, 4 * C);
}

static void do_fc2_dx(struct gn_rig *r)
{
	run_dx(r, GN_RIG_ACT, GN_RIG_X, gn_rig_at(r, GN_RIG_PRE), NULL, C, 4 * C);
}

/* A step puts the activation where `pre` was. Here it goes where the bytes are as many and the
 * numbers stay what they are. */
static void do_fc2_dx_act(struct gn_rig *r)
{
	run_dx(r, GN_RIG_ACT, GN_RIG_X, gn_rig_at(r, GN_RIG_PRE), gn_rig_at(r, GN_RIG_WIDE), C, 4 * C);
}

static void do_fc1_dx(struct gn_rig *r)
{
	run_dx(r, GN_RIG_OUT, GN_RIG_WIDE, NULL, NULL, 4 * C, C);
}

static void do_proj_dx(struct gn_rig *r)
{
	run_dx(r, GN_RIG_OUT, GN_RIG_X, NULL, NULL, C, C);
}

static void do_qkv_dx(struct gn_rig *r)
{
	run_dx(r, GN_RIG_OUT, GN_RIG_QKV, NULL, NULL, 3 * C, C);
}

static void run_dw(struct gn_rig *r, enum gn_rig_buffer dout, enum gn_rig_buffer x, int N, int K)
{
	r->be->linear_dw(r->ctx, gn_rig_at(r, GN_RIG_GRADIENT), r->d_vector, gn_rig_at(r, dout), gn_rig_at(r, x), false,
	                 r->M, N, K);
}

static void do_fc2_dw(struct gn_rig *r)
{
	run_dw(r, GN_RIG_X, GN_RIG_WIDE, C, 4 * C);
}

static void do_fc1_dw(struct gn_rig *r)
{
	run_dw(r, GN_RIG_WIDE, GN_RIG_X, 4 * C, C);
}

static void do_proj_dw(struct gn_rig *r)
{
	run_dw(r, GN_RIG_Y, GN_RIG_X, C, C);
}

static void do_qkv_dw(struct gn_rig *r)
{
	run_dw(r, GN_RIG_QKV, GN_RIG_X, 3 * C, C);
}

/* ---------------------------------------------------------------- the rest of a pass
 * ----------------------------- */

static void do_attention(struct gn_rig *r)
{
	r->be->attention(r->ctx, gn_rig_at(r, GN_RIG_OUT), gn_rig_at(r, GN_RIG_LSE), gn_rig_at(r, GN_RIG_QKV), r->B, T,
	                 T, H, C / H);
}

static void do_attention_backward(struct gn_rig *r)
{
	r->be->attention_backward(r->ctx, gn_rig_at(r, GN_RIG_DQKV), gn_rig_at(r, GN_RIG_X), gn_rig_at(r, GN_RIG_QKV),
	                          gn_rig_at(r, GN_RIG_OUT), gn_rig_at(r, GN_RIG_LSE), r->B, T, T, H, C / H);
}

static void do_layernorm(struct gn_rig *r)
{
	r->be->layernorm(r->ctx, gn_rig_at(r, GN_RIG_OUT), gn_rig_at(r, GN_RIG_X), r->vector, r->vector, 1e-6f, r->M,
	                 C);
}

static void do_layernorm_backward(struct gn_rig *r)
{
	const gn_act *y = gn_rig_at(r, GN_RIG_Y);

	r->be->layernorm_backward(r->ctx, gn_rig_at(r, GN_RIG_OUT), r->d_vector, r->d_vector + C,
	                          gn_rig_at(r, GN_RIG_ACT), y, y, gn_rig_at(r, GN_RIG_X), r->vector, r->vector, 1e-6f,
	                          r->M, C);
}

static void do_embed(struct gn_rig *r)
{
	r->be->embed(r->ctx, gn_rig_at(r, GN_RIG_OUT), gn_rig_at(r, GN_RIG_IMAGES), gn_rig_at(r, GN_RIG_W), r->vector,
	             gn_rig_at(r, GN_RIG_MASTER), 1, &(const float *){r->vector}, 1, r->B, SIDE, PATCH, C);
}

static void do_embed_backward(struct gn_rig *r)
{
	r->be->embed_backward(r->ctx, gn_rig_at(r, GN_RIG_GRADIENT), r->d_vector, r->d_tokens, 1,
	                      &(float *){r->d_vector}, 1, gn_rig_at(r, GN_RIG_X), gn_rig_at(r, GN_RIG_IMAGES), r->B,
	                      SIDE, PATCH, C);
}

static void do_pool(struct gn_rig *r)
{
	r->be->pool(r->ctx, gn_rig_at(r, GN_RIG_OUT), gn_rig_at(r, GN_RIG_X), 1, T - 1, r->B, T, C);
}

static void do_cross_entropy(struct gn_rig *r)
{
	r->be->cross_entropy(r->ctx, r->losses, gn_rig_at(r, GN_RIG_D_LOGITS), r->numbers, gn_rig_at(r, GN_RIG_LOGITS),
	                     r->labels, NULL, 0.1f, r->B, CLASSES);
}

/* ---------------------------------------------------------------- weights
 * ---------------------------------------- */

static void do_grad_norm(struct gn_rig *r)
{
	r->be->grad_norm(r->ctx, r->numbers, r->list);
}

static void do_adamw(struct gn_rig *r)
{
	r->be->adamw(r->ctx, r->list, &(struct gn_adamw){.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f}, r->numbers);
}

static void do_sgd(struct gn_rig *r)
{
	r->be->sgd(r->ctx, r->list, 0.9f, r->numbers);
}

static void do_cast(struct gn_rig *r)
{
	r->be->cast_mat(r->ctx, gn_rig_at(r, GN_RIG_W), gn_rig_at(r, GN_RIG_MASTER), WEIGHTS);
}

static void do_pair_sums(struct gn_rig *r)
{
	double sums[2];

	r->be->pair_sums(r->ctx, sums, gn_rig_at(r, GN_RIG_MASTER), gn_rig_at(r, GN_RIG_GRADIENT), WEIGHTS, 1, 1, true);
}

static void do_soup_add(struct gn_rig *r)
{
	r->be->soup_add(r->ctx, gn_rig_at(r, GN_RIG_SUMS), gn_rig_at(r, GN_RIG_GRADIENT), 0.5, WEIGHTS, false);
}

static void do_soup_mean(struct gn_rig *r)
{
	r->be->soup_mean(r->ctx, gn_rig_at(r, GN_RIG_MASTER), gn_rig_at(r, GN_RIG_SUMS), 2, WEIGHTS);
}

/* All gradients of a run lie side by side. */
static void do_zero(struct gn_rig *r)
{
	const struct gn_rig_copies *gradients = &r->buffers[GN_RIG_GRADIENT];

	r->be->zero(r->ctx, gradients->memory, gradients->bytes * (size_t)gradients->count);
}

/* ---------------------------------------------------------------- costs
 * ------------------------------------------ */

/* Operations, and numbers that must move, of which the one that takes longer at the ceilings is
 * the floor. */
struct cost {
	const char *name;
	gn_rig_work *work;
	double flops, acts, floats; /* acts: numbers of the activation type, or of weights as products read them */
	bool waits;
};

static int report(struct gn_rig *r, const char *name, const struct cost *cost, const struct gn_bench_ceilings *most,
                  struct gn_error *err)
{
	double seconds;

	if (!gn_bench_wants(r->options, "device", name))
		return 0;
	if (gn_rig_measure(&seconds, r, cost->work, cost->waits, err))
		return -1;
	gn_bench_cost_row(r->options, "device", name, seconds, cost->flops,
	                  cost->acts * (double)r->be->act_bytes + 4 * cost->floats, most);
	return 0;
}

/* What a step does to every image. */
static int report_pass(struct gn_rig *r, const struct gn_bench_ceilings *most, struct gn_error *err)
{
	const double MC = (double)r->M * C, CC = (double)C * C, scores = 4.0 * r->B * T * T * C;
	const double pixels = (double)r->B * PIXELS, logits = (double)r->B * CLASSES;
	const struct cost costs[] = {
	    {"embedding", do_embed, 2 * pixels * C, MC + CC, pixels + (double)T * C, false},
	    {"layer norm", do_layernorm, 0, 2 * MC, 0, false},
	    {"qkv", do_qkv, 6 * MC * C, 4 * MC + 3 * CC, 0, false},
	    {"attention", do_attention, scores, 4 * MC, (double)r->M * H, false},
	    {"proj, residual", do_proj, 2 * MC * C, 3 * MC + CC, 0, false},
	    {"fc1 alone", do_fc1_plain, 8 * MC * C, 5 * MC + 4 * CC, 0, false},
	    {"fc1, GELU", do_fc1, 8 * MC * C, 9 * MC + 4 * CC, 0, false},
	    {"fc2, residual", do_fc2, 8 * MC * C, 6 * MC + 4 * CC, 0, false},
	    {"mean over tokens", do_pool, 0, MC, 0, false},
	    {"cross-entropy", do_cross_entropy, 0, logits, logits, false},
	    {"fc2 input gradient alone", do_fc2_dx_plain, 8 * MC * C, 5 * MC + 4 * CC, 0, false},
	    {"fc2 input gradient, GELU", do_fc2_dx, 8 * MC * C, 9 * MC + 4 * CC, 0, false},
	    {"fc2 input gradient, GELU and its output", do_fc2_dx_act, 8 * MC * C, 13 * MC + 4 * CC, 0, false},
	    {"fc2 weight gradient", do_fc2_dw, 8 * MC * C, 5 * MC, 4 * CC, false},
	    {"fc1 weight gradient", do_fc1_dw, 8 * MC * C, 5 * MC, 4 * CC, false},
	    {"fc1 input gradient", do_fc1_dx, 8 * MC * C, 5 * MC + 4 * CC, 0, false},
	    {"layer norm backward", do_layernorm_backward, 0, 5 * MC, 0, false},
	    {"proj weight gradient", do_proj_dw, 2 * MC * C, 2 * MC, CC, false},
	    {"proj input gradient", do_proj_dx, 2 * MC * C, 2 * MC + CC, 0, false},
	    {"attention backward", do_attention_backward, 2.5 * scores, 8 * MC, (double)r->M * H, false},
	    {"qkv weight gradient", do_qkv_dw, 6 * MC * C, 4 * MC, 3 * CC, false},
	    {"qkv input gradient", do_qkv_dx, 6 * MC * C, 4 * MC + 3 * CC, 0, false},
	    {"embedding backward", do_embed_backward, 2 * pixels * C, MC, pixels + 2 * CC + 2.0 * T * C, false},
	};

	for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
		char name[72];

		snprintf(name, sizeof name, "%s batch %d", costs[i].name, r->B);
		if (report(r, name, &costs[i], most, err))
			return -1;
	}
	return 0;
}

/* What is done to weights, whatever the batch. The optimisers and zero() work on all copies in
 * one call. */
static int report_weights(struct gn_rig *r, const struct gn_bench_ceilings *most, struct gn_error *err)
{
	const double all = (double)WEIGHTS * r->buffers[GN_RIG_MASTER].count;
	const double cast = r->be->mat_bytes == sizeof(float) ? 0 : all;
	const struct cost costs[] = {
	    {"gradient norm", do_grad_norm, 0, 0, all, false},
	    {"AdamW", do_adamw, 0, cast, 7 * all, false},
	    {"SGD", do_sgd, 0, cast, 5 * all, false},
	    {"weights as products read them", do_cast, 0, WEIGHTS, WEIGHTS, false},
	    {"sums for an angle", do_pair_sums, 0, 0, 2.0 * WEIGHTS, true},
	    {"soup, a model added", do_soup_add, 0, 0, 5.0 * WEIGHTS, false}, /* a sum is two floats long */
	    {"soup, the mean", do_soup_mean, 0, 0, 3.0 * WEIGHTS, false},
	    {"zeroing of gradients", do_zero, 0, 0, all, false},
	};

	for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++)
		if (report(r, costs[i].name, &costs[i], most, err))
			return -1;
	return 0;
}

int gn_bench_device(struct gn_bench_ceilings *most, const struct gn_bench_options *options, struct gn_error *err)
{
	int batches[GN_BENCH_BATCHES], count = gn_bench_batches(batches, options), result = 0;

	for (int i = 0; i < count && result == 0; i++) {
		struct gn_rig r = {0};

		result = gn_rig_open(&r, options, batches[i], err);
		if (result == 0 && i == 0)
			result = gn_rig_ceilings(most, &r, err);
		if (result == 0)
			result = report_pass(&r, most, err);
		if (result == 0 && i == 0)
			result = report_weights(&r, most, err);
		gn_rig_release(&r);
	}
	return result;
}
