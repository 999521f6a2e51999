/* gonio evaluate: measures a model on a split of a data set. */
#include <stdio.h>
#include <string.h>

#include "server/cli/job.h"
#include "server/cli/commands.h"
#include "server/common/files.h"

static const struct gn_cli_option options[] = {
    {"model", "PATH", "the model: gonio's own, foreign, a folder with one, or the folder of a run or soup (required)"},
    {"base", "PATH", "the model that --model was tuned from; repeat it for the base of the base, and so on"},
    {"split", "val|train|test|all", "the pictures to measure on; default val"},
    {"out", "DIR", "a new or empty folder for the report: result.json, report.json, images.bin"},
    GN_CLI_DATA_OPTIONS,
    GN_CLI_FOREIGN_OPTIONS,
};
static const struct gn_cli_command command = {
    .name = "evaluate",
    .usage = "--model PATH --data PATH [options]\nDIR [--json]",
    .text = "Accuracy, top-5 accuracy, macro F1, loss and calibration error of a model, and the accuracy of each\n"
            "class. --json adds the confusion matrix and the calibration. The data must have the model's\n"
            "classes. The second form runs a prepared evaluation.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .computes = true,
    .words_max = 1,
};

static bool is_split(const char *name)
{
	for (int split = 0; split < GN_SPLIT_COUNT; split++)
		if (!strcmp(name, gn_split_name((enum gn_split)split)))
			return true;
	return !strcmp(name, "all");
}

static int open_model(struct gn_cli_job *job, const struct gn_cli *cli)
{
	const char *bases[GN_CHAIN_MAX];
	struct gn_cli_chain chain;
	struct gn_error err = {0};
	int count = gn_cli_all(cli, "base", bases, GN_CHAIN_MAX), result;

	if (count > GN_CHAIN_MAX)
		return gn_cli_usage(cli->command, "--base is given too many times");
	result = gn_cli_chain_open(&chain, cli, gn_cli_text(cli, "model"), bases, count, job->folder, &err);
	gn_cli_job_add_chain(job, &chain);
	gn_cli_chain_release(&chain);
	return result ? gn_cli_failed(&err) : 0;
}

/* 0, or the exit status. */
static int prepare(struct gn_cli_job *job, const struct gn_cli *cli, const char *out)
{
	const char *split = gn_cli_text(cli, "split");
	int status = gn_cli_device(&job->device, cli);

	if (status == 0 && split && !is_split(split))
		status = gn_cli_usage(cli->command, "--split must be val, train, test or all");
	if (status == 0)
		status = gn_cli_job_begin(job, cli, out);
	if (status == 0)
		status = open_model(job, cli);
	if (status == 0)
		status = gn_cli_job_data(job, cli);
	if (status)
		return status;
	json_object_set_new(job->request, "model", gn_cli_string(gn_cli_text(cli, "model")));
	json_object_set_new(job->request, "dataset", gn_cli_string(gn_cli_text(cli, "data")));
	json_object_set_new(job->request, "split", json_string(split ? split : "val"));
	return gn_cli_job_write(job);
}

/* Prepares out and does the evaluation there. */
static int evaluate_in(const struct gn_cli *cli, const char *out)
{
	struct gn_cli_job job = {.kind = GN_KIND_EVALUATION};
	char folder[PATH_MAX];
	int status = prepare(&job, cli, out);

	snprintf(folder, sizeof folder, "%s", job.folder);
	gn_cli_job_end(&job, status == 0);
	return status ? status : gn_cli_job_run(GN_KIND_EVALUATION, folder, gn_cli_flag(cli, "json"));
}

static int evaluate_files(const struct gn_cli *cli)
{
	const char *out = gn_cli_text(cli, "out");
	struct gn_error err = {0};
	char folder[PATH_MAX];
	int status;

	if (!gn_cli_text(cli, "model") || !gn_cli_text(cli, "data"))
		return gn_cli_usage(cli->command, "--model and --data are required, or the folder of an evaluation");
	if (cli->word_count)
		return gn_cli_usage(cli->command, "%s is no option", cli->words[0]);
	if (out)
		return evaluate_in(cli, out);
	if (gn_cli_temporary(folder, &err))
		return gn_cli_failed(&err);
	status = evaluate_in(cli, folder);
	gn_tree_remove(folder, NULL, NULL);
	return status;
}

int gn_command_evaluate(int argc, char **argv)
{
	struct gn_cli cli;
	int status;

	status = gn_cli_parse(&cli, &command, argc, argv);
	if (status < 0)
		status = gn_cli_names_folder(&cli)
		             ? gn_cli_job_run(GN_KIND_EVALUATION, cli.words[0], gn_cli_flag(&cli, "json"))
		             : evaluate_files(&cli);
	gn_cli_release(&cli);
	return status;
}
