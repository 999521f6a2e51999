/*
 * The work of an evaluation: see worker.h. Its result:
 * {"accuracy","top5_accuracy","macro_f1","loss","ece","images","seconds"}. Results that are too
 * large for a list of evaluations go into files beside it: report.json,
 * {"per_class":[{"class","accuracy","images"}],"confusion":[[N]]|null,
 * "calibration":[{"images","confidence","accuracy"}]}, and images.bin (verdicts.h).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/files.h"
#include "server/common/text.h"
#include "server/formats/verdicts.h"
#include "server/worker/work.h"

/* Past so many classes the matrix is left out: its text would have hundreds of megabytes. */
enum { MATRIX_CLASSES = 2000 };

static int read_split(const struct gn_worker *w)
{
	const char *name = json_string_value(json_object_get(w->order.request, "split"));

	for (int split = 0; name && split < GN_SPLIT_COUNT; split++)
		if (!strcmp(name, gn_split_name((enum gn_split)split)))
			return split;
	return name && !strcmp(name, "all") ? GN_SPLIT_COUNT : -1;
}

static void on_progress(void *user, int64_t done, int64_t total)
{
	gn_worker_progress(user, done, total);
}

/* ---------------------------------------------------------------- report.json ----------------- */

static json_t *per_class(const struct gn_evaluation_report *report, const struct gn_model *model)
{
	json_t *items = json_array();

	for (int k = 0; k < report->classes; k++)
		json_array_append_new(items, json_pack("{s:s,s:o,s:I}", "class", model->labels[k], "accuracy",
		                                       gn_json_real(report->class_accuracy[k]), "images",
		                                       (json_int_t)report->class_images[k]));
	return items;
}

static json_t *confusion(const struct gn_evaluation_report *report)
{
	json_t *rows;

	if (report->classes > MATRIX_CLASSES)
		return json_null();
	rows = json_array();
	for (int label = 0; label < report->classes; label++) {
		const int64_t *counts = report->confusion + (size_t)label * (size_t)report->classes;
		json_t *row = json_array();
		for (int k = 0; k < report->classes; k++)
			json_array_append_new(row, json_integer(counts[k]));
		json_array_append_new(rows, row);
	}
	return rows;
}

static json_t *calibration(const struct gn_evaluation_report *report)
{
	json_t *bins = json_array();

	for (int i = 0; i < GN_CALIBRATION_BINS; i++) {
		const struct gn_calibration_bin *bin = &report->bins[i];
		json_array_append_new(bins, json_pack("{s:I,s:o,s:o}", "images", (json_int_t)bin->images, "confidence",
		                                      gn_json_real(bin->images ? bin->confidence : NAN), "accuracy",
		                                      gn_json_real(bin->images ? bin->accuracy : NAN)));
	}
	return bins;
}

static int write_report(const struct gn_evaluation_report *report, const struct gn_model *model, struct gn_error *err)
{
	json_t *whole = json_pack("{s:o,s:o,s:o}", "per_class", per_class(report, model), "confusion",
	                          confusion(report), "calibration", calibration(report));
	char *text = whole ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
	int result;

	json_decref(whole);
	if (!text)
		return gn_fail(err, GN_NO_MEMORY, "report.json", "out of memory");
	result = gn_file_replace("report.json", text, strlen(text), err);
	free(text);
	return result;
}

/* ---------------------------------------------------------------- the work -------------------- */

static json_t *result_json(const struct gn_evaluation_report *report, double seconds)
{
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:I,s:o}", "accuracy", gn_json_real(report->accuracy), "top5_accuracy",
	                 gn_json_real(report->top5_accuracy), "macro_f1", gn_json_real(report->macro_f1), "loss",
	                 gn_json_real(report->loss), "ece", gn_json_real(report->ece), "images",
	                 (json_int_t)report->images, "seconds", gn_json_real(seconds));
}

json_t *gn_worker_evaluate(struct gn_worker *w, struct gn_error *err)
{
	const struct gn_evaluate_options options = {
	    .device = w->device,
	    .model = w->models[0],
	    .dataset = w->dataset,
	    .split = read_split(w),
	    .max_pixels = w->max_pixels,
	    .on_progress = on_progress,
	    .user = w,
	    .stop = w->stop,
	};
	struct gn_evaluation_report report = {0};
	double begun = gn_clock();
	json_t *result = NULL;

	if (options.split < 0 || !w->dataset) {
		gn_fail(err, GN_INVALID, GN_JOB_JSON, "request: split and dataset must be given");
		return NULL;
	}
	if (gn_evaluate_model(&report, &options, err))
		return NULL;
	if (write_report(&report, w->models[0], err) == 0 && gn_verdicts_write("images.bin", &report, err) == 0 &&
	    !(result = result_json(&report, gn_clock() - begun)))
		gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	gn_evaluation_report_release(&report);
	return result;
}
