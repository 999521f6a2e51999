/* Functions that a run's plan, its training loop and its resume share: the tuned architecture, and
 * the cut where the frozen prefix ends. */
#ifndef GN_PLAN_H
#define GN_PLAN_H

#include "backend/backend.h"
#include "vit/gradplan.h"

/* The model's architecture with the run's image size and number of classes. */
int gn_run_arch(struct gn_arch *out, const struct gn_arch *base, const struct gn_run_config *config, int classes,
                struct gn_error *err);
/* The cut (vit.h) where the frozen prefix ends: 0 .. depth + 1. */
int gn_prefix_cut(const struct gn_gradplan *plan);
/* The memory that computing a kept prefix takes, which ends at `cut`: its pass, and on a
 * device with a memory of its own a copy of the outputs, which travel while the next ones are
 * computed. SIZE_MAX where there is no memory to tell. */
size_t gn_prefix_fill_bytes(const struct gn_backend *be, const struct gn_arch *arch, int micro, int cut);
/* The part of it that is the copy. */
size_t gn_prefix_spare_bytes(const struct gn_backend *be, const struct gn_arch *arch, int micro, int cut);

#endif
