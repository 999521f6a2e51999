/*
 * HTTP for handlers: the route table, and the functions that read a request and answer it. The
 * daemon is in server.h.
 *
 * Threads. libmicrohttpd's threads parse and send; they never block. A handler runs
 *   - on one of them when its route says GN_INLINE: it must not touch the disk, SQLite, or wait for
 *     anything;
 *   - otherwise on a task thread, with the connection suspended: it may block as long as it needs.
 *     Uploads, other streams (classification), pictures and all others have their own threads, so
 *     that none blocks another.
 * A handler of a STREAM route starts as soon as the headers have arrived. It reads the body with
 * gn_body_read while it arrives.
 *
 * A handler parses, calls, and replies exactly once with one of the gn_reply functions. Functions
 * that say "replies" have sent a problem when they fail: the handler then just returns. A second
 * reply is a bug of ours (gn_assert).
 *
 * The client may hang up at any moment. The request then stays valid until the handler returns,
 * gn_body_read returns -1, and the reply is dropped. The handler removes what it made, as on any
 * other error.
 */
#ifndef GN_SERVER_HANDLER_H
#define GN_SERVER_HANDLER_H

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "gonio.h"
#include "server/common/text.h"

struct gn_service;
struct gn_request;
struct gn_http;

/* ---------------------------------------------------------------- routes ---------------------- */

enum gn_method { GN_GET, GN_POST, GN_PATCH, GN_DELETE };
enum gn_body_kind {
	GN_BODY_NONE,  /* a body is discarded unread */
	GN_BODY_JSON,  /* application/json (else 415), an object (else 400), at most body_limit (else 413) */
	GN_BODY_STREAM /* anything: gn_body_read, gn_body_json or gn_multipart_* */
};
enum gn_route_flag {
	GN_INLINE = 1,  /* the handler never blocks: it runs on the daemon's thread (not with STREAM) */
	GN_CREATES = 2, /* POST that creates: Idempotency-Key is honoured; an answer of 201 is kept for 24 h */
	GN_UPLOADS =
	    4, /* the body goes to disk: 507 before and while it would eat into --disk-reserve; few work at once */
	GN_PICTURES = 8 /* decodes a picture for the answer */
};

/* A line of the table of endpoints, which a route without a pattern ends. HEAD (as GET without the
 * body), OPTIONS, 404, 405 with Allow, the files of static/ under / and /static/, /vendor/chart.js
 * and /v1/openapi.yaml need no line. */
struct gn_route {
	enum gn_method method;
	const char *pattern; /* "/v1/models/{id}/classify"; also the label `route` in the metrics */
	void (*handle)(struct gn_request *r);
	enum gn_body_kind body;
	unsigned flags;
	uint64_t body_limit; /* bytes; 0: 1 MiB for JSON, --max-upload for STREAM */
};

/* ---------------------------------------------------------------- reading a request ----------- */

struct gn_service *gn_request_service(const struct gn_request *r);
/* The text at {name} in the path, percent-decoded; never NULL for a name of the pattern. All texts
 * are borrowed until the reply. */
const char *gn_path(const struct gn_request *r, const char *name);
/* A query parameter, decoded, or NULL. "" if it has no value. If it is repeated, the first one
 * counts. */
const char *gn_query(const struct gn_request *r, const char *name);
/* Calls visit for every query parameter, in order: to refuse unknown ones. */
void gn_query_each(const struct gn_request *r, void (*visit)(void *user, const char *name, const char *value),
                   void *user);
/* A request header, or NULL. Names are matched without regard to case. */
const char *gn_header(const struct gn_request *r, const char *name);
/* The media type of the body in lower case without parameters ("multipart/form-data"), "" if not
 * stated. */
const char *gn_content_type(const struct gn_request *r);
/* True when Accept names media ("text/csv") and does not prefer `other` over it. */
bool gn_accepts(const struct gn_request *r, const char *media, const char *other);

/* The parsed body of a JSON route: an object, borrowed. */
json_t *gn_request_json(const struct gn_request *r);

/* Reads the body of a STREAM route: writes at least one byte to buffer and returns the number. 0 at
 * the end; -1 if the client has gone, the body has passed its limit, or the disk is full. Blocks.
 * The signature is that of gn_ingest_options.read; `request` is the struct gn_request. */
ssize_t gn_body_read(void *request, void *buffer, size_t size);
/* Reads the whole body of a STREAM route as JSON object: new reference. Replies (400, 413) and
 * returns NULL. */
json_t *gn_body_json(struct gn_request *r, size_t limit);
/* Multipart/form-data, read part by part from the body of a STREAM route. Nothing is kept: a part
 * that is not read is skipped. */
struct gn_multipart;
struct gn_form_part {             /* borrowed until the next call of gn_multipart_next */
	const char *name;         /* "" when the part has none */
	const char *filename;     /* "" when it has none; never a path to open */
	const char *content_type; /* lower case without parameters; "" when not said */
};
/* Replies 415 if the body is not multipart/form-data with a boundary. Freed with the request. */
struct gn_multipart *gn_multipart_open(struct gn_request *r);
/* 1: *part is the next one; 0: no more; -1: the form is malformed or the body ended early
 * (replies). */
int gn_multipart_next(struct gn_multipart *m, struct gn_form_part *part);
/* The current part's bytes, as gn_body_read: a read callback whose user is the struct gn_multipart.
 * -1 also if the form ends inside a part; gn_reply_error then states the cause. */
ssize_t gn_multipart_read(void *multipart, void *buffer, size_t size);

/* Whether the client has hung up or the service is stopping, so that long work should end. Only for
 * the handler's thread; cheap enough for any loop. `request` is the struct gn_request, or the
 * struct gn_multipart of its form. */
bool gn_request_gone(void *request);

/* Copies a source (gn_body_read or gn_multipart_read) to its end. gn_source_save: into a file at
 * path (0600), whole or not at all. gn_source_load: into memory, at most limit bytes
 * (GN_TOO_LARGE); *data is malloc'd, one NUL behind it, caller frees. */
int gn_source_save(gn_bytes_read *read, void *user, const char *path, struct gn_error *err);
int gn_source_load(gn_bytes_read *read, void *user, size_t limit, void **data, size_t *size, struct gn_error *err);

/* ---------------------------------------------------------------- answering ------------------- */

/* body is stolen, also on failure. A NULL body means that memory was out, and answers 503. */
void gn_reply_json(struct gn_request *r, int status, json_t *body);
/* 201 with Location and the whole resource. body is stolen. */
void gn_reply_created(struct gn_request *r, const char *location, json_t *body);
/* text: one reference is stolen; NULL answers 503. */
void gn_reply_text(struct gn_request *r, int status, const char *media_type, struct gn_text *text);
/* Bytes are copied. etag: NULL, or an opaque string without quotes: If-None-Match may make it a
 * 304. */
void gn_reply_bytes(struct gn_request *r, int status, const char *media_type, const void *bytes, size_t size,
                    const char *etag);

/* A body that is read piece by piece, for files and exports. Supports Range (one range), If-Range,
 * If-None-Match and HEAD. */
#define GN_STREAM        UINT64_MAX
#define GN_STREAM_BROKEN SIZE_MAX
struct gn_download {
	const char *media_type;
	const char *etag;     /* opaque, without quotes; NULL none */
	const char *filename; /* Content-Disposition: attachment; NULL none. [A-Za-z0-9._-] only */
	uint64_t bytes;       /* or GN_STREAM: read in order, of a length that is not known; no ranges then */
	/* Copies up to size bytes from offset, but at least one, because otherwise the transfer is
	 * aborted. For a stream: 0 at its end, GN_STREAM_BROKEN to abort. Called on daemon threads:
	 * local files only. */
	size_t (*read)(void *user, uint64_t offset, void *buffer, size_t size);
	void (*release)(void *user); /* called exactly once, whatever happens; may be NULL */
	void *user;
};
void gn_reply_download(struct gn_request *r, const struct gn_download *download);
/* A file of the data directory as a download; GN_NOT_FOUND is a 404. path is never made from a
 * client's text. */
void gn_reply_file(struct gn_request *r, const char *path, const char *media_type, const char *etag,
                   const char *filename);

/* Adds a header to the reply. Call it before the reply. */
void gn_reply_header(struct gn_request *r, const char *name, const char *value);

/* application/problem+json {"type","title","status","detail"}; type and title follow from the
 * status. */
void gn_reply_problem(struct gn_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Replies with an engine or store error. err->where of the form "/field" becomes errors[0].pointer;
 * any other where comes before the detail. If the body has failed (too large, disk full), that
 * error is sent instead. */
void gn_reply_error(struct gn_request *r, const struct gn_error *err);

/* Replies with all invalid fields: a 422 with "errors", the array that server/common/fields.h fills
 * (stolen). Replies and returns true if it has any element, or is NULL (503). Returns false if it
 * is empty. */
bool gn_reply_fields(struct gn_request *r, json_t *errors);
/* The same for one field. pointer is a JSON pointer ("/epochs"; "/NAME" for a query parameter). */
void gn_reply_field(struct gn_request *r, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The status for an error code: INVALID and UNSUPPORTED 422, MALFORMED 400, NOT_FOUND 404, CONFLICT
 * 409, TOO_LARGE 413, NO_MEMORY and DEVICE 503, NO_SPACE 507, CANCELLED 503, others 500. */
int gn_code_status(enum gn_code code);

#endif
