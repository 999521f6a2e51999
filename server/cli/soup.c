/* gonio soup: averages of tuned models on plain files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/job.h"
#include "server/cli/commands.h"

static const struct gn_cli_option options[] = {
    {"base", "PATH", "the model that they were tuned from; repeat it for its base. Folders of runs need none"},
    {"method", "uniform|greedy|weighted",
     "the mean of all; the models that help, best first; by --weights. Default uniform"},
    {"weights", "X,X,...", "for the method weighted: one for each model, not negative"},
    {"out", "DIR", "the soup's folder, new or empty; receives model.safetensors, its delta (required)"},
    GN_CLI_DATA_OPTIONS,
    GN_CLI_FOREIGN_OPTIONS,
};
static const struct gn_cli_command command = {
    .name = "soup",
    .usage = "MODEL... --out DIR [options]\nDIR [--json]",
    .text = "Averages models that were tuned from one base (arXiv:2203.05482), weight by weight in float64. A\n"
            "MODEL is the folder of a run or soup, or a file; files need --base. With --data, every model and\n"
            "the soup are measured on the val split; greedy needs it. The second form continues a stopped soup.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .computes = true,
    .words_max = GN_SOUP_MODELS_MAX,
};

/* "1,0.5,2" -> [1, 0.5, 2]; NULL when it is no such list. New reference. */
static json_t *parse_weights(const char *text)
{
	json_t *list = json_array();

	for (;;) {
		char *end;
		double value = strtod(text, &end);

		if (end == text || (*end && *end != ',') || !(value >= 0) ||
		    json_array_append_new(list, json_real(value)))
			break;
		if (!*end)
			return list;
		text = end + 1;
	}
	json_decref(list);
	return NULL;
}

/* Method and weights into the request. 0, or the exit status. */
static int read_recipe(struct gn_cli_job *job, const struct gn_cli *cli)
{
	const char *method = gn_cli_text(cli, "method"), *weights = gn_cli_text(cli, "weights");
	int kind = method ? gn_soup_method_from_name(method) : GN_SOUP_UNIFORM;
	json_t *list = weights ? parse_weights(weights) : NULL;

	if (list)
		json_object_set_new(job->request, "weights", list);
	if (kind < 0)
		return gn_cli_usage(cli->command, "--method must be uniform, greedy or weighted");
	if ((kind == GN_SOUP_WEIGHTED) != (weights != NULL))
		return gn_cli_usage(cli->command, "--weights and --method weighted go together");
	if (weights && (int)json_array_size(list) != cli->word_count)
		return gn_cli_usage(cli->command, "--weights must be a number for each model, not negative");
	if (kind == GN_SOUP_GREEDY && !gn_cli_text(cli, "data"))
		return gn_cli_usage(cli->command, "--method greedy needs --data");
	json_object_set_new(job->request, "method", json_string(gn_soup_method_name((enum gn_soup_method)kind)));
	return 0;
}

/* Runs on one foreign checkpoint have each imported it: equal files count as one base. */
static int open_models(struct gn_cli_job *job, const struct gn_cli *cli)
{
	const char *bases[GN_CHAIN_MAX];
	struct gn_cli_chain first = {0}, chain = {0};
	struct gn_error err = {0};
	json_t *names = json_array();
	int count = gn_cli_all(cli, "base", bases, GN_CHAIN_MAX), result = 0;

	if (count > GN_CHAIN_MAX)
		result = gn_fail(&err, GN_INVALID, "--base", "is given too many times");
	for (int i = 0; i < cli->word_count && result == 0; i++) {
		struct gn_cli_chain *here = i ? &chain : &first;

		for (int b = 0; i && b < count; b++) /* gonio's own by now: imported once */
			bases[b] = first.paths[1 + b];
		result = gn_cli_chain_open(here, cli, cli->words[i], bases, count, job->folder, &err);
		if (result == 0 && here->count < 2)
			result = gn_fail(&err, GN_INVALID, cli->words[i], "does not name its base: give --base");
		if (result == 0)
			result = gn_cli_chain_share(here, &first, &err);
		gn_cli_job_add_chain(job, here);
		json_array_append_new(names, gn_cli_string(cli->words[i]));
		gn_cli_chain_release(&chain);
	}
	gn_cli_chain_release(&first);
	json_object_set_new(job->request, "models", names);
	return result ? gn_cli_failed(&err) : 0;
}

/* 0, or the exit status. */
static int prepare(struct gn_cli_job *job, const struct gn_cli *cli)
{
	const char *data = gn_cli_text(cli, "data");
	int status = gn_cli_device(&job->device, cli);

	if (status == 0)
		status = gn_cli_job_begin(job, cli, gn_cli_text(cli, "out"));
	if (status == 0)
		status = read_recipe(job, cli);
	if (status == 0)
		status = open_models(job, cli);
	if (status == 0 && data)
		status = gn_cli_job_data(job, cli);
	if (status)
		return status;
	json_object_set_new(job->request, "dataset", data ? gn_cli_string(data) : json_null());
	return gn_cli_job_write(job);
}

static int soup_files(const struct gn_cli *cli)
{
	struct gn_cli_job job = {.kind = GN_KIND_SOUP};
	char folder[PATH_MAX];
	int status;

	if (!gn_cli_text(cli, "out") || !cli->word_count)
		return gn_cli_usage(cli->command, "models and --out are required, or the folder of a soup");
	status = prepare(&job, cli);
	snprintf(folder, sizeof folder, "%s", job.folder);
	gn_cli_job_end(&job, status == 0);
	return status ? status : gn_cli_job_run(GN_KIND_SOUP, folder, gn_cli_flag(cli, "json"));
}

int gn_command_soup(int argc, char **argv)
{
	struct gn_cli cli;
	int status;

	status = gn_cli_parse(&cli, &command, argc, argv);
	if (status < 0)
		status = gn_cli_names_folder(&cli)
		             ? gn_cli_job_run(GN_KIND_SOUP, cli.words[0], gn_cli_flag(&cli, "json"))
		             : soup_files(&cli);
	gn_cli_release(&cli);
	return status;
}
