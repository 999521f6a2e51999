/* The table of jobs in memory: by id, by kind and name, in the order of creation, and those that
 * are queued or running. */
#include <stdlib.h>
#include <string.h>

#include "server/jobs/job.h"

bool gn_job_is_active(const struct gn_job *job)
{
	return job->row.status == GN_JOB_QUEUED || job->row.status == GN_JOB_RUNNING;
}

/* ---------------------------------------------------------------- hashing --------------------- */

/* Ids are hashed with seed 0, names with their kind: two kinds may use one name. */
static size_t bucket(const struct gn_supervisor *s, const char *text, unsigned seed)
{
	size_t h = 14695981039346656037u ^ seed;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 1099511628211u;
	return h & (s->buckets - 1);
}

static void link_job(struct gn_supervisor *s, struct gn_job *job)
{
	struct gn_job **slot = &s->by_id[bucket(s, job->row.id, 0)];

	job->id_next = *slot;
	*slot = job;
	if (!job->row.name[0])
		return;
	slot = &s->by_name[bucket(s, job->row.name, job->row.kind)];
	job->name_next = *slot;
	*slot = job;
}

int gn_jobs_grow(struct gn_supervisor *s)
{
	int capacity = s->capacity ? 2 * s->capacity : 64;
	size_t buckets = 2 * (size_t)capacity;
	struct gn_job **jobs = realloc(s->jobs, (size_t)capacity * sizeof(void *));
	struct gn_job **by_id = calloc(buckets, sizeof(void *)), **by_name = calloc(buckets, sizeof(void *));

	if (jobs)
		s->jobs = jobs;
	if (!jobs || !by_id || !by_name) {
		free(by_id);
		free(by_name);
		return -1;
	}
	free(s->by_id);
	free(s->by_name);
	s->by_id = by_id;
	s->by_name = by_name;
	s->buckets = buckets;
	s->capacity = capacity;
	for (int i = 0; i < s->count; i++)
		link_job(s, s->jobs[i]);
	return 0;
}

struct gn_job *gn_jobs_find(const struct gn_supervisor *s, enum gn_kind kind, const char *text)
{
	for (struct gn_job *job = s->by_id[bucket(s, text, 0)]; job; job = job->id_next)
		if (job->row.kind == kind && !strcmp(job->row.id, text))
			return job;
	for (struct gn_job *job = s->by_name[bucket(s, text, kind)]; job; job = job->name_next)
		if (job->row.kind == kind && !strcmp(job->row.name, text))
			return job;
	return NULL;
}

static void unlink_job(struct gn_supervisor *s, struct gn_job *job)
{
	struct gn_job **slot = &s->by_id[bucket(s, job->row.id, 0)];
	int i = 0;

	while (*slot != job)
		slot = &(*slot)->id_next;
	*slot = job->id_next;
	for (slot = &s->by_name[bucket(s, job->row.name, job->row.kind)]; *slot; slot = &(*slot)->name_next)
		if (*slot == job) {
			*slot = job->name_next;
			break;
		}
	while (s->jobs[i] != job)
		i++;
	memmove(&s->jobs[i], &s->jobs[i + 1], (size_t)(--s->count - i) * sizeof(void *));
}

/* ---------------------------------------------------------------- coming and going ------------ */

static void job_free(struct gn_job *job)
{
	gn_job_row_release(&job->row);
	gn_text_unref(job->text);
	free(job);
}

struct gn_job *gn_jobs_add(struct gn_supervisor *s, struct gn_job_row *row)
{
	struct gn_job *job = calloc(1, sizeof *job);
	int failed;

	if (!job) {
		gn_job_row_release(row);
		return NULL;
	}
	job->row = *row;
	pthread_mutex_lock(&s->lock);
	failed = s->count == s->capacity && gn_jobs_grow(s);
	if (!failed) {
		s->jobs[s->count++] = job;
		link_job(s, job);
	}
	pthread_mutex_unlock(&s->lock);
	if (failed) {
		job_free(job);
		return NULL;
	}
	return job;
}

void gn_jobs_remove(struct gn_supervisor *s, struct gn_job *job)
{
	pthread_mutex_lock(&s->lock);
	unlink_job(s, job);
	for (struct gn_listener *l = job->listeners, *next; l; l = next) {
		next = l->next;
		l->job = NULL;
		l->next = NULL;
		s->listener_count--;
		l->wake(l->user);
	}
	pthread_mutex_unlock(&s->lock);
	job_free(job);
}

void gn_jobs_release(struct gn_supervisor *s)
{
	for (int i = 0; i < s->count; i++)
		job_free(s->jobs[i]);
	free(s->jobs);
	free(s->by_id);
	free(s->by_name);
}

/* ---------------------------------------------------------------- active jobs ----------------- */

void gn_jobs_activate(struct gn_supervisor *s, struct gn_job *job)
{
	struct gn_job **slot = &s->active;

	while (*slot && (*slot)->row.created_at <= job->row.created_at)
		slot = &(*slot)->active_next;
	job->active_next = *slot;
	*slot = job;
}

void gn_jobs_deactivate(struct gn_supervisor *s, struct gn_job *job)
{
	struct gn_job **slot = &s->active;

	while (*slot && *slot != job)
		slot = &(*slot)->active_next;
	if (*slot)
		*slot = job->active_next;
}
