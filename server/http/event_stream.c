/*
 * A source of events as a stream: see event_stream.h.
 *
 * MHD's thread asks for bytes. With nothing to say the connection is suspended, and the source's
 * wake resumes it. Locks: a source calls wake with a lock of its own held, wake takes stream->lock;
 * so the source is never called with stream->lock held.
 */
#include "server/http/event_stream.h"

#include <stdlib.h>
#include <string.h>

#include "server/http/request.h"

enum { BLOCK = 32 * 1024, KIND_LENGTH = 32 };

static const double keepalive_seconds = 15;

struct stream {
	struct gn_event_source source;
	struct gn_http *http;
	struct MHD_Connection *connection;
	double spoken_at;

	/* Text that waits to be sent: [sent, used) of out. */
	char *out;
	size_t sent, used, capacity;

	pthread_mutex_t lock;
	bool suspended, woken; /* under lock */
};

/* ---------------------------------------------------------------- text ------------------------ */

static int say(struct stream *stream, const char *text, size_t size)
{
	size_t wanted = stream->capacity ? stream->capacity : 4096;

	if (stream->sent == stream->used)
		stream->sent = stream->used = 0;
	while (wanted < stream->used + size)
		wanted *= 2;
	if (wanted != stream->capacity) {
		char *grown = realloc(stream->out, wanted);
		if (!grown)
			return -1;
		stream->out = grown;
		stream->capacity = wanted;
	}
	memcpy(stream->out + stream->used, text, size);
	stream->used += size;
	return 0;
}

static int say_event(struct stream *stream, const struct gn_event_parts *event)
{
	size_t kind = event->kind_size < KIND_LENGTH ? event->kind_size : KIND_LENGTH;
	char head[96];
	int n =
	    snprintf(head, sizeof head, "id: %lld\nevent: %.*s\ndata: ", (long long)event->id, (int)kind, event->kind);

	return say(stream, head, (size_t)n) || say(stream, event->data, event->data_size) || say(stream, "\n\n", 2) ? -1
	                                                                                                            : 0;
}

/* Until there is a block to say, or the source has nothing more. */
static int say_events(struct stream *stream)
{
	struct gn_event_parts event;
	int more = 1;

	while (stream->used - stream->sent < BLOCK && (more = stream->source.next(stream->source.source, &event)) > 0)
		if (say_event(stream, &event))
			return -1;
	return more < 0 ? -1 : 0;
}

/* ---------------------------------------------------------------- MHD's side ------------------ */

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
		/* Asked before its events: they are all there by then. */
		bool ended = gn_http_stopping(stream->http) || stream->source.ended(stream->source.source);
		if (say_events(stream))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (stream->sent < stream->used)
			break;
		if (ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (gn_clock() - stream->spoken_at >= keepalive_seconds) {
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
	stream->spoken_at = gn_clock();
	return (ssize_t)n;
}

static void stream_free(void *cls)
{
	struct stream *stream = cls;

	stream->source.close(stream->source.source);
	pthread_mutex_destroy(&stream->lock);
	free(stream->out);
	free(stream);
}

/* ---------------------------------------------------------------- starting -------------------- */

int64_t gn_last_event_id(const struct gn_request *r)
{
	const char *last = gn_header(r, "Last-Event-ID");

	return last ? strtoll(last, NULL, 10) : 0;
}

void gn_reply_events(struct gn_request *r, const struct gn_event_source *source)
{
	struct stream *stream = calloc(1, sizeof *stream);
	struct MHD_Response *response;
	struct gn_error err = {0};

	if (!stream) {
		source->close(source->source);
		gn_reply_problem(r, 503, "out of memory");
		return;
	}
	stream->source = *source;
	stream->http = r->http;
	stream->connection = r->connection;
	stream->spoken_at = gn_clock();
	pthread_mutex_init(&stream->lock, NULL);
	if (source->listen(source->source, wake, stream, &err)) {
		gn_reply_problem(r, 503, "%s", err.text);
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
