/* Weighted averages of tuned models of one base, written as a delta; see gn_soup_make in
 * gonio.h. */
#ifndef GN_BLEND_H
#define GN_BLEND_H

#include "gonio.h"

struct gn_blend_input {
	const struct gn_model *model;
	char hash[65]; /* SHA-256 of the model's own tensors */
};
/* Fills in the hash. */
int gn_blend_hash(struct gn_blend_input *input, const volatile int *stop, struct gn_error *err);
/* Writes the average, with these weights [count] (at least one above 0), as a delta on the models'
 * base. Adds in the order of the hashes, so that the bits do not depend on the order of the inputs.
 * device NULL: the CPU with all threads. stop may be NULL. */
int gn_blend_write(const char *path, const struct gn_blend_input *inputs, const double *weights, int count,
                   struct gn_device *device, const volatile int *stop, struct gn_error *err);
/* Drops the pages of the model's own tensors from memory. */
void gn_blend_forget(const struct gn_model *model);

#endif
