/*
 * Runs models on one split of a data set. Pixels that were decoded for one model are kept for the
 * next. So all models must have the labels, preprocessing and image size of the model that the
 * evaluator was made for.
 */
#ifndef GN_EVALUATOR_H
#define GN_EVALUATOR_H

#include "gonio.h"

struct gn_evaluator;

/* options and all that they point to, except options->model, must outlive the evaluator. several:
 * more than one model will be run. */
int gn_evaluator_new(struct gn_evaluator **out, const struct gn_evaluate_options *options, bool several,
                     struct gn_error *err);
/* Errors as gn_evaluate_model. Caller releases the report; it is empty after an error. */
int gn_evaluator_run(struct gn_evaluation_report *report, struct gn_evaluator *evaluator, const struct gn_model *model,
                     struct gn_error *err);
void gn_evaluator_free(struct gn_evaluator *evaluator);

#endif
