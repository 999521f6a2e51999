/* Averages of tuned models. Part of gonio.h, whose conventions hold here. */
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
int gn_soup_method_from_name(const char *name);              /* -1: no such name */
enum { GN_SOUP_MODELS_MAX = 128 };
struct gn_soup_progress {
	int ingredient;  /* index into models of what was measured or tried last; -1: the soup itself */
	int done, total; /* steps: each ingredient measured, each one tried, the result measured, the result written */
	double val_accuracy; /* what was measured; NAN when nothing was */
	bool kept;           /* of an ingredient that greedy tried */
	const char *text;    /* a line for a log; borrowed during the call */
};
struct gn_soup_options {
	enum gn_soup_method method;
	const struct gn_model *const *models; /* [count], each opened on one and the same base object */
	int count;                            /* 1..GN_SOUP_MODELS_MAX */
	const char *const *names;             /* [count] what errors and log lines call them; NULL: "models/0", ... */
	const double *weights;                /* [count] of WEIGHTED: finite, not negative, not all 0; otherwise NULL */
	/* With a data set (and a device) ingredients and result are measured on its validation split; GREEDY needs both. */
	const struct gn_dataset *dataset;
	struct gn_device *device; /* averages are added up on it, too; NULL: on the CPU */
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	/* model.safetensors, the soup's delta, is left here; soup.bin, from which a stopped or killed soup goes on, too. */
	const char *folder;
	void (*on_progress)(void *user, const struct gn_soup_progress *progress); /* may be NULL */
	void *user;
	const volatile int *stop; /* != 0: return GN_CANCELLED. May be NULL */
};
struct gn_soup_ingredient {
	double val_accuracy, val_loss; /* NAN without a data set */
	bool kept;
	double weight; /* share in the result: 0 when not kept, 1 in sum */
};
struct gn_soup_result {
	int count, kept;
	struct gn_soup_ingredient *ingredients; /* [count] in the order of the models */
	double val_accuracy, val_loss;          /* of the soup; NAN without a data set */
};
/* The models can be mixed, and the options fit: GN_INVALID with where "/models", "/models/N", "/weights", "/weights/N" or
 * "/dataset"; the text names the model and what is wrong. Whether the data set has the models' classes is gn_labels_match's
 * to say. Reads no weights. */
int gn_soup_check(const struct gn_soup_options *options, struct gn_error *err);
/* Averages in float64, tensor by tensor, whatever the number of models in the memory of one piece of a tensor. A tensor
 * that is frozen in a model counts with the base's value; one that equals the base in all of them stays out of the delta.
 * The average of given models does not depend on their order, nor on the device. GREEDY sorts by validation accuracy (then
 * loss), adds one model at a time, and keeps it if the average's validation accuracy does not fall. Errors: those of the
 * check; GN_CONFLICT with where "soup.bin" when the folder holds the state of another soup; where "labels" or "split" as
 * gn_evaluate_model. Caller releases the result. */
int gn_soup_make(struct gn_soup_result *result, const struct gn_soup_options *options, struct gn_error *err);
void gn_soup_result_release(struct gn_soup_result *result);
/* The GPU's memory that a process takes which opens the device in this precision and averages models on it; 0 on a CPU. What
 * measuring takes is gn_infer_gpu_bytes's to say: the two come one after the other. */
uint64_t gn_soup_gpu_bytes(const struct gn_device *device, enum gn_precision precision);

#endif
