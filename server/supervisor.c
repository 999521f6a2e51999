/*
 * The table of runs, and what handlers call: see supervisor.h. The thread that runs workers is in run_work.c.
 */
#include "server/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/log.h"
#include "server/supervisor_private.h"

double gn_monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void gn_run_path(const struct gn_supervisor *s, const struct gn_run *run, const char *file, char out[PATH_MAX])
{
	size_t used;

	gn_store_folder(s->options.store, GN_KIND_RUN, run->row.id, out);
	used = strlen(out);
	snprintf(out + used, PATH_MAX - used, "/%s", file);
}

static bool is_active(const struct gn_run *run)
{
	return run->row.status == GN_RUN_QUEUED || run->row.status == GN_RUN_RUNNING;
}

/* ---------------------------------------------------------------- the table -------------------------------------- */

static size_t hash(const char *text)
{
	size_t h = 14695981039346656037u;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 1099511628211u;
	return h;
}

static void link_run(struct gn_supervisor *s, struct gn_run *run)
{
	struct gn_run **slot = &s->by_id[hash(run->row.id) & (s->buckets - 1)];

	run->id_next = *slot;
	*slot = run;
	if (!run->row.name[0])
		return;
	slot = &s->by_name[hash(run->row.name) & (s->buckets - 1)];
	run->name_next = *slot;
	*slot = run;
}

static int grow(struct gn_supervisor *s)
{
	int capacity = s->capacity ? 2 * s->capacity : 64;
	size_t buckets = 2 * (size_t)capacity;
	struct gn_run **runs = realloc(s->runs, (size_t)capacity * sizeof(void *));
	struct gn_run **by_id = calloc(buckets, sizeof(void *)), **by_name = calloc(buckets, sizeof(void *));

	if (runs)
		s->runs = runs;
	if (!runs || !by_id || !by_name) {
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
		link_run(s, s->runs[i]);
	return 0;
}

static struct gn_run *find(struct gn_supervisor *s, const char *text)
{
	size_t bucket = hash(text) & (s->buckets - 1);

	if (!s->buckets)
		return NULL;
	for (struct gn_run *run = s->by_id[bucket]; run; run = run->id_next)
		if (!strcmp(run->row.id, text))
			return run;
	for (struct gn_run *run = s->by_name[bucket]; run; run = run->name_next)
		if (!strcmp(run->row.name, text))
			return run;
	return NULL;
}

static void unlink_run(struct gn_supervisor *s, struct gn_run *run)
{
	struct gn_run **slot = &s->by_id[hash(run->row.id) & (s->buckets - 1)];
	int i = 0;

	while (*slot != run)
		slot = &(*slot)->id_next;
	*slot = run->id_next;
	for (slot = &s->by_name[hash(run->row.name) & (s->buckets - 1)]; *slot; slot = &(*slot)->name_next)
		if (*slot == run) {
			*slot = run->name_next;
			break;
		}
	while (s->runs[i] != run)
		i++;
	memmove(&s->runs[i], &s->runs[i + 1], (size_t)(--s->count - i) * sizeof(void *));
}

static void run_free(struct gn_run *run)
{
	gn_run_row_release(&run->row);
	gn_text_unref(run->text);
	free(run);
}

/* Takes over row's content. NULL: out of memory, row is released. */
static struct gn_run *add_run(struct gn_supervisor *s, struct gn_run_row *row)
{
	struct gn_run *run = calloc(1, sizeof *run);
	int failed;

	if (!run) {
		gn_run_row_release(row);
		return NULL;
	}
	run->row = *row;
	pthread_mutex_lock(&s->lock);
	failed = s->count == s->capacity && grow(s);
	if (!failed) {
		s->runs[s->count++] = run;
		link_run(s, run);
	}
	pthread_mutex_unlock(&s->lock);
	if (failed) {
		run_free(run);
		return NULL;
	}
	return run;
}

static void add_active(struct gn_supervisor *s, struct gn_run *run)
{
	struct gn_run **slot = &s->active;

	while (*slot && (*slot)->row.created_at <= run->row.created_at)
		slot = &(*slot)->active_next;
	run->active_next = *slot;
	*slot = run;
}

/* Does nothing for a run that is not in the list. */
static void leave_active(struct gn_supervisor *s, struct gn_run *run)
{
	struct gn_run **slot = &s->active;

	while (*slot && *slot != run)
		slot = &(*slot)->active_next;
	if (*slot)
		*slot = run->active_next;
}

/* ---------------------------------------------------------------- the resource ----------------------------------- */

json_t *gn_run_error(const char *type, const char *detail)
{
	json_t *error = json_pack("{s:s,s:s}", "type", type, "detail", detail);

	return error ? error : json_pack("{s:s,s:s}", "type", type, "detail", "(not UTF-8)");
}

static json_t *first_progress(const struct gn_run *run)
{
	json_t *epochs = json_object_get(run->row.request, "epochs");

	return json_pack("{s:i,s:O?,s:i,s:n,s:n,s:n}", "epoch", 0, "epochs", epochs, "step", 0, "steps",
	                 "images_per_second", "eta_seconds");
}

static struct gn_text *make_text(const struct gn_run *run)
{
	const struct gn_run_row *row = &run->row;
	json_t *resource = json_pack("{s:s}", "id", row->id);
	struct gn_text *text;

	json_object_update(resource, row->request);
	json_object_update(resource, row->plan);
	json_object_set_new(resource, "name", row->name[0] ? json_string(row->name) : json_null());
	json_object_set_new(resource, "created_at", gn_json_time(row->created_at));
	json_object_set_new(resource, "started_at", gn_json_time(row->started_at));
	json_object_set_new(resource, "finished_at", gn_json_time(row->finished_at));
	json_object_set_new(resource, "status", json_string(gn_run_status_name(row->status)));
	json_object_set_new(resource, "attempts", json_integer(row->attempts));
	json_object_set_new(resource, "progress", row->progress ? json_incref(row->progress) : first_progress(run));
	json_object_set_new(resource, "result", row->result ? json_incref(row->result) : json_null());
	json_object_set_new(resource, "error", row->error ? json_incref(row->error) : json_null());
	text = gn_text_from_json(resource);
	json_decref(resource);
	return text;
}

void gn_run_wake_listeners(struct gn_supervisor *s, struct gn_run *run)
{
	pthread_mutex_lock(&s->lock);
	for (struct gn_listener *l = run->listeners; l; l = l->next)
		l->wake(l->user);
	pthread_mutex_unlock(&s->lock);
}

void gn_run_publish(struct gn_supervisor *s, struct gn_run *run)
{
	struct gn_text *text = make_text(run), *old;

	run->dirty = false;
	if (!text) /* out of memory: the former text stays until the next change */
		return;
	pthread_mutex_lock(&s->lock);
	old = run->text;
	run->text = text;
	run->told = run->row.status;
	pthread_mutex_unlock(&s->lock);
	gn_text_unref(old);
	gn_run_wake_listeners(s, run);
}

void gn_run_set_status(struct gn_supervisor *s, struct gn_run *run, enum gn_run_status status)
{
	struct gn_error err = {0};

	run->row.status = status;
	if (status == GN_RUN_RUNNING && !run->row.started_at)
		run->row.started_at = gn_now();
	run->row.finished_at = is_active(run) ? 0 : gn_now();
	if (!is_active(run))
		leave_active(s, run);
	if (gn_store_update_run(s->options.store, &run->row, &err))
		gn_log(GN_LOG_ERROR, "runs", "%s is %s, but the store does not take it: %s", run->row.id,
		       gn_run_status_name(status), err.text);
	gn_run_append_status(s, run);
	gn_run_publish(s, run);
	gn_log(GN_LOG_INFO, "runs", "%s is %s", run->row.id, gn_run_status_name(status));
}

/* ---------------------------------------------------------------- life cycle ------------------------------------- */

struct loading {
	struct gn_supervisor *s;
	int failed;
};

static void load_run(void *user, struct gn_run_row *row)
{
	struct loading *loading = user;
	struct gn_run *run = add_run(loading->s, row);

	if (!run) {
		loading->failed = 1;
		return;
	}
	if (is_active(run))
		add_active(loading->s, run);
	else
		gn_run_publish(loading->s, run);
}

static int load_runs(struct gn_supervisor *s, struct gn_error *err)
{
	struct loading loading = {s, 0};

	if (gn_store_each_run(s->options.store, load_run, &loading, err))
		return -1;
	if (loading.failed)
		return gn_fail(err, GN_NO_MEMORY, "runs", "out of memory");
	for (struct gn_run *run = s->active; run; run = run->active_next) {
		if (run->row.status == GN_RUN_RUNNING) {
			run->row.status = GN_RUN_QUEUED;
			gn_log(GN_LOG_INFO, "runs", "%s was running: queued again", run->row.id);
			if (gn_store_update_run(s->options.store, &run->row, err))
				return -1;
		}
		gn_run_publish(s, run);
	}
	return 0;
}

int gn_supervisor_new(struct gn_supervisor **out, const struct gn_supervisor_options *options, struct gn_error *err)
{
	struct gn_supervisor *s = calloc(1, sizeof *s);
	pthread_condattr_t monotonic;
	ssize_t n = 0;

	if (!s)
		return gn_fail(err, GN_NO_MEMORY, "runs", "out of memory");
	s->options = *options;
	if (!(s->options.grace_seconds > 0))
		s->options.grace_seconds = 30;
	pthread_mutex_init(&s->change, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	/* The path, not /proc/self/exe itself: ps then shows the workers by name. */
	if (options->program)
		n = snprintf(s->program, sizeof s->program, "%s", options->program);
	else if ((n = readlink("/proc/self/exe", s->program, sizeof s->program - 1)) > 0)
		s->program[n] = '\0';
	if (n <= 0 || (size_t)n >= sizeof s->program)
		gn_fail(err, GN_IO, "runs", "cannot find the own program");
	else if (grow(s))
		gn_fail(err, GN_NO_MEMORY, "runs", "out of memory");
	else if (load_runs(s, err) == 0 && (pthread_create(&s->thread, NULL, gn_supervisor_thread, s) == 0 ||
	                                    gn_fail(err, GN_NO_MEMORY, "runs", "cannot start a thread") == 0)) {
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
	for (int i = 0; i < s->count; i++)
		run_free(s->runs[i]);
	free(s->runs);
	free(s->by_id);
	free(s->by_name);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->change);
	free(s);
}

/* ---------------------------------------------------------------- changing runs ---------------------------------- */

int gn_supervisor_submit(struct gn_supervisor *s, const struct gn_run_new *new_run, char id[GN_ID_SIZE],
                         struct gn_error *err)
{
	struct gn_run_row row = {.status = GN_RUN_QUEUED, .priority = new_run->priority};
	struct gn_run *run;
	int result = -1;

	snprintf(row.name, sizeof row.name, "%s", new_run->name ? new_run->name : "");
	snprintf(row.model, sizeof row.model, "%s", new_run->model);
	snprintf(row.dataset, sizeof row.dataset, "%s", new_run->dataset);
	row.request = json_deep_copy(new_run->request);
	row.plan = json_deep_copy(new_run->plan);
	if (!row.request || !row.plan) {
		gn_run_row_release(&row);
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	}
	pthread_mutex_lock(&s->change);
	if (gn_store_add_run(s->options.store, &row, err)) {
		gn_run_row_release(&row);
	} else if (!(run = add_run(s, &row))) {
		gn_store_delete_run(s->options.store, row.id, NULL, NULL);
		gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	} else {
		memcpy(id, run->row.id, GN_ID_SIZE);
		gn_run_append_status(s, run);
		gn_run_publish(s, run);
		add_active(s, run);
		pthread_cond_signal(&s->wake);
		result = 0;
	}
	pthread_mutex_unlock(&s->change);
	return result;
}

/* With change held. */
static struct gn_run *require_run(struct gn_supervisor *s, const char *text, struct gn_error *err)
{
	struct gn_run *run = find(s, text);

	if (!run)
		gn_fail(err, GN_NOT_FOUND, "", "there is no run '%.80s'", text);
	return run;
}

static int wrong_status(const struct gn_run *run, const char *wanted, struct gn_error *err)
{
	return gn_fail(err, GN_CONFLICT, "", "the run is %s; %s", gn_run_status_name(run->row.status), wanted);
}

int gn_supervisor_cancel(struct gn_supervisor *s, const char *text, struct gn_error *err)
{
	struct gn_run *run;
	int result = -1;

	pthread_mutex_lock(&s->change);
	run = require_run(s, text, err);
	if (run && !is_active(run)) {
		wrong_status(run, "only a queued or running run can be cancelled", err);
	} else if (run) {
		if (run->row.status == GN_RUN_QUEUED) {
			gn_run_set_status(s, run, GN_RUN_CANCELLED);
		} else {
			run->stop = GN_STOP_CANCEL;
			pthread_cond_signal(&s->wake);
		}
		result = 0;
	}
	pthread_mutex_unlock(&s->change);
	return result;
}

int gn_supervisor_resume(struct gn_supervisor *s, const char *text, struct gn_error *err)
{
	struct gn_run *run;
	int result = -1;

	pthread_mutex_lock(&s->change);
	run = require_run(s, text, err);
	if (run && run->row.status != GN_RUN_FAILED && run->row.status != GN_RUN_CANCELLED) {
		wrong_status(run, "only a failed or cancelled run can be resumed", err);
	} else if (run) {
		struct gn_run_row row = run->row;
		row.status = GN_RUN_QUEUED;
		row.error = NULL;
		row.deaths = 0;
		row.finished_at = 0;
		result = gn_store_requeue_run(s->options.store, &row, err);
		/* Its model or data set has gone since: the run is there, what it needs is not. */
		if (result && err && err->code == GN_NOT_FOUND)
			err->code = GN_CONFLICT;
	}
	if (result == 0) {
		json_decref(run->row.error);
		run->row.error = NULL;
		run->row.deaths = 0;
		run->stop = GN_STOP_NONE;
		run->not_before = 0;
		gn_run_set_status(s, run, GN_RUN_QUEUED);
		add_active(s, run);
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->change);
	return result;
}

int gn_supervisor_delete(struct gn_supervisor *s, const char *text, uint64_t *freed, struct gn_error *err)
{
	struct gn_run *run;
	int result = -1;

	pthread_mutex_lock(&s->change);
	run = require_run(s, text, err);
	if (run && is_active(run))
		wrong_status(run, "cancel it first", err);
	else if (run)
		result = gn_store_delete_run(s->options.store, run->row.id, freed, err);
	if (result == 0) {
		pthread_mutex_lock(&s->lock);
		unlink_run(s, run);
		for (struct gn_listener *l = run->listeners, *next; l; l = next) {
			next = l->next;
			l->run = NULL;
			l->next = NULL;
			s->listener_count--;
			l->wake(l->user);
		}
		pthread_mutex_unlock(&s->lock);
		run_free(run);
	}
	pthread_mutex_unlock(&s->change);
	return result;
}

/* ---------------------------------------------------------------- reading runs ----------------------------------- */

struct gn_text *gn_supervisor_get(struct gn_supervisor *s, const char *text)
{
	struct gn_text *resource = NULL;
	struct gn_run *run;

	pthread_mutex_lock(&s->lock);
	run = find(s, text);
	if (run && run->text)
		resource = gn_text_ref(run->text);
	pthread_mutex_unlock(&s->lock);
	return resource;
}

int gn_supervisor_find(struct gn_supervisor *s, const char *text, char id[GN_ID_SIZE], enum gn_run_status *status)
{
	struct gn_run *run;

	pthread_mutex_lock(&s->lock);
	run = find(s, text);
	if (run) {
		memcpy(id, run->row.id, GN_ID_SIZE);
		*status = run->told;
	}
	pthread_mutex_unlock(&s->lock);
	return run ? 0 : -1;
}

void gn_supervisor_counts(struct gn_supervisor *s, int counts[GN_RUN_STATUS_COUNT])
{
	memset(counts, 0, GN_RUN_STATUS_COUNT * sizeof counts[0]);
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < s->count; i++)
		counts[s->runs[i]->told]++;
	pthread_mutex_unlock(&s->lock);
}

struct page {
	struct gn_text **texts;
	int count;
	char next[GN_ID_SIZE]; /* "" : the page is the last */
};

/* References to the texts of a page, so that they are put together without the lock. */
static int collect(struct gn_supervisor *s, int status, int limit, const char *after, struct page *page,
                   struct gn_error *err)
{
	const struct gn_run *limit_run = after ? find(s, after) : NULL, *last = NULL;
	int i = s->count - 1;

	if (after && !limit_run)
		return gn_fail(err, GN_INVALID, "/after", "there is no run '%.80s'", after);
	while (limit_run && i >= 0 && s->runs[i] != limit_run)
		i--;
	for (i -= limit_run != NULL; i >= 0; i--) {
		if (!s->runs[i]->text || (status >= 0 && (int)s->runs[i]->told != status))
			continue;
		if (page->count == limit) {
			memcpy(page->next, last->row.id, sizeof page->next);
			break;
		}
		last = s->runs[i];
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

struct gn_text *gn_supervisor_list(struct gn_supervisor *s, int status, int limit, const char *after,
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
	failed = collect(s, status, limit, after, &page, err);
	pthread_mutex_unlock(&s->lock);
	if (!failed && !(text = join(&page)))
		gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	for (int i = 0; i < page.count; i++)
		gn_text_unref(page.texts[i]);
	free(page.texts);
	return text;
}

/* ---------------------------------------------------------------- listeners -------------------------------------- */

int gn_supervisor_listen(struct gn_supervisor *s, const char *run_id, struct gn_listener *listener,
                         struct gn_error *err)
{
	struct gn_run *run;
	int result = -1;

	pthread_mutex_lock(&s->lock);
	run = find(s, run_id);
	if (!run) {
		gn_fail(err, GN_NOT_FOUND, "", "there is no run '%.80s'", run_id);
	} else if (s->listener_count >= GN_LISTENERS_MAX) {
		gn_fail(err, GN_TOO_LARGE, "", "more than %d listeners", GN_LISTENERS_MAX);
	} else {
		listener->run = run;
		listener->next = run->listeners;
		run->listeners = listener;
		s->listener_count++;
		result = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return result;
}

void gn_supervisor_unlisten(struct gn_supervisor *s, struct gn_listener *listener)
{
	pthread_mutex_lock(&s->lock);
	if (listener->run) {
		struct gn_listener **slot = &listener->run->listeners;
		while (*slot != listener)
			slot = &(*slot)->next;
		*slot = listener->next;
		listener->run = NULL;
		s->listener_count--;
	}
	pthread_mutex_unlock(&s->lock);
}
