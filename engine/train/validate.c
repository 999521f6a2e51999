/*
 * Validation: accuracy, mean cross-entropy without smoothing or class weights, and the F1 score
 * averaged over classes.
 */
#include "train/trainer.h"

#include "base/files.h"

#include <math.h>
#include <stdlib.h>

struct tally {
	int64_t *right, *predicted, *present; /* [K] each, from one allocation at `right` */
	double loss;
	int64_t images;
};

static void count_logits(struct tally *tally, const float *logits, const int32_t *labels, int n, int K)
{
	for (int i = 0; i < n; i++, logits += K) {
		double sum = 0;
		int best = 0, label = labels[i];

		for (int k = 1; k < K; k++)
			if (logits[k] > logits[best])
				best = k;
		for (int k = 0; k < K; k++)
			sum += exp((double)logits[k] - (double)logits[best]);
		tally->loss += log(sum) + (double)logits[best] - (double)logits[label];
		tally->right[label] += best == label;
		tally->predicted[best]++;
		tally->present[label]++;
		tally->images++;
	}
}

/* Classes without an image in the split have no score and do not count. */
static void summarise(struct gn_evaluation *out, const struct tally *tally, int K)
{
	int64_t right = 0;
	double f1 = 0;
	int classes = 0;

	for (int k = 0; k < K; k++) {
		right += tally->right[k];
		if (tally->present[k] == 0)
			continue;
		classes++;
		f1 += 2.0 * (double)tally->right[k] / (double)(tally->predicted[k] + tally->present[k]);
	}
	out->accuracy = (double)right / (double)tally->images;
	out->macro_f1 = f1 / classes;
	out->loss = tally->loss / (double)tally->images;
}

static int forward_logits(struct gn_trainer *t, struct tally *tally, float *logits, const int32_t *labels, int n,
                          struct gn_error *err)
{
	gn_vit_forward(t->pass, &t->weights, n, false);
	t->backend->download(t->ctx, logits, gn_pass_output(t->pass),
	                     (size_t)n * (size_t)t->tuning.arch.classes * sizeof *logits);
	if (t->backend->sync(t->ctx, err))
		return -1;
	if (gn_train_stopped(t))
		return gn_fail(err, GN_CANCELLED, "", "stopped during validation");
	count_logits(tally, logits, labels, n, t->tuning.arch.classes);
	return 0;
}

static int evaluate_images(struct gn_trainer *t, struct tally *tally, float *logits, const int32_t *samples, int count,
                           struct gn_error *err)
{
	const uint8_t *images;
	int32_t *labels;
	const int32_t *batch;
	int n, end;

	if (gn_loader_begin(t->loader, samples, count, t->pass->batch, 0, false, err))
		return -1;
	while ((end = gn_loader_next(t->loader, &images, &labels, &batch, &n, err)) == 0) {
		gn_trainer_upload(t, t->pass, images, n);
		if (forward_logits(t, tally, logits, labels, n, err))
			return -1;
	}
	return end < 0 ? -1 : 0;
}

static int evaluate_rows(struct gn_trainer *t, struct tally *tally, float *logits, int32_t *labels,
                         const int32_t *samples, int count, struct gn_error *err)
{
	for (int at = 0; at < count; at += t->pass->batch) {
		int n = count - at < t->pass->batch ? count - at : t->pass->batch;

		gn_prefix_load(t, samples + at, n);
		for (int i = 0; i < n; i++)
			labels[i] = t->dataset->samples[samples[at + i]].label;
		if (forward_logits(t, tally, logits, labels, n, err))
			return -1;
	}
	return 0;
}

int gn_evaluate(struct gn_evaluation *out, struct gn_trainer *t, struct gn_error *err)
{
	int K = t->tuning.arch.classes, first = t->dataset->totals[GN_TRAIN], count = t->dataset->totals[GN_VAL],
	    result = -1;
	struct tally tally = {0};
	float *logits = NULL;
	int32_t *samples = NULL;

	*out = (struct gn_evaluation){NAN, NAN, NAN};
	if (count == 0)
		return 0;
	tally.right = gn_alloc((size_t)K * 3, sizeof *tally.right, err);
	logits = gn_alloc((size_t)t->pass->batch * (size_t)K, sizeof *logits, err);
	samples = gn_alloc((size_t)count + (size_t)t->pass->batch, sizeof *samples, err);
	if (tally.right && logits && samples) {
		tally.predicted = tally.right + K;
		tally.present = tally.predicted + K;
		for (int i = 0; i < count; i++)
			samples[i] = first + i;
		result = t->cut ? evaluate_rows(t, &tally, logits, samples + count, samples, count, err)
		                : evaluate_images(t, &tally, logits, samples, count, err);
	}
	if (!t->cut)
		gn_loader_stop(t->loader);
	if (result == 0)
		summarise(out, &tally, K);
	free(tally.right);
	free(logits);
	free(samples);
	return result;
}
