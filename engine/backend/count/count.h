/*
 * A backend that computes nothing and counts: floating-point operations of matrix products and attention (a multiply
 * and an add are two), as the real backends execute them, and the numbers that each operation reads and writes at least:
 * every operand once, nothing kept from one operation to the next. Plans run the network's own code on it, so that what
 * they promise cannot drift from what is done.
 */
#ifndef GN_COUNT_H
#define GN_COUNT_H

#include "backend/backend.h"

extern const struct gn_backend gn_backend_count;

/* Since open(). acts, mats, floats: numbers of the three types of backend.h. */
struct gn_count {
	double flops, acts, mats, floats;
};
struct gn_count gn_count_of(const struct gn_ctx *ctx);

#endif
