/* The process of a worker: see worker.h. One thread of ours; the engine brings its own. */
#include "server/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/formats/events.h"
#include "server/common/files.h"
#include "server/common/text.h"
#include "server/worker/work.h"

enum { JOB_JSON_LIMIT = 4 << 20, LOCK_SECONDS = 20, NICENESS = 10 };

static const double PROGRESS_SECONDS = 0.5;

/* What a signal handler may touch. */
static volatile int stop_requested;

static void on_stop(int signal_number)
{
	(void)signal_number;
	stop_requested = 1;
}

/* ---------------------------------------------------------------- the process ------------------------------------ */

bool gn_worker_supervised(void)
{
	return getenv("GONIO_SUPERVISED") != NULL;
}

/* As the service's child: gives way to it, and ends with it. The parent may have gone before prctl took effect. */
static int follow_parent(void)
{
	const char *mark = getenv("GONIO_SUPERVISED");
	long parent = mark ? strtol(mark, NULL, 10) : 0;

	if (!parent)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != (pid_t)parent)
		return -1;
	setpriority(PRIO_PROCESS, 0, NICENESS);
	return 0;
}

static void catch_signals(void)
{
	struct sigaction stop = {.sa_handler = on_stop};

	sigemptyset(&stop.sa_mask);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then an error of the write, as a full disk is */
}

/* One worker a folder. The one before may still be writing its last checkpoint: a while of patience. */
static int take_lock(void)
{
	const struct timespec pause = {0, 100000000};
	int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -1;
	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (tries == 10 * LOCK_SECONDS || stop_requested || errno != EWOULDBLOCK)
			return -1;
		nanosleep(&pause, NULL);
	}
	return fd;
}

/* ---------------------------------------------------------------- job.json --------------------------------------- */

static int load_job(struct gn_worker *w, struct gn_error *err)
{
	json_error_t error;
	char *text;
	size_t size;

	if (gn_file_load(GN_WORKER_JOB_JSON, JOB_JSON_LIMIT, &text, &size, err))
		return -1;
	w->job = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	free(text);
	if (!w->job)
		return gn_fail(err, GN_MALFORMED, GN_WORKER_JOB_JSON, "line %d: %s", error.line, error.text);
	return 0;
}

const json_t *gn_worker_request(const struct gn_worker *w)
{
	return json_object_get(w->job, "request");
}

/* ---------------------------------------------------------------- inputs ----------------------------------------- */

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
		gn_fail(err, GN_INVALID, GN_WORKER_JOB_JSON, "a chain of models must name 1 to %d files", GN_CHAIN_MAX);
	while (count-- > 0 && count < GN_CHAIN_MAX) {
		const char *path = json_string_value(json_array_get(chain, count));
		if (!path)
			gn_fail(err, GN_INVALID, GN_WORKER_JOB_JSON, "models must be lists of strings");
		model = path ? open_file(w, path, model, err) : NULL;
		if (!model)
			return NULL;
	}
	return model;
}

static int open_models(struct gn_worker *w, struct gn_error *err)
{
	const json_t *chains = json_object_get(w->job, "models");
	size_t count = json_array_size(chains);

	if (count < 1)
		return gn_fail(err, GN_INVALID, GN_WORKER_JOB_JSON, "models must name one model or more");
	w->models = calloc(count, sizeof(struct gn_model *));
	if (!w->models)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	for (size_t i = 0; i < count; i++) {
		w->models[i] = open_chain(w, json_array_get(chains, i), err);
		if (!w->models[i])
			return -1;
		w->model_count++;
	}
	return 0;
}

static int open_inputs(struct gn_worker *w, struct gn_error *err)
{
	const char *dataset = json_string_value(json_object_get(w->job, "dataset")),
	           *device = json_string_value(json_object_get(w->job, "device"));
	const char *asked = json_string_value(json_object_get(gn_worker_request(w), "precision")),
	           *usual = json_string_value(json_object_get(w->job, "precision")),
	           *named = asked && strcmp(asked, "auto") != 0 ? asked : usual;
	int threads = (int)json_integer_value(json_object_get(w->job, "threads")),
	    precision = named ? gn_precision_from_name(named) : GN_PRECISION_AUTO;

	if (precision < 0)
		return gn_fail(err, GN_INVALID, GN_WORKER_JOB_JSON, "\"%.40s\" is not a precision", named);
	w->max_pixels = (uint64_t)json_integer_value(json_object_get(w->job, "max_pixels"));
	if (open_models(w, err) || (dataset && gn_dataset_open(&w->dataset, dataset, err)))
		return -1;
	return gn_device_open(&w->device, device ? device : "auto", threads, (enum gn_precision)precision, err);
}

static void worker_release(struct gn_worker *w)
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

/* ---------------------------------------------------------------- events ----------------------------------------- */

static int open_events(struct gn_worker *w, struct gn_error *err)
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
	/* clang 14 forgets va_start where it inlines this: NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (w->watch)
		w->watch->on_text(w->watch->user, text);
	else
		fprintf(stderr, "%s\n", text);
}

/* One write() an event: a reader sees whole lines, whenever this process dies. A full disk stops the job. */
void gn_worker_tell(struct gn_worker *w, char *line)
{
	size_t size = line ? strlen(line) : 0;

	if (!line || write(w->events, line, size) != (ssize_t)size) {
		if (!w->write_failed)
			gn_worker_say(w, "cannot write an event: %s", strerror(errno));
		w->write_failed = true;
		stop_requested = 1;
	} else {
		w->last_event++;
		if (w->watch)
			w->watch->on_line(w->watch->user, line);
	}
	free(line);
}

double gn_worker_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void gn_worker_progress(struct gn_worker *w, int64_t done, int64_t total)
{
	double now = gn_worker_seconds(), left;

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

/* ---------------------------------------------------------------- the result ------------------------------------- */

/* value is stolen. */
static int write_result(const char *member, json_t *value, struct gn_error *err)
{
	json_t *whole = json_pack("{s:o}", member, value);
	char *text = whole ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
	int result;

	json_decref(whole);
	if (!text)
		return gn_fail(err, GN_NO_MEMORY, "result.json", "out of memory");
	result = gn_file_replace("result.json", text, strlen(text), err);
	free(text);
	return result;
}

const char *gn_worker_error_type(enum gn_code code)
{
	switch (code) {
	case GN_NO_MEMORY:
		return "out_of_memory";
	case GN_NO_SPACE:
		return "disk_full";
	case GN_DEVICE:
		return "device";
	case GN_INVALID:
	case GN_MALFORMED:
	case GN_UNSUPPORTED:
	case GN_TOO_LARGE:
		return "invalid";
	case GN_NOT_FOUND:
	case GN_CONFLICT:
		return "conflict";
	case GN_OK:
	case GN_IO:
	case GN_CANCELLED:
		break;
	}
	return "internal";
}

static int report_failure(const struct gn_worker *w, const struct gn_error *failure)
{
	const char *type = gn_worker_error_type(failure->code);
	char detail[700];
	struct gn_error err = {0};

	snprintf(detail, sizeof detail, "%s%s%s", failure->where, failure->where[0] ? ": " : "", failure->text);
	gn_worker_say(w, "failed: %s", detail);
	if (write_result("error", json_pack("{s:s,s:s}", "type", type, "detail", detail), &err))
		gn_worker_say(w, "%s: %s", err.where, err.text);
	return GN_WORKER_FAILED;
}

/* ---------------------------------------------------------------- the work --------------------------------------- */

static json_t *work(struct gn_worker *w, enum gn_kind kind, struct gn_error *err)
{
	switch (kind) {
	case GN_KIND_RUN:
		return gn_worker_train(w, err);
	case GN_KIND_SOUP:
		return gn_worker_soup(w, err);
	case GN_KIND_EVALUATION:
		return gn_worker_evaluate(w, err);
	default:
		break;
	}
	gn_fail(err, GN_UNSUPPORTED, GN_WORKER_JOB_JSON, "there is no worker for a %s", gn_kind_words[kind]);
	return NULL;
}

static int refuse_job(const struct gn_worker *w, const struct gn_error *err)
{
	gn_worker_say(w, "gonio: %s: %s", err->where, err->text);
	return GN_WORKER_USAGE;
}

/* From the inputs to result.json. Returns the exit status. */
static int do_job(struct gn_worker *w, enum gn_kind kind)
{
	struct gn_error err = {0};
	json_t *result = NULL;

	if (open_events(w, &err) == 0 && open_inputs(w, &err) == 0)
		result = work(w, kind, &err);
	if (result && write_result("result", result, &err) == 0)
		return GN_WORKER_DONE;
	if (!strcmp(err.where, GN_WORKER_JOB_JSON))
		return refuse_job(w, &err);
	if (err.code == GN_CANCELLED && !w->write_failed) {
		gn_worker_say(w, "stopped on request");
		return GN_WORKER_STOPPED;
	}
	if (w->write_failed)
		err = (struct gn_error){GN_NO_SPACE, "events.ndjson", "cannot be written; is the disk full?"};
	return report_failure(w, &err);
}

int gn_worker_main(enum gn_kind kind, const char *folder, const struct gn_worker_watch *watch)
{
	struct gn_worker w = {.events = -1, .stop = &stop_requested, .watch = watch};
	struct gn_error err = {0};
	int lock, status;

	if (chdir(folder)) {
		gn_worker_say(&w, "gonio: %s: %s", folder, strerror(errno));
		return GN_WORKER_USAGE;
	}
	catch_signals();
	if (follow_parent())
		return GN_WORKER_STOPPED;
	if (load_job(&w, &err)) /* before the lock: a folder that holds no job stays as it is */
		return refuse_job(&w, &err);
	lock = take_lock();
	if (lock < 0) {
		gn_worker_say(&w, "gonio: %s: another worker is at it", folder);
		status = GN_WORKER_BUSY;
	} else {
		status = do_job(&w, kind);
	}
	worker_release(&w);
	if (lock >= 0)
		close(lock);
	return status;
}
