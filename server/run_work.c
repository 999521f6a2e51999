/*
 * The supervisor's thread: starts workers, follows their events, ends them. It polls ten times a second while a worker lives: inotify
 * would spare a stat() of one file, and needs a second way to wait beside the condition.
 *
 * Workers get SIGTERM when this thread ends (PR_SET_PDEATHSIG goes by thread), so only this thread starts them.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/files.h"
#include "server/log.h"
#include "server/supervisor_private.h"
#include "server/worker.h"

static const double poll_seconds = 0.1, idle_seconds = 1;

/* ---------------------------------------------------------------- starting --------------------------------------- */

/* 0 when no worker holds the folder; a worker of a service that was killed may still be writing its checkpoint. */
static int folder_free(const struct gn_supervisor *s, const struct gn_run *run)
{
	char path[PATH_MAX];
	int fd, result;

	gn_run_path(s, run, "lock", path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	result = flock(fd, LOCK_EX | LOCK_NB);
	close(fd);
	return result;
}

static json_t *model_paths(const struct gn_supervisor *s, const struct gn_run *run, struct gn_error *err)
{
	char ids[GN_CHAIN_MAX][GN_ID_SIZE];
	int count = gn_store_chain(s->options.store, run->row.model, ids, err);
	json_t *paths = count < 0 ? NULL : json_array();

	for (int i = 0; i < count; i++)
		json_array_append_new(paths, json_sprintf("../../models/%s/model.safetensors", ids[i]));
	return paths;
}

static int write_run_json(const struct gn_supervisor *s, const struct gn_run *run, struct gn_error *err)
{
	const json_t *threads = json_object_get(run->row.request, "threads");
	json_t *models = model_paths(s, run, err), *whole;
	char path[PATH_MAX], *text;
	int result;

	if (!models)
		return -1;
	whole = json_pack("{s:s,s:O,s:o,s:o,s:s,s:I,s:I,s:i}", "run", run->row.id, "request", run->row.request,
	                  "models", models, "dataset", json_sprintf("../../datasets/%s", run->row.dataset), "device",
	                  s->options.device, "threads",
	                  json_is_integer(threads) ? json_integer_value(threads) : (json_int_t)s->options.threads,
	                  "max_pixels", (json_int_t)s->options.max_pixels, "attempt", run->row.attempts);
	text = whole ? json_dumps(whole, JSON_INDENT(1)) : NULL;
	json_decref(whole);
	if (!text)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	gn_run_path(s, run, "run.json", path);
	result = gn_file_replace(path, text, strlen(text), err);
	free(text);
	return result;
}

/* The environment with GONIO_SUPERVISED, by which the worker knows whose child it is. Shallow: free only the array. */
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

static int spawn(struct gn_supervisor *s, struct gn_run *run, struct gn_error *err)
{
	char folder[PATH_MAX], log[PATH_MAX], mark[48];
	char train[] = "train";
	char *arguments[] = {s->program, train, folder, NULL}, **environment;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	pid_t pid;
	int failed;

	gn_store_folder(s->options.store, GN_KIND_RUN, run->row.id, folder);
	gn_run_path(s, run, "log.txt", log);
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
	run->pid = pid;
	return 0;
}

/* Returns whether the run was dealt with: a worker lives, or the run ended in another way. */
static bool start_run(struct gn_supervisor *s, struct gn_run *run)
{
	struct gn_error err = {0};

	if (folder_free(s, run))
		return false;
	if (gn_run_adopt_result(s, run))
		return true;
	run->row.attempts++;
	if (write_run_json(s, run, &err) == 0) {
		gn_run_set_status(s, run, GN_RUN_RUNNING);
		if (spawn(s, run, &err) == 0)
			return true;
	}
	run->row.error = gn_run_error(gn_worker_error_type(err.code), err.text);
	gn_run_set_status(s, run, GN_RUN_FAILED);
	return true;
}

/* The run whose turn it is: the highest priority, then the oldest. */
static struct gn_run *next_run(const struct gn_supervisor *s, double now)
{
	struct gn_run *best = NULL;

	for (struct gn_run *run = s->active; run; run = run->active_next)
		if (run->row.status == GN_RUN_QUEUED && run->not_before <= now &&
		    (!best || run->row.priority > best->row.priority))
			best = run;
	return best;
}

static int living(const struct gn_supervisor *s)
{
	int count = 0;

	for (const struct gn_run *run = s->active; run; run = run->active_next)
		count += run->pid != 0;
	return count;
}

static void start_runs(struct gn_supervisor *s, double now)
{
	struct gn_run *run;

	while (living(s) < s->options.max_runs && (run = next_run(s, now)))
		if (!start_run(s, run))
			run->not_before = now + poll_seconds;
}

/* ---------------------------------------------------------------- following -------------------------------------- */

static void press_stop(struct gn_supervisor *s, struct gn_run *run, double now)
{
	if (s->stopping && run->stop == GN_STOP_NONE)
		run->stop = GN_STOP_SERVICE;
	if (run->stop == GN_STOP_NONE)
		return;
	if (run->kill_at == 0) {
		kill(-run->pid, SIGTERM);
		run->kill_at = now + s->options.grace_seconds;
	} else if (now >= run->kill_at) {
		gn_log(GN_LOG_WARN, "runs", "%s does not stop: killing its worker", run->row.id);
		kill(-run->pid, SIGKILL);
		run->kill_at = INFINITY;
	}
}

static void follow_run(struct gn_supervisor *s, struct gn_run *run, double now)
{
	int wait_status;

	gn_run_tail(s, run);
	if (run->dirty)
		gn_run_publish(s, run);
	press_stop(s, run, now);
	if (waitpid(run->pid, &wait_status, WNOHANG) != run->pid)
		return;
	run->pid = 0;
	gn_run_ended(s, run, wait_status);
}

/* Listeners look at the clock for their keep-alive lines, and at whether the service stops. */
static void wake_all_listeners(struct gn_supervisor *s)
{
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < s->count && s->listener_count; i++)
		for (struct gn_listener *l = s->runs[i]->listeners; l; l = l->next)
			l->wake(l->user);
	pthread_mutex_unlock(&s->lock);
}

static void wait_a_little(struct gn_supervisor *s, double seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(fmod(seconds, 1) * 1e9);
	until.tv_sec += (time_t)seconds + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&s->wake, &s->change, &until);
}

static bool delayed(const struct gn_supervisor *s)
{
	for (const struct gn_run *run = s->active; run; run = run->active_next)
		if (run->not_before > 0 && run->row.status == GN_RUN_QUEUED)
			return true;
	return false;
}

void *gn_supervisor_thread(void *supervisor)
{
	struct gn_supervisor *s = supervisor;
	double ticked = 0;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_mutex_lock(&s->change);
	for (;;) {
		double now = gn_monotonic();
		for (struct gn_run *run = s->active, *next; run; run = next) {
			next = run->active_next;
			if (run->pid)
				follow_run(s, run, now);
		}
		if (s->going && !s->stopping)
			start_runs(s, now);
		if (s->stopping && !living(s))
			break;
		if (now - ticked >= 1) {
			wake_all_listeners(s);
			ticked = now;
		}
		wait_a_little(s, living(s) || delayed(s) ? poll_seconds : idle_seconds);
	}
	pthread_mutex_unlock(&s->change);
	return NULL;
}
