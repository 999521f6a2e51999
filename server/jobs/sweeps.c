/* Sweeps in the supervisor: runs that name the same sweep share DIR/sweeps/ID while one of them is
 * queued or running. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/common/files.h"
#include "server/common/log.h"
#include "server/formats/job_folder.h"
#include "server/jobs/job.h"

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

/* ---------------------------------------------------------------- what runs share ------------- */

/*
 * The cuts where active runs of the sweep start, of those whose products have the same shapes as
 * this run's. Returns their number, or -1: out of memory. Caller frees.
 */
static int cuts_of(int **out, const struct gn_supervisor *s, const struct gn_job *job)
{
	const json_t *micro = json_object_get(job->row.request, "micro_batch_size");
	int count = 0, *cuts;
	size_t active = 0;

	for (const struct gn_job *other = s->active; other; other = other->active_next)
		active++;
	cuts = calloc(active + 1, sizeof *cuts);
	if (!cuts)
		return -1;
	for (const struct gn_job *other = s->active; other; other = other->active_next) {
		json_int_t cut = json_integer_value(json_object_get(other->row.members, "prefix_stage"));
		if (is_of(other, gn_job_sweep(job)) && cut > 0 &&
		    json_equal(json_object_get(other->row.request, "micro_batch_size"), micro))
			cuts[count++] = (int)cut;
	}
	*out = cuts;
	return count;
}

/* The hash that the resource of a model or data set shows; "" where it has none. */
static void content_hash(const struct gn_supervisor *s, enum gn_kind kind, const char *id, char hash[65])
{
	struct gn_row row;
	const char *text;

	hash[0] = '\0';
	if (gn_store_get(s->options.store, kind, id, &row, NULL))
		return;
	text = json_string_value(json_object_get(row.fields, "sha256"));
	snprintf(hash, 65, "%s", text ? text : "");
	gn_row_release(&row);
}

/* The folder DIR/sweeps/ID, made where it is missing. */
static int make_folder(const struct gn_supervisor *s, const char *sweep)
{
	char folder[PATH_MAX];

	gn_store_sweep_folder(s->options.store, "", folder);
	if (mkdir(folder, 0700) && errno != EEXIST)
		return -1;
	gn_store_sweep_folder(s->options.store, sweep, folder);
	return mkdir(folder, 0700) && errno != EEXIST ? -1 : 0;
}

json_t *gn_sweep_shared(const struct gn_supervisor *s, const struct gn_job *job)
{
	const char *sweep = gn_job_sweep(job), *model = gn_job_need(&job->row, "/model"),
	           *dataset = gn_job_need(&job->row, "/dataset");
	char model_hash[65], dataset_hash[65], folder[64], identity[256];
	struct gn_shared shared = {
	    .folder = folder, .identity = identity, .disk_reserve = gn_store_reserve(s->options.store)};
	json_t *object;
	int *cuts;

	if (!sweep)
		return json_null();
	if (make_folder(s, sweep)) {
		gn_log(GN_LOG_WARN, "jobs", "%s: no folder for what its runs share: %s", sweep, strerror(errno));
		return json_null();
	}
	content_hash(s, GN_KIND_MODEL, model, model_hash);
	content_hash(s, GN_KIND_DATASET, dataset, dataset_hash);
	snprintf(folder, sizeof folder, "../../sweeps/%s", sweep);
	snprintf(identity, sizeof identity, "%s %s %s %s", model, model_hash, dataset, dataset_hash);
	shared.cut_count = cuts_of(&cuts, s, job);
	if (shared.cut_count < 0)
		return json_null();
	shared.cuts = cuts;
	object = gn_job_shared_write(&shared);
	free(cuts);
	return object;
}

/* ---------------------------------------------------------------- the end --------------------- */

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
