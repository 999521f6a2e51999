/* Server-sent events: a source of events (formats/events.h) as a live stream. */
#ifndef GN_SERVER_SSE_H
#define GN_SERVER_SSE_H

#include "server/formats/events.h"
#include "server/http/handler.h"

/* The id in the header Last-Event-ID: what the client knows already. 0 without one. */
int64_t gn_last_event_id(const struct gn_request *r);
/* Replies with text/event-stream: every event of the source as "id: N", "event: KIND", "data:
 * DATA"; a comment line every 15 s; ends with the source or with the service. Replies 503 when the
 * source cannot be listened to. Takes the source over and closes it. */
void gn_reply_events(struct gn_request *r, const struct gn_event_source *source);

#endif
