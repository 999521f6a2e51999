/* The process of a worker: see worker.h. One thread of ours; the engine brings its own. */
#include "server/worker/worker.h"

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

#include "server/common/files.h"
#include "server/worker/work.h"

enum { LOCK_SECONDS = 20, NICENESS = 10 };

/* What a signal handler may touch. */
static volatile int stop_requested;

static void on_stop(int signal_number)
{
	(void)signal_number;
	stop_requested = 1;
}

/* ---------------------------------------------------------------- the process ----------------- */

bool gn_worker_supervised(void)
{
	return getenv("GONIO_SUPERVISED") != NULL;
}

/* As the service's child: gives way to it, and ends with it. The parent may have gone before prctl
 * took effect. */
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

/* One worker a folder. The one before may still be writing its last checkpoint: a while of
 * patience. */
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

/* ---------------------------------------------------------------- the result ------------------ */

static int report_failure(const struct gn_worker *w, const struct gn_error *failure)
{
	struct gn_job_result result = {0};
	char detail[700];
	struct gn_error err = {0};

	snprintf(detail, sizeof detail, "%s%s%s", failure->where, failure->where[0] ? ": " : "", failure->text);
	gn_worker_say(w, "failed: %s", detail);
	result.error = gn_job_error(gn_job_error_type(failure->code), detail);
	if (gn_job_result_write(GN_RESULT_JSON, &result, &err))
		gn_worker_say(w, "%s: %s", err.where, err.text);
	gn_job_result_release(&result);
	return GN_WORKER_FAILED;
}

/* ---------------------------------------------------------------- the work -------------------- */

static json_t *(*const work[GN_KIND_COUNT])(struct gn_worker *w, struct gn_error *err) = {
    [GN_KIND_RUN] = gn_worker_train,
    [GN_KIND_SOUP] = gn_worker_soup,
    [GN_KIND_EVALUATION] = gn_worker_evaluate,
};

static int refuse_job(const struct gn_worker *w, const struct gn_error *err)
{
	gn_worker_say(w, "gonio: %s: %s", err->where, err->text);
	return GN_WORKER_USAGE;
}

/* From the inputs to result.json. Returns the exit status. */
static int do_job(struct gn_worker *w, enum gn_kind kind)
{
	struct gn_error err = {0};
	struct gn_job_result result = {0};
	bool done;

	if (gn_worker_open_events(w, &err) == 0 && gn_worker_open(w, &err) == 0)
		result.result = work[kind](w, &err);
	done = result.result && gn_job_result_write(GN_RESULT_JSON, &result, &err) == 0;
	gn_job_result_release(&result);
	if (done)
		return GN_WORKER_DONE;
	if (!strcmp(err.where, GN_JOB_JSON))
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
	if (gn_job_order_read(&w.order, &w.job, GN_JOB_JSON,
	                      &err)) /* before the lock: a folder that holds no job stays as it is */
		return refuse_job(&w, &err);
	lock = take_lock();
	if (lock < 0) {
		gn_worker_say(&w, "gonio: %s: another worker is at it", folder);
		status = GN_WORKER_BUSY;
	} else {
		status = do_job(&w, kind);
	}
	gn_worker_release(&w);
	if (lock >= 0)
		close(lock);
	return status;
}
