/*
 * Gradients of the whole network by central differences, for every architecture switch and every
 * strategy; and a strategy's gradients are those of full tuning, restricted to its tuned tensors.
 */
#include "backend/backend.h"
#include "base/random.h"
#include "vit/vit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH = 3 };

static const struct gn_arch plain = {.image_size = 12,
                                     .patch_size = 4,
                                     .dim = 24,
                                     .depth = 3,
                                     .heads = 3,
                                     .mlp_dim = 40,
                                     .classes = 5,
                                     .norm_eps = 1e-6f,
                                     .class_token = true,
                                     .pos_on_prefix = true,
                                     .qkv_bias = true,
                                     .patch_bias = true};

/* A network in host memory with everything that a step needs. */
struct net {
	struct gn_arch arch;
	struct gn_layout layout;
	float *weights, *gradients;
	void **tensors, **gradient_pointers;
	bool *tuned;
	struct gn_bind bind, gradient_bind;
	struct gn_gradplan plan;
	struct gn_ctx *ctx;
	struct gn_pass *pass;
	float *images;
	int32_t labels[BATCH];
};

static void net_open(struct net *n, const struct gn_arch *arch, const struct gn_strategy *strategy)
{
	struct gn_error err = {0};
	struct gn_random random;

	*n = (struct net){.arch = *arch, .labels = {1, 4, 0}};
	assert_int_equal(gn_layout_init(&n->layout, arch, &err), 0);
	size_t count = (size_t)n->layout.count, image = (size_t)(3 * arch->image_size * arch->image_size);

	n->weights = calloc(n->layout.floats, sizeof(float));
	n->gradients = calloc(n->layout.floats, sizeof(float));
	n->tensors = calloc(count, sizeof(void *));
	n->gradient_pointers = calloc(count, sizeof(void *));
	n->tuned = calloc(count, sizeof(bool));
	n->images = calloc(BATCH * image, sizeof(float));
	assert_true(n->weights && n->gradients && n->tensors && n->gradient_pointers && n->tuned && n->images);
	assert_int_equal(gn_strategy_select(n->tuned, &n->layout, strategy, &err), 0);
	for (size_t i = 0; i < count; i++) {
		const struct gn_tensor *t = &n->layout.tensors[i];
		bool gain = t->role == GN_NORM1_W || t->role == GN_NORM2_W || t->role == GN_NORM_W ||
		            t->role == GN_NORM_PRE_W || t->role == GN_LS1 || t->role == GN_LS2;

		gn_random_init(&random, 5, GN_RANDOM_INIT, (uint32_t)t->role, (uint32_t)(t->block + 1));
		gn_random_truncated_normal(&random, n->weights + t->offset, t->numel, 0.25);
		for (size_t k = 0; gain && k < t->numel; k++)
			n->weights[t->offset + k] += 1;
		n->tensors[i] = n->weights + t->offset;
		n->gradient_pointers[i] = n->tuned[i] ? n->gradients + t->offset : NULL;
	}
	gn_random_init(&random, 6, GN_RANDOM_INIT, 0, 0);
	gn_random_truncated_normal(&random, n->images, BATCH * image, 1);
	assert_int_equal(gn_bind_init(&n->bind, &n->layout, arch->depth, n->tensors, &err), 0);
	assert_int_equal(gn_bind_init(&n->gradient_bind, &n->layout, arch->depth, n->gradient_pointers, &err), 0);
	assert_int_equal(gn_gradplan_init(&n->plan, arch, &n->layout, n->tuned, &err), 0);
	assert_int_equal(gn_backend_cpu.open(&n->ctx, 0, 2, &err), 0);
	assert_int_equal(
	    gn_pass_new(&n->pass, &gn_backend_cpu, n->ctx, arch, &n->plan, BATCH, 0, arch->depth + 2, &err), 0);
}

static void net_close(struct net *n)
{
	gn_pass_free(n->pass);
	gn_backend_cpu.close(n->ctx);
	gn_gradplan_release(&n->plan);
	gn_bind_release(&n->bind);
	gn_bind_release(&n->gradient_bind);
	gn_layout_release(&n->layout);
	free(n->weights);
	free(n->gradients);
	free(n->tensors);
	free(n->gradient_pointers);
	free(n->tuned);
	free(n->images);
}

static void forward(struct net *n, bool keep)
{
	memcpy(gn_pass_input(n->pass), n->images,
	       (size_t)(BATCH * 3 * n->arch.image_size * n->arch.image_size) * sizeof(float));
	gn_vit_forward(n->pass, &n->bind, BATCH, keep);
}

/* Mean cross-entropy in double, from the logits. */
static double loss_of(struct net *n)
{
	double total = 0;

	forward(n, false);
	for (int i = 0; i < BATCH; i++) {
		const float *logits = n->pass->logits + i * n->arch.classes;
		double sum = 0;

		for (int k = 0; k < n->arch.classes; k++)
			sum += exp((double)logits[k]);
		total += log(sum) - (double)logits[n->labels[i]];
	}
	return total / BATCH;
}

static void gradients(struct net *n)
{
	struct gn_step_numbers step = {.loss_scale = 1.0f / (BATCH * (float)n->pass->shape.features)};

	memset(n->gradients, 0, n->layout.floats * sizeof(float));
	forward(n, true);
	gn_backend_cpu.cross_entropy(n->ctx, n->pass->losses, n->pass->d_logits, &step, n->pass->logits, n->labels,
	                             NULL, 0, BATCH, n->arch.classes);
	gn_vit_backward(n->pass, &n->bind, &n->gradient_bind, true, BATCH);
}

/* The slope of the loss along a direction in one tensor. The step moves the loss by about 1e-2,
 * which float32 logits resolve to 1e-4 of it. */
static double measured_slope(struct net *n, float *w, const float *direction, size_t numel, double slope)
{
	double step = 1e-2 / (fabs(slope) + 0.05), up, down;
	float *kept = malloc(numel * sizeof *kept);

	assert_non_null(kept);
	memcpy(kept, w, numel * sizeof *kept);
	for (size_t i = 0; i < numel; i++)
		w[i] = (float)((double)kept[i] + step * (double)direction[i]);
	up = loss_of(n);
	for (size_t i = 0; i < numel; i++)
		w[i] = (float)((double)kept[i] - step * (double)direction[i]);
	down = loss_of(n);
	memcpy(w, kept, numel * sizeof *kept);
	free(kept);
	return (up - down) / (2 * step);
}

/* Every tuned tensor along a random direction of length 1 mixed with the gradient's own. Returns
 * the largest error, relative to the gradient's length. */
static double check_gradients(struct net *n)
{
	double worst = 0;
	struct gn_random random;

	gradients(n);
	for (int i = 0; i < n->layout.count; i++) {
		const struct gn_tensor *t = &n->layout.tensors[i];
		float *g = n->gradients + t->offset, *direction = malloc(t->numel * sizeof(float));
		double length = 0, norm = 0, slope = 0, error;

		assert_non_null(direction);
		if (!n->tuned[i]) {
			for (size_t k = 0; k < t->numel; k++)
				assert_true(g[k] == 0);
			free(direction);
			continue;
		}
		gn_random_init(&random, 9, GN_RANDOM_INIT, (uint32_t)i, 0);
		for (size_t k = 0; k < t->numel; k++)
			length += (double)g[k] * (double)g[k];
		length = sqrt(length);
		for (size_t k = 0; k < t->numel; k++) {
			direction[k] = (float)((double)g[k] / (length + 1e-12) +
			                       gn_random_normal(&random) / sqrt((double)t->numel));
			norm += (double)direction[k] * (double)direction[k];
		}
		for (size_t k = 0; k < t->numel; k++) {
			direction[k] = (float)((double)direction[k] / sqrt(norm));
			slope += (double)direction[k] * (double)g[k];
		}
		error = fabs(measured_slope(n, n->weights + t->offset, direction, t->numel, slope) - slope) /
		        (length + 0.01);
		if (!(error <= worst))
			worst = error;
		/* a wrong or missing term is of the size of the gradient itself; curvature over the
		 * step leaves about 1e-3 */
		if (!(error <= 0.02))
			fail_msg("%s: gradient off by %.2g of its length", t->name, error);
		free(direction);
	}
	return worst;
}

static void check(const char *what, const struct gn_arch *arch, const struct gn_strategy *strategy)
{
	struct net n;
	double worst;

	net_open(&n, arch, strategy);
	worst = check_gradients(&n);
	print_message("%-28s largest error %.1e of the gradient\n", what, worst);
	net_close(&n);
}

static void test_architectures(void **state)
{
	const struct gn_strategy full = {.kind = GN_FULL};
	struct gn_arch a;

	(void)state;
	check("class token", &plain, &full);
	a = plain;
	a.qkv_bias = a.patch_bias = false;
	check("no qkv and patch bias", &a, &full);
	a = plain;
	a.pool = GN_POOL_MEAN;
	check("mean of normed patches", &a, &full);
	a.norm_after_pool = true;
	check("mean, then fc_norm", &a, &full);
	a.class_token = a.pos_on_prefix = false;
	check("no class token", &a, &full);
	a = plain;
	a.registers = 4;
	a.layer_scale = true;
	check("registers and layer scale", &a, &full);
	a = plain;
	a.pos_on_prefix = false;
	check("class token without position", &a, &full);
	a = plain;
	a.distilled = true;
	check("distillation token, one head", &a, &full);
	a.dist_head = true;
	check("distillation token, two heads", &a, &full);
	a = plain;
	a.norm_pre = true;
	a.activation = GN_ACT_QUICK_GELU;
	check("norm_pre, quick GELU", &a, &full);
	a = plain;
	a.activation = GN_ACT_GELU_TANH;
	check("tanh GELU", &a, &full);
}

static void test_strategies(void **state)
{
	static const char *const odd_ones[] = {"blocks.1.mlp.fc2.weight", "blocks.2.attn.qkv.bias", "blocks.1.ls2",
	                                       "norm.bias", "blocks.0.ls1"};
	static const char *const upper[] = {"blocks.2.mlp.fc1.bias", "blocks.2.ls1"}, *const only_fc2[] = {
	                                                                                  "blocks.1.mlp.fc2"};
	static const char *const final[] = {"norm"}, *const embedding[] = {"norm_pre.bias", "cls_token"},
	                         *const qkv[] = {"blocks.1.attn.qkv.weight"};
	static const struct {
		const char *const *patterns;
		int count;
	} customs[] = {{odd_ones, 5}, {upper, 2}, {only_fc2, 1}, {final, 1}, {embedding, 2}, {qkv, 1}};
	struct gn_arch a = plain;

	(void)state;
	a.layer_scale = a.norm_pre = true;
	for (int kind = 0; kind < GN_CUSTOM; kind++) {
		struct gn_strategy strategy = {.kind = (enum gn_strategy_kind)kind};

		check(gn_strategy_name(strategy.kind), &a, &strategy);
	}
	for (size_t i = 0; i < sizeof customs / sizeof customs[0]; i++) {
		struct gn_strategy strategy = {
		    .kind = GN_CUSTOM, .patterns = customs[i].patterns, .pattern_count = customs[i].count};

		check(customs[i].patterns[0], &a, &strategy);
		a.pool = GN_POOL_MEAN; /* once more without the short last block */
		check(customs[i].patterns[0], &a, &strategy);
		a.pool = GN_POOL_CLS;
	}
}

/* The gradients of a part are those of the whole, to the bit: leaving work out changes nothing
 * else. */
static void test_part_of_full(void **state)
{
	struct net full, part;

	(void)state;
	net_open(&full, &plain, &(struct gn_strategy){.kind = GN_FULL});
	gradients(&full);
	for (int kind = GN_LINEAR; kind < GN_CUSTOM; kind++) {
		net_open(&part, &plain, &(struct gn_strategy){.kind = (enum gn_strategy_kind)kind});
		gradients(&part);
		for (int i = 0; i < part.layout.count; i++) {
			const struct gn_tensor *t = &part.layout.tensors[i];

			if (part.tuned[i])
				assert_memory_equal(part.gradients + t->offset, full.gradients + t->offset,
				                    t->numel * sizeof(float));
		}
		net_close(&part);
	}
	net_close(&full);
}

/* A pass that starts from the kept output of the frozen prefix gives the same gradients. */
static void test_from_the_prefix(void **state)
{
	struct net n;
	struct gn_error err = {0};
	struct gn_pass *prefix, *rest;
	struct gn_step_numbers step = {.loss_scale = 1.0f / BATCH};
	float *want;

	(void)state;
	net_open(&n, &plain, &(struct gn_strategy){.kind = GN_LAST_THIRD});
	gradients(&n);
	want = malloc(n.layout.floats * sizeof *want);
	assert_non_null(want);
	memcpy(want, n.gradients, n.layout.floats * sizeof *want);
	assert_int_equal(n.plan.frozen_blocks, 2);
	assert_int_equal(gn_pass_new(&prefix, &gn_backend_cpu, n.ctx, &n.arch, NULL, BATCH, 0, 2, &err), 0);
	assert_int_equal(gn_pass_new(&rest, &gn_backend_cpu, n.ctx, &n.arch, &n.plan, BATCH, 2, n.arch.depth + 2, &err),
	                 0);
	memcpy(gn_pass_input(prefix), n.images,
	       (size_t)(BATCH * 3 * n.arch.image_size * n.arch.image_size) * sizeof(float));
	gn_vit_forward(prefix, &n.bind, BATCH, false);
	memcpy(gn_pass_input(rest), gn_pass_output(prefix), BATCH * gn_cut_floats(&rest->shape, 2) * sizeof(float));
	gn_pass_free(n.pass);
	n.pass = rest;
	memset(n.gradients, 0, n.layout.floats * sizeof(float));
	gn_vit_forward(rest, &n.bind, BATCH, true);
	gn_backend_cpu.cross_entropy(n.ctx, rest->losses, rest->d_logits, &step, rest->logits, n.labels, NULL, 0, BATCH,
	                             n.arch.classes);
	gn_vit_backward(rest, &n.bind, &n.gradient_bind, true, BATCH);
	assert_memory_equal(want, n.gradients, n.layout.floats * sizeof(float));
	gn_pass_free(prefix);
	free(want);
	net_close(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_architectures),
	    cmocka_unit_test(test_strategies),
	    cmocka_unit_test(test_part_of_full),
	    cmocka_unit_test(test_from_the_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
