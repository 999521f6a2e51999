/* Averages of models compared with a second way of computing them, bit for bit where that is
 * promised; memory; errors. */
#include "tests/support/ingredients.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_one_model_is_itself(void **state)
{
	struct soup_set set = {.models = {soup_model(&(struct soup_recipe){7, 1, 0.01, 5})}, .count = 1};
	static const double weight = 0.3;

	(void)state;
	/* a zero with a sign is a value like any other */
	int head = gn_layout_find(&set.models[0]->layout, GN_HEAD_B, -1);
	float bias[SOUP_CLASSES] = {-0.0f, 1e-42f, 3.0f};
	set.models[0]->tensors[head] = bias;
	set.models[0]->own[head] = false; /* not in the file's map */
	struct gn_model *uniform = soup_mix(GN_SOUP_UNIFORM, &set, NULL),
	                *weighted = soup_mix(GN_SOUP_WEIGHTED, &set, &weight);
	assert_true(uniform->own[head]);
	soup_assert_same_bits(uniform, set.models[0], false);
	soup_assert_same_bits(weighted, uniform, true);
	struct soup_set copies = {.models = {set.models[0], set.models[0], set.models[0]}, .count = 3};
	struct gn_model *thrice = soup_mix(GN_SOUP_UNIFORM, &copies, NULL);
	soup_assert_same_bits(thrice, uniform, true);
	gn_model_close(thrice);
	gn_model_close(uniform);
	gn_model_close(weighted);
	soup_close_set(&set);
}

/* Relative difference; a mean so small that terms have cancelled to below a millionth is held to
 * 1e-13 in all. */
static double off_by(float found, long double wanted)
{
	return fabs((double)((long double)found - wanted)) / fmax(fabs((double)wanted), 1e-6);
}

/* The mean in long double, value by value, with frozen tensors read from the base. */
static void test_mean_of_all(void **state)
{
	struct soup_set set = soup_models(5, 2);
	static const double weights[5] = {1, 0, 2.5, 0.25, 3};
	struct gn_model *uniform = soup_mix(GN_SOUP_UNIFORM, &set, NULL),
	                *weighted = soup_mix(GN_SOUP_WEIGHTED, &set, weights);
	double worst = 0;

	(void)state;
	for (int i = 0; i < uniform->layout.count; i++)
		for (size_t j = 0; j < uniform->layout.tensors[i].numel; j++) {
			long double sum = 0, heavy = 0;

			for (int m = 0; m < set.count; m++) {
				sum += (long double)set.models[m]->tensors[i][j];
				heavy += (long double)weights[m] * (long double)set.models[m]->tensors[i][j];
			}
			worst = fmax(worst, off_by(uniform->tensors[i][j], sum / 5));
			worst = fmax(worst, off_by(weighted->tensors[i][j], heavy / 6.75L));
		}
	print_message("largest difference: %.2e of the value\n", worst);
	assert_true(worst <= 6e-8); /* half a unit in the last place of float32 */
	gn_model_close(uniform);
	gn_model_close(weighted);
	soup_close_set(&set);
}

static void test_what_stays_out(void **state)
{
	struct soup_set set = {.models = {soup_model(&(struct soup_recipe){1, 1, 0.01, 1}),
	                                  soup_model(&(struct soup_recipe){2, 1, 0.01, 4}),
	                                  soup_model(&(struct soup_recipe){3, 0, 0, 15})},
	                       .count = 3};
	struct gn_model *soup = soup_mix(GN_SOUP_UNIFORM, &set, NULL);

	(void)state;
	for (int i = 0; i < soup->layout.count; i++) {
		const struct gn_tensor *t = &soup->layout.tensors[i];
		/* the third model's file holds every block, but with the base's own values */
		bool tuned = t->group == GN_GROUP_HEAD || t->block == 0 || t->block == 2;

		if (soup->own[i] != tuned)
			fail_msg("%s is %s the delta", t->name, tuned ? "not in" : "in");
	}
	gn_model_close(soup);
	soup_close_set(&set);
}

static void test_order_does_not_matter(void **state)
{
	struct soup_set set = soup_models(6, 9), turned = {.count = 6};
	static const double weights[6] = {0.1, 0.7, 0.3, 0.9, 0.2, 0.6};
	double turned_weights[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		turned.models[i] = set.models[(i * 5 + 2) % 6];
		turned_weights[i] = weights[(i * 5 + 2) % 6];
	}
	struct gn_model *a = soup_mix(GN_SOUP_UNIFORM, &set, NULL), *b = soup_mix(GN_SOUP_UNIFORM, &turned, NULL);
	soup_assert_same_bits(a, b, true);
	gn_model_close(a);
	gn_model_close(b);
	a = soup_mix(GN_SOUP_WEIGHTED, &set, weights);
	b = soup_mix(GN_SOUP_WEIGHTED, &turned, turned_weights);
	soup_assert_same_bits(a, b, true);
	gn_model_close(a);
	gn_model_close(b);
	soup_close_set(&set);
}

/* ---------------------------------------------------------------- memory ---------------------- */

/* The process's largest resident size in bytes; reset starts the count again. */
static long peak(bool reset)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen(reset ? "/proc/self/clear_refs" : "/proc/self/status", reset ? "w" : "r");

	if (!f)
		return 0;
	if (reset)
		fputs("5", f);
	while (!reset && fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

static long peak_of_a_soup(struct gn_model *base, const char *tuned, int count)
{
	struct soup_set set = {.count = count};
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	for (int i = 0; i < count; i++)
		assert_int_equal(gn_model_open(&set.models[i], tuned, base, &err), 0);
	soup_folder(folder);
	struct gn_soup_options options = soup_options(GN_SOUP_UNIFORM, &set, folder);
	peak(true);
	assert_int_equal(gn_soup_make(&result, &options, &err), 0);
	gn_soup_result_release(&result);
	soup_close_set(&set);
	return peak(false);
}

static void test_memory(void **state)
{
	struct gn_arch arch = toy_arch;
	struct gn_error err = {0};
	struct gn_model *base;
	char path[600];

	(void)state;
	arch.dim = 384;
	arch.mlp_dim = 1536;
	base = toy_model(soup_toy.folder, "large", &arch, 1);
	soup_path(path, "large-tuned");
	assert_int_equal(gn_model_write_random(path, &arch, 2, NULL, NULL, NULL, &err), 0);
	long model = (long)(base->layout.parameters * sizeof(float));
	long few = peak_of_a_soup(base, path, 2), many = peak_of_a_soup(base, path, SOUP_MODELS_MAX);
	print_message("a model of %.1f MB: peak %.1f MB with 2, %.1f MB with %d\n", (double)model / 1e6,
	              (double)few / 1e6, (double)many / 1e6, SOUP_MODELS_MAX);
	/* ten more models would be ten times as much; what grows is the open models' names and the
	 * pages that pieces share */
	assert_true(many - few < model);
	gn_model_close(base);
}

/* ---------------------------------------------------------------- refusals -------------------- */

static void assert_refused(const struct gn_soup_options *options, const char *where, const char *text)
{
	struct gn_soup_result result = {0};
	struct gn_error err = {0};

	assert_int_equal(gn_soup_check(options, &err), -1);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, where);
	if (!strstr(err.text, text))
		fail_msg("'%s' is not in '%s'", text, err.text);
	assert_int_equal(gn_soup_make(&result, options, NULL), -1);
	assert_null(result.ingredients);
}

static void test_refuses_models(void **state)
{
	static const char *const names[2] = {"first", "second"};
	struct soup_set set = soup_models(2, 4);
	struct gn_soup_options options = soup_options(GN_SOUP_UNIFORM, &set, soup_toy.folder);
	struct gn_model *mine = set.models[1], twin = *soup_toy.base, changed;
	char *labels[SOUP_CLASSES] = {mine->labels[0], mine->labels[1], (char *)(uintptr_t) "spaniel"};

	(void)state;
	set.models[1] = &changed;
	options.names = names;
	changed = *soup_toy.base;
	assert_refused(&options, "/models/1", "second is a base model");
	changed = *mine;
	changed.base = &twin;
	assert_refused(&options, "/models/1", "second and first were not tuned from the same base");
	changed = *mine;
	changed.arch.classes = 5;
	assert_refused(&options, "/models/1", "second has classes: 5, first has 3");
	changed = *mine;
	changed.arch.image_size = 24;
	assert_refused(&options, "/models/1", "image_size 24");
	changed = *mine;
	changed.labels = labels;
	assert_refused(&options, "/models/1", "class 2 of second is \"spaniel\", of first \"class-02\"");
	changed = *mine;
	changed.preprocess.mean[1] += 0.1f;
	assert_refused(&options, "/models/1", "preprocessing");
	changed = *mine;
	changed.layout.count--;
	assert_refused(&options, "/models/1", "differ in tensor head.bias");
	options.names = NULL;
	assert_refused(&options, "/models/1", "models/1 and models/0");
	set.models[1] = mine;
	soup_close_set(&set);
}

static void test_refuses_options(void **state)
{
	struct soup_set set = soup_models(2, 4);
	struct gn_soup_options options = soup_options(GN_SOUP_GREEDY, &set, soup_toy.folder);
	double weights[2] = {0, 0};

	(void)state;
	assert_refused(&options, "/dataset", "is required");
	options.method = GN_SOUP_UNIFORM;
	options.weights = weights;
	assert_refused(&options, "/weights", "only the method weighted");
	options.method = GN_SOUP_WEIGHTED;
	assert_refused(&options, "/weights", "all 0");
	weights[1] = -1;
	assert_refused(&options, "/weights/1", "between 0 and 1e9");
	weights[1] = NAN;
	assert_refused(&options, "/weights/1", "between 0 and 1e9");
	weights[1] = 1e-300;
	assert_refused(&options, "/weights/1", "at least 1e-9");
	options.weights = NULL;
	assert_refused(&options, "/weights", "needs a weight");
	options.method = GN_SOUP_UNIFORM;
	options.count = 0;
	assert_refused(&options, "/models", "1 to 128");
	options.count = GN_SOUP_MODELS_MAX + 1;
	assert_refused(&options, "/models", "1 to 128");
	assert_int_equal(gn_soup_method_from_name("greedy"), GN_SOUP_GREEDY);
	assert_int_equal(gn_soup_method_from_name("thin"), -1);
	soup_close_set(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_model_is_itself),
	    cmocka_unit_test(test_mean_of_all),
	    cmocka_unit_test(test_what_stays_out),
	    cmocka_unit_test(test_order_does_not_matter),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_refuses_models),
	    cmocka_unit_test(test_refuses_options),
	};

	return cmocka_run_group_tests(tests, soup_set_up, soup_tear_down);
}
