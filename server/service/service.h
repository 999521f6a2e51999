/*
 * The service: the parts of `gonio serve`, the order in which they start and stop, and their
 * readiness.
 *
 * Start: store (lock, migration, clean-up), metrics, device, classifier, supervisor, then HTTP, so
 * that all is ready for the first connection. Last, the supervisor starts workers. Stop, in
 * reverse: no new work is accepted, answers finish, workers write a checkpoint and stop.
 */
#ifndef GN_SERVER_SERVICE_H
#define GN_SERVER_SERVICE_H

#include "gonio.h"
#include "server/service/config.h"
#include "server/http/server.h"
#include "server/common/metrics.h"
#include "server/store/store.h"
#include "server/jobs/jobs.h"

struct gn_classifier;

struct gn_service { /* set up by gn_service_run, read-only for handlers */
	struct gn_config config;
	struct gn_store *store;
	struct gn_metrics *metrics;
	struct gn_device *device;          /* the classifier's: one thread at a time may use it */
	struct gn_device_info device_info; /* any thread may read it */
	struct gn_gate *upload_gate,
	    *request_gate; /* of the memory for decoding: data sets that come in; everything else */
	struct gn_classifier *classifier;
	struct gn_supervisor *supervisor;
	struct gn_http *http;
	struct gn_api *api; /* what the handlers keep between requests: api/api.h */
	int64_t started_at; /* milliseconds since 1970 */
};

/* What the service serves: given to it, so that it knows no handler. */
struct gn_service_api {
	const struct gn_route *routes; /* as gn_http_options.routes */
	/* Called once before and once after everything else of the API. stop is called too when
	 * start was not. */
	int (*start)(struct gn_service *service, struct gn_error *err);
	void (*stop)(struct gn_service *service);
	gn_describe_model *describe_model;
};

/* `gonio serve`: returns the exit status after SIGTERM or SIGINT, or when it cannot start (with a
 * line on stderr). */
int gn_service_run(const struct gn_config *config, const struct gn_service_api *api);
/* NULL when ready, else the reason. Never blocks. */
const char *gn_service_not_ready(struct gn_service *service);
/* What the configuration says about uploaded archives. */
struct gn_archive_budget gn_service_archive_budget(const struct gn_service *service);
/* What it says about a picture in a request. gone, user: those of the limits. */
struct gn_image_limits gn_service_image_limits(const struct gn_service *service, bool (*gone)(void *user), void *user);

#endif
