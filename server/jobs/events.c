/* A job's event file, as the supervisor sees it: progress is read from the worker's lines, status
 * lines are added. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/formats/events.h"
#include "server/common/log.h"
#include "server/common/metrics.h"
#include "server/jobs/job.h"

static json_int_t member(const json_t *data, const char *name)
{
	return json_integer_value(json_object_get(data, name));
}

static json_t *member_or_null(const json_t *data, const char *name)
{
	json_t *value = json_object_get(data, name);

	return value ? json_incref(value) : json_null();
}

/* progress is stolen. */
static void set_progress(struct gn_job *job, json_t *progress)
{
	json_decref(job->row.progress);
	job->row.progress = progress;
	job->dirty = true;
}

static void take_progress(struct gn_job *job, const json_t *data)
{
	json_t *progress = json_object();

	json_object_set_new(progress, "phase", member_or_null(data, "phase"));
	json_object_set_new(progress, "epoch", member_or_null(data, "epoch"));
	json_object_set_new(progress, "epochs", member_or_null(data, "epochs"));
	json_object_set_new(progress, "step", member_or_null(data, "step"));
	json_object_set_new(progress, "steps", member_or_null(data, "steps"));
	json_object_set_new(progress, "images_per_second", member_or_null(data, "images_per_second"));
	json_object_set_new(progress, "eta_seconds", member_or_null(data, "eta_seconds"));
	set_progress(job, progress);
}

/* Only what a live worker reports counts: after a restart of the service the whole file is read
 * again. */
static void count_images(struct gn_supervisor *s, struct gn_job *job, json_int_t step)
{
	json_int_t batch = member(job->row.request, "batch_size");

	if (job->pid && s->options.metrics && step > job->step && batch > 0)
		gn_metrics_run_images(s->options.metrics, (uint64_t)((step - job->step) * batch));
	job->step = step;
}

/* Steps count anew in each phase of a run; the phases before it are done, and the next attempt
 * starts in this one. */
static void take_phase(struct gn_job *job, const json_t *data)
{
	const char *phase = json_string_value(json_object_get(data, "phase"));

	if (!phase || !strcmp(job->phase, phase))
		return;
	if (job->phase[0])
		job->row.deaths = 0;
	snprintf(job->phase, sizeof job->phase, "%s", phase);
	job->checkpoint_step = 0;
}

static void take_event(struct gn_supervisor *s, struct gn_job *job, const struct gn_event_record *record)
{
	if (record->id > job->last_event)
		job->last_event = record->id;
	if (!strcmp(record->kind, "status")) {
		const char *status = json_string_value(json_object_get(record->data, "status"));
		job->says_queued = status && !strcmp(status, gn_job_status_name(GN_JOB_QUEUED));
	} else if (!strcmp(record->kind, "start")) {
		take_phase(job, record->data);
		job->step = member(record->data, "step");
		take_progress(job, record->data);
	} else if (!strcmp(record->kind, "step")) {
		count_images(s, job, member(record->data, "step"));
		take_progress(job, record->data);
	} else if (!strcmp(record->kind, "progress")) {
		set_progress(job, json_deep_copy(record->data));
	} else if (!strcmp(record->kind, "record")) {
		json_object_update(job->row.members, (json_t *)(uintptr_t)record->data);
		job->dirty = true;
	} else if (!strcmp(record->kind, "checkpoint") && member(record->data, "step") > job->checkpoint_step) {
		job->checkpoint_step = member(record->data, "step");
		job->row.deaths = 0; /* the next attempt starts further on */
	}
}

void gn_job_tail(struct gn_supervisor *s, struct gn_job *job)
{
	char path[PATH_MAX];
	uint64_t before = job->event_offset;
	struct gn_event_lines lines;
	struct stat st;
	const char *line;
	size_t length;

	gn_job_path(s, job, "events.ndjson", path);
	if (stat(path, &st) || (uint64_t)st.st_size <= job->event_offset)
		return;
	gn_event_lines_init(&lines, job->event_offset);
	while (gn_event_lines_next(&lines, path, &line, &length) > 0) {
		struct gn_event_record record;
		if (gn_event_parse(&record, line, length))
			continue;
		take_event(s, job, &record);
		json_decref(record.value);
	}
	job->event_offset = gn_event_lines_given(&lines);
	gn_event_lines_release(&lines);
	if (job->event_offset > before && !job->dirty)
		gn_job_wake_listeners(s, job);
}

/* A worker that was killed may have left half a line. */
static int end_line(int fd)
{
	struct stat st;
	char last;

	if (fstat(fd, &st) || st.st_size == 0 || (pread(fd, &last, 1, st.st_size - 1) == 1 && last == '\n'))
		return 0;
	return write(fd, "\n", 1) == 1 ? 0 : -1;
}

static char *status_line(const struct gn_job *job)
{
	json_t *data =
	    json_pack("{s:s,s:i}", "status", gn_job_status_name(job->row.status), "attempt", job->row.attempts);

	if (job->row.status == GN_JOB_FAILED && job->row.error)
		json_object_set(data, "error", job->row.error);
	if (job->row.status == GN_JOB_SUCCEEDED && job->row.result)
		json_object_set(data, "result", job->row.result);
	return gn_event_line_of(job->last_event + 1, "status", data);
}

void gn_job_append_status(struct gn_supervisor *s, struct gn_job *job)
{
	char path[PATH_MAX], *line;
	int fd;

	gn_job_tail(s, job);
	gn_job_path(s, job, "events.ndjson", path);
	line = status_line(job);
	fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (!line || fd < 0 || end_line(fd) || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		gn_log(GN_LOG_ERROR, "jobs", "%s: cannot write an event: %s", job->row.id, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(line);
	gn_job_tail(s, job);
}

void gn_job_tell_queued(struct gn_supervisor *s, struct gn_job *job)
{
	gn_job_tail(s, job);
	if (!job->says_queued)
		gn_job_append_status(s, job);
	job->loaded = false;
	gn_job_publish(s, job);
}
