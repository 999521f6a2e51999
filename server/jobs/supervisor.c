/*
 * The supervisor's start and stop, and the changes that handlers request: see jobs.h. The thread
 * that runs workers is in loop.c.
 */
#include "server/jobs/jobs.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/common/cond.h"
#include "server/common/log.h"
#include "server/jobs/job.h"

/* ---------------------------------------------------------------- life cycle ------------------ */

struct loading {
	struct gn_supervisor *s;
	int failed;
};

static void load_job(void *user, struct gn_job_row *row)
{
	struct loading *loading = user;
	struct gn_job *job = gn_jobs_add(loading->s, row);

	if (!job) {
		loading->failed = 1;
		return;
	}
	if (gn_job_is_active(job))
		gn_jobs_activate(loading->s, job);
	else
		gn_job_publish(loading->s, job);
}

static int load_jobs(struct gn_supervisor *s, struct gn_error *err)
{
	struct loading loading = {s, 0};

	if (gn_store_each_job(s->options.store, load_job, &loading, err))
		return -1;
	if (loading.failed)
		return gn_fail(err, GN_NO_MEMORY, "jobs", "out of memory");
	for (struct gn_job *job = s->active; job; job = job->active_next) {
		job->loaded = true;
		if (job->row.status == GN_JOB_RUNNING) {
			job->row.status = GN_JOB_QUEUED;
			gn_log(GN_LOG_INFO, "jobs", "%s was running: queued again", job->row.id);
			if (gn_store_update_job(s->options.store, &job->row, err))
				return -1;
		}
		gn_job_publish(s, job);
	}
	gn_sweeps_tidy(s);
	return 0;
}

int gn_supervisor_new(struct gn_supervisor **out, const struct gn_supervisor_options *options, struct gn_error *err)
{
	struct gn_supervisor *s = calloc(1, sizeof *s);
	ssize_t n = 0;

	if (!s)
		return gn_fail(err, GN_NO_MEMORY, "jobs", "out of memory");
	s->options = *options;
	if (!(s->options.grace_seconds > 0))
		s->options.grace_seconds = 30;
	pthread_mutex_init(&s->change, NULL);
	pthread_mutex_init(&s->lock, NULL);
	gn_cond_init(&s->wake);
	/* The path, not /proc/self/exe itself: ps then shows the workers by name. */
	if (options->program)
		n = snprintf(s->program, sizeof s->program, "%s", options->program);
	else if ((n = readlink("/proc/self/exe", s->program, sizeof s->program - 1)) > 0)
		s->program[n] = '\0';
	if (n <= 0 || (size_t)n >= sizeof s->program)
		gn_fail(err, GN_IO, "jobs", "cannot find the own program");
	else if (gn_jobs_grow(s))
		gn_fail(err, GN_NO_MEMORY, "jobs", "out of memory");
	else if (load_jobs(s, err) == 0 && (pthread_create(&s->thread, NULL, gn_supervisor_thread, s) == 0 ||
	                                    gn_fail(err, GN_NO_MEMORY, "jobs", "cannot start a thread") == 0)) {
		s->threaded = true;
		*out = s;
		return 0;
	}
	gn_supervisor_free(s);
	return -1;
}

void gn_supervisor_go(struct gn_supervisor *s)
{
	pthread_mutex_lock(&s->change);
	s->going = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->change);
}

void gn_supervisor_free(struct gn_supervisor *s)
{
	if (!s)
		return;
	if (s->threaded) {
		pthread_mutex_lock(&s->change);
		s->stopping = true;
		pthread_cond_signal(&s->wake);
		pthread_mutex_unlock(&s->change);
		pthread_join(s->thread, NULL);
	}
	gn_jobs_release(s);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->change);
	free(s);
}

/* ---------------------------------------------------------------- submitting ------------------ */

static int make_row(struct gn_job_row *row, const struct gn_job_new *job, struct gn_error *err)
{
	*row = (struct gn_job_row){.kind = job->kind, .status = GN_JOB_QUEUED, .priority = job->priority};
	snprintf(row->name, sizeof row->name, "%s", job->name ? job->name : "");
	snprintf(row->base, sizeof row->base, "%s", job->base ? job->base : "");
	row->needs = json_deep_copy(job->needs);
	row->request = json_deep_copy(job->request);
	row->members = json_deep_copy(job->members);
	if (!row->needs || !row->request || !row->members)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	return 0;
}

/* The rows are in the store: now in the table too. Takes over the rows' content; without memory for
 * a row it is deleted again. */
static int take_rows(struct gn_supervisor *s, struct gn_job_row *rows, int count, struct gn_error *err)
{
	int result = 0;

	for (int i = 0; i < count; i++) {
		struct gn_job *job = gn_jobs_add(s, &rows[i]);
		if (!job) {
			gn_store_delete_job(s->options.store, rows[i].kind, rows[i].id, NULL, NULL);
			result = gn_fail(err, GN_NO_MEMORY, "", "out of memory");
			continue;
		}
		gn_job_append_status(s, job);
		gn_job_publish(s, job);
		gn_jobs_activate(s, job);
	}
	return result;
}

/* sweep, ids: NULL where not wanted. */
static int submit(struct gn_supervisor *s, struct gn_sweep_row *sweep, const struct gn_job_new *jobs, int count,
                  char ids[][GN_ID_SIZE], struct gn_error *err)
{
	struct gn_job_row *rows = calloc((size_t)count, sizeof *rows);
	int made = 0, result = -1;

	if (!rows)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	while (made < count && make_row(&rows[made], &jobs[made], err) == 0) {
		if (sweep)
			json_object_set_new(rows[made].members, "sweep", json_string(sweep->id));
		made++;
	}
	if (made == count) {
		pthread_mutex_lock(&s->change);
		result = sweep ? gn_store_add_sweep(s->options.store, sweep, rows, count, err)
		               : gn_store_add_jobs(s->options.store, rows, count, err);
		for (int i = 0; i < count && ids && result == 0; i++)
			memcpy(ids[i], rows[i].id, GN_ID_SIZE);
		if (result == 0) {
			result = take_rows(s, rows, count, err);
			memset(rows, 0, (size_t)count * sizeof *rows);
			pthread_cond_signal(&s->wake);
		}
		pthread_mutex_unlock(&s->change);
	}
	for (int i = 0; i < count; i++)
		gn_job_row_release(&rows[i]);
	free(rows);
	return result;
}

int gn_supervisor_submit(struct gn_supervisor *s, const struct gn_job_new *jobs, int count, char ids[][GN_ID_SIZE],
                         struct gn_error *err)
{
	return submit(s, NULL, jobs, count, ids, err);
}

int gn_supervisor_submit_sweep(struct gn_supervisor *s, struct gn_sweep_row *sweep, const struct gn_job_new *jobs,
                               int count, struct gn_error *err)
{
	gn_store_new_sweep_id(sweep->id);
	return submit(s, sweep, jobs, count, NULL, err);
}

/* ---------------------------------------------------------------- changing -------------------- */

/* With change held. */
static struct gn_job *require_job(struct gn_supervisor *s, enum gn_kind kind, const char *text, struct gn_error *err)
{
	struct gn_job *job = gn_jobs_find(s, kind, text);

	if (!job)
		gn_fail(err, GN_NOT_FOUND, "", "there is no %s '%.80s'", gn_kinds[kind].word, text);
	return job;
}

static int wrong_status(const struct gn_job *job, const char *wanted, struct gn_error *err)
{
	return gn_fail(err, GN_CONFLICT, "", "the %s is %s; %s", gn_kinds[job->row.kind].word,
	               gn_job_status_name(job->row.status), wanted);
}

int gn_supervisor_cancel(struct gn_supervisor *s, enum gn_kind kind, const char *text, struct gn_error *err)
{
	struct gn_job *job;
	int result = -1;

	pthread_mutex_lock(&s->change);
	job = require_job(s, kind, text, err);
	if (job && !gn_job_is_active(job)) {
		wrong_status(job, "only what is queued or running can be cancelled", err);
	} else if (job) {
		if (job->row.status == GN_JOB_QUEUED) {
			gn_job_set_status(s, job, GN_JOB_CANCELLED);
		} else {
			job->stop = GN_STOP_CANCEL;
			pthread_cond_signal(&s->wake);
		}
		result = 0;
	}
	pthread_mutex_unlock(&s->change);
	return result;
}

int gn_supervisor_resume(struct gn_supervisor *s, enum gn_kind kind, const char *text, struct gn_error *err)
{
	struct gn_job *job;
	int result = -1;

	pthread_mutex_lock(&s->change);
	job = require_job(s, kind, text, err);
	if (job && job->row.status != GN_JOB_FAILED && job->row.status != GN_JOB_CANCELLED) {
		wrong_status(job, "only what failed or was cancelled can be resumed", err);
	} else if (job) {
		struct gn_job_row row = job->row;
		row.status = GN_JOB_QUEUED;
		row.error = NULL;
		row.deaths = 0;
		row.finished_at = 0;
		result = gn_store_requeue_job(s->options.store, &row, err);
		/* Its model or data set has gone since: the job is there, what it needs is not. */
		if (result && err && err->code == GN_NOT_FOUND)
			err->code = GN_CONFLICT;
	}
	if (result == 0) {
		json_decref(job->row.error);
		job->row.error = NULL;
		job->row.deaths = 0;
		job->stop = GN_STOP_NONE;
		job->not_before = 0;
		gn_job_set_status(s, job, GN_JOB_QUEUED);
		gn_jobs_activate(s, job);
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->change);
	return result;
}

int gn_supervisor_delete(struct gn_supervisor *s, enum gn_kind kind, const char *text, uint64_t *freed,
                         struct gn_error *err)
{
	struct gn_job *job;
	int result = -1;

	pthread_mutex_lock(&s->change);
	job = require_job(s, kind, text, err);
	if (job && gn_job_is_active(job))
		wrong_status(job, "cancel it first", err);
	else if (job)
		result = gn_store_delete_job(s->options.store, kind, job->row.id, freed, err);
	if (result == 0)
		gn_jobs_remove(s, job);
	pthread_mutex_unlock(&s->change);
	return result;
}
