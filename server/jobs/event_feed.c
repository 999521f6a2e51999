/*
 * A job's events as a source for a stream: see gn_supervisor_events in jobs.h.
 *
 * They come from the event file, read on from where the last line ended, so memory does not grow
 * with the file. The final status stands in the file before it is told (job.h: told), so who asks
 * `ended` first and then reads misses nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "server/formats/events.h"
#include "server/jobs/job.h"

struct feed {
	struct gn_listener listener;
	struct gn_supervisor *supervisor;
	enum gn_kind kind;
	char id[GN_ID_SIZE];
	char path[PATH_MAX]; /* of events.ndjson */
	struct gn_event_lines lines;
	int64_t after; /* events up to this id are known */
};

/* ---------------------------------------------------------------- the source ------------------ */

static int feed_next(void *source, struct gn_event_parts *parts)
{
	struct feed *feed = source;
	const char *line;
	size_t length;
	int more;

	while ((more = gn_event_lines_next(&feed->lines, feed->path, &line, &length)) > 0)
		if (gn_event_split(parts, line, length) == 0 && parts->id > feed->after) {
			feed->after = parts->id;
			return 1;
		}
	return more;
}

static bool feed_ended(void *source)
{
	const struct feed *feed = source;
	enum gn_job_status status;
	char id[GN_ID_SIZE];

	if (gn_supervisor_find(feed->supervisor, feed->kind, feed->id, id, &status))
		return true;
	return status != GN_JOB_QUEUED && status != GN_JOB_RUNNING;
}

static int feed_listen(void *source, void (*wake)(void *user), void *user, struct gn_error *err)
{
	struct feed *feed = source;

	feed->listener.wake = wake;
	feed->listener.user = user;
	return gn_supervisor_listen(feed->supervisor, feed->kind, feed->id, &feed->listener, err);
}

static void feed_close(void *source)
{
	struct feed *feed = source;

	gn_supervisor_unlisten(feed->supervisor, &feed->listener);
	gn_event_lines_release(&feed->lines);
	free(feed);
}

int gn_supervisor_events(struct gn_event_source *out, struct gn_supervisor *s, enum gn_kind kind, const char *job,
                         int64_t after, struct gn_error *err)
{
	enum gn_job_status status;
	char id[GN_ID_SIZE];
	struct feed *feed;
	size_t used;

	if (gn_supervisor_find(s, kind, job, id, &status))
		return gn_fail(err, GN_NOT_FOUND, "", "there is no %s '%.80s'", gn_kinds[kind].word, job);
	feed = calloc(1, sizeof *feed);
	if (!feed)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	feed->supervisor = s;
	feed->kind = kind;
	gn_event_lines_init(&feed->lines, 0);
	feed->after = after;
	memcpy(feed->id, id, GN_ID_SIZE);
	gn_store_folder(s->options.store, kind, id, feed->path);
	used = strlen(feed->path);
	snprintf(feed->path + used, sizeof feed->path - used, "/events.ndjson");
	*out = (struct gn_event_source){feed_next, feed_ended, feed_listen, feed_close, feed};
	return 0;
}
