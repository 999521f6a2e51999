/*
 * What the work of every kind of job shares: its inputs, opened as job.json names them, and what it
 * tells on the way. See work.h.
 */
#include "server/worker/work.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/common/text.h"
#include "server/formats/events.h"

static const double PROGRESS_SECONDS = 0.5;

/* ---------------------------------------------------------------- inputs ---------------------- */

/* A model file that is open; chains share their bases. */
struct gn_opened {
	const char *path; /* borrowed from job.json */
	struct gn_model *model;
};

static struct gn_model *open_file(struct gn_worker *w, const char *path, const struct gn_model *base,
                                  struct gn_error *err)
{
	struct gn_opened *grown;
	struct gn_model *model;

	for (int i = 0; i < w->opened_count; i++)
		if (!strcmp(w->opened[i].path, path))
			return w->opened[i].model;
	grown = realloc(w->opened, (size_t)(w->opened_count + 1) * sizeof *grown);
	if (!grown) {
		gn_fail(err, GN_NO_MEMORY, path, "out of memory");
		return NULL;
	}
	w->opened = grown;
	/* the service knows its models' bases by id */
	if ((gn_worker_supervised() ? gn_model_open_known : gn_model_open)(&model, path, base, err))
		return NULL;
	grown[w->opened_count++] = (struct gn_opened){path, model};
	return model;
}

/* The first model of a chain; its bases are opened before it. NULL on an error. */
static struct gn_model *open_chain(struct gn_worker *w, const json_t *chain, struct gn_error *err)
{
	size_t count = json_array_size(chain);
	struct gn_model *model = NULL;

	if (count < 1 || count > GN_CHAIN_MAX)
		gn_fail(err, GN_INVALID, GN_JOB_JSON, "a chain of models must name 1 to %d files", GN_CHAIN_MAX);
	while (count-- > 0 && count < GN_CHAIN_MAX) {
		const char *path = json_string_value(json_array_get(chain, count));
		if (!path)
			gn_fail(err, GN_INVALID, GN_JOB_JSON, "models must be lists of strings");
		model = path ? open_file(w, path, model, err) : NULL;
		if (!model)
			return NULL;
	}
	return model;
}

static int open_models(struct gn_worker *w, struct gn_error *err)
{
	size_t count = json_array_size(w->order.models);

	if (count < 1)
		return gn_fail(err, GN_INVALID, GN_JOB_JSON, "models must name one model or more");
	w->models = calloc(count, sizeof(struct gn_model *));
	if (!w->models)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	for (size_t i = 0; i < count; i++) {
		w->models[i] = open_chain(w, json_array_get(w->order.models, i), err);
		if (!w->models[i])
			return -1;
		w->model_count++;
	}
	return 0;
}

int gn_worker_open(struct gn_worker *w, struct gn_error *err)
{
	const struct gn_job_order *order = &w->order;
	const char *wanted = json_string_value(json_object_get(order->request, "precision")),
	           *named = wanted && strcmp(wanted, "auto") != 0 ? wanted : order->precision;
	int precision = named ? gn_precision_from_name(named) : GN_PRECISION_AUTO;

	if (precision < 0)
		return gn_fail(err, GN_INVALID, GN_JOB_JSON, "\"%.40s\" is not a precision", named);
	w->max_pixels = (uint64_t)order->max_pixels;
	if (open_models(w, err) || (order->dataset && gn_dataset_open(&w->dataset, order->dataset, err)))
		return -1;
	return gn_device_open(&w->device, order->device ? order->device : "auto", (int)order->threads,
	                      (enum gn_precision)precision, err);
}

void gn_worker_release(struct gn_worker *w)
{
	if (w->device)
		gn_device_close(w->device);
	if (w->dataset)
		gn_dataset_close(w->dataset);
	while (w->opened_count > 0)
		gn_model_close(w->opened[--w->opened_count].model);
	free(w->opened);
	free(w->models);
	json_decref(w->job);
	if (w->events >= 0)
		close(w->events);
}

/* ---------------------------------------------------------------- events ---------------------- */

int gn_worker_open_events(struct gn_worker *w, struct gn_error *err)
{
	w->last_event = gn_events_last_id("events.ndjson");
	w->events = open("events.ndjson", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return w->events < 0 ? gn_fail_errno(err, "events.ndjson", "cannot open") : 0;
}

void gn_worker_say(const struct gn_worker *w, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	/* clang 14 forgets va_start where it inlines this:
	 * NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (w->watch)
		w->watch->on_text(w->watch->user, text);
	else
		fprintf(stderr, "%s\n", text);
}

/* One write() an event: a reader sees whole lines, whenever this process dies. A full disk stops
 * the job. */
void gn_worker_tell(struct gn_worker *w, char *line)
{
	size_t size = line ? strlen(line) : 0;

	if (!line || write(w->events, line, size) != (ssize_t)size) {
		if (!w->write_failed)
			gn_worker_say(w, "cannot write an event: %s", strerror(errno));
		w->write_failed = true;
		*w->stop = 1;
	} else {
		w->last_event++;
		if (w->watch)
			w->watch->on_line(w->watch->user, line);
	}
	free(line);
}

void gn_worker_progress(struct gn_worker *w, int64_t done, int64_t total)
{
	double now = gn_clock(), left;

	if (done == 0)
		w->begun_at = now;
	if (done > 0 && done < total && now < w->told_at + PROGRESS_SECONDS)
		return;
	w->told_at = now;
	left = done > 0 ? (now - w->begun_at) * (double)(total - done) / (double)done : NAN;
	gn_worker_tell(w, gn_event_line_of(w->last_event + 1, "progress",
	                                   json_pack("{s:I,s:I,s:o}", "done", (json_int_t)done, "total",
	                                             (json_int_t)total, "eta_seconds", gn_json_real(left))));
}
