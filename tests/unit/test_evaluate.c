/* Evaluation of a model on a data set: the scores of known logits, the same validation as in
 * training, splits, labels, the images of the matrix, stopping, errors. The expected figures are
 * computed by hand or by a second method. */
#include "tests/support/toy.h"

#include "train/scores.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { CLASSES = 3, IMAGES = 12 };

static struct {
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *base, *tuned;
	struct gn_device *device;
	struct gn_train_result trained;
} toy;

static int set_up(void **state)
{
	struct gn_run_config config = toy_config(GN_LINEAR);
	struct gn_error err = {0};
	char folder[512], path[600];

	(void)state;
	toy.folder = toy_folder();
	toy.dataset = toy_dataset(toy.folder, "set", CLASSES, IMAGES);
	toy.base = toy_model(toy.folder, "base", &toy_arch, 3);
	assert_int_equal(gn_device_open(&toy.device, "cpu", 2, GN_PRECISION_AUTO, &err), 0);
	snprintf(folder, sizeof folder, "%s/run", toy.folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	config.epochs = 1;
	if (gn_train(&toy.trained,
	             &(struct gn_train_options){.device = toy.device,
	                                        .model = toy.base,
	                                        .dataset = toy.dataset,
	                                        .config = &config,
	                                        .folder = folder,
	                                        .max_pixels = 1 << 20},
	             &err))
		fail_msg("%s: %s", err.where, err.text);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	assert_int_equal(gn_model_open(&toy.tuned, path, toy.base, &err), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gn_model_close(toy.tuned);
	gn_model_close(toy.base);
	gn_device_close(toy.device);
	gn_dataset_close(toy.dataset);
	toy_remove(toy.folder);
	return 0;
}

static struct gn_evaluate_options options_for(int split)
{
	return (struct gn_evaluate_options){
	    .device = toy.device, .model = toy.tuned, .dataset = toy.dataset, .split = split, .max_pixels = 1 << 20};
}

/* ---------------------------------------------------------------- scores of given logits ------ */

/* Logits whose softmax is p for class k and equal for the others. */
static void logits_of(float *out, int K, int k, double p)
{
	for (int i = 0; i < K; i++)
		out[i] = i == k ? (float)log(p) : (float)log((1 - p) / (K - 1));
}

static void test_scores_by_hand(void **state)
{
	enum { K = 6, N = 4 };
	static const int32_t labels[N] = {0, 1, 1, 5}, samples[N] = {10, 11, 12, 13};
	static const int predicted[N] = {0, 1, 2, 2};
	static const double confidence[N] = {0.95, 0.5, 0.9, 0.7};
	struct gn_evaluation_report r;
	struct gn_error err = {0};
	float logits[N * K];

	(void)state;
	for (int i = 0; i < N; i++)
		logits_of(logits + i * K, K, predicted[i], confidence[i]);
	/* the label of the last image now has the smallest logit: not in its top 5 */
	logits[3 * K + 5] -= 1;
	assert_int_equal(gn_scores_begin(&r, K, N, &err), 0);
	assert_int_equal(gn_scores_add(&r, logits, labels, samples, 2), -1);
	assert_int_equal(gn_scores_add(&r, logits + 2 * K, labels + 2, samples + 2, 2), -1);
	gn_scores_finish(&r);
	assert_int_equal(r.images, N);
	assert_true(r.accuracy == 0.5 && r.top5_accuracy == 0.75);
	assert_true(r.class_accuracy[0] == 1 && r.class_accuracy[1] == 0.5 && r.class_accuracy[5] == 0);
	assert_true(isnan(r.class_accuracy[2]) && r.class_images[2] == 0 && r.class_images[1] == 2);
	assert_true(r.confusion[0] == 1 && r.confusion[K + 1] == 1 && r.confusion[K + 2] == 1 &&
	            r.confusion[5 * K + 2] == 1);
	/* F1: class 0 is 1, class 1 is 2/3, class 5 is 0 */
	assert_true(fabs(r.macro_f1 - (1 + 2.0 / 3) / 3) <= 1e-15);
	/* mistakes first, the surest before */
	assert_int_equal(r.results[0].sample, 12);
	assert_int_equal(r.results[1].sample, 13);
	assert_int_equal(r.results[2].sample, 10);
	assert_int_equal(r.results[3].sample, 11);
	/* every image has a bin of its own: the mean of |right - confidence| */
	double last = r.results[1].confidence;
	assert_true(last > 0.7 && last < 0.75);
	assert_true(fabs(r.ece - (0.05 + 0.5 + 0.9 + last) / 4) <= 1e-6);
	gn_evaluation_report_release(&r);
}

/* Bins are open below and closed above: 1/15 of images each, in float arithmetic that does not fall
 * short. */
static void test_bins(void **state)
{
	enum { K = 2 };
	static const float sure[K] = {200, 0}, even[K] = {0.25f, 0.25f};
	static const int32_t label = 0, sample = 0;
	struct gn_evaluation_report r;

	(void)state;
	assert_int_equal(gn_scores_begin(&r, K, 2, NULL), 0);
	assert_int_equal(gn_scores_add(&r, sure, &label, &sample, 1), -1);
	assert_int_equal(gn_scores_add(&r, even, &label, &sample, 1), -1);
	gn_scores_finish(&r);
	assert_int_equal(r.bins[14].images, 1);
	assert_true(r.bins[14].confidence == 1 && r.bins[14].accuracy == 1);
	/* 0.5 lies in (7/15, 8/15] */
	assert_int_equal(r.bins[7].images, 1);
	/* of equal logits the lower class */
	assert_true(r.bins[7].confidence == 0.5 && r.bins[7].accuracy == 1);
	assert_true(r.ece == 0.25 && r.top5_accuracy == 1);
	gn_evaluation_report_release(&r);
}

static void test_logits_that_are_no_numbers(void **state)
{
	static const float bad[] = {1, 2, 0, NAN, INFINITY, 0};
	static const int32_t labels[3] = {0}, samples[3] = {0};
	struct gn_evaluation_report r;

	(void)state;
	assert_int_equal(gn_scores_begin(&r, 2, 3, NULL), 0);
	assert_int_equal(gn_scores_add(&r, bad, labels, samples, 3), 1);
	assert_int_equal(r.images, 1);
	assert_int_equal(gn_scores_add(&r, bad + 4, labels, samples, 1), 0);
	gn_evaluation_report_release(&r);
}

/* ---------------------------------------------------------------- a model on a data set ------- */

static void assert_consistent(const struct gn_evaluation_report *r)
{
	int64_t images = 0, right = 0, binned = 0;

	for (int k = 0; k < r->classes; k++) {
		int64_t row = 0;

		for (int p = 0; p < r->classes; p++)
			row += r->confusion[k * r->classes + p];
		assert_int_equal(row, r->class_images[k]);
		images += row;
		right += r->confusion[k * r->classes + k];
	}
	for (int i = 0; i < GN_CALIBRATION_BINS; i++)
		binned += r->bins[i].images;
	assert_int_equal(images, r->images);
	assert_int_equal(binned, r->images);
	assert_true(fabs(r->accuracy - (double)right / (double)images) <= 1e-15);
	assert_true(r->ece >= 0 && r->ece <= 1);
	for (int64_t i = 1; i < images; i++) {
		const struct gn_evaluated_image *a = &r->results[i - 1], *b = &r->results[i];
		bool a_right = a->label == a->predicted, b_right = b->label == b->predicted;

		assert_true(a_right <= b_right);
		assert_true(a_right != b_right || a->confidence >= b->confidence);
	}
}

/* What training measured in its best epoch is what an evaluation of its result finds. */
static void test_validation_as_in_training(void **state)
{
	struct gn_evaluate_options options = options_for(GN_VAL);
	struct gn_evaluation_report r;
	struct gn_error err = {0};

	(void)state;
	assert_int_equal(gn_evaluate_model(&r, &options, &err), 0);
	print_message("accuracy %.4f and %.4f, loss %.7f and %.7f\n", r.accuracy, toy.trained.val_accuracy, r.loss,
	              toy.trained.val_loss);
	assert_int_equal(r.images, toy.dataset->totals[GN_VAL]);
	assert_true(r.accuracy == toy.trained.val_accuracy);
	assert_true(fabs(r.macro_f1 - toy.trained.val_macro_f1) <= 1e-12);
	assert_true(fabs(r.loss - toy.trained.val_loss) <= 1e-5 * r.loss);
	assert_consistent(&r);
	for (int64_t i = 0; i < r.images; i++)
		assert_int_equal(toy.dataset->samples[r.results[i].sample].split, GN_VAL);
	gn_evaluation_report_release(&r);
}

static void count_progress(void *user, int64_t done, int64_t total)
{
	int64_t *last = user;

	assert_true(done > last[0] && done <= total);
	last[0] = done;
	last[1] = total;
}

static void test_all_splits(void **state)
{
	struct gn_evaluate_options options = options_for(GN_SPLIT_COUNT);
	struct gn_evaluation_report r;
	struct gn_error err = {0};
	int64_t progress[2] = {0};

	(void)state;
	options.on_progress = count_progress;
	options.user = progress;
	assert_int_equal(gn_evaluate_model(&r, &options, &err), 0);
	assert_int_equal(r.images, CLASSES * IMAGES);
	assert_int_equal(progress[0], CLASSES * IMAGES);
	assert_int_equal(progress[1], CLASSES * IMAGES);
	assert_consistent(&r);
	assert_true(r.top5_accuracy == 1); /* of three classes */
	gn_evaluation_report_release(&r);
}

/* A model that has the same classes in another order is measured by their names. */
static void test_labels_in_another_order(void **state)
{
	struct gn_evaluate_options options = options_for(GN_VAL);
	struct gn_evaluation_report as_is, turned;
	struct gn_error err = {0};
	struct gn_model model = *toy.tuned;
	int head = gn_layout_find(&model.layout, GN_HEAD_W, -1), bias = gn_layout_find(&model.layout, GN_HEAD_B, -1);
	const float **tensors = calloc((size_t)model.layout.count, sizeof *tensors);
	char *labels[CLASSES] = {model.labels[2], model.labels[0], model.labels[1]};
	float w[CLASSES * 32], b[CLASSES];

	(void)state;
	assert_non_null(tensors);
	memcpy(tensors, model.tensors, (size_t)model.layout.count * sizeof *tensors);
	for (int k = 0; k < CLASSES; k++) {
		memcpy(w + k * 32, model.tensors[head] + (k + 2) % 3 * 32, 32 * sizeof *w);
		b[k] = model.tensors[bias][(k + 2) % 3];
	}
	tensors[head] = w;
	tensors[bias] = b;
	model.tensors = tensors;
	model.labels = labels;
	assert_int_equal(gn_evaluate_model(&as_is, &options, &err), 0);
	options.model = &model;
	assert_int_equal(gn_evaluate_model(&turned, &options, &err), 0);
	assert_true(turned.accuracy == as_is.accuracy);
	for (int label = 0; label < CLASSES; label++)
		for (int p = 0; p < CLASSES; p++)
			assert_int_equal(turned.confusion[label * 3 + p],
			                 as_is.confusion[(label + 2) % 3 * 3 + (p + 2) % 3]);
	gn_evaluation_report_release(&as_is);
	gn_evaluation_report_release(&turned);
	free(tensors);
}

/* ---------------------------------------------------------------- refusals -------------------- */

static void assert_refused(const struct gn_evaluate_options *options, enum gn_code code, const char *where,
                           const char *text)
{
	struct gn_evaluation_report r = {0};
	struct gn_error err = {0};

	assert_int_equal(gn_evaluate_model(&r, options, &err), -1);
	assert_int_equal(err.code, code);
	assert_string_equal(err.where, where);
	if (!strstr(err.text, text))
		fail_msg("'%s' is not in '%s'", text, err.text);
	assert_null(r.results);
}

static void test_refuses(void **state)
{
	struct gn_evaluate_options options = options_for(GN_TEST);
	struct gn_dataset *more = toy_dataset(toy.folder, "more", CLASSES + 1, 4);
	struct gn_model model = *toy.tuned;
	char *labels[CLASSES] = {model.labels[0], (char *)(uintptr_t) "spaniel", model.labels[2]};
	char *doubled[CLASSES] = {model.labels[0], model.labels[0], model.labels[2]};
	volatile int stop = 1;

	(void)state;
	assert_refused(&options, GN_INVALID, "split", "no image in its split test");
	options = options_for(GN_VAL);
	options.model = &model;
	model.labels = labels;
	assert_refused(&options, GN_INVALID, "labels", "the data set has no class \"spaniel\"");
	model.labels = doubled;
	assert_refused(&options, GN_INVALID, "labels", "two classes named \"class-00\"");
	options.model = toy.base;
	assert_refused(&options, GN_INVALID, "labels", "does not know the names");
	options = options_for(GN_VAL);
	options.dataset = more;
	assert_refused(&options, GN_INVALID, "labels", "the model has no class \"class-03\"");
	assert_int_equal(gn_labels_match(toy.tuned, toy.dataset, NULL), 0);
	assert_int_equal(gn_labels_match(toy.tuned, more, NULL), -1);
	options = options_for(GN_VAL);
	options.stop = &stop;
	assert_refused(&options, GN_CANCELLED, "", "stopped");
	gn_dataset_close(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scores_by_hand),
	    cmocka_unit_test(test_bins),
	    cmocka_unit_test(test_logits_that_are_no_numbers),
	    cmocka_unit_test(test_validation_as_in_training),
	    cmocka_unit_test(test_all_splits),
	    cmocka_unit_test(test_labels_in_another_order),
	    cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
