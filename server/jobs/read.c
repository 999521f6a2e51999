/* Functions with which handlers read jobs and listen to them: see jobs.h. None waits for a disk. */
#include <stdlib.h>
#include <string.h>

#include "server/jobs/job.h"

/* ---------------------------------------------------------------- reading --------------------- */

struct gn_text *gn_supervisor_get(struct gn_supervisor *s, enum gn_kind kind, const char *text)
{
	struct gn_text *resource = NULL;
	struct gn_job *job;

	pthread_mutex_lock(&s->lock);
	job = gn_jobs_find(s, kind, text);
	if (job && job->text)
		resource = gn_text_ref(job->text);
	pthread_mutex_unlock(&s->lock);
	return resource;
}

json_t *gn_supervisor_resource(struct gn_supervisor *s, enum gn_kind kind, const char *text)
{
	struct gn_text *resource = gn_supervisor_get(s, kind, text);
	json_t *value = gn_text_to_json(resource);

	gn_text_unref(resource);
	return value;
}

int gn_supervisor_find(struct gn_supervisor *s, enum gn_kind kind, const char *text, char id[GN_ID_SIZE],
                       enum gn_job_status *status)
{
	struct gn_job *job;

	pthread_mutex_lock(&s->lock);
	job = gn_jobs_find(s, kind, text);
	if (job) {
		memcpy(id, job->row.id, GN_ID_SIZE);
		*status = job->told;
	}
	pthread_mutex_unlock(&s->lock);
	return job ? 0 : -1;
}

void gn_supervisor_counts(struct gn_supervisor *s, enum gn_kind kind, int counts[GN_JOB_STATUS_COUNT])
{
	memset(counts, 0, GN_JOB_STATUS_COUNT * sizeof counts[0]);
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < s->count; i++)
		counts[s->jobs[i]->told] += s->jobs[i]->row.kind == kind;
	pthread_mutex_unlock(&s->lock);
}

struct page {
	struct gn_text **texts;
	int count;
	char next[GN_ID_SIZE]; /* "" : the page is the last */
};

/* References to the texts of a page, so that they are put together without the lock. */
static int collect(struct gn_supervisor *s, enum gn_kind kind, int status, int limit, const char *after,
                   struct page *page, struct gn_error *err)
{
	const struct gn_job *bound = after ? gn_jobs_find(s, kind, after) : NULL, *last = NULL;
	int i = s->count - 1;

	if (after && !bound)
		return gn_fail(err, GN_INVALID, "/after", "there is no %s '%.80s'", gn_kinds[kind].word, after);
	while (bound && i >= 0 && s->jobs[i] != bound)
		i--;
	for (i -= bound != NULL; i >= 0; i--) {
		if (s->jobs[i]->row.kind != kind || !s->jobs[i]->text ||
		    (status >= 0 && (int)s->jobs[i]->told != status))
			continue;
		if (page->count == limit) {
			memcpy(page->next, last->row.id, sizeof page->next);
			break;
		}
		last = s->jobs[i];
		page->texts[page->count++] = gn_text_ref(last->text);
	}
	return 0;
}

static struct gn_text *join(const struct page *page)
{
	size_t size = 64, used;
	struct gn_text *text;
	char *buffer;

	for (int i = 0; i < page->count; i++)
		size += page->texts[i]->bytes + 1;
	buffer = malloc(size);
	if (!buffer)
		return NULL;
	used = (size_t)snprintf(buffer, size, "{\"items\":[");
	for (int i = 0; i < page->count; i++) {
		if (i)
			buffer[used++] = ',';
		memcpy(buffer + used, page->texts[i]->data, page->texts[i]->bytes);
		used += page->texts[i]->bytes;
	}
	used += (size_t)snprintf(buffer + used, size - used,
	                         page->next[0] ? "],\"next\":\"%s\"}" : "],\"next\":null%s}", page->next);
	text = gn_text_new(buffer, used);
	free(buffer);
	return text;
}

struct gn_text *gn_supervisor_list(struct gn_supervisor *s, enum gn_kind kind, int status, int limit, const char *after,
                                   struct gn_error *err)
{
	struct page page = {.texts = calloc((size_t)limit, sizeof(struct gn_text *))};
	struct gn_text *text = NULL;
	int failed;

	if (!page.texts) {
		gn_fail(err, GN_NO_MEMORY, "", "out of memory");
		return NULL;
	}
	pthread_mutex_lock(&s->lock);
	failed = collect(s, kind, status, limit, after, &page, err);
	pthread_mutex_unlock(&s->lock);
	if (!failed && !(text = join(&page)))
		gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	for (int i = 0; i < page.count; i++)
		gn_text_unref(page.texts[i]);
	free(page.texts);
	return text;
}

/* ---------------------------------------------------------------- listeners ------------------- */

int gn_supervisor_listen(struct gn_supervisor *s, enum gn_kind kind, const char *id, struct gn_listener *listener,
                         struct gn_error *err)
{
	struct gn_job *job;
	int result = -1;

	pthread_mutex_lock(&s->lock);
	job = gn_jobs_find(s, kind, id);
	if (!job) {
		gn_fail(err, GN_NOT_FOUND, "", "there is no %s '%.80s'", gn_kinds[kind].word, id);
	} else if (s->listener_count >= GN_LISTENERS_MAX) {
		gn_fail(err, GN_TOO_LARGE, "", "more than %d listeners", GN_LISTENERS_MAX);
	} else {
		listener->job = job;
		listener->next = job->listeners;
		job->listeners = listener;
		s->listener_count++;
		result = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return result;
}

void gn_supervisor_unlisten(struct gn_supervisor *s, struct gn_listener *listener)
{
	pthread_mutex_lock(&s->lock);
	if (listener->job) {
		struct gn_listener **slot = &listener->job->listeners;
		while (*slot != listener)
			slot = &(*slot)->next;
		*slot = listener->next;
		listener->job = NULL;
		s->listener_count--;
	}
	pthread_mutex_unlock(&s->lock);
}
