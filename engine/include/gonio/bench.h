/* Measurements of how fast this machine computes. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_BENCH_H
#define GONIO_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/device.h"

/* One measured figure. unit: "GFLOP/s", "GB/s", "images/s", "s", "bytes", "ratio". */
struct gn_bench_row {
	char section[24], name[72], unit[16];
	double value, reference; /* reference: NAN if there is none */
	/*
	 * Of a GPU's seconds: the operations and bytes that the work needs at least, else NAN.
	 * reference is then the floor: the seconds that these need at the ceilings of the same run.
	 */
	double flops, bytes;
};
enum { GN_BENCH_BATCH_MAX = 256 };
struct gn_bench_options {
	struct gn_device *device; /* runs the operations, steps and inference */
	int threads;
	double seconds;   /* about, for each figure */
	int batch;        /* images, at most GN_BENCH_BATCH_MAX; 0: the default of each part */
	const char *only; /* a substring of section/name, or NULL */
	void (*on_row)(void *user, const struct gn_bench_row *row);
	void *user;
};
int gn_bench(const struct gn_bench_options *options, struct gn_error *err);
/* The library whose rates a CPU's rows are compared with: "oneDNN", "OpenBLAS", or NULL if none was
 * built in. Rows that need its rate are then left out. */
const char *gn_bench_reference(void);
/* The rate of a CPU device's own float32 product of 512 cubed, in FLOP/s, measured for about
 * `seconds` / 4. GN_UNSUPPORTED: not a CPU. */
int gn_bench_product_rate(double *rate, struct gn_device *device, double seconds, struct gn_error *err);

#endif
