/*
 * Ten optimiser steps against torch.optim and timm's parameter groups (golden/; see README.md):
 * AdamW and SGD with weight decay, clipping, the warm-up and cosine schedule, label smoothing,
 * layer decay, and a partial strategy.
 *
 * Tolerance: Adam divides each gradient by its own size, so an element whose gradient is nearly
 * nothing amplifies rounding; its effect on the loss is as small as its gradient. Losses must agree
 * to 1e-4 relative, with a floor of 1e-2 of the first loss; a tensor's change over the ten steps to
 * 1e-3 of its norm. A decay, clip or rate applied wrongly changes either by 1e-2 and more.
 */
#include "tests/support/golden_trial.h"

#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEPS            10
#define LOSS_TOLERANCE   1e-4
#define CHANGE_TOLERANCE 1e-3
/* Adam takes steps of one size whatever the gradient: where bf16 turns the sign of a small one, an
 * element goes the other way. */
#define BF16_LOSS_TOLERANCE   0.06
#define BF16_CHANGE_TOLERANCE 0.3

struct recipe {
	const char *name;
	enum gn_strategy_kind strategy;
	enum gn_optimizer optimizer;
	double lr, label_smoothing, layer_decay;
};
static const struct recipe recipes[] = {
    {"adamw", GN_FULL, GN_ADAMW, 1e-3, 0, 1},    {"attention", GN_ATTENTION, GN_ADAMW, 1e-3, 0, 1},
    {"smooth", GN_FULL, GN_ADAMW, 1e-3, 0.1, 1}, {"decay75", GN_FULL, GN_ADAMW, 1e-3, 0, 0.75},
    {"sgd", GN_FULL, GN_SGD, 0.02, 0, 1},
};

/* The optimiser's list for the tuned tensors. */
static struct gn_opt_list *list_tensors(struct trial *t, const struct recipe *r)
{
	const struct gn_layout *layout = &t->model->layout;
	struct gn_opt_tensor *list = calloc((size_t)layout->count, sizeof *list);
	struct gn_opt_list *made;
	int count = 0;

	assert_non_null(list);

	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *tensor = &layout->tensors[i];

		if (t->tuned[i])
			list[count++] = (struct gn_opt_tensor){
			    .weight = t->on.weights + tensor->offset,
			    .grad = t->on.gradients + tensor->offset,
			    .m = t->on.m + tensor->offset,
			    .v = r->optimizer == GN_ADAMW ? t->on.v + tensor->offset : NULL,
			    .mat = t->on.tensors[i] != t->on.weights + tensor->offset ? t->on.tensors[i] : NULL,
			    .n = tensor->numel,
			    .lr_scale = gn_layer_scale(tensor, &t->model->arch, r->layer_decay),
			    .decay = tensor->no_decay ? 0 : 0.05f};
	}
	made = t->backend->opt_list_new(t->device->ctx, list, count, NULL);
	assert_non_null(made);
	free(list);
	return made;
}

static void step(struct trial *t, const struct recipe *r, const struct gn_opt_list *list, int number)
{
	const struct gn_run_config config = {.lr = r->lr, .schedule = GN_COSINE};
	const struct gn_plan plan = {.steps = STEPS, .warmup_steps = 1};
	const struct gn_adamw adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
	struct gn_step_numbers numbers = {.lr = gn_schedule_lr(&config, &plan, number),
	                                  .clip_norm = 1,
	                                  .correct1 = 1 - pow((double)adamw.beta1, number + 1),
	                                  .correct2 = 1 - pow((double)adamw.beta2, number + 1),
	                                  .step = number + 1};

	struct gn_step_numbers *on = trial_numbers(t, &numbers);

	t->backend->grad_norm(t->device->ctx, on, list);
	if (r->optimizer == GN_ADAMW)
		t->backend->adamw(t->device->ctx, list, &adamw, on);
	else
		t->backend->sgd(t->device->ctx, list, 0.9f, on);
}

/* How far the tensor's summary (README.md) is off, relative to the norm of its change. */
static double change_off(const struct trial *t, int index, const float *wanted)
{
	const struct gn_tensor *tensor = &t->model->layout.tensors[index];
	const float *before = t->model->tensors[index], *after = t->weights + tensor->offset;
	size_t third = tensor->role == GN_QKV_B ? tensor->numel / 3 : 0;
	double squares = 0, sum = 0, off = 0;

	for (size_t i = 0; i < tensor->numel; i++) {
		double change = (double)after[i] - (double)before[i];

		if (third && i >= third && i < 2 * third) /* no gradient but rounding */
			continue;
		squares += change * change;
		sum += change;
	}
	off = fabs(sqrt(squares) - (double)wanted[0]) + fabs(sum - (double)wanted[1]) / sqrt((double)tensor->numel);
	for (size_t i = 0; i < 8 && i < tensor->numel; i++)
		off = fmax(off, fabs((double)after[i] - (double)wanted[2 + i]));
	return off / fmax((double)wanted[0], 1e-6);
}

static int check_changes(const struct trial *t, const struct recipe *r, const struct golden *ref, const char *name)
{
	const struct gn_layout *layout = &t->model->layout;
	double worst = 0;
	const char *at = "";
	int wrong = 0;

	for (int i = 0; i < layout->count; i++) {
		const char *tensor = layout->tensors[i].name;
		size_t numel = layout->tensors[i].numel, kept = 2 + (numel < 8 ? numel : 8);
		double off = change_off(t, i, golden_get(ref, kept, "%s.step10.%s", r->name, tensor));

		if (!(off <= (t->tuned[i] ? golden_tolerance(CHANGE_TOLERANCE, BF16_CHANGE_TOLERANCE) : 0))) {
			print_message("%s, %s: change of %s off by %.1e\n", name, r->name, tensor, off);
			wrong++;
		}
		if (!(off <= worst)) {
			worst = off;
			at = tensor;
		}
	}
	print_message("%-20s %-10s changes off by %.1e at most (%s)\n", name, r->name, worst, at);
	return wrong;
}

static int check_recipe(const char *name, const struct recipe *r, const struct gn_model *model,
                        const struct golden *ref)
{
	const float *losses = golden_get(ref, STEPS + 1, "%s.losses", r->name);
	struct gn_strategy strategy = {.kind = r->strategy};
	bool *tuned = calloc((size_t)model->layout.count, sizeof *tuned);
	struct gn_error err = {0};
	struct gn_opt_list *list;
	struct trial t;
	double worst = 0;
	int wrong;

	assert_non_null(tuned);
	assert_int_equal(gn_strategy_select(tuned, &model->layout, &strategy, &err), 0);
	t = trial_new(model, tuned, ref);
	list = list_tensors(&t, r);
	for (int i = 0; i <= STEPS; i++) {
		double loss, off;

		trial_forward(&t);
		loss = trial_loss(&t, NULL, (float)r->label_smoothing);
		off = fabs(loss - (double)losses[i]) / fmax((double)losses[i], 1e-2 * (double)losses[0]);
		if (!(off <= worst))
			worst = off;
		if (i == STEPS)
			break;
		trial_backward(&t);
		step(&t, r, list, i);
	}
	print_message("%-20s %-10s losses off by %.1e at most\n", name, r->name, worst);
	wrong = !(worst <= golden_tolerance(LOSS_TOLERANCE, BF16_LOSS_TOLERANCE));
	trial_pull(&t);
	wrong += check_changes(&t, r, ref, name);
	t.backend->opt_list_free(t.device->ctx, list);
	trial_release(&t);
	free(tuned);
	return wrong;
}

static void walks_as_torch(void **state)
{
	int wrong = 0, checked = 0;

	for (size_t i = 0; i < golden_case_count; i++) {
		struct golden ref = golden_open(golden_cases[i].name);
		struct gn_model *model = golden_import(&golden_cases[i], &ref, *state, 0);

		for (size_t r = 0; r < sizeof recipes / sizeof *recipes; r++) {
			char losses[32];
			size_t n;

			snprintf(losses, sizeof losses, "%s.losses", recipes[r].name);
			if (!golden_find(&ref, losses, &n))
				continue;
			wrong += check_recipe(golden_cases[i].name, &recipes[r], model, &ref);
			checked++;
		}
		gn_model_close(model);
		golden_release(&ref);
	}
	assert_int_equal(checked, 28);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(walks_as_torch),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
