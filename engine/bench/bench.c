/*
 * `gonio bench`: what this machine does, part by part, in one process and one run, so that ratios
 * mean something.
 */
#include "bench/bench.h"

#include "bench/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool gn_bench_wants(const struct gn_bench_options *options, const char *section, const char *name)
{
	char full[160];

	if (!options->only)
		return true;
	snprintf(full, sizeof full, "%s/%s", section, name);
	return strstr(full, options->only) != NULL;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double gn_bench_median(double *seconds, int n)
{
	qsort(seconds, (size_t)n, sizeof *seconds, compare_double);
	return seconds[n / 2];
}

static void give_row(const struct gn_bench_options *options, struct gn_bench_row *row, const char *section,
                     const char *name, const char *unit)
{
	snprintf(row->section, sizeof row->section, "%s", section);
	snprintf(row->name, sizeof row->name, "%s", name);
	snprintf(row->unit, sizeof row->unit, "%s", unit);
	options->on_row(options->user, row);
}

void gn_bench_row(const struct gn_bench_options *options, const char *section, const char *name, const char *unit,
                  double value, double reference)
{
	struct gn_bench_row row = {.value = value, .reference = reference, .flops = NAN, .bytes = NAN};

	give_row(options, &row, section, name, unit);
}

void gn_bench_cost_row(const struct gn_bench_options *options, const char *section, const char *name, double seconds,
                       double flops, double bytes, const struct gn_bench_ceilings *most)
{
	struct gn_bench_row row = {.value = seconds,
	                           .reference = fmax(flops / most->product, bytes / most->copy),
	                           .flops = flops,
	                           .bytes = bytes};

	give_row(options, &row, section, name, "s");
}

const char *gn_bench_reference(void)
{
	return gn_reference_library();
}

int gn_bench_batches(int batches[GN_BENCH_BATCHES], const struct gn_bench_options *options)
{
	batches[0] = options->batch ? options->batch : 128;
	batches[1] = 256;
	return options->batch ? 1 : 2;
}

int gn_bench(const struct gn_bench_options *options, struct gn_error *err)
{
	struct gn_device_info info;
	struct gn_bench_ceilings ceilings = {NAN, NAN, NAN};

	gn_device_describe(options->device, &info);
	if (strcmp(info.spec, "cpu") != 0)
		return gn_bench_device(&ceilings, options, err) || gn_bench_loader(&ceilings.loader, options, err) ||
		               gn_bench_steps(options, &ceilings, err)
		           ? -1
		           : 0;
	return gn_bench_ops(options, err) || gn_bench_images(options, err) || gn_bench_steps(options, NULL, err) ? -1
	                                                                                                         : 0;
}
