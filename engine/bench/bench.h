/*
 * The parts of `gonio bench`. Each measures what the options ask for and gives its figures to
 * on_row as they come.
 */
#ifndef GN_BENCH_H
#define GN_BENCH_H

#include "gonio.h"

/* Whether the user asked for this figure. */
bool gn_bench_wants(const struct gn_bench_options *options, const char *section, const char *name);
/* The median of n > 0 seconds. Sorts them. */
double gn_bench_median(double *seconds, int n);
/* reference: NAN where there is none. */
void gn_bench_row(const struct gn_bench_options *options, const char *section, const char *name, const char *unit,
                  double value, double reference);

int gn_bench_ops(const struct gn_bench_options *options,
                 struct gn_error *err); /* backend/cpu/: products and every operation of the table */
int gn_bench_images(const struct gn_bench_options *options, struct gn_error *err); /* data/: decoding and resizing */
/* A GPU's rates of a large product in the device's precision, in FLOP/s, and of a large copy, in
 * bytes/s; and that of the loader that feeds it, in images/s. NAN: not measured. */
struct gn_bench_ceilings {
	double product, copy, loader;
};
/* A row of seconds with its floor: the longer of `flops` at the rate of products and `bytes` at
 * that of copies. */
void gn_bench_cost_row(const struct gn_bench_options *options, const char *section, const char *name, double seconds,
                       double flops, double bytes, const struct gn_bench_ceilings *most);
/* A GPU's batches: the one that the user wants, else two that training uses. Their number. */
enum { GN_BENCH_BATCHES = 2 };
int gn_bench_batches(int batches[GN_BENCH_BATCHES], const struct gn_bench_options *options);
/* A GPU's product and copy, and its operations. */
int gn_bench_device(struct gn_bench_ceilings *ceilings, const struct gn_bench_options *options, struct gn_error *err);
/* data/: training images at 224 pixels that the loader makes of photographs, with as many
 * threads as a run has. *rate stays as it is where nobody wants it. */
int gn_bench_loader(double *rate, const struct gn_bench_options *options, struct gn_error *err);
/* train/: steps, inference and memory of whole networks. ceilings: NULL on a CPU. */
int gn_bench_steps(const struct gn_bench_options *options, const struct gn_bench_ceilings *ceilings,
                   struct gn_error *err);

/* The product library's rate of a float32 product of 2048 cubed, in FLOP/s, on the threads of a CPU
 * device: what operations and steps are compared with. NAN without a library. */
int gn_bench_reference_rate(double *rate, const struct gn_bench_options *options, struct gn_device *device,
                            struct gn_error *err);

#endif
