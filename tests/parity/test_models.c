/*
 * Import and forward pass against timm, transformers and torchvision (golden/; see README.md): each
 * file goes through gn_model_import under its library's own names, and the logits must be the
 * library's.
 *
 * Tolerance: both sides start from the same float32 weights; the reference is computed in float64,
 * so the difference is this engine's float32 rounding alone. Two or three blocks of these widths
 * lose a few units in the last place of values near 1 (6e-8 each); 2e-6 of the largest logit leaves
 * room for other orders of summation and fails on any wrong term.
 */
#include "tests/support/golden_trial.h"
#include "tests/support/golden_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TOLERANCE 2e-6
/* tiny random networks, whose logits are small beside what they are sums of */
#define BF16_TOLERANCE 5e-2

static void check_architecture(const struct gn_arch *a, const struct golden *ref)
{
	json_t *described = json_object_get(ref->config, "architecture");
	static const char *const activations[] = {"gelu", "gelu_tanh", "quick_gelu"};

	assert_int_equal(a->image_size, golden_field(ref, "image_size"));
	assert_int_equal(a->patch_size, golden_field(ref, "patch_size"));
	assert_int_equal(a->dim, golden_field(ref, "dim"));
	assert_int_equal(a->depth, golden_field(ref, "depth"));
	assert_int_equal(a->heads, golden_field(ref, "heads"));
	assert_int_equal(a->mlp_dim, golden_field(ref, "mlp_dim"));
	assert_int_equal(a->classes, golden_field(ref, "classes"));
	assert_string_equal(activations[a->activation], json_string_value(json_object_get(described, "activation")));
	assert_string_equal(a->pool == GN_POOL_CLS ? "cls" : "mean",
	                    json_string_value(json_object_get(described, "pool")));
	assert_true(fabs((double)a->norm_eps / json_number_value(json_object_get(described, "norm_eps")) - 1) < 1e-6);
}

/* Largest difference of the logits, relative to the largest logit. */
static double logits_off(const struct gn_model *model, const float *images, const float *wanted, int batch)
{
	size_t count = (size_t)batch * (size_t)model->arch.classes;
	struct gn_device *device = golden_device();
	struct gn_infer *infer = NULL;
	struct gn_error err = {0};
	float *logits = calloc(count, sizeof *logits);
	double off;

	assert_non_null(logits);
	if (gn_infer_new(&infer, device, model, batch, &err) || gn_infer_run(infer, images, batch, logits, &err))
		fail_msg("%s: %s", err.where, err.text);
	off = golden_difference(logits, wanted, count) / golden_scale(wanted, count);
	gn_infer_free(infer);
	free(logits);
	return off;
}

static void gives_the_libraries_logits(void **state)
{
	int wrong = 0;

	for (size_t i = 0; i < golden_case_count; i++) {
		const struct golden_case *c = &golden_cases[i];
		struct golden ref = golden_open(c->name);
		struct gn_model *model = golden_import(c, &ref, *state, 0);
		const float *logits;
		size_t count;
		double off;

		check_architecture(&model->arch, &ref);
		logits = golden_find(&ref, "logits", &count);
		assert_non_null(logits);
		off = logits_off(model, golden_get(&ref, 0, "images"), logits, (int)count / model->arch.classes);
		print_message("%-20s logits off by %.1e of the largest\n", c->name, off);
		wrong += !(off <= golden_tolerance(TOLERANCE, BF16_TOLERANCE));
		gn_model_close(model);
		golden_release(&ref);
	}
	assert_int_equal(wrong, 0);
}

/* The same files at 24 px in place of 16: each scheme's own way of resizing the positions is the
 * default. */
static void resizes_as_each_library(void **state)
{
	static const char *const names[] = {"timm_avg", "hf_vit", "tv_vit", "dinov2"};
	struct golden resized = golden_open("resized");
	int wrong = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct golden ref = golden_open(names[i]);
		struct gn_model *model = golden_import(golden_case_named(names[i]), &ref, *state, 24);
		size_t count = 2 * (size_t)model->arch.classes;
		double off;

		assert_int_equal(model->arch.image_size, 24);
		off = logits_off(model, golden_get(&resized, 2 * 3 * 24 * 24, "images"),
		                 golden_get(&resized, count, "%s.logits", names[i]), 2);
		print_message("%-20s at 24 px: logits off by %.1e of the largest\n", names[i], off);
		wrong += !(off <= golden_tolerance(TOLERANCE, BF16_TOLERANCE));
		gn_model_close(model);
		golden_release(&ref);
	}
	golden_release(&resized);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gives_the_libraries_logits),
	    cmocka_unit_test(resizes_as_each_library),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
