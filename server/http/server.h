/* The HTTP daemon: its start and its stop. What runs in between are the handlers of its routes (handler.h). */
#ifndef GN_SERVER_SERVER_H
#define GN_SERVER_SERVER_H

#include "server/http/handler.h"

struct gn_store;
struct gn_metrics;
struct gn_http_options {
	const struct gn_route *routes;
	struct gn_service *service; /* what gn_request_service gives */
	struct gn_store *store;     /* for Idempotency-Key and --disk-reserve; NULL: neither */
	struct gn_metrics *metrics; /* NULL: not counted */
	const char *listen;         /* as --listen */
	const char *cors;           /* "" none */
	const char *share_dirs;     /* folders that hold static/ and api/, separated by colons; NULL none */
	uint64_t max_upload;
	int max_uploads;     /* that compute at once; 0: 8 */
	int threads;         /* of the daemon; 0: 2 */
	int timeout_seconds; /* of a silent client, and of one that sends less than 1000 bytes a second; 0: 60 */
};
int gn_http_start(struct gn_http **out, const struct gn_http_options *options, struct gn_error *err);
/* The address it listens on, as in a URL: "127.0.0.1:8080". Borrowed. */
const char *gn_http_address(const struct gn_http *http);
/* No new connections; from now on gn_http_stopping() is true, streams end and new requests on kept connections get 503. */
void gn_http_quiesce(struct gn_http *http);
bool gn_http_stopping(const struct gn_http *http);
/* Quiesces, waits up to grace_seconds for answers to finish, then stops and frees. */
void gn_http_stop(struct gn_http *http, double grace_seconds);

#endif
