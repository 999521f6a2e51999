/* Angles of weights that lie in memory, for the trainer; the public face is in gonio.h. */
#ifndef GN_ANGLES_H
#define GN_ANGLES_H

#include "gonio.h"

/* tuned[i] and base[i]: tensor i of the layout, in host memory; only the matrices of attention and FFN are read.
 * Equal pointers mean a frozen tensor: 0 without reading. done (may be NULL) is told when base[i] is not needed
 * any longer. Caller releases. */
int gn_angles_of(struct gn_angles *out, const struct gn_layout *layout, const float *const *tuned,
                 const float *const *base, int threads, void (*done)(void *user, int tensor), void *user,
                 struct gn_error *err);

#endif
