/*
 * Permits to work, handed out in the order in which they are asked for. Uploads hold one while they compute, and give it back while
 * they wait for their client: so slow clients do not keep others from being served, and only a few uploads compute at once.
 */
#ifndef GN_SERVER_PERMITS_H
#define GN_SERVER_PERMITS_H

#include "gonio.h"

struct gn_permits;
int gn_permits_new(struct gn_permits **out, int count, struct gn_error *err);
void gn_permits_free(struct gn_permits *permits);
/* Blocks until one is free and everyone who came before has one. permits NULL: returns at once. */
void gn_permits_take(struct gn_permits *permits);
void gn_permits_give(struct gn_permits *permits);

#endif
