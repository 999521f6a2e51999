/*
 * The kernel harness on a device with a memory and number types of its own. Cases keep their host
 * buffers of floats: a table that stands before the device's own copies each argument into a device
 * block of exactly its size, in the type that the operation takes, calls the operation, and copies
 * back what it may have changed.
 *
 * Every device pointer is 128-byte aligned, as in a run, but those of prefix tokens and positions,
 * and of odd numbers of a soup's values, which are 4-byte aligned.
 */
#ifndef KERNELS_DEVICE_H
#define KERNELS_DEVICE_H

#include "tests/support/kernels.h"

/* The table and context to hand to kt_run_all; close() of the table frees the context and leaves
 * the device open. */
struct gn_ctx *kt_device_open(const struct gn_backend **table, const struct gn_device *device);

#endif
