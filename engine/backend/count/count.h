/*
 * A backend that computes nothing and counts: floating-point operations of matrix products and attention (a multiply
 * and an add are two), as the real backends execute them. Plans run the network's own code on it, so that what they
 * promise cannot drift from what is done.
 */
#ifndef GN_COUNT_H
#define GN_COUNT_H

#include "backend/backend.h"

extern const struct gn_backend gn_backend_count;

/* Operations since open(). */
double gn_count_flops(const struct gn_ctx *ctx);

#endif
