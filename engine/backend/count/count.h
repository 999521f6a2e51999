/*
 * A backend that only counts. It counts the floating-point operations of matrix products and
 * attention, as the real backends execute them; a multiply and an add are two. It also counts the
 * numbers that each operation reads and writes at least: every operand once, and nothing kept from
 * one operation to the next. Plans run the network's own code on it, so that a plan always agrees
 * with the run.
 */
#ifndef GN_COUNT_H
#define GN_COUNT_H

#include "backend/backend.h"

extern const struct gn_backend gn_backend_count;

/* Counts since open(). acts, mats, floats: numbers of the three types of backend.h. */
struct gn_count {
	double flops, acts, mats, floats;
};
struct gn_count gn_count_of(const struct gn_ctx *ctx);

#endif
