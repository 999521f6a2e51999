/* `gonio train RUN_DIR`: see worker.h. One thread of ours; the engine brings its own. */
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/eventjson.h"
#include "server/files.h"
#include "server/runconfig.h"
#include "server/store.h"
#include "server/text.h"

enum { RUN_JSON_LIMIT = 4 << 20, LOCK_SECONDS = 20, NICENESS = 10, STEP_EVENTS = 10000, STEP_SECONDS = 2 };

struct worker {
	json_t *run_json;
	struct gn_run_request request;
	bool request_read;
	struct gn_chain chain;
	struct gn_dataset *dataset;
	struct gn_device *device;
	int events; /* file descriptor of events.ndjson */
	int64_t last_event;
	int64_t told_step; /* the last step that was written */
	double told_at;    /* when, in seconds */
	bool write_failed;
};

/* What a signal handler may touch. */
static volatile int stop_requested;

static void on_stop(int signal_number)
{
	(void)signal_number;
	stop_requested = 1;
}

/* ---------------------------------------------------------------- the process ------------------------------------ */

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

/* ---------------------------------------------------------------- run.json --------------------------------------- */

static int load_run_json(struct worker *w, struct gn_error *err)
{
	json_error_t error;
	char *text;
	size_t size;

	if (gn_file_load("run.json", RUN_JSON_LIMIT, &text, &size, err))
		return -1;
	w->run_json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	free(text);
	if (!w->run_json)
		return gn_fail(err, GN_MALFORMED, "run.json", "line %d: %s", error.line, error.text);
	return 0;
}

static int read_request(struct worker *w, struct gn_error *err)
{
	json_t *errors = json_array();
	const json_t *first;

	gn_run_request_read(&w->request, json_object_get(w->run_json, "request"), false, errors);
	w->request_read = true;
	first = json_array_get(errors, 0);
	if (first)
		gn_fail(err, GN_INVALID, "run.json", "request%s %s",
		        json_string_value(json_object_get(first, "pointer")),
		        json_string_value(json_object_get(first, "detail")));
	json_decref(errors);
	return first ? -1 : 0;
}

static int open_models(struct worker *w, struct gn_error *err)
{
	const json_t *models = json_object_get(w->run_json, "models");
	const char *paths[GN_CHAIN_MAX];
	size_t count = json_array_size(models);

	if (count < 1 || count > GN_CHAIN_MAX)
		return gn_fail(err, GN_INVALID, "run.json", "models must name 1 to %d files", GN_CHAIN_MAX);
	for (size_t i = 0; i < count; i++) {
		paths[i] = json_string_value(json_array_get(models, i));
		if (!paths[i])
			return gn_fail(err, GN_INVALID, "run.json", "models must be strings");
	}
	return gn_chain_open_paths(&w->chain, (int)count, paths, err);
}

static const char *text_member(const struct worker *w, const char *name, const char *fallback)
{
	const char *text = json_string_value(json_object_get(w->run_json, name));

	return text ? text : fallback;
}

static int open_inputs(struct worker *w, struct gn_error *err)
{
	int threads = (int)json_integer_value(json_object_get(w->run_json, "threads"));

	if (open_models(w, err) || gn_dataset_open(&w->dataset, text_member(w, "dataset", ""), err))
		return -1;
	return gn_device_open(&w->device, text_member(w, "device", "auto"), threads, err);
}

/* ---------------------------------------------------------------- events ----------------------------------------- */

static int open_events(struct worker *w, struct gn_error *err)
{
	w->last_event = gn_events_last_id("events.ndjson");
	w->events = open("events.ndjson", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return w->events < 0 ? gn_fail_errno(err, "events.ndjson", "cannot open") : 0;
}

/* Small models take thousands of steps a second, and runs last for days: about STEP_EVENTS steps of a run are written, or one in
 * STEP_SECONDS, whichever is more, and the last. */
static bool worth_telling(struct worker *w, const struct gn_event *event)
{
	struct timespec time;
	double now;

	if (event->kind != GN_EVENT_STEP)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &time);
	now = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
	if (event->step > w->told_step && event->step < w->told_step + event->steps / STEP_EVENTS &&
	    now < w->told_at + STEP_SECONDS && event->step < event->steps)
		return false;
	w->told_step = event->step;
	w->told_at = now;
	return true;
}

/* One write() an event: a reader sees whole lines, whenever this process dies. A full disk stops the run. */
static void on_event(void *user, const struct gn_event *event)
{
	struct worker *w = user;
	char *line;
	size_t size;

	if (!worth_telling(w, event))
		return;
	line = gn_event_line(w->last_event + 1, event);
	size = line ? strlen(line) : 0;
	if (event->kind == GN_EVENT_LOG && event->text)
		fprintf(stderr, "%s\n", event->text);
	if (!line || write(w->events, line, size) != (ssize_t)size) {
		if (!w->write_failed)
			fprintf(stderr, "cannot write an event: %s\n", strerror(errno));
		w->write_failed = true;
		stop_requested = 1;
	} else {
		w->last_event++;
	}
	free(line);
}

/* ---------------------------------------------------------------- the result ------------------------------------- */

/* whole is stolen. */
static int write_result(json_t *whole, struct gn_error *err)
{
	char *text = whole ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
	int result;

	json_decref(whole);
	if (!text)
		return gn_fail(err, GN_NO_MEMORY, "result.json", "out of memory");
	result = gn_file_replace("result.json", text, strlen(text), err);
	free(text);
	return result;
}

static json_t *result_json(const struct gn_train_result *r)
{
	return json_pack("{s:{s:o,s:o,s:o,s:i,s:o,s:o,s:I}}", "result", "val_accuracy", gn_json_real(r->val_accuracy),
	                 "val_macro_f1", gn_json_real(r->val_macro_f1), "val_loss", gn_json_real(r->val_loss),
	                 "best_epoch", r->best_epoch, "train_loss", gn_json_real(r->train_loss), "seconds",
	                 gn_json_real(r->seconds), "peak_memory_bytes", (json_int_t)r->peak_memory_bytes);
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

static int report_failure(const struct gn_error *failure)
{
	char detail[700];
	struct gn_error err = {0};

	snprintf(detail, sizeof detail, "%s%s%s", failure->where, failure->where[0] ? ": " : "", failure->text);
	fprintf(stderr, "failed: %s\n", detail);
	if (write_result(
	        json_pack("{s:{s:s,s:s}}", "error", "type", gn_worker_error_type(failure->code), "detail", detail),
	        &err))
		fprintf(stderr, "%s: %s\n", err.where, err.text);
	return GN_WORKER_FAILED;
}

/* ---------------------------------------------------------------- the run ---------------------------------------- */

static int train(struct worker *w)
{
	struct gn_train_result result = {0};
	struct gn_error err = {0};
	const struct gn_train_options options = {
	    .device = w->device,
	    .model = w->chain.models[0],
	    .dataset = w->dataset,
	    .config = &w->request.config,
	    .folder = ".",
	    .max_pixels = (uint64_t)json_integer_value(json_object_get(w->run_json, "max_pixels")),
	    .on_event = on_event,
	    .user = w,
	    .stop = &stop_requested,
	};

	if (gn_train(&result, &options, &err) == 0) {
		if (write_result(result_json(&result), &err) == 0)
			return GN_WORKER_DONE;
	} else if (err.code == GN_CANCELLED && !w->write_failed) {
		fprintf(stderr, "stopped on request\n");
		return GN_WORKER_STOPPED;
	}
	if (w->write_failed)
		err = (struct gn_error){GN_NO_SPACE, "events.ndjson", "cannot be written; is the disk full?"};
	return report_failure(&err);
}

static void worker_release(struct worker *w)
{
	if (w->device)
		gn_device_close(w->device);
	if (w->dataset)
		gn_dataset_close(w->dataset);
	gn_chain_close(&w->chain);
	if (w->request_read)
		gn_run_request_release(&w->request);
	json_decref(w->run_json);
	if (w->events >= 0)
		close(w->events);
}

int gn_worker_main(const char *run_dir)
{
	struct worker w = {.events = -1};
	struct gn_error err = {0};
	int lock, status;

	if (chdir(run_dir)) {
		fprintf(stderr, "gonio: %s: %s\n", run_dir, strerror(errno));
		return GN_WORKER_USAGE;
	}
	catch_signals();
	if (follow_parent())
		return GN_WORKER_STOPPED;
	lock = take_lock();
	if (lock < 0) {
		fprintf(stderr, "gonio: %s: another worker is at it\n", run_dir);
		return GN_WORKER_BUSY;
	}
	if (load_run_json(&w, &err) || read_request(&w, &err) || open_events(&w, &err)) {
		fprintf(stderr, "gonio: %s: %s\n", err.where, err.text);
		status = GN_WORKER_USAGE;
	} else if (open_inputs(&w, &err)) {
		status = report_failure(&err);
	} else {
		status = train(&w);
	}
	worker_release(&w);
	close(lock);
	return status;
}
