/*
 * A job's events as a stream: see event_stream.h.
 *
 * MHD's thread asks for bytes; they come from the event file, from where the last answer ended. With nothing to say the connection is
 * suspended, and the supervisor's wake resumes it. Locks: the supervisor calls wake with its own lock held, wake takes stream->lock; so
 * the supervisor is never called with stream->lock held.
 */
#include "server/http/event_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/http/request.h"
#include "server/jobs/job.h"

enum { BLOCK = 32 * 1024, LINE_LIMIT = 8 << 20 };

static const double keepalive_seconds = 15;

struct stream {
	struct gn_listener listener;
	struct gn_supervisor *supervisor;
	struct gn_http *http;
	struct MHD_Connection *connection;
	enum gn_kind kind;
	char id[GN_ID_SIZE];
	int fd; /* events.ndjson; -1: not there yet */
	char path[PATH_MAX];
	int64_t after; /* events up to this id are known to the client */
	uint64_t offset;
	double spoken_at;

	/* Text that waits to be sent: [sent, used) of out. */
	char *out;
	size_t sent, used, capacity;
	/* Bytes of the file that do not make a whole line yet. */
	char *in;
	size_t in_used, in_capacity;

	pthread_mutex_t lock;
	bool suspended, woken; /* under lock */
};

/* ---------------------------------------------------------------- text ------------------------------------------- */

static int reserve(char **buffer, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity : 4096;
	char *grown;

	while (wanted < size)
		wanted *= 2;
	if (wanted == *capacity)
		return 0;
	grown = realloc(*buffer, wanted);
	if (!grown)
		return -1;
	*buffer = grown;
	*capacity = wanted;
	return 0;
}

static int say(struct stream *stream, const char *text, size_t size)
{
	if (stream->sent == stream->used)
		stream->sent = stream->used = 0;
	if (reserve(&stream->out, &stream->capacity, stream->used + size))
		return -1;
	memcpy(stream->out + stream->used, text, size);
	stream->used += size;
	return 0;
}

/* A line is {"id":N,"time":"...","event":"KIND","data":{...}} with the members in this order (events.h); its parts are taken as
 * they stand, so that the replay of a long run costs no parsing. Other lines are skipped. */
static int say_line(struct stream *stream, const char *line, size_t size)
{
	static const char kind_mark[] = "\"event\":\"", data_mark[] = "\",\"data\":";
	const char *kind, *data, *end = line + size;
	char head[96], *after_id;
	long long id;
	int n;

	if (size < 8 || memcmp(line, "{\"id\":", 6) != 0 || end[-1] != '}')
		return 0;
	id = strtoll(line + 6, &after_id, 10);
	kind = memmem(after_id, (size_t)(end - after_id), kind_mark, sizeof kind_mark - 1);
	data = kind ? memmem(kind, (size_t)(end - kind), data_mark, sizeof data_mark - 1) : NULL;
	if (!data || id <= stream->after)
		return 0;
	kind += sizeof kind_mark - 1;
	n = snprintf(head, sizeof head, "id: %lld\nevent: %.*s\ndata: ", id, (int)(data - kind > 32 ? 32 : data - kind),
	             kind);
	data += sizeof data_mark - 1;
	stream->after = id;
	return say(stream, head, (size_t)n) || say(stream, data, (size_t)(end - 1 - data)) || say(stream, "\n\n", 2)
	           ? -1
	           : 0;
}

/* ---------------------------------------------------------------- the file --------------------------------------- */

static int say_lines(struct stream *stream)
{
	size_t start = 0;
	char *lf;

	while ((lf = memchr(stream->in + start, '\n', stream->in_used - start))) {
		if (say_line(stream, stream->in + start, (size_t)(lf - stream->in) - start))
			return -1;
		start = (size_t)(lf - stream->in) + 1;
	}
	memmove(stream->in, stream->in + start, stream->in_used - start);
	stream->in_used -= start;
	return stream->in_used > LINE_LIMIT ? -1 : 0;
}

/* Reads on in the file until there is something to say or nothing more to read. */
static int read_file(struct stream *stream)
{
	while (stream->sent == stream->used) {
		ssize_t n;
		if (stream->fd < 0)
			stream->fd = open(stream->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (stream->fd < 0)
			return errno == ENOENT ? 0 : -1;
		if (reserve(&stream->in, &stream->in_capacity, stream->in_used + BLOCK))
			return -1;
		n = pread(stream->fd, stream->in + stream->in_used, BLOCK, (off_t)stream->offset);
		if (n <= 0)
			return n < 0 && errno != EINTR ? -1 : 0;
		stream->offset += (uint64_t)n;
		stream->in_used += (size_t)n;
		if (say_lines(stream))
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- MHD's side ------------------------------------- */

static bool over(const struct stream *stream)
{
	enum gn_job_status status;
	char id[GN_ID_SIZE];

	if (gn_http_stopping(stream->http) ||
	    gn_supervisor_find(stream->supervisor, stream->kind, stream->id, id, &status))
		return true;
	return status != GN_JOB_QUEUED && status != GN_JOB_RUNNING;
}

static void wake(void *user)
{
	struct stream *stream = user;

	pthread_mutex_lock(&stream->lock);
	stream->woken = true;
	if (stream->suspended) {
		stream->suspended = false;
		MHD_resume_connection(stream->connection);
	}
	pthread_mutex_unlock(&stream->lock);
}

/* True when a wake came in since the last look; else the connection is suspended. */
static bool woken_or_suspend(struct stream *stream)
{
	bool woken;

	pthread_mutex_lock(&stream->lock);
	woken = stream->woken;
	stream->woken = false;
	if (!woken) {
		stream->suspended = true;
		MHD_suspend_connection(stream->connection);
	}
	pthread_mutex_unlock(&stream->lock);
	return woken;
}

static ssize_t stream_read(void *cls, uint64_t position, char *buffer, size_t size)
{
	struct stream *stream = cls;
	size_t n;

	(void)position;
	while (stream->sent == stream->used) {
		/* Asked before the file is read: the final status stands in the file before it is told here. */
		bool ended = over(stream);
		if (read_file(stream))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (stream->sent < stream->used)
			break;
		if (ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (gn_monotonic() - stream->spoken_at >= keepalive_seconds) {
			if (say(stream, ": still here\n\n", 14))
				return MHD_CONTENT_READER_END_WITH_ERROR;
		} else if (!woken_or_suspend(stream)) {
			return 0;
		}
	}
	n = stream->used - stream->sent;
	if (n > size)
		n = size;
	memcpy(buffer, stream->out + stream->sent, n);
	stream->sent += n;
	stream->spoken_at = gn_monotonic();
	return (ssize_t)n;
}

static void stream_free(void *cls)
{
	struct stream *stream = cls;

	gn_supervisor_unlisten(stream->supervisor, &stream->listener);
	if (stream->fd >= 0)
		close(stream->fd);
	pthread_mutex_destroy(&stream->lock);
	free(stream->out);
	free(stream->in);
	free(stream);
}

/* ---------------------------------------------------------------- starting --------------------------------------- */

static struct stream *stream_new(struct gn_request *r, struct gn_supervisor *supervisor, enum gn_kind kind,
                                 const char *id)
{
	struct stream *stream = calloc(1, sizeof *stream);
	const char *last = gn_header(r, "Last-Event-ID");

	if (!stream)
		return NULL;
	stream->supervisor = supervisor;
	stream->http = r->http;
	stream->connection = r->connection;
	stream->fd = -1;
	stream->after = last ? strtoll(last, NULL, 10) : 0;
	stream->spoken_at = gn_monotonic();
	stream->listener.wake = wake;
	stream->listener.user = stream;
	stream->kind = kind;
	memcpy(stream->id, id, GN_ID_SIZE);
	gn_store_folder(supervisor->options.store, kind, id, stream->path);
	snprintf(stream->path + strlen(stream->path), sizeof stream->path - strlen(stream->path), "/events.ndjson");
	pthread_mutex_init(&stream->lock, NULL);
	return stream;
}

void gn_reply_events(struct gn_request *r, struct gn_supervisor *supervisor, enum gn_kind kind, const char *job)
{
	char id[GN_ID_SIZE];
	enum gn_job_status status;
	struct gn_error err = {0};
	struct stream *stream = NULL;
	struct MHD_Response *response;

	if (gn_supervisor_find(supervisor, kind, job, id, &status)) {
		gn_reply_problem(r, 404, "there is no %s '%.80s'", gn_kind_words[kind], job);
		return;
	}
	stream = stream_new(r, supervisor, kind, id);
	if (!stream || gn_supervisor_listen(supervisor, kind, id, &stream->listener, &err)) {
		gn_reply_problem(r, 503, "%s", stream ? err.text : "out of memory");
		if (stream)
			stream_free(stream);
		return;
	}
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, stream_read, stream, stream_free);
	if (!response)
		stream_free(stream);
	gn_reply_header(r, "Content-Type", "text/event-stream");
	gn_reply_header(r, "Cache-Control", "no-store");
	gn_reply_header(r, "X-Accel-Buffering", "no"); /* proxies must not collect it */
	gn_reply_response(r, 200, response);
}
