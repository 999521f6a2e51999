/* The frozen prefix's outputs, shared with other runs: see shared.c. */
#ifndef GN_SHARED_H
#define GN_SHARED_H

#include "train/trainer.h"

/* Takes the outputs of the run's stage from the folder that options->shared names, and makes what is missing there. *shared: t->prefix holds
 * them; false where nothing is shared, or the disk has no room. GN_CANCELLED when the run was stopped. */
int gn_shared_prefix(struct gn_trainer *t, bool *shared, struct gn_error *err);

#endif
