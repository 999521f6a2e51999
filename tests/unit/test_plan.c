/*
 * Strategies and plans: the published parameter counts (docs/method.md, "Strategies"), patterns,
 * the ideal costs (there, "Costs"), and plans that refuse.
 */
#include "gonio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct gn_arch vit_b16 = {.image_size = 224,
                                       .patch_size = 16,
                                       .dim = 768,
                                       .depth = 12,
                                       .heads = 12,
                                       .mlp_dim = 3072,
                                       .classes = 1000,
                                       .norm_eps = 1e-6f,
                                       .class_token = true,
                                       .pos_on_prefix = true,
                                       .qkv_bias = true,
                                       .patch_bias = true};

static struct gn_run_config defaults(enum gn_strategy_kind kind)
{
	return (struct gn_run_config){.strategy = {.kind = kind},
	                              .epochs = 10,
	                              .batch_size = 64,
	                              .lr = 1e-4,
	                              .weight_decay = 0.05,
	                              .clip_norm = 1,
	                              .layer_decay = 1,
	                              .warmup_steps = -1,
	                              .eval_every_epochs = 1,
	                              .checkpoint_every_seconds = 60};
}

static struct gn_plan plan_of(const struct gn_arch *arch, const struct gn_run_config *config, int classes)
{
	struct gn_error err = {0};
	struct gn_plan plan;

	if (gn_plan_make(&plan, arch, config, classes, 1000, 200, (uint64_t)64 << 30, &err))
		fail_msg("%s: %s", err.where, err.text);
	return plan;
}

static void test_published_counts(void **state)
{
	/*
	 * docs/method.md, "Strategies": ViT-B/16 with 100 classes; thirds from one block's
	 * 7,087,872; norm and bias by counting
	 */
	static const struct {
		enum gn_strategy_kind kind;
		size_t tuned;
	} want[] = {
	    {GN_FULL, 85875556},
	    {GN_LINEAR, 76900},
	    {GN_ATTENTION, 28443748},
	    {GN_FFN, 56764516},
	    {GN_FIRST_THIRD, 4 * 7087872 + 76900},
	    {GN_MIDDLE_THIRD, 4 * 7087872 + 76900},
	    {GN_LAST_THIRD, 4 * 7087872 + 76900},
	    {GN_ODD, 6 * 7087872 + 76900},
	    {GN_EVEN, 6 * 7087872 + 76900},
	    {GN_NORM, 25 * 1536 + 76900},
	    {GN_BIAS, 12 * (768 + 2304 + 768 + 768 + 3072 + 768) + 768 + 768 + 76900},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct gn_run_config config = defaults(want[i].kind);
		struct gn_plan plan = plan_of(&vit_b16, &config, 100);

		assert_int_equal(plan.tuned_parameters, want[i].tuned);
		assert_int_equal(plan.total_parameters, 85875556);
	}
}

/*
 * FAPFT in docs/method.md, "Strategies": seven layers of each group, whichever they are; with its
 * norm a layer is what one would write in patterns.
 */
static void test_seven_and_seven_layers(void **state)
{
	static const char *const patterns[] = {"blocks.{0..6}.attn", "blocks.{0..6}.norm1", "blocks.{5..11}.mlp",
	                                       "blocks.{5..11}.norm2"};
	static const char *const layers[] = {"blocks.0.attn", "blocks.1.attn", "blocks.2.attn", "blocks.3.attn",
	                                     "blocks.4.attn", "blocks.5.attn", "blocks.6.attn", "blocks.5.mlp",
	                                     "blocks.6.mlp",  "blocks.7.mlp",  "blocks.8.mlp",  "blocks.9.mlp",
	                                     "blocks.10.mlp", "blocks.11.mlp"};
	struct gn_run_config custom = defaults(GN_CUSTOM), angle = defaults(GN_ANGLE);
	struct gn_plan plan;

	(void)state;
	custom.strategy.patterns = patterns;
	custom.strategy.pattern_count = 4;
	assert_int_equal(plan_of(&vit_b16, &custom, 100).tuned_parameters, 49692004);
	angle.strategy.layers = layers;
	angle.strategy.layer_count = 14;
	plan = plan_of(&vit_b16, &angle, 100);
	assert_int_equal(plan.tuned_parameters, 49692004);
	assert_int_equal(plan.lowest_tuned_block, 0);
	angle.strategy.layers = layers + 7;
	angle.strategy.layer_count = 7;
	assert_int_equal(plan_of(&vit_b16, &angle, 100).frozen_prefix_blocks, 5);
}

static void test_layers_that_are_not_there(void **state)
{
	static const char *const wrong[] = {"blocks.12.attn", "blocks.0.norm1", "head", "blocks.-1.attn", ""};
	struct gn_run_config config = defaults(GN_ANGLE);
	struct gn_plan plan;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		const char *layers[2] = {"blocks.0.attn", wrong[i]};
		struct gn_error err = {0};

		config.strategy.layers = layers;
		config.strategy.layer_count = 2;
		assert_int_equal(gn_plan_make(&plan, &vit_b16, &config, 100, 1000, 200, 0, &err), -1);
		assert_int_equal(err.code, GN_INVALID);
		assert_string_equal(err.where, "/strategy/layers/1");
	}
	struct gn_error err = {0};
	config.strategy.layer_count = 0;
	assert_int_equal(gn_plan_make(&plan, &vit_b16, &config, 100, 1000, 200, 0, &err), -1);
	assert_string_equal(err.where, "/strategy/layers");
}

static void test_small_dinov2_counts(void **state)
{
	/*
	 * docs/method.md, "Reference run": ViT-S/14 at 112 px, 28 classes, layer scale. Attention
	 * and FFN tune their layer scale too: 12 x 384 more
	 */
	struct gn_arch arch = {.image_size = 518,
	                       .patch_size = 14,
	                       .dim = 384,
	                       .depth = 12,
	                       .heads = 6,
	                       .mlp_dim = 1536,
	                       .norm_eps = 1e-6f,
	                       .class_token = true,
	                       .pos_on_prefix = true,
	                       .qkv_bias = true,
	                       .patch_bias = true,
	                       .layer_scale = true};
	static const struct {
		enum gn_strategy_kind kind;
		size_t tuned;
	} want[] = {
	    {GN_FULL, 21565852},
	    {GN_ATTENTION, 7116316 + 12 * 384},
	    {GN_FFN, 14198812 + 12 * 384},
	    {GN_LINEAR, 10780},
	    {GN_FIRST_THIRD, 7111708},
	    {GN_LAST_THIRD, 7111708},
	    {GN_ODD, 10662172},
	    {GN_EVEN, 10662172},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct gn_run_config config = defaults(want[i].kind);

		config.image_size = 112;
		assert_int_equal(plan_of(&arch, &config, 28).tuned_parameters, want[i].tuned);
	}
}

static void test_ideal_units(void **state)
{
	static const struct {
		enum gn_strategy_kind kind;
		double units, cached;
		int frozen, lowest;
	} want[] = {
	    {GN_FULL, 36, 36, 0, 0},       {GN_ATTENTION, 28, 28, 0, 0}, {GN_FFN, 32, 32, 0, 0},
	    {GN_LAST_THIRD, 20, 12, 8, 8}, {GN_LINEAR, 12, 0, 12, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct gn_run_config config = defaults(want[i].kind);
		struct gn_plan plan = plan_of(&vit_b16, &config, 100);

		assert_true(fabs(plan.ideal_units - want[i].units) < 1e-9 &&
		            fabs(plan.ideal_units_cached - want[i].cached) < 1e-9);
		assert_int_equal(plan.frozen_prefix_blocks, want[i].frozen);
		assert_int_equal(plan.lowest_tuned_block, want[i].lowest);
		assert_int_equal(plan.prefix_cached, want[i].frozen > 0);
	}
}

/*
 * Forward products of a ViT, counted by hand; the last block's projection and FFN run on one row an
 * image.
 */
static void test_flops(void **state)
{
	double T = 197, C = 768, block = 2 * T * 12 * C * C + 4 * T * T * C;
	double last = 2 * T * 3 * C * C + 2 * 9 * C * C + 4 * T * C, patch = 2 * 196 * 768 * C, head = 2 * 100 * C;
	double forward = 11 * block + last + patch + head, d_attention = 10 * T * C;
	struct gn_run_config config = defaults(GN_LINEAR);
	struct gn_plan plan;

	(void)state;
	config.batch_size = 10;
	plan = plan_of(&vit_b16, &config, 100);
	assert_true(fabs(plan.flops_first_epoch_step / (10 * (forward + head)) - 1) < 1e-12);
	assert_true(fabs(plan.flops_per_step / (10 * 2 * head) - 1) < 1e-12);

	config = defaults(GN_FULL);
	config.batch_size = 10;
	plan = plan_of(&vit_b16, &config, 100);
	/*
	 * backward: twice every product (dX of the patches is not needed), five products of
	 * attention for two
	 */
	double backward = 11 * (2 * 2 * T * 12 * C * C + 10 * T * T * C) + 2 * (2 * T * 3 * C * C + 2 * 9 * C * C) +
	                  d_attention + patch + 2 * head;
	assert_true(fabs(plan.flops_per_step / (10 * (forward + backward)) - 1) < 1e-12);
}

/*
 * Where the head reads the mean of all tokens, nothing is left out: the count of a pass is the
 * formula.
 */
static void test_forward_flops(void **state)
{
	struct gn_arch arch = vit_b16;
	struct gn_run_config config = defaults(GN_LINEAR);
	struct gn_plan plan;
	double head = 2 * 768 * 100;

	(void)state;
	arch.pool = GN_POOL_MEAN;
	arch.classes = 100;
	plan = plan_of(&arch, &config, 100);
	assert_true(fabs(plan.flops_first_epoch_step / (config.batch_size * (gn_arch_forward_flops(&arch) + head)) -
	                 1) < 1e-12);
	assert_true(fabs(gn_arch_forward_flops(&arch) / (gn_arch_blocks_flops(&arch) + 2 * 196 * 768.0 * 768 + head) -
	                 1) < 1e-12);
}

static void test_patterns(void **state)
{
	/* tensors: how many are tuned, the head's two included */
	static const struct {
		const char *pattern;
		int tensors;
		const char *error;
	} cases[] = {
	    {"head", 2, NULL},
	    {"blocks.{8..11}.attn", 4 * 4 + 2, NULL},
	    {"blocks.*.norm1.*", 24 + 2, NULL},
	    {"*.bias", 12 * 6 + 4, NULL},
	    {"blocks.1", 12 + 2, NULL},
	    {"blocks.1?.mlp.fc1.weight", 2 + 2, NULL},
	    {"pos_embed", 1 + 2, NULL},
	    {"blocks.{0..11}.attn.qkv.weigh", 0, "matches no tensor"},
	    {"attn", 0, "matches no tensor"},
	    {"blocks.{8..", 0, "a range is written"},
	    {"blocks.{9..8}.attn", 0, "a range is written"},
	    {"", 0, "1 to 128 characters"},
	    {"*a*b*c*d*e*f*g*h*i*j*k*l*m*n*o*p*", 0, "matches no tensor"},
	    /* a star after the first place that fits is tried again further on */
	    {"*.{0..1}*.weight", 2 * 6 + 2, NULL},
	    {"*o*s*.1?.*c2", 2 * 2 + 2, NULL},
	    {"blocks.*{11..11}.*q*v*", 2 + 2, NULL},
	    {"*****************************************************************************************************"
	     "attn",
	     12 * 4 + 2, NULL},
	};
	struct gn_layout layout;
	bool *tuned;

	(void)state;
	assert_int_equal(gn_layout_init(&layout, &vit_b16, NULL), 0);
	tuned = calloc((size_t)layout.count, sizeof *tuned);
	assert_non_null(tuned);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct gn_strategy strategy = {.kind = GN_CUSTOM, .patterns = &cases[i].pattern, .pattern_count = 1};
		struct gn_error err = {0};
		int count = 0, result = gn_strategy_select(tuned, &layout, &strategy, &err);

		for (int k = 0; k < layout.count; k++)
			count += tuned[k];
		if (cases[i].error) {
			assert_int_equal(result, -1);
			assert_non_null(strstr(err.text, cases[i].error));
			assert_string_equal(err.where, "/strategy/tune/0");
		} else {
			assert_int_equal(result, 0);
			assert_int_equal(count, cases[i].tensors);
		}
	}
	free(tuned);
	gn_layout_release(&layout);
}

static void test_micro_batches(void **state)
{
	struct gn_run_config config = defaults(GN_FULL);
	struct gn_error err = {0};
	struct gn_plan plan, small;
	uint64_t less;

	(void)state;
	plan = plan_of(&vit_b16, &config, 100);
	assert_int_equal(plan.micro_batch_size, 10); /* 64 images in 7 even shares of about 2048 rows */
	less = plan.memory.total - plan.memory.pixel_cache - ((uint64_t)100 << 20); /* kept pixels give way first */
	assert_int_equal(gn_plan_make(&small, &vit_b16, &config, 100, 1000, 200, less, &err), 0);
	assert_true(small.micro_batch_size < plan.micro_batch_size);
	assert_true(small.memory.total <= less);
	config.micro_batch_size = 64;
	assert_true(plan_of(&vit_b16, &config, 100).memory.activations > 5 * plan.memory.activations);
	assert_int_equal(gn_plan_make(&small, &vit_b16, &config, 100, 1000, 200, (uint64_t)1 << 30, &err), -1);
	assert_int_equal(err.code, GN_NO_MEMORY);
	assert_non_null(strstr(err.text, "needs"));
}

/* An eighth of the machine for pixels that are kept, or what is left, in whole images; and no
 * other choice depends on it. */
static void test_kept_pixels(void **state)
{
	const uint64_t image = 3 * 224 * 224, limit = (uint64_t)16 << 30;
	struct gn_run_config config = defaults(GN_FULL);
	struct gn_error err = {0};
	struct gn_plan few, many, tight, bare;

	(void)state;
	config.augment = GN_AUGMENT_NONE;
	config.micro_batch_size = 8;
	assert_int_equal(gn_plan_make(&few, &vit_b16, &config, 100, 1000, 200, limit, &err), 0);
	assert_int_equal(few.memory.pixel_cache, 1200 * image);
	assert_int_equal(gn_plan_make(&many, &vit_b16, &config, 100, 1000000, 200, limit, &err), 0);
	assert_int_equal(many.memory.pixel_cache, limit / 8 / image * image);
	assert_int_equal(many.memory.total - many.memory.pixel_cache, few.memory.total - few.memory.pixel_cache);
	assert_int_equal(many.micro_batch_size, few.micro_batch_size);
	/* room for 10 images beside the rest */
	bare = many;
	bare.memory.total -= bare.memory.pixel_cache;
	assert_int_equal(
	    gn_plan_make(&tight, &vit_b16, &config, 100, 1000000, 200, bare.memory.total + 10 * image + 1, &err), 0);
	assert_int_equal(tight.memory.pixel_cache, 10 * image);
	assert_int_equal(tight.memory.total, bare.memory.total + 10 * image);
	config.augment = GN_AUGMENT_STANDARD; /* training images differ in each epoch */
	assert_int_equal(gn_plan_make(&few, &vit_b16, &config, 100, 1000, 200, limit, &err), 0);
	assert_int_equal(few.memory.pixel_cache, 200 * image);
	config = defaults(GN_LINEAR);
	config.augment = GN_AUGMENT_NONE; /* the frozen prefix is kept instead */
	assert_int_equal(gn_plan_make(&few, &vit_b16, &config, 100, 1000, 200, limit, &err), 0);
	assert_true(few.prefix_cached);
	assert_int_equal(few.memory.pixel_cache, 0);
}

static void test_refusals(void **state)
{
	struct gn_run_config config = defaults(GN_FULL);
	struct gn_error err = {0};
	struct gn_plan plan;

	(void)state;
	config.image_size = 225;
	assert_int_equal(gn_plan_make(&plan, &vit_b16, &config, 10, 100, 10, 0, &err), -1);
	assert_string_equal(err.where, "image_size");
	config.image_size = 0;
	config.head = GN_HEAD_KEEP;
	err = (struct gn_error){0};
	assert_int_equal(gn_plan_make(&plan, &vit_b16, &config, 10, 100, 10, 0, &err), -1);
	assert_string_equal(err.where, "head");
}

static void test_prefix_needs_fixed_pictures(void **state)
{
	struct gn_run_config config = defaults(GN_LAST_THIRD);

	(void)state;
	config.augment = GN_AUGMENT_FLIP;
	assert_false(plan_of(&vit_b16, &config, 100).prefix_cached);
	config.augment = GN_AUGMENT_NONE;
	config.epochs = 1;
	assert_false(plan_of(&vit_b16, &config, 100).prefix_cached);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_published_counts),
	    cmocka_unit_test(test_seven_and_seven_layers),
	    cmocka_unit_test(test_layers_that_are_not_there),
	    cmocka_unit_test(test_small_dinov2_counts),
	    cmocka_unit_test(test_ideal_units),
	    cmocka_unit_test(test_flops),
	    cmocka_unit_test(test_forward_flops),
	    cmocka_unit_test(test_patterns),
	    cmocka_unit_test(test_micro_batches),
	    cmocka_unit_test(test_kept_pixels),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_prefix_needs_fixed_pictures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
