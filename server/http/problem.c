/* Errors as application/problem+json (RFC 9457). Only this file turns an error into an answer. */
#include "server/http/handler.h"

#include <stdlib.h>
#include <string.h>

#include "server/common/fields.h"
#include "server/http/request.h"
#include "server/common/log.h"

static const struct {
	int status;
	const char *title, *slug;
} statuses[] = {
    {400, "Bad request", "bad-request"},
    {404, "Not found", "not-found"},
    {405, "Method not allowed", "method-not-allowed"},
    {409, "Conflict", "conflict"},
    {411, "Length required", "length-required"},
    {413, "Content too large", "too-large"},
    {415, "Unsupported media type", "unsupported-media-type"},
    {416, "Range not satisfiable", "range-not-satisfiable"},
    {422, "A value does not fit", "invalid-value"},
    {500, "Internal error", "internal"},
    {503, "Not available now", "unavailable"},
    {507, "Disk full", "disk-full"},
};

static const char *status_slug(int status)
{
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
		if (statuses[i].status == status)
			return statuses[i].slug;
	return "other";
}

const char *gn_status_title(int status)
{
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
		if (statuses[i].status == status)
			return statuses[i].title;
	return "Error";
}

int gn_code_status(enum gn_code code)
{
	switch (code) {
	case GN_INVALID:
	case GN_UNSUPPORTED:
		return 422;
	case GN_MALFORMED:
		return 400;
	case GN_NOT_FOUND:
		return 404;
	case GN_CONFLICT:
		return 409;
	case GN_TOO_LARGE:
		return 413;
	case GN_NO_SPACE:
		return 507;
	case GN_NO_MEMORY:
	case GN_DEVICE:
	case GN_CANCELLED:
		return 503;
	case GN_OK:
	case GN_IO:
		break;
	}
	return 500;
}

/*
 * A detail that quotes a client's bytes may not be UTF-8, or be cut inside a character: what is not
 * ASCII then goes.
 */
static json_t *ascii_text(const char *text)
{
	char plain[1024];

	snprintf(plain, sizeof plain, "%s", text);
	for (char *c = plain; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(plain);
}

/* errors: NULL or stolen. */
static void reply(struct gn_request *r, int status, const char *detail, json_t *errors)
{
	char type[64];
	json_t *problem;
	struct gn_text *text;

	snprintf(type, sizeof type, "urn:gonio:problem:%s", status_slug(status));
	problem = json_pack("{s:s,s:s,s:i}", "type", type, "title", gn_status_title(status), "status", status);
	if (json_object_set_new(problem, "detail", json_string(detail)))
		json_object_set_new(problem, "detail", ascii_text(detail));
	if (errors)
		json_object_set_new(problem, "errors", errors);
	text = gn_text_from_json(problem);
	json_decref(problem);
	if (status == 503 || status == 429)
		gn_reply_header(r, "Retry-After", "2");
	gn_reply_text(r, status, "application/problem+json", text);
}

void gn_reply_problem(struct gn_request *r, int status, const char *format, ...)
{
	char detail[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(detail, sizeof detail, format, arguments);
	va_end(arguments);
	reply(r, status, detail, NULL);
}

bool gn_reply_fields(struct gn_request *r, json_t *errors)
{
	char detail[640];
	const json_t *first;
	size_t count = json_array_size(errors);

	if (errors && !count) {
		json_decref(errors);
		return false;
	}
	if (!errors) {
		reply(r, 503, "out of memory", NULL);
		return true;
	}
	first = json_array_get(errors, 0);
	snprintf(detail, sizeof detail, "%s %s%s", json_string_value(json_object_get(first, "pointer")),
	         json_string_value(json_object_get(first, "detail")), count > 1 ? " (and more)" : "");
	reply(r, 422, detail, errors);
	return true;
}

void gn_reply_field(struct gn_request *r, const char *pointer, const char *format, ...)
{
	json_t *errors = json_array();
	char detail[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(detail, sizeof detail, format, arguments);
	va_end(arguments);
	gn_field_error(errors, pointer, "%s", detail);
	if (!json_array_size(errors)) { /* no memory for it */
		json_decref(errors);
		errors = NULL;
	}
	gn_reply_fields(r, errors);
}

/* What broke the body explains the error that it led to. */
static bool reply_fault(struct gn_request *r)
{
	enum gn_body_fault fault;

	pthread_mutex_lock(&r->lock);
	fault = r->fault;
	pthread_mutex_unlock(&r->lock);
	switch (fault) {
	case GN_FAULT_NONE:
		return false;
	case GN_FAULT_TOO_LARGE:
		gn_reply_problem(r, 413, "the body is larger than %llu bytes", (unsigned long long)r->limit);
		return true;
	case GN_FAULT_NO_SPACE:
		gn_reply_problem(r, 507, "the disk is full: the upload would take what --disk-reserve keeps free");
		return true;
	case GN_FAULT_SLOW:
		gn_reply_problem(r, 400, "the body came too slowly");
		return true;
	case GN_FAULT_HUNG_UP:
		gn_reply_problem(r, 400, "the client hung up before the end of the body");
		return true;
	case GN_FAULT_STOPPING:
		gn_reply_problem(r, 503, "the service is stopping");
		return true;
	}
	return false;
}

void gn_reply_error(struct gn_request *r, const struct gn_error *err)
{
	int status = gn_code_status(err->code);

	if (reply_fault(r))
		return;
	if (err->code == GN_CANCELLED && r->form_broken) {
		gn_reply_problem(r, 400, "the multipart form ends within a part");
		return;
	}
	if (status == 500) {
		gn_log(GN_LOG_ERROR, "http", "%s %s: %s: %s", r->id, r->label, err->where, err->text);
		gn_reply_problem(r, 500, "the service failed; its log says more at request %s", r->id);
	} else if (err->where[0] == '/' && status < 500) {
		char detail[640];
		snprintf(detail, sizeof detail, "%s %s", err->where, err->text);
		reply(r, status, detail, json_pack("[{s:s,s:s}]", "pointer", err->where, "detail", err->text));
	} else if (err->where[0] && status < 500) {
		gn_reply_problem(r, status, "%s: %s", err->where, err->text);
	} else {
		gn_reply_problem(r, status, "%s", err->text);
	}
}
