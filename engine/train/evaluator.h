/*
 * Runs models over one split of a data set. Pixels that were decoded for one model are kept for the next, so the models
 * must agree in labels, preprocessing and image size: those of the model that the evaluator was made for.
 */
#ifndef GN_EVALUATOR_H
#define GN_EVALUATOR_H

#include "gonio.h"

struct gn_evaluator;

/* options and what they point to must outlive it, options->model excepted. several: more than one model will be run. */
int gn_evaluator_new(struct gn_evaluator **out, const struct gn_evaluate_options *options, bool several,
                     struct gn_error *err);
/* Errors as gn_evaluate_model. Caller releases the report; on an error there is nothing in it. */
int gn_evaluator_run(struct gn_evaluation_report *report, struct gn_evaluator *evaluator, const struct gn_model *model,
                     struct gn_error *err);
void gn_evaluator_free(struct gn_evaluator *evaluator);

#endif
