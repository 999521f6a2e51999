/* Angles of weights that lie in memory, for the trainer; the public face is in gonio.h. */
#ifndef GN_ANGLES_H
#define GN_ANGLES_H

#include "backend/backend.h"

/* tuned[i] and base[i]: tensor i of the layout; only the matrices of attention and FFN are read. Equal pointers mean a
 * frozen tensor: 0 without reading. The backend must be able to read them, or for base what bring() gives. */
struct gn_angle_weights {
	const struct gn_layout *layout;
	const float *const *tuned, *const *base;
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	/* Makes base[tensor] readable, in place 0 or 1, until the place is asked for again. NULL: it is. */
	const float *(*bring)(void *user, int tensor, int place);
	void (*done)(void *user, int tensor); /* base[tensor] is not needed any longer; may be NULL */
	void *user;
};

/* Caller releases. */
int gn_angles_of(struct gn_angles *out, const struct gn_angle_weights *weights, struct gn_error *err);

#endif
