/* A job's resource as JSON text, changes of its status with all that depends on it, and the waking
 * of listeners. */
#include <string.h>

#include "server/common/log.h"
#include "server/jobs/job.h"

void gn_job_path(const struct gn_supervisor *s, const struct gn_job *job, const char *file, char out[PATH_MAX])
{
	size_t used;

	gn_store_folder(s->options.store, job->row.kind, job->row.id, out);
	used = strlen(out);
	snprintf(out + used, PATH_MAX - used, "/%s", file);
}

/* What a job has done before it starts. */
static json_t *first_progress(const struct gn_job *job)
{
	json_t *epochs = json_object_get(job->row.request, "epochs");

	if (job->row.kind != GN_KIND_RUN)
		return json_pack("{s:i,s:n,s:n}", "done", 0, "total", "eta_seconds");
	return json_pack("{s:n,s:i,s:O?,s:i,s:n,s:n,s:n}", "phase", "epoch", 0, "epochs", epochs, "step", 0, "steps",
	                 "images_per_second", "eta_seconds");
}

static struct gn_text *make_text(const struct gn_job *job)
{
	const struct gn_job_row *row = &job->row;
	json_t *resource = json_pack("{s:s}", "id", row->id);
	struct gn_text *text;

	json_object_update(resource, row->request);
	json_object_update(resource, row->members);
	json_object_set_new(resource, "name", row->name[0] ? json_string(row->name) : json_null());
	json_object_set_new(resource, "created_at", gn_json_time(row->created_at));
	json_object_set_new(resource, "started_at", gn_json_time(row->started_at));
	json_object_set_new(resource, "finished_at", gn_json_time(row->finished_at));
	json_object_set_new(resource, "status", json_string(gn_job_status_name(row->status)));
	json_object_set_new(resource, "attempts", json_integer(row->attempts));
	json_object_set_new(resource, "progress", row->progress ? json_incref(row->progress) : first_progress(job));
	json_object_set_new(resource, "result", row->result ? json_incref(row->result) : json_null());
	json_object_set_new(resource, "error", row->error ? json_incref(row->error) : json_null());
	text = gn_text_from_json(resource);
	json_decref(resource);
	return text;
}

void gn_job_wake_listeners(struct gn_supervisor *s, struct gn_job *job)
{
	pthread_mutex_lock(&s->lock);
	for (struct gn_listener *l = job->listeners; l; l = l->next)
		l->wake(l->user);
	pthread_mutex_unlock(&s->lock);
}

void gn_job_publish(struct gn_supervisor *s, struct gn_job *job)
{
	struct gn_text *text = make_text(job), *old;

	job->dirty = false;
	if (!text) /* out of memory: the former text stays until the next change */
		return;
	pthread_mutex_lock(&s->lock);
	old = job->text;
	job->text = text;
	job->told = job->row.status;
	pthread_mutex_unlock(&s->lock);
	gn_text_unref(old);
	gn_job_wake_listeners(s, job);
}

void gn_job_set_status(struct gn_supervisor *s, struct gn_job *job, enum gn_job_status status)
{
	struct gn_error err = {0};

	job->row.status = status;
	if (status == GN_JOB_RUNNING && !job->row.started_at)
		job->row.started_at = gn_now();
	job->row.finished_at = gn_job_is_active(job) ? 0 : gn_now();
	if (!gn_job_is_active(job)) {
		gn_jobs_deactivate(s, job);
		gn_sweep_leave(s, job);
	}
	if (gn_store_update_job(s->options.store, &job->row, &err))
		gn_log(GN_LOG_ERROR, "jobs", "%s is %s, but the store does not take it: %s", job->row.id,
		       gn_job_status_name(status), err.text);
	gn_job_append_status(s, job);
	gn_job_publish(s, job);
	gn_log(GN_LOG_INFO, "jobs", "%s is %s", job->row.id, gn_job_status_name(status));
}
