/*
 * Declarations that the files of the HTTP room share. Handlers use handler.h only.
 *
 * A request lives from MHD's first call to the later of MHD's completion call and the end of its
 * task: two references. Locks: r->lock guards the members named under it; MHD_suspend_connection
 * and MHD_resume_connection are called with it held, so that a resume never overtakes its suspend.
 * No other lock is taken under it.
 */
#ifndef GN_SERVER_HTTP_PRIVATE_H
#define GN_SERVER_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>

#include "server/http/server.h"
#include "server/common/permits.h"
#include "server/common/tasks.h"
#include "server/http/multipart.h"

enum { GN_PARAMS_MAX = 4, GN_HEADERS_MAX = 8, GN_RING_BYTES = 256 * 1024, GN_JSON_LIMIT = 1 << 20, GN_REQUEST_ID = 24 };

enum gn_body_fault {
	GN_FAULT_NONE,
	GN_FAULT_TOO_LARGE,
	GN_FAULT_NO_SPACE,
	GN_FAULT_SLOW,
	GN_FAULT_HUNG_UP,
	GN_FAULT_STOPPING
};

struct gn_value { /* a header or a query parameter, copied for a task */
	enum MHD_ValueKind kind;
	const char *name, *value;
};

struct gn_request {
	struct gn_http *http;
	struct MHD_Connection *connection; /* of MHD's thread, and of who holds lock while suspended */
	const struct gn_route *route;
	const char *label; /* route label of the metrics */
	const char *method;
	double started; /* gn_clock */
	atomic_int references;
	struct gn_task task;
	char id[GN_REQUEST_ID];
	int param_count;
	struct {
		const char *name; /* in the pattern, up to '}' */
		char *text;       /* in path */
	} params[GN_PARAMS_MAX];

	struct gn_value *values; /* NULL: ask MHD */
	int value_count;

	/* body */
	int64_t length; /* Content-Length, or -1 */
	uint64_t limit, received, discarded;
	char *text; /* of a JSON body */
	size_t text_capacity;
	json_t *json;
	struct gn_form *form; /* of a multipart body; also what a struct gn_multipart pointer stands for */
	double waited;        /* seconds that the task has waited for bytes */
	double looked;        /* when the task last saw whether the client is there */
	bool hung_up;         /* it was not */
	bool working;         /* the task holds an upload's permit */
	uint64_t unchecked;   /* bytes since the disk was last looked at */

	/* Idempotency-Key */
	EVP_MD_CTX *hash; /* fed while the body is read; NULL: not wanted */
	char *key;        /* claimed; NULL none */

	/* the answer: of the handler's thread until finished */
	bool form_broken;
	int status;
	struct MHD_Response *response;
	struct gn_text *answer; /* its body where it is JSON: what Idempotency-Key keeps */
	int header_count;
	struct {
		const char *name; /* a literal */
		char *value;
	} headers[GN_HEADERS_MAX];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool started_task, suspended, gone, finished, ended;
	enum gn_body_fault fault;
	char *ring; /* [GN_RING_BYTES] */
	size_t ring_at, ring_used;

	char path[]; /* decoded; cut into params */
};

struct gn_static_file {
	char *path; /* "/", "/static/app.js" */
	const char *media_type;
	struct gn_text *bytes;
	char etag[24];
};

struct gn_http {
	struct gn_http_options options;
	struct MHD_Daemon *daemon;
	struct gn_tasks *tasks, *streams, *uploads, *pictures;
	struct gn_permits *permits; /* of uploads */
	struct gn_static_file *files;
	int file_count;
	char address[80];
	char id_prefix[12];
	atomic_ulong next_id;
	atomic_int active; /* requests that MHD has not completed */
	atomic_bool stopping, aborting;
	pthread_mutex_t claims_lock;
	char **claims; /* idempotency keys in work */
	int claim_count;
};

/* request.c */
void gn_request_copy_values(struct gn_request *r);
void gn_request_unref(struct gn_request *r);
/* Whether the client's side of the connection has ended and, if drained, all that it sent was read.
 * Needs the lock. Not after the connection has ended: MHD closes its socket later. */
bool gn_request_peer_closed(const struct gn_request *r, bool drained);

/* handle.c */
/* For an upload: waits for the permit to work and takes it, and returns it. Does nothing for other
 * requests. */
void gn_request_start_work(struct gn_request *r);
void gn_request_pause_work(struct gn_request *r);
/* Runs the route's handler, with idempotency and JSON body. Afterwards r has its answer. */
void gn_request_handle(struct gn_request *r);
/* Resumes the connection with the answer; drops the task's reference. */
void gn_request_complete(struct gn_request *r);

/* body.c: from MHD's thread */
enum MHD_Result gn_body_push(struct gn_request *r, const char *data, size_t *size);
int gn_body_append(struct gn_request *r, const char *data, size_t size);

/* form.c */
/* Reads the rest, for the hash. -1: the body ended early. */
int gn_body_drain(struct gn_request *r, struct gn_error *err);

/* idempotency.c: 0: run the handler; 1: answered. */
int gn_idempotency_begin(struct gn_request *r);
void gn_idempotency_end(struct gn_request *r);

/* fingerprint.c: the hash of a request with a key, in r->hash until it is finished */
/* Begins the hash with the facts that are known before a streamed body. -1: replied. */
int gn_hash_start(struct gn_request *r);
void gn_hash_feed(struct gn_request *r, const void *bytes, size_t size);
/* Ends the hash; writes it in hexadecimal digits. */
void gn_hash_finish(struct gn_request *r, char hash[65]);

/* reply.c */
/* Takes over response (NULL: out of memory, a 503 without a body). */
void gn_reply_response(struct gn_request *r, int status, struct MHD_Response *response);
/* True when a list such as: "a", W/"b" or * names the tag. */
bool gn_names_tag(const char *list, const char *etag);
/* Adds the tag; replies 304 and returns true when the client has these bytes. */
bool gn_not_modified(struct gn_request *r, const char *etag);

/* route.c */
/*
 * Sets route, label and params. 0, or the problem's status (404, 405 with the Allow header added,
 * 200: a static file).
 */
int gn_route_find(struct gn_request *r, const char *method);

/* static_files.c */
int gn_static_load(struct gn_http *http, const char *share_dirs, struct gn_error *err);
void gn_static_free(struct gn_http *http);
const struct gn_static_file *gn_static_find(const struct gn_http *http, const char *path);
void gn_static_reply(struct gn_request *r, const struct gn_static_file *file);

/* problem.c */
const char *gn_status_title(int status);

#endif
