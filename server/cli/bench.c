/* gonio bench: speed and memory of this machine's engine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/common/text.h"

static const struct gn_cli_option options[] = {
    {"only", "TEXT", "only figures whose section/name has this in it"},
    {"batch", "N", "images of a batch, at most 256; unless said, each part has its own, on a GPU 128 and 256"},
    {"seconds", "S", "about how long each figure is measured; 1 unless said"},
};
static const struct gn_cli_command command = {
    .name = "bench",
    .usage = "[options]",
    .text = "Measures operations, training steps, inference and memory on this machine. --json gives one array.",
    .computes = true,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

struct bench {
	bool json;
	int rows;
};

static void print_row_json(const struct bench *bench, const struct gn_bench_row *row)
{
	json_t *value =
	    json_pack("{s:s,s:s,s:o,s:s,s:o}", "section", row->section, "name", row->name, "value",
	              gn_json_real(row->value), "unit", row->unit, "reference", gn_json_real(row->reference));

	if (value && !isnan(row->flops)) {
		json_object_set_new(value, "flops", gn_json_real(row->flops));
		json_object_set_new(value, "bytes", gn_json_real(row->bytes));
		json_object_set_new(value, "ratio", gn_json_real(row->reference / row->value));
	}

	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

	printf("%s%s", bench->rows ? ",\n " : "[", text ? text : "null");
	free(text);
	json_decref(value);
}

static void print_row(void *user, const struct gn_bench_row *row)
{
	struct bench *bench = user;

	if (bench->json)
		print_row_json(bench, row);
	else if (!isnan(row->flops))
		printf("%-12s %-56s %12.4g %-9s floor %.4g: %.3f  %.4g GFLOP, %.4g GB\n", row->section, row->name,
		       row->value, row->unit, row->reference, row->reference / row->value, row->flops * 1e-9,
		       row->bytes * 1e-9);
	else if (isnan(row->reference))
		printf("%-12s %-56s %12.4g %s\n", row->section, row->name, row->value, row->unit);
	else
		printf("%-12s %-56s %12.4g %-9s (of %.4g: %.3f)\n", row->section, row->name, row->value, row->unit,
		       row->reference, row->value / row->reference);
	bench->rows++;
	(void)fflush(stdout);
}

static int run(const struct gn_bench_options *how, struct gn_error *err)
{
	struct gn_device_info info;

	gn_device_describe(how->device, &info);
	if (!strcmp(info.backend, "cpu") && !gn_bench_reference())
		(void)fputs(
		    "gonio bench: no reference library was built in, so rows that compare with its rate are left "
		    "out\n",
		    stderr);
	return gn_bench(how, err);
}

int gn_command_bench(int argc, char **argv)
{
	struct bench bench = {0};
	struct gn_bench_options how = {.on_row = print_row, .user = &bench};
	struct gn_error err = {0};
	struct gn_cli cli;
	struct gn_cli_device device;
	long batch = 0;
	int status = gn_cli_parse(&cli, &command, argc, argv);

	if (status < 0 && (gn_cli_device(&device, &cli) || gn_cli_real(&how.seconds, &cli, "seconds", 1e-3, 3600, 1) ||
	                   gn_cli_integer(&batch, &cli, "batch", 1, GN_BENCH_BATCH_MAX, 0)))
		status = GN_CLI_USAGE;
	if (status < 0) {
		bench.json = gn_cli_flag(&cli, "json");
		how.only = gn_cli_text(&cli, "only");
		how.batch = (int)batch;
		how.threads = (int)device.threads;
		status = gn_cli_device_open(&how.device, &device, &err) || run(&how, &err) ? gn_cli_failed(&err)
		                                                                           : GN_CLI_DONE;
		gn_device_close(how.device);
		if (status == GN_CLI_DONE && bench.json)
			puts(bench.rows ? "]" : "[]");
	}
	gn_cli_release(&cli);
	return status;
}
