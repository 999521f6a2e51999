/* Answers: makes an MHD response with the headers that all answers have. */
#include <string.h>

#include "server/http/request.h"

/*
 * Scripts and styles from here only; pictures also from the page itself (a dropped photograph is
 * shown before it is sent).
 */
static const char policy[] = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
                             "frame-ancestors 'none'; form-action 'self'";

void gn_reply_header(struct gn_request *r, const char *name, const char *value)
{
	char *copy = strdup(value);

	gn_assert(!r->status && r->header_count < GN_HEADERS_MAX);
	if (!copy)
		return;
	r->headers[r->header_count].name = name;
	r->headers[r->header_count++].value = copy;
}

static void add_cors(struct gn_request *r, struct MHD_Response *response)
{
	const char *origin = r->http->options.cors;

	if (!origin || !*origin)
		return;
	MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
	MHD_add_response_header(response, "Access-Control-Expose-Headers",
	                        "Location, ETag, X-Request-Id, Content-Disposition");
	MHD_add_response_header(response, "Vary", "Origin");
}

void gn_reply_response(struct gn_request *r, int status, struct MHD_Response *response)
{
	gn_assert(!r->status);
	if (!response) {
		status = 503;
		response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	}
	r->status = status;
	r->response = response;
	if (!response)
		return;
	MHD_add_response_header(response, "X-Request-Id", r->id);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Content-Security-Policy", policy);
	add_cors(r, response);
	for (int i = 0; i < r->header_count; i++)
		MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
}

void gn_reply_text(struct gn_request *r, int status, const char *media_type, struct gn_text *text)
{
	struct MHD_Response *response = NULL;

	if (text) {
		response = MHD_create_response_from_buffer_with_free_callback_cls(text->bytes, text->data,
		                                                                  gn_text_unref, text);
		if (!response)
			gn_text_unref(text);
		else
			MHD_add_response_header(response, "Content-Type", media_type);
	}
	if (response && r->key)
		r->answer = gn_text_ref(text);
	gn_reply_response(r, status, response);
}

void gn_reply_json(struct gn_request *r, int status, json_t *body)
{
	struct gn_text *text = body ? gn_text_from_json(body) : NULL;

	json_decref(body);
	gn_reply_text(r, status, "application/json", text);
}

void gn_reply_created(struct gn_request *r, const char *location, json_t *body)
{
	gn_reply_header(r, "Location", location);
	gn_reply_json(r, 201, body);
}

/* ---------------------------------------------------------------- validators ------------------------------------- */

bool gn_names_tag(const char *list, const char *etag)
{
	size_t length = strlen(etag);

	for (const char *at = list; *at;) {
		at += strspn(at, ", \t");
		if (*at == '*')
			return true;
		if (at[0] == 'W' && at[1] == '/')
			at += 2;
		if (*at != '"')
			return false;
		if (!strncmp(at + 1, etag, length) && at[length + 1] == '"')
			return true;
		at++;
		at += strcspn(at, "\"");
		at += *at == '"';
	}
	return false;
}

static void add_etag(struct gn_request *r, const char *etag)
{
	char quoted[128];

	snprintf(quoted, sizeof quoted, "\"%s\"", etag);
	gn_reply_header(r, "ETag", quoted);
}

bool gn_not_modified(struct gn_request *r, const char *etag)
{
	const char *known = etag ? gn_header(r, "If-None-Match") : NULL;

	if (etag)
		add_etag(r, etag);
	if (!known || !gn_names_tag(known, etag))
		return false;
	gn_reply_response(r, 304, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
	return true;
}

void gn_reply_bytes(struct gn_request *r, int status, const char *media_type, const void *bytes, size_t size,
                    const char *etag)
{
	if (!gn_not_modified(r, etag))
		gn_reply_text(r, status, media_type, gn_text_new(bytes, size));
}
