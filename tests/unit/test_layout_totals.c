/* The parameter totals of the published models, computed only from the architecture's shapes. */
#include "gonio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct known {
	const char *name;
	int image, patch, dim, depth, heads, classes, registers;
	size_t parameters;
};

static const struct known known[] = {
    {"Ti/16", 224, 16, 192, 12, 3, 1000, 0, 5717416},
    {"Ti/16 without head", 224, 16, 192, 12, 3, 0, 0, 5524416},
    {"S/16", 224, 16, 384, 12, 6, 1000, 0, 22050664},
    {"S/16 without head", 224, 16, 384, 12, 6, 0, 0, 21665664},
    {"B/16", 224, 16, 768, 12, 12, 1000, 0, 86567656},
    {"B/16 without head", 224, 16, 768, 12, 12, 0, 0, 85798656},
    {"B/32", 224, 32, 768, 12, 12, 1000, 0, 88224232},
    {"B/32 without head", 224, 32, 768, 12, 12, 0, 0, 87455232},
    {"B/16 at 384", 384, 16, 768, 12, 12, 1000, 0, 86859496},
    {"B/16 at 384 without head", 384, 16, 768, 12, 12, 0, 0, 86090496},
    {"L/16", 224, 16, 1024, 24, 16, 1000, 0, 304326632},
    {"L/16 without head", 224, 16, 1024, 24, 16, 0, 0, 303301632},
    {"H/14", 224, 14, 1280, 32, 16, 1000, 0, 632045800},
    {"H/14 without head", 224, 14, 1280, 32, 16, 0, 0, 630764800},
};

/* Published with a mask token of one width, which is no part of the model here. */
static const struct known dinov2[] = {
    {"DINOv2 S/14", 518, 14, 384, 12, 6, 0, 0, 22056576},
    {"DINOv2 S/14 reg4", 518, 14, 384, 12, 6, 0, 4, 22058112},
    {"DINOv2 B/14", 518, 14, 768, 12, 12, 0, 0, 86580480},
    {"DINOv2 B/14 reg4", 518, 14, 768, 12, 12, 0, 4, 86583552},
    {"DINOv2 L/14", 518, 14, 1024, 24, 16, 0, 0, 304368640},
    {"DINOv2 L/14 reg4", 518, 14, 1024, 24, 16, 0, 4, 304372736},
};

static struct gn_arch plain(const struct known *k)
{
	return (struct gn_arch){.image_size = k->image,
	                        .patch_size = k->patch,
	                        .dim = k->dim,
	                        .depth = k->depth,
	                        .heads = k->heads,
	                        .mlp_dim = 4 * k->dim,
	                        .classes = k->classes,
	                        .registers = k->registers,
	                        .pool = GN_POOL_CLS,
	                        .norm_eps = 1e-6f,
	                        .class_token = true,
	                        .pos_on_prefix = true,
	                        .qkv_bias = true,
	                        .patch_bias = true};
}

static size_t parameters(const struct gn_arch *arch)
{
	struct gn_layout layout;
	struct gn_error err = {0};
	size_t sum = 0, result;

	if (gn_layout_init(&layout, arch, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < layout.count; i++) {
		sum += layout.tensors[i].numel;
		assert_int_equal(layout.tensors[i].offset % 32, 0);
		assert_int_equal(gn_layout_find_name(&layout, layout.tensors[i].name), i);
		assert_int_equal(gn_layout_find(&layout, layout.tensors[i].role, layout.tensors[i].block), i);
	}
	assert_int_equal(sum, layout.parameters);
	result = layout.parameters;
	gn_layout_release(&layout);
	return result;
}

static void test_plain(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		struct gn_arch arch = plain(&known[i]);

		print_message("%s\n", known[i].name);
		assert_int_equal(parameters(&arch), known[i].parameters);
	}
}

static void test_dinov2(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof dinov2 / sizeof *dinov2; i++) {
		struct gn_arch arch = plain(&dinov2[i]);

		arch.layer_scale = true;
		print_message("%s\n", dinov2[i].name);
		assert_int_equal(parameters(&arch) + (size_t)arch.dim, dinov2[i].parameters);
	}
}

static void test_deit3_and_clip(void **state)
{
	static const struct known b16 = {"B/16", 224, 16, 768, 12, 12, 1000, 0, 0};
	struct gn_arch deit3 = plain(&b16), clip = plain(&b16);

	(void)state;
	deit3.layer_scale = true;
	deit3.pos_on_prefix = false;
	assert_int_equal(parameters(&deit3), 86585320);
	deit3.classes = 0;
	assert_int_equal(parameters(&deit3), 85816320);
	clip.norm_pre = true;
	clip.patch_bias = false;
	clip.classes = 512;
	assert_int_equal(parameters(&clip), 86193152);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_dinov2),
	                                   cmocka_unit_test(test_deit3_and_clip)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
