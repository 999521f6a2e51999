/* A model measured on a data set. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_EVALUATION_H
#define GONIO_EVALUATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/dataset.h"
#include "include/gonio/device.h"

enum { GN_CALIBRATION_BINS = 15, GN_TOP_COUNT = 5 };
/* Images whose confidence (the probability of the predicted class) lies in (i/15, (i+1)/15]. */
struct gn_calibration_bin {
	int64_t images;
	double confidence, accuracy; /* means; 0 in an empty bin */
};
struct gn_evaluated_image {
	int32_t sample; /* index into the data set's samples */
	/* classes of the model; of equal logits the lower class is predicted */
	int32_t label, predicted;
	double confidence;
};
struct gn_evaluation_report {
	int classes; /* K */
	int64_t images;
	double accuracy;
	/* share of images whose label is among the 5 largest logits; of equal logits the lower
	 * class counts as larger */
	double top5_accuracy;
	double loss;     /* mean cross-entropy */
	double macro_f1; /* mean over the classes that have images */
	/* expected calibration error: sum over bins of images / all * |accuracy - confidence| */
	double ece;
	double *class_accuracy; /* [K]; NAN for a class without images */
	int64_t *class_images;  /* [K] */
	int64_t *confusion;     /* [K, K]: row label, column predicted */
	struct gn_calibration_bin bins[GN_CALIBRATION_BINS];
	/* [images]: mistakes first, then right answers; the most confident first in each */
	struct gn_evaluated_image *results;
};
/* The batch size of an evaluation, in images. */
enum { GN_EVALUATE_BATCH = 32 };
struct gn_evaluate_options {
	struct gn_device *device;
	const struct gn_model *model;
	const struct gn_dataset *dataset;
	int split; /* enum gn_split, or GN_SPLIT_COUNT for all */
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	/* after each batch; may be NULL */
	void (*on_progress)(void *user, int64_t done, int64_t total);
	void *user;
	const volatile int *stop; /* != 0: return GN_CANCELLED. May be NULL */
};
/* Checks that the data set's classes are exactly the model's labels, in any order. Otherwise
 * GN_INVALID with where "labels"; the text names the first class that differs. */
int gn_labels_match(const struct gn_model *model, const struct gn_dataset *dataset, struct gn_error *err);
/* Runs the model on a split with evaluation preprocessing. GN_INVALID with where "labels" if the
 * classes do not match (see above), "split" if the split has no image, or the path of an image for
 * which the model's output is not a number. Caller releases the report. */
int gn_evaluate_model(struct gn_evaluation_report *report, const struct gn_evaluate_options *options,
                      struct gn_error *err);
void gn_evaluation_report_release(struct gn_evaluation_report *report);

#endif
