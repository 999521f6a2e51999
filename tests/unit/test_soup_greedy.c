/* Greedy soups of random ingredients are never worse than the best one, have the reported content,
 * and continue after a stop. */
#include "tests/support/ingredients.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static double accuracy_of(const struct gn_model *model)
{
	struct gn_evaluation_report report;
	struct gn_error err = {0};
	double accuracy;

	if (gn_evaluate_model(&report,
	                      &(struct gn_evaluate_options){.device = soup_toy.device,
	                                                    .model = model,
	                                                    .dataset = soup_toy.dataset,
	                                                    .split = GN_VAL,
	                                                    .max_pixels = 1 << 20},
	                      &err))
		fail_msg("%s: %s", err.where, err.text);
	accuracy = report.accuracy;
	gn_evaluation_report_release(&report);
	return accuracy;
}

/* The result is the uniform soup of what was kept, has the accuracy that is reported, and is not
 * below the best. */
static void check_greedy(const struct soup_set *set, int *kept, int *above)
{
	struct soup_set chosen = {0};
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600], path[700];
	double best = 0;

	soup_folder(folder);
	struct gn_soup_options options = soup_options_measured(GN_SOUP_GREEDY, set, folder);
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < set->count; i++) {
		const struct gn_soup_ingredient *in = &result.ingredients[i];

		assert_true(in->val_accuracy == accuracy_of(set->models[i]));
		assert_true(in->kept == (in->weight > 0));
		best = fmax(best, in->val_accuracy);
		if (in->kept) {
			chosen.models[chosen.count++] = set->models[i];
			assert_true(fabs(in->weight * result.kept - 1) <= 1e-15);
		}
	}
	assert_int_equal(chosen.count, result.kept);
	assert_true(result.kept >= 1);
	assert_true(result.val_accuracy >= best);
	struct gn_model *soup = soup_open_result(folder), *uniform = soup_mix(GN_SOUP_UNIFORM, &chosen, NULL);
	soup_assert_same_bits(soup, uniform, true);
	assert_true(accuracy_of(soup) == result.val_accuracy);
	snprintf(path, sizeof path, "%s/candidate.safetensors", folder);
	assert_int_equal(access(path, F_OK), -1);
	*kept += result.kept;
	*above += result.val_accuracy > best;
	gn_model_close(soup);
	gn_model_close(uniform);
	gn_soup_result_release(&result);
}

static void test_greedy_on_random_sets(void **state)
{
	int models = 0, kept = 0, above = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct soup_set set = soup_models(2 + i % 5, 1000 + (uint64_t)i);

		models += set.count;
		check_greedy(&set, &kept, &above);
		soup_close_set(&set);
	}
	print_message("%d of %d models kept; better than the best ingredient in %d of 20\n", kept, models, above);
	/* the sets are not trivial: some models help and some do not */
	assert_true(kept > 20 && kept < models);
}

static void test_uniform_is_measured(void **state)
{
	struct soup_set set = soup_models(3, 5);
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	(void)state;
	soup_folder(folder);
	struct gn_soup_options options = soup_options_measured(GN_SOUP_UNIFORM, &set, folder);
	assert_int_equal(gn_soup_make(&result, &options, &err), 0);
	struct gn_model *soup = soup_open_result(folder);
	assert_true(result.val_accuracy == accuracy_of(soup));
	assert_true(result.ingredients[2].val_accuracy == accuracy_of(set.models[2]));
	assert_int_equal(result.kept, 3);
	gn_model_close(soup);
	gn_soup_result_release(&result);
	soup_close_set(&set);
}

/* ---------------------------------------------------------------- going on -------------------- */

struct watch {
	volatile int stop;
	int stop_after, steps, last_done, total;
};

static void watch_progress(void *user, const struct gn_soup_progress *progress)
{
	struct watch *watch = user;

	assert_true(progress->done > watch->last_done && progress->done <= progress->total);
	watch->last_done = progress->done;
	watch->total = progress->total;
	if (++watch->steps == watch->stop_after)
		watch->stop = 1;
}

/* Stopped after every single step, the soup ends as if never stopped. */
static void test_goes_on(void **state)
{
	struct soup_set set = soup_models(4, 77);
	struct gn_soup_result straight, resumed;
	struct gn_error err = {0};
	char folder[600], broken[600];
	int attempts = 0, failed;

	(void)state;
	soup_folder(folder);
	soup_folder(broken);
	struct gn_soup_options options = soup_options_measured(GN_SOUP_GREEDY, &set, folder);
	struct watch watch = {0};
	options.on_progress = watch_progress;
	options.user = &watch;
	assert_int_equal(gn_soup_make(&straight, &options, &err), 0);
	assert_int_equal(watch.last_done, watch.total);
	assert_int_equal(watch.total, 4 + 3 + 1);
	options.folder = broken;
	options.stop = &watch.stop;
	do {
		watch = (struct watch){.stop_after = ++attempts};
		err = (struct gn_error){0};
		failed = gn_soup_make(&resumed, &options, &err);
		assert_true(!failed || err.code == GN_CANCELLED);
	} while (failed && attempts < 20);
	print_message("done at attempt %d\n", attempts);
	assert_true(attempts > 3 && attempts < 10);
	assert_true(resumed.val_accuracy == straight.val_accuracy && resumed.kept == straight.kept);
	struct gn_model *a = soup_open_result(folder), *b = soup_open_result(broken);
	soup_assert_same_bits(a, b, true);
	gn_model_close(a);
	gn_model_close(b);
	gn_soup_result_release(&straight);
	gn_soup_result_release(&resumed);
	soup_close_set(&set);
}

static void test_state_of_another_soup(void **state)
{
	struct soup_set set = soup_models(3, 31), other = soup_models(3, 32);
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600], path[700];

	(void)state;
	soup_folder(folder);
	struct gn_soup_options options = soup_options_measured(GN_SOUP_GREEDY, &set, folder);
	assert_int_equal(gn_soup_make(&result, &options, &err), 0);
	gn_soup_result_release(&result);
	options.models = (const struct gn_model *const *)other.models;
	assert_int_equal(gn_soup_make(&result, &options, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_string_equal(err.where, "soup.bin");
	snprintf(path, sizeof path, "%s/soup.bin", folder);
	options.models = (const struct gn_model *const *)set.models;
	/* cut in a measurement, in the header, and in the magic */
	for (off_t size = 130; size > 0; size -= 60) {
		assert_int_equal(truncate(path, size), 0);
		err = (struct gn_error){0};
		assert_int_equal(gn_soup_make(&result, &options, &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
		assert_string_equal(err.where, "soup.bin");
	}
	soup_close_set(&set);
	soup_close_set(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_greedy_on_random_sets),
	    cmocka_unit_test(test_uniform_is_measured),
	    cmocka_unit_test(test_goes_on),
	    cmocka_unit_test(test_state_of_another_soup),
	};

	return cmocka_run_group_tests(tests, soup_set_up, soup_tear_down);
}
