/* Offline subcommands: inspect, angles, classify, bench. See commands.h. */
#include "server/commands.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gonio.h"
#include "server/files.h"
#include "server/store.h"
#include "server/text.h"

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, IMAGE_LIMIT = 256 << 20, TOP_MAX = 100 };

static const uint64_t max_pixels = 100000000;

static int usage(const char *text)
{
	fprintf(stderr, "usage: gonio %s\n", text);
	return STATUS_USAGE;
}

static int failed(const struct gn_error *err)
{
	fprintf(stderr, "gonio: %s%s%s\n", err->where, err->where[0] ? ": " : "", err->text);
	return STATUS_FAILED;
}

/* A whole number from low to high; -1 when text is none. */
static long number(const char *text, long low, long high)
{
	char *end;
	long value = strtol(text, &end, 10);

	return *text && !*end && value >= low && value <= high ? value : -1;
}

/* ---------------------------------------------------------------- inspect ---------------------------------------- */

static void print_tensor(void *user, const char *name, const char *dtype, int rank, const int64_t *shape)
{
	uint64_t *total = user, count = 1;

	printf("%-5s %-60s (", dtype, name);
	for (int i = 0; i < rank; i++) {
		printf("%s%" PRId64, i ? ", " : "", shape[i]);
		count *= (uint64_t)shape[i];
	}
	puts(")");
	*total += count;
}

int gn_command_inspect(int argc, char **argv)
{
	struct gn_error err = {0};
	uint64_t total = 0;

	if (argc != 1)
		return usage("inspect FILE");
	if (gn_inspect(argv[0], print_tensor, &total, &err))
		return failed(&err);
	printf("%" PRIu64 " numbers\n", total);
	return 0;
}

/* ---------------------------------------------------------------- angles ----------------------------------------- */

static void print_angles(const struct gn_angles *angles)
{
	printf("%-20s %-10s %12s %5s\n", "layer", "group", "degrees", "rank");
	for (int i = 0; i < angles->count; i++) {
		const struct gn_layer_angle *layer = &angles->layers[i];
		printf("%-20s %-10s %12.6f %5d\n", layer->name, gn_group_name(layer->group), layer->degrees,
		       layer->rank);
	}
}

int gn_command_angles(int argc, char **argv)
{
	struct gn_chain chain = {0};
	struct gn_angles angles = {0};
	struct gn_error err = {0};
	const char *paths[2];
	int status = 0;

	if (argc != 2)
		return usage("angles TUNED BASE");
	paths[0] = argv[0];
	paths[1] = argv[1];
	if (gn_chain_open_paths(&chain, 2, paths, &err) ||
	    gn_angles_compute(&angles, chain.models[0], chain.models[1], &err))
		status = failed(&err);
	else
		print_angles(&angles);
	gn_angles_release(&angles);
	gn_chain_close(&chain);
	return status;
}

/* ---------------------------------------------------------------- classify --------------------------------------- */

struct classify {
	struct gn_chain chain;
	struct gn_device *device;
	struct gn_infer *infer;
	uint8_t *pixels;       /* [S, S, 3] */
	float *image, *logits; /* [3, S, S], [K] */
	int top;
};

static void print_top(const struct classify *c, const char *path)
{
	const struct gn_model *model = c->chain.models[0];
	int classes = model->arch.classes;

	gn_softmax(c->logits, c->logits, classes);
	for (int rank = 0; rank < c->top && rank < classes; rank++) {
		int best = 0;
		for (int k = 1; k < classes; k++)
			if (c->logits[k] > c->logits[best])
				best = k;
		if (model->label_count)
			printf("%s\t%s\t%.6f\n", path, model->labels[best], (double)c->logits[best]);
		else
			printf("%s\t%d\t%.6f\n", path, best, (double)c->logits[best]);
		c->logits[best] = -1;
	}
}

static int classify_file(struct classify *c, const char *path, struct gn_error *err)
{
	const struct gn_model *model = c->chain.models[0];
	char *bytes = NULL;
	size_t size = 0;
	int result;

	if (gn_file_load(path, IMAGE_LIMIT, &bytes, &size, err))
		return -1;
	result = gn_image_eval(c->pixels, bytes, size, max_pixels, model->arch.image_size, &model->preprocess, err);
	free(bytes);
	if (result)
		return -1;
	gn_image_normalise(c->image, c->pixels, model->arch.image_size, &model->preprocess);
	if (gn_infer_run(c->infer, c->image, 1, c->logits, err))
		return -1;
	print_top(c, path);
	return 0;
}

static int classify_open(struct classify *c, int count, const char *const *paths, struct gn_error *err)
{
	const struct gn_model *model;
	size_t side;

	if (gn_chain_open_paths(&c->chain, count, paths, err) ||
	    gn_device_open(&c->device, "auto", 0, GN_PRECISION_AUTO, err))
		return -1;
	model = c->chain.models[0];
	if (model->arch.classes == 0)
		return gn_fail(err, GN_INVALID, paths[0], "the model has no head");
	side = (size_t)model->arch.image_size;
	c->pixels = malloc(3 * side * side);
	c->image = malloc(3 * side * side * sizeof *c->image);
	c->logits = malloc((size_t)model->arch.classes * sizeof *c->logits);
	if (!c->pixels || !c->image || !c->logits)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	return gn_infer_new(&c->infer, c->device, model, 1, err);
}

static void classify_close(struct classify *c)
{
	if (c->infer)
		gn_infer_free(c->infer);
	if (c->device)
		gn_device_close(c->device);
	gn_chain_close(&c->chain);
	free(c->pixels);
	free(c->image);
	free(c->logits);
}

int gn_command_classify(int argc, char **argv)
{
	static const char text[] = "classify MODEL [--base BASE]... [--top N] IMAGE...";
	struct classify c = {.top = 5};
	const char *paths[GN_CHAIN_MAX];
	struct gn_error err = {0};
	int count = 1, at = 1, status = 0;

	for (; at + 1 < argc && !strncmp(argv[at], "--", 2); at += 2) {
		if (!strcmp(argv[at], "--base") && count < GN_CHAIN_MAX)
			paths[count++] = argv[at + 1];
		else if (!strcmp(argv[at], "--top") && number(argv[at + 1], 1, TOP_MAX) > 0)
			c.top = (int)number(argv[at + 1], 1, TOP_MAX);
		else
			return usage(text);
	}
	if (at >= argc)
		return usage(text);
	paths[0] = argv[0];
	if (classify_open(&c, count, paths, &err))
		status = failed(&err);
	for (; at < argc && status == 0; at++)
		if (classify_file(&c, argv[at], &err)) {
			if (!err.where[0])
				snprintf(err.where, sizeof err.where, "%s", argv[at]);
			status = failed(&err);
		}
	classify_close(&c);
	return status;
}

/* ---------------------------------------------------------------- bench ------------------------------------------ */

struct bench {
	bool json;
	int rows;
};

static void print_row_json(const struct bench *bench, const struct gn_bench_row *row)
{
	json_t *value =
	    json_pack("{s:s,s:s,s:o,s:s,s:o}", "section", row->section, "name", row->name, "value",
	              gn_json_real(row->value), "unit", row->unit, "reference", gn_json_real(row->reference));
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
	else if (isnan(row->reference))
		printf("%-12s %-56s %12.4g %s\n", row->section, row->name, row->value, row->unit);
	else
		printf("%-12s %-56s %12.4g %-9s (of %.4g: %.3f)\n", row->section, row->name, row->value, row->unit,
		       row->reference, row->value / row->reference);
	bench->rows++;
	(void)fflush(stdout);
}

int gn_command_bench(int argc, char **argv)
{
	static const char text[] = "bench [--json] [--only TEXT] [--threads N] [--seconds S]";
	struct bench bench = {0};
	struct gn_bench_options options = {.seconds = 1, .on_row = print_row, .user = &bench};
	struct gn_error err = {0};

	for (int i = 0; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(argv[i], "--json")) {
			bench.json = true;
			continue;
		}
		i++;
		if (!strcmp(argv[i - 1], "--only") && *value)
			options.only = value;
		else if (!strcmp(argv[i - 1], "--threads") && number(value, 1, 4096) > 0)
			options.threads = (int)number(value, 1, 4096);
		else if (!strcmp(argv[i - 1], "--seconds") && strtod(value, NULL) > 0)
			options.seconds = strtod(value, NULL);
		else
			return usage(text);
	}
	if (gn_bench(&options, &err))
		return failed(&err);
	if (bench.json)
		puts(bench.rows ? "]" : "[]");
	return 0;
}
