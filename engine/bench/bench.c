/* `gonio bench`: what this machine does, part by part, in one process and one run, so that ratios mean something. */
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>

bool gn_bench_wants(const struct gn_bench_options *options, const char *section, const char *name)
{
	char full[160];

	if (!options->only)
		return true;
	snprintf(full, sizeof full, "%s/%s", section, name);
	return strstr(full, options->only) != NULL;
}

void gn_bench_row(const struct gn_bench_options *options, const char *section, const char *name, const char *unit,
                  double value, double reference)
{
	struct gn_bench_row row = {.value = value, .reference = reference};

	snprintf(row.section, sizeof row.section, "%s", section);
	snprintf(row.name, sizeof row.name, "%s", name);
	snprintf(row.unit, sizeof row.unit, "%s", unit);
	options->on_row(options->user, &row);
}

int gn_bench(const struct gn_bench_options *options, struct gn_error *err)
{
	struct gn_device_info info;
	struct gn_bench_ceilings ceilings;

	gn_device_describe(options->device, &info);
	if (strcmp(info.spec, "cpu") != 0)
		return gn_bench_device(&ceilings, options, err) || gn_bench_steps(options, &ceilings, err) ? -1 : 0;
	return gn_bench_ops(options, err) || gn_bench_images(options, err) || gn_bench_steps(options, NULL, err) ? -1
	                                                                                                         : 0;
}
