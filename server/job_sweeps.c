/* Sweeps, as the supervisor sees them: runs that name one sweep, and share DIR/sweeps/ID while one of them is queued or running. */
#include <dirent.h>
#include <string.h>

#include "server/files.h"
#include "server/log.h"
#include "server/supervisor_private.h"

const char *gn_job_sweep(const struct gn_job *job)
{
	return json_string_value(json_object_get(job->row.members, "sweep"));
}

static bool is_of(const struct gn_job *job, const char *sweep)
{
	const char *own = gn_job_sweep(job);

	return own && !strcmp(own, sweep);
}

static const struct gn_job *active_run(const struct gn_supervisor *s, const char *sweep)
{
	for (const struct gn_job *job = s->active; job; job = job->active_next)
		if (is_of(job, sweep))
			return job;
	return NULL;
}

static uint64_t remove_folder(struct gn_supervisor *s, const char *sweep)
{
	char folder[PATH_MAX];
	struct gn_error err = {0};
	uint64_t freed = 0;

	gn_store_sweep_folder(s->options.store, sweep, folder);
	if (gn_tree_remove(folder, &freed, &err))
		gn_log(GN_LOG_WARN, "jobs", "%s: %s", err.where, err.text);
	return freed;
}

void gn_sweep_leave(struct gn_supervisor *s, const struct gn_job *job)
{
	const char *sweep = gn_job_sweep(job);

	if (sweep && !active_run(s, sweep))
		remove_folder(s, sweep);
}

void gn_sweeps_tidy(struct gn_supervisor *s)
{
	char folder[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	gn_store_sweep_folder(s->options.store, "", folder);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !active_run(s, entry->d_name))
			remove_folder(s, entry->d_name);
	if (dir)
		closedir(dir);
}

int gn_supervisor_delete_sweep(struct gn_supervisor *s, const char *id, uint64_t *freed, struct gn_error *err)
{
	const struct gn_job *active;
	int result = -1;

	pthread_mutex_lock(&s->change);
	active = active_run(s, id);
	if (active)
		gn_fail(err, GN_CONFLICT, "", "its run %s is %s; cancel the sweep first", active->row.id,
		        gn_job_status_name(active->row.status));
	else
		result = gn_store_delete_sweep(s->options.store, id, err);
	for (int i = 0; result == 0 && i < s->count; i++) {
		if (!is_of(s->jobs[i], id))
			continue;
		json_object_set_new(s->jobs[i]->row.members, "sweep", json_null());
		result = gn_store_update_job(s->options.store, &s->jobs[i]->row, err);
		gn_job_publish(s, s->jobs[i]);
	}
	if (result == 0 && freed)
		*freed = remove_folder(s, id);
	pthread_mutex_unlock(&s->change);
	return result;
}
