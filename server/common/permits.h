/*
 * Permits to work, given in the order of the requests. An upload holds one while it computes, and
 * returns it while it waits for its client. So slow clients do not block others, and only a few
 * uploads compute at once.
 */
#ifndef GN_SERVER_PERMITS_H
#define GN_SERVER_PERMITS_H

#include "gonio.h"

struct gn_permits;
int gn_permits_new(struct gn_permits **out, int count, struct gn_error *err);
void gn_permits_free(struct gn_permits *permits);
/* Blocks until a permit is free and all who came before have one. permits NULL: returns at once. */
void gn_permits_take(struct gn_permits *permits);
void gn_permits_give(struct gn_permits *permits);

#endif
