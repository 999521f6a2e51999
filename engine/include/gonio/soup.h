/* Soups: averages of tuned models. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_SOUP_H
#define GONIO_SOUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/dataset.h"
#include "include/gonio/device.h"
#include "include/gonio/plan.h"

/* Averages of models that were tuned from one base: docs/method.md, "Soups". */
enum gn_soup_method { GN_SOUP_UNIFORM, GN_SOUP_GREEDY, GN_SOUP_WEIGHTED, GN_SOUP_METHOD_COUNT };
const char *gn_soup_method_name(enum gn_soup_method method); /* "uniform", "greedy", "weighted" */
int gn_soup_method_from_name(const char *name);              /* -1 for an unknown name */
enum { GN_SOUP_MODELS_MAX = 128 };
struct gn_soup_progress {
	/* index into models of the one measured or tried last; -1: the soup itself */
	int ingredient;
	/* in steps: measure each ingredient, try each, measure the result, write the result */
	int done, total;
	double val_accuracy; /* the measured accuracy; NAN if nothing was measured */
	bool kept;           /* whether greedy kept the ingredient that it tried */
	const char *text;    /* a line for a log; borrowed during the call */
};
struct gn_soup_options {
	enum gn_soup_method method;
	/* [count], all opened on the same base object */
	const struct gn_model *const *models;
	int count; /* 1..GN_SOUP_MODELS_MAX */
	/* [count] names in errors and log lines; NULL: "models/0", ... */
	const char *const *names;
	/* [count] for WEIGHTED: finite, not negative, not all 0; NULL for the other methods */
	const double *weights;
	/* With a data set and a device, the ingredients and the result are measured on the
	 * validation split. GREEDY needs both. */
	const struct gn_dataset *dataset;
	struct gn_device *device; /* also computes the averages; NULL: on the CPU */
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	/* Receives model.safetensors, the soup's delta, and soup.bin, from which a stopped or
	 * killed soup continues. */
	const char *folder;
	void (*on_progress)(void *user, const struct gn_soup_progress *progress); /* may be NULL */
	void *user;
	const volatile int *stop; /* != 0: return GN_CANCELLED. May be NULL */
};
struct gn_soup_ingredient {
	double val_accuracy, val_loss; /* NAN without a data set */
	bool kept;
	double weight; /* share in the result: 0 if not kept; all sum to 1 */
};
struct gn_soup_result {
	int count, kept;
	struct gn_soup_ingredient *ingredients; /* [count] in the order of the models */
	double val_accuracy, val_loss;          /* of the soup; NAN without a data set */
};
/* Checks that the models can be averaged and that the options are valid. GN_INVALID with where
 * "/models", "/models/N", "/weights", "/weights/N" or "/dataset"; the text names the model and the
 * reason. Does not compare the data set's classes with the models': gn_labels_match() does. Reads
 * no weights. */
int gn_soup_check(const struct gn_soup_options *options, struct gn_error *err);
/* Averages the models in float64, tensor by tensor. The memory is that of one piece of a tensor,
 * for any number of models. A tensor that is frozen in a model counts with the base's value. A
 * tensor that equals the base in all models is left out of the delta. The average does not depend
 * on the order of the models, nor on the device. GREEDY sorts the models by validation accuracy,
 * then by loss. It adds one model at a time, and keeps the model if the validation accuracy of the
 * average does not fall. Errors: those of gn_soup_check(); GN_CONFLICT with where "soup.bin" if the
 * folder holds the state of another soup; "labels" and "split" as in gn_evaluate_model(). Caller
 * releases the result. */
int gn_soup_make(struct gn_soup_result *result, const struct gn_soup_options *options, struct gn_error *err);
void gn_soup_result_release(struct gn_soup_result *result);
/* GPU memory of a process that opens the device in this precision and averages models; 0 on a CPU.
 * Measuring needs gn_infer_gpu_bytes() instead; the two never overlap. */
uint64_t gn_soup_gpu_bytes(const struct gn_device *device, enum gn_precision precision);

#endif
