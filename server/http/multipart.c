/*
 * The multipart/form-data parser: see multipart.h. RFC 7578 and RFC 2046: parts are separated by
 * CRLF "--" BOUNDARY; the last separator ends with "--". Text before the first separator and after
 * the last is ignored.
 *
 * The window holds unread bytes at [start, end). A part's bytes are given out up to where the
 * separator might begin, so that a separator that arrives in pieces is still seen.
 */
#include "server/http/multipart.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WINDOW = 64 * 1024, HEADER_LIMIT = 8 * 1024, TEXT_LIMIT = 1024 };

struct gn_form {
	gn_bytes_read *read;
	void *user;
	char separator[GN_MULTIPART_BOUNDARY + 8]; /* CRLF "--" BOUNDARY */
	size_t separator_bytes;
	bool source_ended, in_part, finished;
	int parts;
	size_t start, end;
	char name[TEXT_LIMIT], filename[TEXT_LIMIT], content_type[128];
	char window[WINDOW];
};

/* ---------------------------------------------------------------- the window ------------------------------------- */

/*
 * Reads more bytes behind end. 1: some came; 0: the source has ended (or the window is full); -1:
 * it broke.
 */
static int more(struct gn_form *form, struct gn_error *err)
{
	ssize_t n;

	if (form->start) {
		memmove(form->window, form->window + form->start, form->end - form->start);
		form->end -= form->start;
		form->start = 0;
	}
	if (form->source_ended || form->end == WINDOW)
		return 0;
	n = form->read(form->user, form->window + form->end, WINDOW - form->end);
	if (n < 0)
		return gn_fail(err, GN_CANCELLED, "", "the body ended early");
	if (n == 0)
		form->source_ended = true;
	form->end += (size_t)n;
	return n > 0;
}

static size_t held(const struct gn_form *form)
{
	return form->end - form->start;
}

/* At least `bytes` unread bytes in the window. 1, 0 when the source ends before, -1. */
static int want(struct gn_form *form, size_t bytes, struct gn_error *err)
{
	while (held(form) < bytes) {
		int got = more(form, err);
		if (got <= 0)
			return got;
	}
	return 1;
}

/*
 * How many unread bytes surely belong to the part: up to the separator, or up to where one might
 * begin. *found: it is there.
 */
static size_t part_bytes(const struct gn_form *form, bool *found)
{
	const char *at = form->window + form->start;
	size_t size = held(form);
	const char *hit = size ? memmem(at, size, form->separator, form->separator_bytes) : NULL;

	*found = hit != NULL;
	if (hit)
		return (size_t)(hit - at);
	return size >= form->separator_bytes ? size - (form->separator_bytes - 1) : 0;
}

/* ---------------------------------------------------------------- headers ---------------------------------------- */

/*
 * The value of parameter `name` in a header value such as: form-data; name="a"; filename="b".
 * Quoted strings may hold \" (as curl sends it) and %22 stays as it is. Too long or absent: "".
 */
static void parameter(char *out, size_t size, const char *header, const char *name)
{
	size_t length = strlen(name), used = 0;
	const char *at = header;

	out[0] = '\0';
	while ((at = strchr(at, ';'))) {
		at++;
		at += strspn(at, " \t");
		if (strncasecmp(at, name, length) == 0 && at[length] == '=') {
			at += length + 1;
			break;
		}
		/* A quoted value may hold a semicolon. */
		at += strcspn(at, ";\"");
		if (*at == '"')
			for (at++; *at && *at != '"'; at++)
				if (*at == '\\' && at[1])
					at++;
	}
	if (!at)
		return;
	if (*at != '"') {
		used = strcspn(at, "; \t");
		if (used < size)
			snprintf(out, size, "%.*s", (int)used, at);
		return;
	}
	for (at++; *at && *at != '"'; at++) {
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
			at++;
		if (used + 1 >= size) {
			out[0] = '\0';
			return;
		}
		out[used++] = *at;
	}
	out[used] = '\0';
}

static void media_type(char *out, size_t size, const char *value)
{
	size_t n = strcspn(value, "; \t\r\n");

	if (n >= size)
		n = 0;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)tolower((unsigned char)value[i]);
	out[n] = '\0';
}

/* One header line without its CRLF, NUL-terminated. Others than the two that matter are ignored. */
static int header_line(struct gn_form *form, const char *line, struct gn_error *err)
{
	const char *colon = strchr(line, ':'), *value;
	size_t length = colon ? (size_t)(colon - line) : 0;

	if (!colon || !length)
		return gn_fail(err, GN_MALFORMED, "multipart", "part %d has a header line without a name", form->parts);
	value = colon + 1 + strspn(colon + 1, " \t");
	if (length == 19 && strncasecmp(line, "Content-Disposition", 19) == 0) {
		parameter(form->name, sizeof form->name, value, "name");
		parameter(form->filename, sizeof form->filename, value, "filename");
	} else if (length == 12 && strncasecmp(line, "Content-Type", 12) == 0) {
		media_type(form->content_type, sizeof form->content_type, value);
	} else if (length == 25 && strncasecmp(line, "Content-Transfer-Encoding", 25) == 0 &&
	           strcasecmp(value, "binary") != 0 && strcasecmp(value, "8bit") != 0 &&
	           strcasecmp(value, "7bit") != 0) {
		return gn_fail(err, GN_UNSUPPORTED, "multipart", "part %d is encoded as '%.40s'", form->parts, value);
	}
	return 0;
}

static int read_headers(struct gn_form *form, struct gn_error *err)
{
	size_t total = 0;

	form->name[0] = form->filename[0] = form->content_type[0] = '\0';
	for (;;) {
		char *line = form->window + form->start;
		char *lf = memchr(line, '\n', held(form));
		size_t length;
		if (!lf) {
			int got = held(form) + total > HEADER_LIMIT ? 0 : more(form, err);
			if (got < 0)
				return -1;
			if (got == 0)
				return gn_fail(err, GN_MALFORMED, "multipart", "the headers of part %d do not end",
				               form->parts);
			continue;
		}
		length = (size_t)(lf - line);
		form->start += length + 1;
		total += length + 1;
		if (total > HEADER_LIMIT)
			return gn_fail(err, GN_MALFORMED, "multipart", "the headers of part %d are too long",
			               form->parts);
		if (length && line[length - 1] == '\r')
			length--;
		if (length == 0)
			return 0;
		if (memchr(line, '\0', length))
			return gn_fail(err, GN_MALFORMED, "multipart", "part %d has a NUL in its headers", form->parts);
		line[length] = '\0';
		if (header_line(form, line, err))
			return -1;
	}
}

/* ---------------------------------------------------------------- life cycle ------------------------------------- */

int gn_form_new(struct gn_form **out, const char *content_type, gn_bytes_read *read, void *user, struct gn_error *err)
{
	char type[64], boundary[GN_MULTIPART_BOUNDARY + 2];
	struct gn_form *form;

	media_type(type, sizeof type, content_type ? content_type : "");
	if (strcmp(type, "multipart/form-data") != 0)
		return gn_fail(err, GN_UNSUPPORTED, "Content-Type", "the body is not multipart/form-data");
	parameter(boundary, sizeof boundary, content_type, "boundary");
	if (!boundary[0] || strlen(boundary) > GN_MULTIPART_BOUNDARY)
		return gn_fail(err, GN_UNSUPPORTED, "Content-Type",
		               "multipart/form-data without a boundary of 1 to %d characters", GN_MULTIPART_BOUNDARY);
	form = calloc(1, sizeof *form);
	if (!form)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	form->read = read;
	form->user = user;
	snprintf(form->separator, sizeof form->separator, "\r\n--%s", boundary);
	form->separator_bytes = strlen(form->separator);
	/* The first separator may open the body, without the CRLF before it. */
	form->window[0] = '\r';
	form->window[1] = '\n';
	form->end = 2;
	form->in_part = true; /* the text before the first separator, which gn_form_next skips */
	*out = form;
	return 0;
}

void gn_form_free(struct gn_form *form)
{
	free(form);
}

/* ---------------------------------------------------------------- parts ------------------------------------------ */

ssize_t gn_form_read(struct gn_form *form, void *buffer, size_t size, struct gn_error *err)
{
	bool found;
	size_t n;

	if (!form->in_part || !size)
		return 0;
	while ((n = part_bytes(form, &found)) == 0) {
		int got;
		if (found) {
			form->start += form->separator_bytes;
			form->in_part = false;
			return 0;
		}
		got = more(form, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return gn_fail(err, GN_MALFORMED, "multipart", "the body ends within part %d", form->parts);
	}
	if (n > size)
		n = size;
	memcpy(buffer, form->window + form->start, n);
	form->start += n;
	return (ssize_t)n;
}

/* Skips what is left of the current part, and the separator behind it. */
static int skip_part(struct gn_form *form, struct gn_error *err)
{
	char discard[4096];
	ssize_t n;

	while ((n = gn_form_read(form, discard, sizeof discard, err)) > 0)
		continue;
	return n < 0 ? -1 : 0;
}

/*
 * What follows a separator: "--" ends the form, white space and CRLF begin a part. 1, 0 at the end,
 * -1.
 */
static int after_separator(struct gn_form *form, struct gn_error *err)
{
	const char *at;

	if (want(form, 2, err) < 0)
		return -1;
	at = form->window + form->start;
	if (held(form) >= 2 && at[0] == '-' && at[1] == '-')
		return 0;
	for (;;) {
		int got = want(form, 1, err);
		char c = got == 1 ? form->window[form->start++] : '\0';
		if (got < 0)
			return -1;
		if (c == '\n')
			return 1;
		if (got == 0 || (c != ' ' && c != '\t' && c != '\r'))
			return gn_fail(err, GN_MALFORMED, "multipart", "no line end behind the boundary of part %d",
			               form->parts + 1);
	}
}

int gn_form_next(struct gn_form *form, struct gn_form_part *part, struct gn_error *err)
{
	int got;

	if (form->finished)
		return 0;
	if (skip_part(form, err))
		return -1;
	got = after_separator(form, err);
	if (got == 0)
		form->finished = true;
	if (got <= 0)
		return got;
	if (++form->parts > GN_MULTIPART_PARTS)
		return gn_fail(err, GN_TOO_LARGE, "multipart", "more than %d parts", GN_MULTIPART_PARTS);
	if (read_headers(form, err))
		return -1;
	/*
	 * An empty part's separator follows the empty header line directly; the CRLF before it is
	 * that line's own.
	 */
	got = want(form, form->separator_bytes - 2, err);
	if (got < 0)
		return -1;
	form->in_part =
	    got == 0 || memcmp(form->window + form->start, form->separator + 2, form->separator_bytes - 2) != 0;
	if (!form->in_part)
		form->start += form->separator_bytes - 2;
	part->name = form->name;
	part->filename = form->filename;
	part->content_type = form->content_type;
	return 1;
}
