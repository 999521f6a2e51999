/*
 * Scores of an evaluation: accuracy, top-5, cross-entropy, F1, confusion matrix, and the expected
 * calibration error with equal bins (Guo et al., "On Calibration of Modern Neural Networks", ICML
 * 2017). All sums are in double and in the order of the images.
 *
 * Until gn_scores_finish the report's members hold sums: accuracy and the like count images, a
 * bin's confidence and accuracy are totals.
 */
#include "train/scores.h"

#include "base/files.h"

#include <math.h>
#include <stdlib.h>

int gn_scores_begin(struct gn_evaluation_report *report, int classes, int64_t images, struct gn_error *err)
{
	size_t K = (size_t)classes;

	*report = (struct gn_evaluation_report){.classes = classes};
	report->class_accuracy = gn_alloc(K, sizeof *report->class_accuracy, err);
	report->class_images = gn_alloc(K, sizeof *report->class_images, err);
	report->confusion = gn_alloc(K, K * sizeof *report->confusion, err);
	report->results = gn_alloc((size_t)images, sizeof *report->results, err);
	return report->class_accuracy && report->class_images && report->confusion && report->results ? 0 : -1;
}

void gn_evaluation_report_release(struct gn_evaluation_report *report)
{
	free(report->class_accuracy);
	free(report->class_images);
	free(report->confusion);
	free(report->results);
	*report = (struct gn_evaluation_report){0};
}

/* ---------------------------------------------------------------- one image -------------------------------------- */

struct answer {
	int predicted;
	int above; /* classes ranked before the label's */
	double confidence, loss;
};

static bool all_finite(const float *logits, int K)
{
	for (int k = 0; k < K; k++)
		if (!isfinite(logits[k]))
			return false;
	return true;
}

static struct answer read_logits(const float *logits, int label, int K)
{
	struct answer a = {0};
	double sum = 1; /* exp(0) of the largest */

	for (int k = 0; k < K; k++) {
		if (logits[k] > logits[a.predicted])
			a.predicted = k;
		a.above += logits[k] > logits[label] || (k < label && logits[k] == logits[label]);
	}
	for (int k = 0; k < K; k++)
		sum += k == a.predicted ? 0 : exp((double)logits[k] - (double)logits[a.predicted]);
	a.confidence = 1 / sum;
	a.loss = log(sum) + (double)logits[a.predicted] - (double)logits[label];
	return a;
}

/* The bin (i/N, (i+1)/N] of a confidence in (0, 1]. */
static struct gn_calibration_bin *bin_of(struct gn_evaluation_report *report, double confidence)
{
	int i = (int)ceil(confidence * GN_CALIBRATION_BINS) - 1;

	return &report->bins[i < 0 ? 0 : i < GN_CALIBRATION_BINS ? i : GN_CALIBRATION_BINS - 1];
}

int gn_scores_add(struct gn_evaluation_report *report, const float *logits, const int32_t *labels,
                  const int32_t *samples, int n)
{
	int K = report->classes;

	for (int i = 0; i < n; i++, logits += K) {
		if (!all_finite(logits, K))
			return i;
		struct answer a = read_logits(logits, labels[i], K);
		bool right = a.predicted == labels[i];
		struct gn_calibration_bin *bin = bin_of(report, a.confidence);

		report->accuracy += right;
		report->top5_accuracy += a.above < GN_TOP_COUNT;
		report->loss += a.loss;
		report->class_images[labels[i]]++;
		report->confusion[(size_t)labels[i] * (size_t)K + (size_t)a.predicted]++;
		bin->images++;
		bin->confidence += a.confidence;
		bin->accuracy += right;
		report->results[report->images++] =
		    (struct gn_evaluated_image){samples[i], labels[i], a.predicted, a.confidence};
	}
	return -1;
}

/* ---------------------------------------------------------------- the whole -------------------------------------- */

static int by_interest(const void *left, const void *right)
{
	const struct gn_evaluated_image *a = left, *b = right;
	bool a_right = a->label == a->predicted, b_right = b->label == b->predicted;

	if (a_right != b_right)
		return a_right ? 1 : -1;
	if (a->confidence != b->confidence)
		return a->confidence > b->confidence ? -1 : 1;
	return a->sample < b->sample ? -1 : a->sample > b->sample;
}

/*
 * Accuracy of each class, and the mean of the F1 scores of those that have images. class_accuracy
 * counts predictions first.
 */
static void finish_classes(struct gn_evaluation_report *report)
{
	size_t K = (size_t)report->classes;
	double f1 = 0;
	int with_images = 0;

	for (int64_t i = 0; i < report->images; i++)
		report->class_accuracy[report->results[i].predicted]++;
	for (size_t k = 0; k < K; k++) {
		double right = (double)report->confusion[k * K + k], present = (double)report->class_images[k];

		if (present > 0) {
			f1 += 2 * right / (report->class_accuracy[k] + present);
			with_images++;
		}
		report->class_accuracy[k] = present > 0 ? right / present : NAN;
	}
	report->macro_f1 = f1 / with_images;
}

static void finish_bins(struct gn_evaluation_report *report)
{
	for (int i = 0; i < GN_CALIBRATION_BINS; i++) {
		struct gn_calibration_bin *bin = &report->bins[i];

		if (!bin->images)
			continue;
		report->ece += fabs(bin->accuracy - bin->confidence) / (double)report->images;
		bin->accuracy /= (double)bin->images;
		bin->confidence /= (double)bin->images;
	}
}

void gn_scores_finish(struct gn_evaluation_report *report)
{
	gn_assert(report->images > 0);
	report->accuracy /= (double)report->images;
	report->top5_accuracy /= (double)report->images;
	report->loss /= (double)report->images;
	finish_classes(report);
	finish_bins(report);
	qsort(report->results, (size_t)report->images, sizeof *report->results, by_interest);
}
