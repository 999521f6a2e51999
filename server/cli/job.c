/* Preparing a job's folder: see job.h. */
#include "server/cli/job.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/common/files.h"
#include "server/formats/job_folder.h"

volatile int gn_cli_stop;

static void on_stop(int signal_number)
{
	(void)signal_number;
	gn_cli_stop = 1;
}

void gn_cli_catch_signals(void)
{
	struct sigaction stop = {.sa_handler = on_stop};

	sigemptyset(&stop.sa_mask);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
}

/* ---------------------------------------------------------------- the folder ------------------ */

static bool is_empty(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	bool empty = dir != NULL;

	while (empty && (entry = readdir(dir)))
		empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	if (dir)
		closedir(dir);
	return empty;
}

static int refuse_folder(const struct gn_cli *cli, const char *out)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/job.json", out);
	if (access(path, F_OK) == 0)
		fprintf(stderr, "gonio: %s already holds a job; to continue it: gonio %s %s\n", out, cli->command->name,
		        out);
	else
		fprintf(stderr, "gonio: %s is not an empty folder\n", out);
	return GN_CLI_FAILED;
}

static int refuse(struct gn_error *err, const char *path, const char *what)
{
	gn_fail_errno(err, path, what);
	return gn_cli_failed(err);
}

int gn_cli_job_begin(struct gn_cli_job *job, const struct gn_cli *cli, const char *out)
{
	struct gn_error err = {0};

	job->request = json_object();
	job->members = json_object();
	job->models = json_array();
	if (mkdir(out, 0777) == 0)
		job->new_folder = true;
	else if (errno != EEXIST)
		return refuse(&err, out, "cannot create the folder");
	else if (!is_empty(out))
		return refuse_folder(cli, out);
	if (!realpath(out, job->folder))
		return refuse(&err, out, "cannot be found");
	gn_cli_catch_signals();
	return 0;
}

/* The folder was empty or not there, so all that is in it came from here. */
static void take_away(const struct gn_cli_job *job)
{
	if (!job->folder[0])
		return;
	gn_tree_remove(job->folder, NULL, NULL);
	if (!job->new_folder)
		mkdir(job->folder, 0777);
}

void gn_cli_job_end(struct gn_cli_job *job, bool prepared)
{
	if (!prepared)
		take_away(job);
	json_decref(job->request);
	json_decref(job->members);
	json_decref(job->models);
}

/* ---------------------------------------------------------------- inputs ---------------------- */

void gn_cli_job_add_chain(struct gn_cli_job *job, const struct gn_cli_chain *chain)
{
	json_t *paths = json_array();

	for (int i = 0; i < chain->count; i++)
		json_array_append_new(paths, gn_cli_string(chain->paths[i]));
	json_array_append_new(job->models, paths);
}

int gn_cli_job_data(struct gn_cli_job *job, const struct gn_cli *cli)
{
	char folder[PATH_MAX];
	int status;

	if (snprintf(folder, sizeof folder, "%s/dataset", job->folder) >= (int)sizeof folder) {
		fprintf(stderr, "gonio: the path of --out is too long\n");
		return GN_CLI_FAILED;
	}
	status = gn_cli_data(job->dataset, cli, folder, &job->device);
	return status && gn_cli_stop ? GN_CLI_STOPPED : status;
}

int gn_cli_job_write(struct gn_cli_job *job)
{
	const struct gn_job_order order = {
	    .job = gn_kinds[job->kind].word,
	    .request = job->request,
	    .members = job->members,
	    .models = job->models,
	    .dataset = job->dataset[0] ? job->dataset : NULL,
	    .device = job->device.name,
	    .threads = job->device.threads,
	    .max_pixels = (int64_t)job->device.max_pixels,
	    .attempt = 1,
	};
	char path[PATH_MAX];
	struct gn_error err = {0};
	int result;

	json_object_set_new(job->request, "precision", json_string(job->device.precision));
	if (snprintf(path, sizeof path, "%s/" GN_JOB_JSON, job->folder) >= (int)sizeof path)
		result = gn_fail(&err, GN_NO_MEMORY, GN_JOB_JSON, "cannot be written");
	else
		result = gn_job_order_write(path, &order, &err);
	if (result)
		return gn_cli_failed(&err);
	return gn_cli_stop ? GN_CLI_STOPPED : 0;
}

bool gn_cli_names_folder(const struct gn_cli *cli)
{
	return cli->word_count == 1 && cli->given_count == (gn_cli_flag(cli, "json") ? 1 : 0) &&
	       json_object_size(cli->fields) == 0;
}
