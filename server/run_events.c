/* A run's event file, as the supervisor sees it: progress is read from the worker's lines, status lines are added. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/eventjson.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/supervisor_private.h"

static json_int_t member(const json_t *data, const char *name)
{
	return json_integer_value(json_object_get(data, name));
}

static json_t *member_or_null(const json_t *data, const char *name)
{
	json_t *value = json_object_get(data, name);

	return value ? json_incref(value) : json_null();
}

static void take_progress(struct gn_run *run, const json_t *data)
{
	json_t *progress = json_object();

	json_object_set_new(progress, "epoch", member_or_null(data, "epoch"));
	json_object_set_new(progress, "epochs", member_or_null(data, "epochs"));
	json_object_set_new(progress, "step", member_or_null(data, "step"));
	json_object_set_new(progress, "steps", member_or_null(data, "steps"));
	json_object_set_new(progress, "images_per_second", member_or_null(data, "images_per_second"));
	json_object_set_new(progress, "eta_seconds", member_or_null(data, "eta_seconds"));
	json_decref(run->row.progress);
	run->row.progress = progress;
	run->dirty = true;
}

/* Only what a live worker reports counts: after a restart of the service the whole file is read again. */
static void count_images(struct gn_supervisor *s, struct gn_run *run, json_int_t step)
{
	json_int_t batch = member(run->row.request, "batch_size");

	if (run->pid && s->options.metrics && step > run->step && batch > 0)
		gn_metrics_run_images(s->options.metrics, (uint64_t)((step - run->step) * batch));
	run->step = step;
}

static void take_event(struct gn_supervisor *s, struct gn_run *run, const struct gn_event_record *record)
{
	if (record->id > run->last_event)
		run->last_event = record->id;
	if (!strcmp(record->kind, "start")) {
		run->step = member(record->data, "step");
		take_progress(run, record->data);
	} else if (!strcmp(record->kind, "step")) {
		count_images(s, run, member(record->data, "step"));
		take_progress(run, record->data);
	} else if (!strcmp(record->kind, "checkpoint") && member(record->data, "step") > run->checkpoint_step) {
		run->checkpoint_step = member(record->data, "step");
		run->row.deaths = 0; /* the next attempt starts further on */
	}
}

void gn_run_tail(struct gn_supervisor *s, struct gn_run *run)
{
	char path[PATH_MAX], *line = NULL;
	size_t capacity = 0;
	uint64_t before = run->event_offset;
	struct stat st;
	ssize_t n;
	FILE *file;

	gn_run_path(s, run, "events.ndjson", path);
	if (stat(path, &st) || (uint64_t)st.st_size <= run->event_offset)
		return;
	file = fopen(path, "re");
	if (!file)
		return;
	if (fseeko(file, (off_t)run->event_offset, SEEK_SET) == 0)
		while ((n = getline(&line, &capacity, file)) > 0 && line[n - 1] == '\n') {
			struct gn_event_record record;
			run->event_offset += (uint64_t)n;
			if (gn_event_parse(&record, line, (size_t)n))
				continue;
			take_event(s, run, &record);
			json_decref(record.value);
		}
	free(line);
	(void)fclose(file);
	if (run->event_offset > before && !run->dirty)
		gn_run_wake_listeners(s, run);
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

static char *status_line(const struct gn_run *run)
{
	json_t *data =
	    json_pack("{s:s,s:i}", "status", gn_run_status_name(run->row.status), "attempt", run->row.attempts);

	if (run->row.status == GN_RUN_FAILED && run->row.error)
		json_object_set(data, "error", run->row.error);
	if (run->row.status == GN_RUN_SUCCEEDED && run->row.result)
		json_object_set(data, "result", run->row.result);
	return gn_event_line_of(run->last_event + 1, "status", data);
}

void gn_run_append_status(struct gn_supervisor *s, struct gn_run *run)
{
	char path[PATH_MAX], *line;
	int fd;

	gn_run_tail(s, run);
	gn_run_path(s, run, "events.ndjson", path);
	line = status_line(run);
	fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (!line || fd < 0 || end_line(fd) || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		gn_log(GN_LOG_ERROR, "runs", "%s: cannot write an event: %s", run->row.id, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(line);
	gn_run_tail(s, run);
}
