/* See ingredients.h. */
#include "tests/support/ingredients.h"

#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct soup_toy soup_toy;

void soup_path(char path[600], const char *what)
{
	snprintf(path, 600, "%s/%s-%d", soup_toy.folder, what, soup_toy.made++);
}

void soup_folder(char path[600])
{
	soup_path(path, "soup");
	assert_int_equal(mkdir(path, 0700), 0);
}

int soup_set_up(void **state)
{
	struct gn_run_config config = toy_config(GN_FULL);
	struct gn_train_result result;
	struct gn_error err = {0};
	char folder[600], path[700];

	(void)state;
	soup_toy.folder = toy_folder();
	soup_toy.dataset = toy_dataset(soup_toy.folder, "set", SOUP_CLASSES, SOUP_IMAGES);
	soup_toy.base = toy_model(soup_toy.folder, "base", &toy_arch, 3);
	assert_int_equal(gn_device_open(&soup_toy.device, "cpu", 2, GN_PRECISION_AUTO, &err), 0);
	soup_folder(folder);
	if (gn_train(&result,
	             &(struct gn_train_options){.device = soup_toy.device,
	                                        .model = soup_toy.base,
	                                        .dataset = soup_toy.dataset,
	                                        .config = &config,
	                                        .folder = folder,
	                                        .max_pixels = 1 << 20},
	             &err))
		fail_msg("%s: %s", err.where, err.text);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	assert_int_equal(gn_model_open(&soup_toy.trained, path, soup_toy.base, &err), 0);
	return 0;
}

int soup_tear_down(void **state)
{
	(void)state;
	gn_model_close(soup_toy.trained);
	gn_model_close(soup_toy.base);
	gn_device_close(soup_toy.device);
	gn_dataset_close(soup_toy.dataset);
	toy_remove(soup_toy.folder);
	return 0;
}

/* ---------------------------------------------------------------- models ---------------------- */

static bool is_tuned(const struct gn_tensor *t, const struct soup_recipe *recipe)
{
	return t->group == GN_GROUP_HEAD || (t->block >= 0 && recipe->groups >> (t->block % 4) & 1);
}

struct gn_model *soup_model(const struct soup_recipe *recipe)
{
	const struct gn_model *from = soup_toy.trained;
	const struct gn_layout *layout = &from->layout;
	float **tensors = calloc((size_t)layout->count, sizeof *tensors);
	struct gn_model *model = NULL;
	struct gn_error err = {0};
	char path[600];

	assert_non_null(tensors);
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *t = &layout->tensors[i];
		struct gn_random r;

		if (!is_tuned(t, recipe))
			continue;
		tensors[i] = malloc(t->numel * sizeof(float));
		assert_non_null(tensors[i]);
		gn_random_init(&r, recipe->seed, GN_RANDOM_BENCH, (uint32_t)i, 0);
		for (size_t j = 0; j < t->numel; j++) {
			double start = (double)soup_toy.base->tensors[i][j], way = (double)from->tensors[i][j] - start;

			tensors[i][j] = (float)(start + recipe->pull * way + recipe->noise * gn_random_normal(&r));
		}
	}
	soup_path(path, "model");
	if (gn_model_write(path,
	                   &(struct gn_model_parts){.arch = &from->arch,
	                                            .preprocess = &from->preprocess,
	                                            .scheme = from->scheme,
	                                            .pos_resample = from->pos_resample,
	                                            .layout = layout,
	                                            .tensors = (const float *const *)tensors,
	                                            .labels = (const char *const *)from->labels,
	                                            .label_count = from->label_count},
	                   &err) ||
	    gn_model_open(&model, path, soup_toy.base, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < layout->count; i++)
		free(tensors[i]);
	free(tensors);
	return model;
}

void soup_close_set(struct soup_set *set)
{
	for (int i = 0; i < set->count; i++)
		gn_model_close(set->models[i]);
	set->count = 0;
}

struct soup_set soup_models(int count, uint64_t seed)
{
	struct soup_set set = {.count = count};

	for (int i = 0; i < count; i++) {
		struct gn_random r;

		gn_random_init(&r, seed, GN_RANDOM_BENCH, (uint32_t)i, 1);
		set.models[i] = soup_model(&(struct soup_recipe){.seed = seed * 100 + (uint64_t)i,
		                                                 .pull = 0.3 + gn_random_uniform(&r),
		                                                 .noise = 0.08 * gn_random_uniform(&r),
		                                                 .groups = 1 + gn_random_below(&r, 15)});
	}
	return set;
}

/* ---------------------------------------------------------------- soups ----------------------- */

struct gn_soup_options soup_options(enum gn_soup_method method, const struct soup_set *set, const char *folder)
{
	return (struct gn_soup_options){.method = method,
	                                .models = (const struct gn_model *const *)set->models,
	                                .count = set->count,
	                                .folder = folder,
	                                .max_pixels = 1 << 20};
}

struct gn_model *soup_open_result(const char *folder)
{
	struct gn_model *model;
	struct gn_error err = {0};
	char path[700];

	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	if (gn_model_open(&model, path, soup_toy.base, &err))
		fail_msg("%s: %s", err.where, err.text);
	return model;
}

struct gn_model *soup_mix(enum gn_soup_method method, const struct soup_set *set, const double *weights)
{
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	soup_folder(folder);
	struct gn_soup_options options = soup_options(method, set, folder);
	options.weights = weights;
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	assert_true(isnan(result.val_accuracy) && isnan(result.ingredients[0].val_accuracy));
	gn_soup_result_release(&result);
	return soup_open_result(folder);
}

void soup_assert_same_bits(const struct gn_model *a, const struct gn_model *b, bool same_delta)
{
	assert_int_equal(a->layout.count, b->layout.count);
	for (int i = 0; i < a->layout.count; i++) {
		const struct gn_tensor *t = &a->layout.tensors[i];

		if (same_delta)
			assert_int_equal(a->own[i], b->own[i]);
		if (memcmp(a->tensors[i], b->tensors[i], t->numel * sizeof(float)))
			fail_msg("%s differs", t->name);
	}
}

struct gn_soup_options soup_options_measured(enum gn_soup_method method, const struct soup_set *set, const char *folder)
{
	struct gn_soup_options options = soup_options(method, set, folder);

	options.dataset = soup_toy.dataset;
	options.device = soup_toy.device;
	return options;
}
