/* Server-sent events: a job's event file as a live stream. */
#ifndef GN_SERVER_SSE_H
#define GN_SERVER_SSE_H

#include "server/http/handler.h"
#include "server/jobs/jobs.h"

/* Replies with text/event-stream: every event line after Last-Event-ID (the header) as "event: KIND", "id: N", "data: LINE"; then the
 * live ones; a comment line every 15 s; ends after the final status. Replies 404 when there is no such job (id or name) and 503 when
 * there are too many listeners. The stream reads the event file, so memory does not grow with its length. */
void gn_reply_events(struct gn_request *r, struct gn_supervisor *supervisor, enum gn_kind kind, const char *job);

#endif
