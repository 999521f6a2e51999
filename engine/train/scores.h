/* The figures of an evaluation, from logits only: begin, add batches, finish. */
#ifndef GN_SCORES_H
#define GN_SCORES_H

#include "gonio.h"

/* An empty report with room for so many images. The caller releases it with
 * gn_evaluation_report_release, also after an error. */
int gn_scores_begin(struct gn_evaluation_report *report, int classes, int64_t images, struct gn_error *err);
/* logits [n, K], labels [n] in 0..K-1, samples [n]. Returns -1, or the first i whose logits are not
 * all numbers; then sample i and all later ones are not counted. */
int gn_scores_add(struct gn_evaluation_report *report, const float *logits, const int32_t *labels,
                  const int32_t *samples, int n);
/* Computes the means and sorts the results. At least one image must have been added. */
void gn_scores_finish(struct gn_evaluation_report *report);

#endif
