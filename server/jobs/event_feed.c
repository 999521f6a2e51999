/*
 * A job's events as a source for a stream: see gn_supervisor_events in jobs.h.
 *
 * They come from the event file, read on from where the last line ended, so memory does not grow with the file. The final
 * status stands in the file before it is told (job.h: told), so who asks `ended` first and then reads misses nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/formats/events.h"
#include "server/jobs/job.h"

enum { BLOCK = 32 * 1024, LINE_LIMIT = 8 << 20 };

struct feed {
	struct gn_listener listener;
	struct gn_supervisor *supervisor;
	enum gn_kind kind;
	char id[GN_ID_SIZE];
	char path[PATH_MAX]; /* of events.ndjson */
	int fd;              /* -1: not there yet */
	uint64_t offset;     /* bytes of the file that were read */
	int64_t after;       /* events up to this id are known */
	/* What was read: lines, of which those before `at` are done, and the beginning of the next. */
	char *buffer;
	size_t at, used, capacity;
};

/* ---------------------------------------------------------------- the file --------------------------------------- */

static int make_room(struct feed *feed)
{
	size_t wanted = feed->capacity ? feed->capacity : 2 * (size_t)BLOCK;
	char *grown;

	if (feed->used)
		memmove(feed->buffer, feed->buffer + feed->at, feed->used - feed->at);
	feed->used -= feed->at;
	feed->at = 0;
	if (feed->used > LINE_LIMIT)
		return -1;
	while (wanted < feed->used + BLOCK)
		wanted *= 2;
	if (wanted == feed->capacity)
		return 0;
	grown = realloc(feed->buffer, wanted);
	if (!grown)
		return -1;
	feed->buffer = grown;
	feed->capacity = wanted;
	return 0;
}

/* 1: more bytes are there; 0: the file has none for now; -1: it cannot be read. */
static int read_block(struct feed *feed)
{
	ssize_t n;

	if (feed->fd < 0)
		feed->fd = open(feed->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (feed->fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (make_room(feed))
		return -1;
	n = pread(feed->fd, feed->buffer + feed->used, BLOCK, (off_t)feed->offset);
	if (n <= 0)
		return n < 0 && errno != EINTR ? -1 : 0;
	feed->offset += (uint64_t)n;
	feed->used += (size_t)n;
	return 1;
}

/* ---------------------------------------------------------------- the source ------------------------------------- */

static int feed_next(void *source, struct gn_event_parts *parts)
{
	struct feed *feed = source;

	for (;;) {
		const char *line = feed->buffer + feed->at,
		           *lf = feed->used > feed->at ? memchr(line, '\n', feed->used - feed->at) : NULL;
		if (!lf) {
			int more = read_block(feed);
			if (more <= 0)
				return more;
			continue;
		}
		feed->at += (size_t)(lf - line) + 1;
		if (gn_event_split(parts, line, (size_t)(lf - line)) == 0 && parts->id > feed->after) {
			feed->after = parts->id;
			return 1;
		}
	}
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
	if (feed->fd >= 0)
		close(feed->fd);
	free(feed->buffer);
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
	feed->fd = -1;
	feed->after = after;
	memcpy(feed->id, id, GN_ID_SIZE);
	gn_store_folder(s->options.store, kind, id, feed->path);
	used = strlen(feed->path);
	snprintf(feed->path + used, sizeof feed->path - used, "/events.ndjson");
	*out = (struct gn_event_source){feed_next, feed_ended, feed_listen, feed_close, feed};
	return 0;
}
