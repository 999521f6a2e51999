/* Starts a job's worker: writes job.json and starts a process (see job_folder.h). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "server/jobs/job.h"
#include "server/formats/job_folder.h"

/* ---------------------------------------------------------------- job.json -------------------- */

/* Appends the files of a model and its bases, seen from the job's folder. */
static int append_chain(const struct gn_supervisor *s, const char *model, json_t *chains, struct gn_error *err)
{
	char ids[GN_CHAIN_MAX][GN_ID_SIZE];
	int count = gn_store_chain(s->options.store, model, ids, err);
	json_t *paths;

	if (count < 0)
		return -1;
	paths = json_array();
	for (int i = 0; i < count; i++)
		json_array_append_new(paths, json_sprintf("../../models/%s/model.safetensors", ids[i]));
	return json_array_append_new(chains, paths) ? gn_fail(err, GN_NO_MEMORY, "", "out of memory") : 0;
}

/* The chains of "/model", or of "/models/0", "/models/1", ... New reference. */
static json_t *model_chains(const struct gn_supervisor *s, const struct gn_job *job, struct gn_error *err)
{
	const char *model = gn_job_need(&job->row, "/model");
	json_t *chains = json_array();
	int failed = *model ? append_chain(s, model, chains, err) : 0;

	for (int i = 0; !failed; i++) {
		char pointer[32];
		snprintf(pointer, sizeof pointer, "/models/%d", i);
		model = gn_job_need(&job->row, pointer);
		if (!*model)
			return chains;
		failed = append_chain(s, model, chains, err);
	}
	json_decref(chains);
	return NULL;
}

static int write_order(const struct gn_supervisor *s, const struct gn_job *job, struct gn_error *err)
{
	const json_t *threads = json_object_get(job->row.request, "threads");
	json_t *models = model_chains(s, job, err), *shared;
	char path[PATH_MAX], dataset[64] = "";
	int result;

	if (!models)
		return -1;
	if (*gn_job_need(&job->row, "/dataset"))
		snprintf(dataset, sizeof dataset, "../../datasets/%s", gn_job_need(&job->row, "/dataset"));
	shared = gn_sweep_shared(s, job);
	const struct gn_job_order order = {
	    .job = job->row.id,
	    .request = job->row.request,
	    .members = job->row.members,
	    .models = models,
	    .dataset = *dataset ? dataset : NULL,
	    .shared = shared,
	    .device = s->options.device,
	    .precision = gn_precision_name(s->options.precision),
	    .threads = json_is_integer(threads) ? json_integer_value(threads) : s->options.threads,
	    .max_pixels = (int64_t)s->options.max_pixels,
	    .attempt = job->row.attempts,
	};
	gn_job_path(s, job, GN_JOB_JSON, path);
	result = gn_job_order_write(path, &order, err);
	json_decref(models);
	json_decref(shared);
	return result;
}

/* ---------------------------------------------------------------- the process ----------------- */

/* The environment with GONIO_SUPERVISED, by which the worker knows whose child it is. Shallow: free
 * only the array. */
static char **worker_environment(char *mark)
{
	size_t n = 0, used = 0;
	char **list;

	while (environ[n])
		n++;
	list = malloc((n + 2) * sizeof *list);
	if (!list)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "GONIO_SUPERVISED=", 17) != 0)
			list[used++] = environ[i];
	list[used++] = mark;
	list[used] = NULL;
	return list;
}

static void set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(attributes);
	posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(attributes, 0);
	posix_spawnattr_setsigmask(attributes, &none);
	posix_spawnattr_setsigdefault(attributes, &all);
}

static int spawn(struct gn_supervisor *s, struct gn_job *job, struct gn_error *err)
{
	char folder[PATH_MAX], log[PATH_MAX], mark[48];
	char command[16], *arguments[] = {s->program, command, folder, NULL}, **environment;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	pid_t pid;
	int failed;

	snprintf(command, sizeof command, "%s", gn_kinds[job->row.kind].command);
	gn_store_folder(s->options.store, job->row.kind, job->row.id, folder);
	gn_job_path(s, job, "log.txt", log);
	snprintf(mark, sizeof mark, "GONIO_SUPERVISED=%ld", (long)getpid());
	environment = worker_environment(mark);
	if (!environment)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	set_attributes(&attributes);
	failed = posix_spawn(&pid, s->program, &files, &attributes, arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	free(environment);
	errno = failed;
	if (failed)
		return gn_fail_errno(err, s->program, "cannot start a worker");
	job->pid = pid;
	return 0;
}

bool gn_job_folder_free(const struct gn_supervisor *s, const struct gn_job *job)
{
	char path[PATH_MAX];
	bool result;
	int fd;

	gn_job_path(s, job, "lock", path);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT;
	result = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return result;
}

bool gn_job_start(struct gn_supervisor *s, struct gn_job *job)
{
	struct gn_error err = {0};

	if (!gn_job_folder_free(s, job))
		return false;
	if (job->loaded)
		gn_job_tell_queued(s, job);
	if (gn_job_adopt_result(s, job))
		return true;
	job->row.attempts++;
	if (write_order(s, job, &err) == 0) {
		gn_job_set_status(s, job, GN_JOB_RUNNING);
		if (spawn(s, job, &err) == 0)
			return true;
	}
	job->row.error = gn_job_error(gn_job_error_type(err.code), err.text);
	gn_job_set_status(s, job, GN_JOB_FAILED);
	return true;
}
