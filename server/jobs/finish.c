/*
 * Finishes a job after its worker has ended. The worker reports its end by its exit status and
 * result.json (see job_folder.h). Any other end is a death: the job is queued again, and fails
 * after three deaths without a new checkpoint in between.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/common/files.h"
#include "server/common/log.h"
#include "server/jobs/job.h"
#include "server/formats/job_folder.h"

static const double retry_seconds = 1; /* after a death, so that a crash at the start does not spin */

static void read_result(struct gn_job_result *result, const struct gn_supervisor *s, const struct gn_job *job)
{
	char path[PATH_MAX];

	gn_job_path(s, job, GN_RESULT_JSON, path);
	gn_job_result_read(result, path);
}

static void set_error(struct gn_job *job, json_t *error)
{
	json_decref(job->row.error);
	job->row.error = error;
}

static void fail_job(struct gn_supervisor *s, struct gn_job *job, const char *type, const char *detail)
{
	set_error(job, gn_job_error(type, detail));
	gn_job_set_status(s, job, GN_JOB_FAILED);
}

/* ---------------------------------------------------------------- success --------------------- */

/* What stays of a finished job. The rest goes: its checkpoint, its prefix cache, its copy of the
 * model. */
static bool stays(enum gn_kind kind, const char *file)
{
	static const char *const always[] = {".", "..", GN_JOB_JSON, GN_RESULT_JSON, "events.ndjson", "log.txt"};

	for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
		if (!strcmp(file, always[i]))
			return true;
	for (const char *const *own = gn_kinds[kind].files; *own; own++)
		if (!strcmp(file, *own))
			return true;
	return false;
}

static void slim(const struct gn_supervisor *s, const struct gn_job *job)
{
	char folder[PATH_MAX], path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	gn_store_folder(s->options.store, job->row.kind, job->row.id, folder);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir)))
		if (!stays(job->row.kind, entry->d_name)) {
			gn_job_path(s, job, entry->d_name, path);
			gn_tree_remove(path, NULL, NULL);
		}
	if (dir)
		closedir(dir);
}

/* The resource members of the new model, by api/. */
static int describe(struct gn_supervisor *s, struct gn_job *job, const char *file, json_t **fields,
                    struct gn_error *err)
{
	char ids[GN_CHAIN_MAX][GN_ID_SIZE], paths[GN_CHAIN_MAX][PATH_MAX];
	const char *borrowed[GN_CHAIN_MAX] = {file};
	struct gn_chain chain;
	json_t *resource;
	int count, result = -1;

	if (!s->options.describe_model) {
		*fields = json_object();
		return 0;
	}
	count = gn_store_chain(s->options.store, job->row.base, ids, err);
	if (count < 0)
		return -1;
	if (count == GN_CHAIN_MAX)
		return gn_fail(err, GN_INVALID, "", "more than %d models tuned one on another", GN_CHAIN_MAX - 1);
	for (int i = 0; i < count; i++) {
		size_t used;
		gn_store_folder(s->options.store, GN_KIND_MODEL, ids[i], paths[i]);
		used = strlen(paths[i]);
		snprintf(paths[i] + used, PATH_MAX - used, "/model.safetensors");
		borrowed[i + 1] = paths[i];
	}
	if (gn_chain_open_paths(&chain, count + 1, borrowed, true, err))
		return -1;
	resource = job->text ? gn_text_to_json(job->text) : json_object();
	result = s->options.describe_model(fields, file, &chain, resource, err);
	json_decref(resource);
	gn_chain_close(&chain);
	return result;
}

/* The model is linked, not moved, into the staging folder: until the row is there, the job still
 * has it, and a service that dies here takes it over at the next start. */
static int register_model(struct gn_supervisor *s, struct gn_job *job, struct gn_error *err)
{
	char staged[PATH_MAX], source[PATH_MAX], target[PATH_MAX];
	struct gn_row model = {0};
	int result = -1;

	if (gn_store_stage(s->options.store, staged, err))
		return -1;
	gn_job_path(s, job, "model.safetensors", source);
	memcpy(model.base, job->row.base, sizeof model.base);
	memcpy(job->row.kind == GN_KIND_SOUP ? model.soup : model.run, job->row.id, GN_ID_SIZE);
	if ((size_t)snprintf(target, sizeof target, "%s/model.safetensors", staged) >= sizeof target ||
	    link(source, target))
		gn_fail_errno(err, source, "cannot take over the model");
	else if (describe(s, job, target, &model.fields, err) == 0)
		result = gn_store_finish_job(s->options.store, &job->row, staged, &model, err);
	gn_row_release(&model);
	gn_store_unstage(s->options.store, staged);
	return result;
}

/* result is stolen. */
static void succeed(struct gn_supervisor *s, struct gn_job *job, json_t *result)
{
	struct gn_error err = {0};

	json_decref(job->row.result);
	job->row.result = result;
	if (job->row.base[0] && register_model(s, job, &err)) {
		json_decref(job->row.result);
		job->row.result = NULL;
		fail_job(s, job, gn_job_error_type(err.code), err.text);
		return;
	}
	gn_job_set_status(s, job, GN_JOB_SUCCEEDED);
	slim(s, job);
}

bool gn_job_adopt_result(struct gn_supervisor *s, struct gn_job *job)
{
	char path[PATH_MAX];
	struct gn_job_result left;

	read_result(&left, s, job);
	gn_job_path(s, job, "model.safetensors", path);
	if (left.result && (!job->row.base[0] || access(path, R_OK) == 0)) {
		gn_job_tail(s, job);
		succeed(s, job, json_incref(left.result));
		gn_job_result_release(&left);
		return true;
	}
	gn_job_result_release(&left);
	gn_job_path(s, job, GN_RESULT_JSON, path);
	unlink(path);
	return false;
}

/* ---------------------------------------------------------------- the other ends -------------- */

static void queue_again(struct gn_supervisor *s, struct gn_job *job, double delay)
{
	job->not_before = delay > 0 ? gn_clock() + delay : 0;
	gn_job_set_status(s, job, GN_JOB_QUEUED);
}

static void died(struct gn_supervisor *s, struct gn_job *job, int wait_status)
{
	char how[160];

	if (WIFSIGNALED(wait_status))
		snprintf(how, sizeof how, "signal %d (%s)", WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
	else
		snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(wait_status));
	gn_log(GN_LOG_WARN, "jobs", "the worker of %s died: %s", job->row.id, how);
	if (++job->row.deaths >= GN_DEATHS_MAX) {
		char detail[320];
		snprintf(detail, sizeof detail, "the worker died %d times in a row, the last time by %s; see its log",
		         job->row.deaths, how);
		fail_job(s, job, "crash_loop", detail);
	} else {
		queue_again(s, job, retry_seconds);
	}
}

/* error: NULL, or the worker's, borrowed. */
static void reported_failure(struct gn_supervisor *s, struct gn_job *job, json_t *error)
{
	if (!error) {
		fail_job(s, job, "internal", "the worker failed without saying why; see its log");
		return;
	}
	const char *type = json_string_value(json_object_get(error, "type"));
	if (s->options.suspect_device && type && !strcmp(type, gn_job_error_type(GN_DEVICE)))
		s->options.suspect_device(s->options.service);
	set_error(job, json_incref(error));
	gn_job_set_status(s, job, GN_JOB_FAILED);
}

void gn_job_ended(struct gn_supervisor *s, struct gn_job *job, int wait_status)
{
	enum gn_stop_reason stop = job->stop;
	int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
	struct gn_job_result left;

	read_result(&left, s, job);
	job->stop = GN_STOP_NONE;
	job->kill_at = 0;
	gn_job_tail(s, job);
	if (code == GN_WORKER_DONE && left.result)
		succeed(s, job, json_incref(left.result));
	else if (stop == GN_STOP_CANCEL)
		gn_job_set_status(s, job, GN_JOB_CANCELLED);
	else if (code == GN_WORKER_FAILED)
		reported_failure(s, job, left.error);
	else if (code == GN_WORKER_USAGE)
		fail_job(s, job, "internal", "the worker could not read its job; see its log");
	else if (code == GN_WORKER_STOPPED || stop == GN_STOP_SERVICE)
		queue_again(s, job, 0);
	else if (code == GN_WORKER_BUSY)
		queue_again(s, job, retry_seconds);
	else
		died(s, job, wait_status);
	gn_job_result_release(&left);
}
