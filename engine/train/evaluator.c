/*
 * Evaluation of models: the loader decodes ahead, the network runs as it does for classification,
 * so that what is measured here is what a client gets.
 */
#include "train/evaluator.h"

#include "data/loader.h"
#include "base/files.h"
#include "train/scores.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = GN_EVALUATE_BATCH };
#define KEPT_PIXELS_MAX (512ull << 20) /* bytes of decoded images that stay for the next model */

struct gn_evaluator {
	const struct gn_evaluate_options *options;
	struct gn_preprocess preprocess;
	float levels[3][256]; /* gn_image_levels of it */
	struct gn_loader *loader;
	int32_t *samples; /* [count] */
	int32_t *classes; /* [K] the model's class of each class of the data set */
	int count;
};

/* ---------------------------------------------------------------- labels ---------------------- */

static int compare_name(const void *name, const void *entry)
{
	return strcmp(name, ((const struct gn_dataset_class *)entry)->name);
}

/* classes[k]: the model's class of the data set's class k. */
static int match_labels(int32_t *classes, const struct gn_model *model, const struct gn_dataset *dataset,
                        struct gn_error *err)
{
	if (model->label_count == 0)
		return gn_fail(err, GN_INVALID, "labels", "the model does not know the names of its classes");
	for (int k = 0; k < dataset->class_count; k++)
		classes[k] = -1;
	for (int k = 0; k < model->label_count; k++) {
		const struct gn_dataset_class *found = bsearch(
		    model->labels[k], dataset->classes, (size_t)dataset->class_count, sizeof *found, compare_name);

		if (!found)
			return gn_fail(err, GN_INVALID, "labels",
			               "the data set has no class \"%s\", which the model has", model->labels[k]);
		if (classes[found - dataset->classes] >= 0)
			return gn_fail(err, GN_INVALID, "labels", "the model has two classes named \"%s\"",
			               model->labels[k]);
		classes[found - dataset->classes] = k;
	}
	for (int k = 0; k < dataset->class_count; k++)
		if (classes[k] < 0)
			return gn_fail(err, GN_INVALID, "labels",
			               "the model has no class \"%s\", which the data set has",
			               dataset->classes[k].name);
	return 0;
}

int gn_labels_match(const struct gn_model *model, const struct gn_dataset *dataset, struct gn_error *err)
{
	int32_t *classes = gn_alloc((size_t)dataset->class_count, sizeof *classes, err);
	int result = classes ? match_labels(classes, model, dataset, err) : -1;

	free(classes);
	return result;
}

/* ---------------------------------------------------------------- life cycle ------------------ */

static int choose_samples(struct gn_evaluator *e, struct gn_error *err)
{
	const struct gn_dataset *dataset = e->options->dataset;
	int split = e->options->split;

	e->samples = gn_alloc((size_t)dataset->sample_count, sizeof *e->samples, err);
	if (!e->samples)
		return -1;
	for (int i = 0; i < dataset->sample_count; i++)
		if (split == GN_SPLIT_COUNT || (int)dataset->samples[i].split == split)
			e->samples[e->count++] = i;
	if (e->count == 0)
		return gn_fail(err, GN_INVALID, "split", "the data set has no image in its split %s",
		               split == GN_SPLIT_COUNT ? "all" : gn_split_name((enum gn_split)split));
	return 0;
}

static int open_loader(struct gn_evaluator *e, bool several, struct gn_error *err)
{
	const struct gn_evaluate_options *o = e->options;
	uint64_t side = (uint64_t)o->model->arch.image_size, bytes = (uint64_t)e->count * side * side * 3;

	bytes = !several ? 0 : bytes < KEPT_PIXELS_MAX ? bytes : KEPT_PIXELS_MAX;
	return gn_loader_new(&e->loader, o->dataset, &e->preprocess, o->model->arch.image_size, GN_AUGMENT_NONE, 0,
	                     o->loader_threads, bytes, o->max_pixels, err);
}

int gn_evaluator_new(struct gn_evaluator **out, const struct gn_evaluate_options *options, bool several,
                     struct gn_error *err)
{
	struct gn_evaluator *e = gn_alloc(1, sizeof *e, err);

	if (!e)
		return -1;
	e->options = options;
	e->preprocess = options->model->preprocess;
	gn_image_levels(e->levels, &e->preprocess);
	e->classes = gn_alloc((size_t)options->dataset->class_count, sizeof *e->classes, err);
	if (!e->classes || match_labels(e->classes, options->model, options->dataset, err) || choose_samples(e, err) ||
	    open_loader(e, several, err)) {
		gn_evaluator_free(e);
		return -1;
	}
	*out = e;
	return 0;
}

void gn_evaluator_free(struct gn_evaluator *e)
{
	if (!e)
		return;
	gn_loader_free(e->loader);
	free(e->samples);
	free(e->classes);
	free(e);
}

/* ---------------------------------------------------------------- running a model ------------- */

static int count_batch(struct gn_evaluation_report *report, const struct gn_evaluator *e, const float *logits,
                       int32_t *labels, const int32_t *samples, int n, struct gn_error *err)
{
	const struct gn_evaluate_options *o = e->options;
	int bad;

	for (int i = 0; i < n; i++)
		labels[i] = e->classes[labels[i]];
	bad = gn_scores_add(report, logits, labels, samples, n);
	if (bad >= 0)
		return gn_fail(err, GN_INVALID, o->dataset->samples[samples[bad]].path,
		               "the model's output for this image is not a number");
	if (o->on_progress)
		o->on_progress(o->user, report->images, e->count);
	if (o->stop && *o->stop)
		return gn_fail(err, GN_CANCELLED, "", "stopped during the evaluation");
	return 0;
}

static int run_batches(struct gn_evaluation_report *report, struct gn_evaluator *e, struct gn_infer *infer,
                       float *logits, struct gn_error *err)
{
	const int32_t *samples;
	int32_t *labels;
	const uint8_t *images;
	int n, end;

	if (gn_loader_begin(e->loader, e->samples, e->count, BATCH, 0, false, err))
		return -1;
	while ((end = gn_loader_next(e->loader, &images, &labels, &samples, &n, err)) == 0)
		if (gn_infer_run_pixels(infer, images, e->levels[0], n, logits, err) ||
		    count_batch(report, e, logits, labels, samples, n, err))
			return -1;
	return end < 0 ? -1 : 0;
}

int gn_evaluator_run(struct gn_evaluation_report *report, struct gn_evaluator *e, const struct gn_model *model,
                     struct gn_error *err)
{
	struct gn_infer *infer = NULL;
	float *logits = gn_alloc(BATCH, (size_t)model->arch.classes * sizeof *logits, err);
	int result = -1;

	gn_assert(model->arch.image_size == e->options->model->arch.image_size);
	if (logits && gn_infer_new(&infer, e->options->device, model, BATCH, err) == 0) {
		result = gn_scores_begin(report, model->arch.classes, e->count, err);
		if (result == 0)
			result = run_batches(report, e, infer, logits, err);
		gn_loader_stop(e->loader);
		if (result == 0)
			gn_scores_finish(report);
		else
			gn_evaluation_report_release(report);
	}
	gn_infer_free(infer);
	free(logits);
	return result;
}

int gn_evaluate_model(struct gn_evaluation_report *report, const struct gn_evaluate_options *options,
                      struct gn_error *err)
{
	struct gn_evaluator *evaluator = NULL;
	int result;

	if (gn_evaluator_new(&evaluator, options, false, err))
		return -1;
	result = gn_evaluator_run(report, evaluator, options->model, err);
	gn_evaluator_free(evaluator);
	return result;
}
