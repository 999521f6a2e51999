/* Starts and stops the HTTP daemon. In between it runs the handlers of its routes (handler.h). */
#ifndef GN_SERVER_SERVER_H
#define GN_SERVER_SERVER_H

#include "server/http/handler.h"

struct gn_store;
struct gn_metrics;
struct gn_http_options {
	const struct gn_route *routes;
	struct gn_service *service; /* returned by gn_request_service */
	/* for Idempotency-Key and --disk-reserve; NULL: without both */
	struct gn_store *store;
	struct gn_metrics *metrics; /* NULL: not counted */
	const char *listen;         /* as --listen */
	const char *cors;           /* "" none */
	/* folders that hold static/ and api/, separated by colons; NULL none */
	const char *share_dirs;
	uint64_t max_upload;
	int max_uploads; /* uploads that compute at once; 0: 8 */
	int threads;     /* of the daemon; 0: 2 */
	/* for a client that sends nothing, or less than 1000 bytes a second; 0: 60 */
	int timeout_seconds;
};
int gn_http_start(struct gn_http **out, const struct gn_http_options *options, struct gn_error *err);
/* The address it listens on, as in a URL: "127.0.0.1:8080". Borrowed. */
const char *gn_http_address(const struct gn_http *http);
/* Accepts no new connections. From now on gn_http_stopping() is true, streams end, and new requests
 * on open connections get 503. */
void gn_http_quiesce(struct gn_http *http);
bool gn_http_stopping(const struct gn_http *http);
/* Quiesces, waits up to grace_seconds until all answers are sent, then stops and frees. */
void gn_http_stop(struct gn_http *http, double grace_seconds);

#endif
