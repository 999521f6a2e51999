/*
 * Evaluation and soups against numpy (golden/method_soup, golden/method.zip; see README.md), whose
 * network is written out in float64: every figure of an evaluation, the averages value by value,
 * and which models greedy keeps.
 *
 * Tolerance: 1e-5 on loss, confidences and what is made of them, the rounding of a float32 forward
 * pass; counts and accuracies are equal (the reference's decisions are 3e-4 or more apart).
 * Averages: equal, but for values on which float64 sums disagree about the last rounding to
 * float32; at most one unit in the last place, in at most one value of a thousand.
 */
#include "tests/support/golden_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MODELS = 5, CLASSES = 6, IMAGES = 84 };

#define TOLERANCE 1e-5

static struct {
	char *folder;
	struct golden ref;
	struct gn_dataset *dataset;
	struct gn_device *device;
	struct gn_model *base, *models[MODELS];
} all;

/* ---------------------------------------------------------------- inputs ---------------------- */

static ssize_t read_file(void *user, void *buffer, size_t size)
{
	return (ssize_t)fread(buffer, 1, size, user);
}

static void open_dataset(void)
{
	struct gn_ingest_options options = {.max_pixels = 1 << 20,
	                                    .max_image_bytes = 1 << 20,
	                                    .budget = {.total_bytes = 16 << 20},
	                                    .max_entries = 1000,
	                                    .threads = 1,
	                                    .read = read_file};
	struct gn_ingest_report report = {0};
	struct gn_error err = {0};
	char path[512];

	golden_path(path, sizeof path, "method.zip");
	options.user = fopen(path, "rb");
	assert_non_null(options.user);
	snprintf(path, sizeof path, "%s/dataset", all.folder);
	assert_int_equal(mkdir(path, 0700), 0);
	if (gn_dataset_ingest(path, &options, &report, &err) || gn_dataset_open(&all.dataset, path, &err))
		fail_msg("%s: %s", err.where, err.text);
	fclose(options.user);
	gn_ingest_report_release(&report);
	assert_int_equal(all.dataset->totals[GN_VAL], IMAGES);
}

/* base: what the file is opened on; it holds every tensor itself either way. */
static struct gn_model *import(const char *name, const struct gn_model *base)
{
	static const char labels[] = "[\"class0\",\"class1\",\"class2\",\"class3\",\"class4\",\"class5\"]";
	const struct gn_import_options options = {.heads = 2,
	                                          .activation = -1,
	                                          .norm_eps = NAN,
	                                          .mean = {0.5f, 0.5f, 0.5f},
	                                          .std = {0.5f, 0.5f, 0.5f},
	                                          .crop_pct = 1,
	                                          .labels_json = labels,
	                                          .labels_bytes = sizeof labels - 1};
	struct gn_import_report report = {0};
	struct gn_model *model = NULL;
	struct gn_error err = {0};
	char file[128], from[512], to[512];

	snprintf(file, sizeof file, "%s.model.safetensors", name);
	golden_path(from, sizeof from, file);
	snprintf(to, sizeof to, "%s/%s", all.folder, name);
	if (gn_model_import(to, from, &options, &report, &err) || gn_model_open(&model, to, base, &err))
		fail_msg("%s: %s: %s", name, err.where, err.text);
	gn_import_report_release(&report);
	return model;
}

static int set_up(void **state)
{
	struct gn_error err = {0};

	if (golden_folder_new(state))
		return -1;
	all.folder = *state;
	all.ref = golden_open("method_soup");
	open_dataset();
	assert_int_equal(gn_device_open(&all.device, "cpu", 1, GN_PRECISION_AUTO, &err), 0);
	all.base = import("method_soup_base", NULL);
	for (int i = 0; i < MODELS; i++) {
		char name[64];

		snprintf(name, sizeof name, "method_soup_%d", i);
		all.models[i] = import(name, all.base);
	}
	return 0;
}

static int tear_down(void **state)
{
	for (int i = 0; i < MODELS; i++)
		gn_model_close(all.models[i]);
	gn_model_close(all.base);
	gn_device_close(all.device);
	gn_dataset_close(all.dataset);
	golden_release(&all.ref);
	return golden_folder_remove(state);
}

static const int32_t *integers(const char *name, size_t n)
{
	return (const int32_t *)(const void *)golden_get(&all.ref, n, "%s", name);
}

/* ---------------------------------------------------------------- evaluation ------------------ */

static void check_figures(const struct gn_evaluation_report *r)
{
	static const char *const names[5] = {"accuracy", "top-5 accuracy", "loss", "macro F1", "ECE"};
	const double found[5] = {r->accuracy, r->top5_accuracy, r->loss, r->macro_f1, r->ece};
	const float *wanted = golden_get(&all.ref, 5, "evaluation.figures");

	for (int i = 0; i < 5; i++) {
		print_message("%-15s %.7f, wanted %.7f\n", names[i], found[i], (double)wanted[i]);
		assert_true(fabs(found[i] - (double)wanted[i]) <= TOLERANCE);
	}
}

static void check_bins(const struct gn_evaluation_report *r)
{
	const float *wanted = golden_get(&all.ref, 3 * GN_CALIBRATION_BINS, "evaluation.bins");

	for (int i = 0; i < GN_CALIBRATION_BINS; i++) {
		assert_int_equal(r->bins[i].images, (int64_t)wanted[3 * i]);
		assert_true(fabs(r->bins[i].confidence - (double)wanted[3 * i + 1]) <= TOLERANCE);
		assert_true(fabs(r->bins[i].accuracy - (double)wanted[3 * i + 2]) <= TOLERANCE);
	}
}

static void evaluation_agrees(void **state)
{
	const int32_t *confusion = integers("evaluation.confusion", CLASSES * CLASSES);
	const int32_t *predicted = integers("evaluation.predicted", IMAGES);
	const float *confidence = golden_get(&all.ref, IMAGES, "evaluation.confidence");
	const float *by_class = golden_get(&all.ref, CLASSES, "evaluation.class_accuracy");
	struct gn_evaluation_report r;
	struct gn_error err = {0};

	(void)state;
	if (gn_evaluate_model(&r,
	                      &(struct gn_evaluate_options){.device = all.device,
	                                                    .model = all.models[0],
	                                                    .dataset = all.dataset,
	                                                    .split = GN_VAL,
	                                                    .max_pixels = 1 << 20},
	                      &err))
		fail_msg("%s: %s", err.where, err.text);
	check_figures(&r);
	check_bins(&r);
	for (int i = 0; i < CLASSES * CLASSES; i++)
		assert_int_equal(r.confusion[i], confusion[i]);
	for (int k = 0; k < CLASSES; k++)
		assert_true(fabs(r.class_accuracy[k] - (double)by_class[k]) <= TOLERANCE);
	for (int i = 0; i < IMAGES; i++) { /* the reference is in the data set's order */
		int at = r.results[i].sample - all.dataset->totals[GN_TRAIN];

		assert_int_equal(r.results[i].predicted, predicted[at]);
		assert_true(fabs(r.results[i].confidence - (double)confidence[at]) <= TOLERANCE);
	}
	gn_evaluation_report_release(&r);
}

/* ---------------------------------------------------------------- soups ----------------------- */

static struct gn_soup_result make(enum gn_soup_method method, const double *weights, bool measured, char *folder)
{
	struct gn_soup_result result = {0};
	struct gn_error err = {0};
	const struct gn_soup_options options = {.method = method,
	                                        .models = (const struct gn_model *const *)all.models,
	                                        .count = MODELS,
	                                        .weights = weights,
	                                        .dataset = measured ? all.dataset : NULL,
	                                        .device = measured ? all.device : NULL,
	                                        .max_pixels = 1 << 20,
	                                        .folder = folder};

	snprintf(folder, 512, "%s/%s", all.folder, gn_soup_method_name(method));
	assert_int_equal(mkdir(folder, 0700), 0);
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	return result;
}

static int units_apart(float a, float b)
{
	int32_t x, y;

	memcpy(&x, &a, sizeof x);
	memcpy(&y, &b, sizeof y);
	return a == b ? 0 : abs(x - y);
}

/* Every tensor of the soup, frozen ones included, which must be the base's own bits. */
static void check_average(const char *folder, const char *method)
{
	struct gn_model *soup = NULL;
	struct gn_error err = {0};
	char path[600];
	size_t values = 0, off = 0;

	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	if (gn_model_open(&soup, path, all.base, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < soup->layout.count; i++) {
		const struct gn_tensor *t = &soup->layout.tensors[i];
		const float *wanted = golden_get(&all.ref, t->numel, "%s.%s", method, t->name);

		for (size_t j = 0; j < t->numel; j++) {
			int units = units_apart(soup->tensors[i][j], wanted[j]);

			assert_true(units <= (soup->own[i] ? 1 : 0));
			off += units > 0;
		}
		values += t->numel;
	}
	print_message("%s: %zu of %zu values are one unit apart\n", method, off, values);
	assert_true(off * 1000 <= values);
	gn_model_close(soup);
}

static void averages_agree(void **state)
{
	const float *given = golden_get(&all.ref, MODELS, "weights");
	double weights[MODELS];
	struct gn_soup_result result;
	char folder[512];

	(void)state;
	for (int i = 0; i < MODELS; i++)
		weights[i] = (double)given[i];
	result = make(GN_SOUP_UNIFORM, NULL, false, folder);
	check_average(folder, "uniform");
	gn_soup_result_release(&result);
	result = make(GN_SOUP_WEIGHTED, weights, false, folder);
	check_average(folder, "weighted");
	gn_soup_result_release(&result);
}

static void greedy_agrees(void **state)
{
	const float *accuracies = golden_get(&all.ref, MODELS + 1, "accuracies");
	const int32_t *kept = integers("kept", MODELS);
	char folder[512];
	struct gn_soup_result result = make(GN_SOUP_GREEDY, NULL, true, folder);

	(void)state;
	for (int i = 0; i < MODELS; i++) {
		print_message("model %d: %.4f, wanted %.4f; %s\n", i, result.ingredients[i].val_accuracy,
		              (double)accuracies[i], result.ingredients[i].kept ? "kept" : "left out");
		assert_true(fabs(result.ingredients[i].val_accuracy - (double)accuracies[i]) <= 1e-6);
		assert_int_equal(result.ingredients[i].kept, kept[i]);
	}
	assert_true(fabs(result.val_accuracy - (double)accuracies[MODELS]) <= 1e-6);
	check_average(folder, "greedy");
	gn_soup_result_release(&result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(evaluation_agrees),
	    cmocka_unit_test(averages_agree),
	    cmocka_unit_test(greedy_agrees),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
