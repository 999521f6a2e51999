/* gonio train: a run on plain files, or in a prepared folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/job.h"
#include "server/cli/commands.h"
#include "server/formats/events.h"
#include "server/common/files.h"
#include "server/formats/run_request.h"

static const struct gn_cli_option options[] = {
    {"model", "PATH", "the checkpoint to start from: gonio's own, foreign, or a folder with one (required)"},
    {"base", "PATH", "the model that --model was tuned from; repeat it for the base of the base, and so on"},
    {"out", "DIR", "the run's folder, new or empty; receives model.safetensors, the tuned weights (required)"},
    GN_CLI_DATA_OPTIONS,
    GN_CLI_FOREIGN_OPTIONS,
};
/* Said by options of other names, or of the queue. */
static const char *const hidden[] = {"name", "model", "dataset", "priority", "threads", "precision", NULL};

static struct gn_cli_command command = {
    .name = "train",
    .usage = "--model PATH --data PATH --strategy NAME|JSON --out DIR [options]\nDIR [--json]",
    .text = "Fine-tunes part of a Vision Transformer. The second form continues a stopped run from its last\n"
            "checkpoint, with the same bits as without the stop. A strategy that chooses layers by their angles\n"
            "uses the angles of a probe,\n"
            "{\"kind\":\"angle\",\"probe\":{\"epochs\":2},\"order\":\"largest\",\"attention_layers\":4,"
            "\"ffn_layers\":4}, or\n"
            "those of a run, with \"from\":DIR instead of \"probe\".",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .computes = true,
    .hidden = hidden,
    .words_max = 1,
};

/* ---------------------------------------------------------------- the run's fields ------------ */

/* "/batch_size" is told as "--batch-size". */
static int refuse_field(const json_t *error)
{
	char name[64];

	snprintf(name, sizeof name, "%s", json_string_value(json_object_get(error, "pointer")) + 1);
	for (char *c = name; *c; c++)
		*c = *c == '_' ? '-' : *c;
	return gn_cli_usage(&command, "--%s %s", name, json_string_value(json_object_get(error, "detail")));
}

/* job->request: the fields that were given, and all defaults. */
static int read_fields(struct gn_cli_job *job, const struct gn_cli *cli)
{
	json_t *errors = json_array();
	struct gn_run_request request;
	int status = 0;

	json_object_update(job->request, cli->fields);
	/* the table wants ids; the files are named beside the request */
	json_object_set_new(job->request, "model", json_string("model"));
	json_object_set_new(job->request, "dataset", json_string("dataset"));
	gn_run_request_read(&request, job->request, false, errors);
	if (json_array_size(errors)) {
		status = refuse_field(json_array_get(errors, 0));
	} else {
		json_decref(job->request);
		job->request = gn_run_request_write(&request);
	}
	gn_run_request_release(&request);
	json_decref(errors);
	return status;
}

/* ---------------------------------------------------------------- layers from another run ----- */

static int choose(struct gn_cli_job *job, const struct gn_angles *angles, const json_t *strategy, struct gn_error *err)
{
	const char *name = json_string_value(json_object_get(strategy, "order"));
	int order = name ? gn_order_from_name(name) : -1;
	struct gn_selection chosen;

	if (order < 0)
		return gn_fail(err, GN_INVALID, "/strategy/order", "must be largest or smallest");
	if (gn_select_layers(&chosen, angles, (enum gn_order)order,
	                     (int)json_integer_value(json_object_get(strategy, "attention_layers")),
	                     (int)json_integer_value(json_object_get(strategy, "ffn_layers")), err))
		return -1;
	json_object_set_new(job->members, "selection", gn_selection_json(&chosen, (enum gn_order)order));
	gn_selection_release(&chosen);
	return 0;
}

/* from: the folder of a run on this very model. */
static int choose_from(struct gn_cli_job *job, const struct gn_cli *cli, const char *from,
                       const struct gn_cli_chain *model, struct gn_error *err)
{
	struct gn_cli_chain chain;
	struct gn_chain models = {0};
	struct gn_angles angles = {0};
	int result = gn_cli_chain_open(&chain, cli, from, NULL, 0, job->folder, err);

	if (result == 0 && (chain.count < 2 || !gn_cli_same_file(chain.paths[1], model->paths[0])))
		result =
		    gn_fail(err, GN_INVALID, "/strategy/from", "%s is no run on the model that --model names", from);
	if (result == 0)
		result = gn_chain_open_paths(&models, chain.count, (const char *const *)chain.paths, false, err);
	if (result == 0)
		result = gn_angles_compute(&angles, models.models[0], models.models[1], err);
	if (result == 0)
		result = choose(job, &angles, json_object_get(cli->fields, "strategy"), err);
	gn_angles_release(&angles);
	gn_chain_close(&models);
	gn_cli_chain_release(&chain);
	return result;
}

/* ---------------------------------------------------------------- preparing ------------------- */

static int open_models(struct gn_cli_job *job, const struct gn_cli *cli, const char *from)
{
	const char *bases[GN_CHAIN_MAX], *model = gn_cli_text(cli, "model");
	struct gn_cli_chain chain;
	struct gn_error err = {0};
	int count = gn_cli_all(cli, "base", bases, GN_CHAIN_MAX), result;

	if (count > GN_CHAIN_MAX)
		return gn_cli_usage(cli->command, "--base is given too many times");
	result = gn_cli_chain_open(&chain, cli, model, bases, count, job->folder, &err);
	if (result == 0 && from)
		result = choose_from(job, cli, from, &chain, &err);
	if (result == 0)
		gn_cli_job_add_chain(job, &chain);
	gn_cli_chain_release(&chain);
	return result ? gn_cli_failed(&err) : 0;
}

/* The folder that the strategy's "from" names; "from" then becomes a name that the table takes.
 * NULL: it has none. */
static char *take_from(const struct gn_cli *cli)
{
	json_t *strategy = json_object_get(cli->fields, "strategy");
	const char *from = json_string_value(json_object_get(strategy, "from"));
	char *copy = from ? strdup(from) : NULL;

	if (copy)
		json_object_set_new(strategy, "from", json_string("run"));
	return copy;
}

/* 0, or the exit status. */
static int prepare(struct gn_cli_job *job, const struct gn_cli *cli)
{
	char *from = take_from(cli);
	int status = gn_cli_device(&job->device, cli);

	if (status == 0)
		status = gn_cli_job_begin(job, cli, gn_cli_text(cli, "out"));
	if (status == 0)
		status = read_fields(job, cli);
	if (status == 0)
		status = open_models(job, cli, from);
	if (status == 0)
		status = gn_cli_job_data(job, cli);
	if (status == 0)
		status = gn_cli_job_write(job);
	free(from);
	return status;
}

static int train_files(const struct gn_cli *cli)
{
	struct gn_cli_job job = {.kind = GN_KIND_RUN};
	char folder[PATH_MAX];
	int status;

	if (!gn_cli_text(cli, "model") || !gn_cli_text(cli, "out") || !gn_cli_text(cli, "data"))
		return gn_cli_usage(cli->command, "--model, --data and --out are required, or the folder of a run");
	if (cli->word_count)
		return gn_cli_usage(cli->command, "%s is no option", cli->words[0]);
	status = prepare(&job, cli);
	snprintf(folder, sizeof folder, "%s", job.folder);
	gn_cli_job_end(&job, status == 0);
	return status ? status : gn_cli_job_run(GN_KIND_RUN, folder, gn_cli_flag(cli, "json"));
}

int gn_command_train(int argc, char **argv)
{
	struct gn_cli cli;
	int status;

	command.fields = gn_run_fields(&command.field_count);
	status = gn_cli_parse(&cli, &command, argc, argv);
	if (status < 0)
		status = gn_cli_names_folder(&cli)
		             ? gn_cli_job_run(GN_KIND_RUN, cli.words[0], gn_cli_flag(&cli, "json"))
		             : train_files(&cli);
	gn_cli_release(&cli);
	return status;
}
