/* gonio classify: classifies pictures with a model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/job.h"
#include "server/cli/commands.h"
#include "server/common/files.h"
#include "server/common/text.h"

enum { IMAGE_LIMIT = 256 << 20, TOP = 5, TOP_MAX = 1000, IMAGES_MAX = 1000000 };

static const struct gn_cli_option options[] = {
    {"base", "FILE", "the model that MODEL was tuned from; repeat it for the base of the base, and so on"},
    {"top", "N", "classes to show for each picture; default 5"},
    GN_CLI_FOREIGN_OPTIONS,
};
static const struct gn_cli_command command = {
    .name = "classify",
    .usage = "MODEL IMAGE... [options]",
    .text = "The most probable classes of each picture (JPEG, PNG or WebP). Each line has file, class and\n"
            "probability. MODEL is gonio's own file, another safetensors file, a folder with one, or the folder\n"
            "of a run or soup.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .computes = true,
    .words_min = 2,
    .words_max = IMAGES_MAX,
};

struct classify {
	struct gn_chain chain;
	struct gn_device *device;
	struct gn_infer *infer;
	uint8_t *pixels;       /* [S, S, 3] */
	float *image, *logits; /* [3, S, S], [K] */
	struct gn_image_limits limits;
	int top;
	bool json;
};

/* The class of the largest value, which is taken out of the running. */
static int take_best(float *values, int classes, float *value)
{
	int best = 0;

	for (int k = 1; k < classes; k++)
		if (values[k] > values[best])
			best = k;
	*value = values[best];
	values[best] = -1;
	return best;
}

/* c->logits hold probabilities. */
static void print_top(const struct classify *c, const char *path)
{
	const struct gn_model *model = c->chain.models[0];
	json_t *list = json_array();

	for (int rank = 0; rank < c->top && rank < model->arch.classes; rank++) {
		float probability;
		int k = take_best(c->logits, model->arch.classes, &probability);
		const char *label = model->label_count ? model->labels[k] : NULL;

		if (c->json)
			json_array_append_new(list, json_pack("{s:s?,s:i,s:f}", "label", label, "index", k,
			                                      "probability", (double)probability));
		else if (label)
			printf("%s\t%s\t%.6f\n", path, label, (double)probability);
		else
			printf("%s\t%d\t%.6f\n", path, k, (double)probability);
	}
	if (c->json)
		gn_cli_json(json_pack("{s:o,s:O}", "file", gn_cli_string(path), "predictions", list));
	json_decref(list);
}

static int classify_file(struct classify *c, const char *path, struct gn_error *err)
{
	const struct gn_model *model = c->chain.models[0];
	char *bytes = NULL;
	size_t size = 0;
	int result;

	if (gn_file_load(path, IMAGE_LIMIT, &bytes, &size, err))
		return -1;
	result = gn_image_eval(c->pixels, bytes, size, &c->limits, model->arch.image_size, &model->preprocess, err);
	free(bytes);
	if (result)
		return -1;
	gn_image_normalise(c->image, c->pixels, model->arch.image_size, &model->preprocess);
	if (gn_infer_run(c->infer, c->image, 1, c->logits, err))
		return -1;
	gn_softmax(c->logits, c->logits, model->arch.classes);
	print_top(c, path);
	return 0;
}

/* One picture that cannot be read does not keep the others from being classified. */
static int classify_files(struct classify *c, int count, const char *const *paths)
{
	int status = GN_CLI_DONE;

	for (int i = 0; i < count && !gn_cli_stop; i++) {
		struct gn_error err = {0};

		if (classify_file(c, paths[i], &err) == 0)
			continue;
		fprintf(stderr, "gonio: %s: %s\n", paths[i], err.text);
		if (c->json)
			gn_cli_json(
			    json_pack("{s:o,s:o}", "file", gn_cli_string(paths[i]), "error", gn_cli_string(err.text)));
		status = GN_CLI_FAILED;
	}
	return gn_cli_stop ? GN_CLI_STOPPED : status;
}

/* name: what the command line calls the model. */
static int open_model(struct classify *c, const char *name, const struct gn_cli_chain *chain,
                      const struct gn_cli_device *device, struct gn_error *err)
{
	const struct gn_model *model;
	size_t side;

	if (gn_chain_open_paths(&c->chain, chain->count, (const char *const *)chain->paths, false, err) ||
	    gn_cli_device_open(&c->device, device, err))
		return -1;
	model = c->chain.models[0];
	if (model->arch.classes == 0)
		return gn_fail(err, GN_INVALID, name, "the model has no classification head");
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
	gn_infer_free(c->infer);
	gn_device_close(c->device);
	gn_chain_close(&c->chain);
	free(c->pixels);
	free(c->image);
	free(c->logits);
}

/* With everything parsed: opens the model, which may be imported into folder, and classifies. */
static int run(struct classify *c, const struct gn_cli *cli, const struct gn_cli_device *device, const char *folder)
{
	struct gn_cli_chain chain;
	struct gn_error err = {0};
	const char *bases[GN_CHAIN_MAX];
	int count = gn_cli_all(cli, "base", bases, GN_CHAIN_MAX), status;

	if (count > GN_CHAIN_MAX)
		return gn_cli_usage(cli->command, "--base is given too many times");
	if (gn_cli_chain_open(&chain, cli, cli->words[0], bases, count, folder, &err) ||
	    open_model(c, cli->words[0], &chain, device, &err))
		status = gn_cli_failed(&err);
	else
		status = classify_files(c, cli->word_count - 1, cli->words + 1);
	gn_cli_chain_release(&chain);
	classify_close(c);
	return status;
}

/* Reads the options. Returns -1 to continue, or the exit status. */
static int read_options(struct classify *c, struct gn_cli_device *device, const struct gn_cli *cli)
{
	long top;

	if (gn_cli_device(device, cli) || gn_cli_integer(&top, cli, "top", 1, TOP_MAX, TOP))
		return GN_CLI_USAGE;
	c->json = gn_cli_flag(cli, "json");
	c->top = (int)top;
	c->limits.max_pixels = (uint64_t)device->max_pixels;
	return -1;
}

int gn_command_classify(int argc, char **argv)
{
	struct classify c = {0};
	struct gn_cli_device device;
	struct gn_error err = {0};
	struct gn_cli cli;
	char folder[PATH_MAX];
	int status = gn_cli_parse(&cli, &command, argc, argv);

	if (status < 0)
		status = read_options(&c, &device, &cli);
	if (status < 0 && gn_cli_temporary(folder, &err))
		status = gn_cli_failed(&err);
	if (status < 0) {
		status = run(&c, &cli, &device, folder);
		gn_tree_remove(folder, NULL, NULL);
	}
	gn_cli_release(&cli);
	return status;
}
