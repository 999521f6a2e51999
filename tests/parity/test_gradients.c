/*
 * Loss and every gradient against PyTorch's autograd through timm, transformers and torchvision
 * (golden/; see README.md).
 *
 * Tolerance: relative to the largest element of the same tensor's gradient, with a floor of 1e-3 of
 * the largest gradient of the whole model for tensors whose true gradient is nothing (a qkv bias's
 * key third, which softmax does not see). A backward pass of two or three blocks in float32 is a
 * sum of some hundred terms of mixed sign: 1e-5 allows other orders of summation, and is far below
 * the error of any missing or repeated term.
 */
#include "tests/support/golden_trial.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 1e-5
/* tiny random networks: 8 bits in each factor, through two or three blocks forward and back */
#define BF16_TOLERANCE 0.1

static int check_losses(struct trial *t, const struct golden *ref, const char *name)
{
	static const struct {
		const char *name;
		bool weights;
		float smoothing;
	} kinds[] = {{"smooth", false, 0.1f}, {"weighted", true, 0}, {"both", true, 0.1f}, {"plain", false, 0}};
	size_t classes = (size_t)t->model->arch.classes, count = (size_t)t->batch * classes;
	double worst = 0, d_worst = 0;

	for (int k = 0; k < 4; k++) {
		const float *weights = kinds[k].weights ? golden_get(ref, classes, "class_weights") : NULL;
		const float *wanted = golden_get(ref, count, "dlogits.%s", kinds[k].name);
		double value = (double)*golden_get(ref, 1, "loss.%s", kinds[k].name);

		worst = fmax(worst, fabs(trial_loss(t, weights, kinds[k].smoothing) / value - 1));
		d_worst = fmax(d_worst, golden_difference(t->d_logits, wanted, count) / golden_scale(wanted, count));
	}
	print_message("%-28s loss off by %.1e, its gradient by %.1e\n", name, worst, d_worst);
	return !(worst <= golden_tolerance(TOLERANCE, BF16_TOLERANCE)) +
	       !(d_worst <= golden_tolerance(TOLERANCE, BF16_TOLERANCE));
}

static int check_gradients(const struct trial *t, const struct golden *ref, const char *name)
{
	const struct gn_layout *layout = &t->model->layout;
	double floor = 0, worst = 0;
	const char *at = "";
	int wrong = 0;

	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *tensor = &layout->tensors[i];

		floor = fmax(
		    floor, 1e-3 * golden_scale(golden_get(ref, tensor->numel, "grad.%s", tensor->name), tensor->numel));
	}
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *tensor = &layout->tensors[i];
		const float *wanted = golden_get(ref, tensor->numel, "grad.%s", tensor->name);
		double scale = fmax(golden_scale(wanted, tensor->numel), floor);
		double off = golden_difference(t->gradients + tensor->offset, wanted, tensor->numel) / scale;

		if (!t->tuned[i])
			continue;
		if (!(off <= golden_tolerance(TOLERANCE, BF16_TOLERANCE))) {
			print_message("%s: gradient of %s off by %.1e\n", name, tensor->name, off);
			wrong++;
		}
		if (!(off <= worst)) {
			worst = off;
			at = tensor->name;
		}
	}
	print_message("%-28s gradients off by %.1e at most (%s)\n", name, worst, at);
	return wrong;
}

static int check_case(const char *name, const struct gn_model *model, const struct golden *ref, const bool *tuned)
{
	struct trial t = trial_new(model, tuned, ref);
	int wrong;

	trial_forward(&t);
	wrong = check_losses(&t, ref, name);
	trial_backward(&t);
	trial_pull(&t);
	wrong += check_gradients(&t, ref, name);
	trial_release(&t);
	return wrong;
}

static void gives_autograds_gradients(void **state)
{
	struct gn_strategy full = {.kind = GN_FULL};
	int wrong = 0, checked = 0;

	for (size_t i = 0; i < golden_case_count; i++) {
		struct golden ref = golden_open(golden_cases[i].name);
		struct gn_error err = {0};
		struct gn_model *model;
		bool *tuned;
		size_t n;

		if (golden_find(&ref, "grad.cls_token", &n) || golden_find(&ref, "grad.pos_embed", &n)) {
			model = golden_import(&golden_cases[i], &ref, *state, 0);
			tuned = calloc((size_t)model->layout.count, sizeof *tuned);
			assert_non_null(tuned);
			assert_int_equal(gn_strategy_select(tuned, &model->layout, &full, &err), 0);
			wrong += check_case(golden_cases[i].name, model, &ref, tuned);
			free(tuned);
			gn_model_close(model);
			checked++;
		}
		golden_release(&ref);
	}
	assert_int_equal(checked, 23);
	assert_int_equal(wrong, 0);
}

/* A gradient does not depend on what else is tuned: what a strategy asks for is what `full`
 * gets. */
static void every_strategy_gives_the_same_gradients(void **state)
{
	static const char *const names[] = {"timm_cls", "timm_reg4", "timm_clip", "timm_deit_distilled",
	                                    "timm_gap", "timm_avg"};
	int wrong = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct golden ref = golden_open(names[i]);
		struct gn_model *model = golden_import(golden_case_named(names[i]), &ref, *state, 0);
		bool *tuned = calloc((size_t)model->layout.count, sizeof *tuned);

		assert_non_null(tuned);
		for (int kind = 0; kind < GN_CUSTOM; kind++) {
			struct gn_strategy strategy = {.kind = (enum gn_strategy_kind)kind};
			struct gn_error err = {0};
			char label[64];

			if (gn_strategy_select(tuned, &model->layout, &strategy, &err))
				fail_msg("%s: %s", err.where, err.text);
			snprintf(label, sizeof label, "%s, %s", names[i], gn_strategy_name(strategy.kind));
			wrong += check_case(label, model, &ref, tuned);
		}
		free(tuned);
		gn_model_close(model);
		golden_release(&ref);
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gives_autograds_gradients),
	    cmocka_unit_test(every_strategy_gives_the_same_gradients),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
