/* Angles of weights in memory, for the trainer. The public functions are in gonio.h. */
#ifndef GN_ANGLES_H
#define GN_ANGLES_H

#include "backend/backend.h"

/* tuned[i] and base[i]: tensor i of the layout; only the matrices of attention and FFN are read.
 * Equal pointers mean a frozen tensor: its angle is 0, and it is not read. The backend must be able
 * to read them, or for base the memory that bring() returns. */
struct gn_angle_weights {
	const struct gn_layout *layout;
	const float *const *tuned, *const *base;
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	/* Makes base[tensor] readable in place 0 or 1, until the next call for that place. NULL:
	 * base is readable. */
	const float *(*bring)(void *user, int tensor, int place);
	/* base[tensor] is not needed any more; may be NULL */
	void (*done)(void *user, int tensor);
	void *user;
};

/* Caller releases. */
int gn_angles_of(struct gn_angles *out, const struct gn_angle_weights *weights, struct gn_error *err);

#endif
