/* The frozen prefix's outputs, shared with other runs: see shared.c. */
#ifndef GN_SHARED_H
#define GN_SHARED_H

#include "train/trainer.h"

/* Takes the outputs at the run's cut from the folder of options->shared, and computes those that
 * are missing there. *shared is true if t->prefix has them, and false if nothing is shared or the
 * disk has no room. GN_CANCELLED if the run was stopped. */
int gn_shared_prefix(struct gn_trainer *t, bool *shared, struct gn_error *err);

#endif
