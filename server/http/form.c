/* The form in a request's body, for handlers. All bytes that are read or skipped go into the hash
 * of Idempotency-Key. */
#include <stdlib.h>
#include <string.h>

#include "server/http/request.h"

enum { DRAIN_BYTES = 128 * 1024 };

/*
 * The hash of a form covers the order of its parts and what they say, not the separator, which
 * clients draw anew each time.
 */
static void hash_part(struct gn_request *r, const struct gn_form_part *part)
{
	const char *texts[] = {"part", part->name, part->filename, part->content_type};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		gn_hash_feed(r, texts[i], strlen(texts[i]) + 1);
}

static int next_part(struct gn_request *r, struct gn_form_part *part, struct gn_error *err)
{
	char discard[4096];
	ssize_t n = 0;
	int got;

	if (r->hash)
		while ((n = gn_form_read(r->form, discard, sizeof discard, err)) > 0)
			gn_hash_feed(r, discard, (size_t)n);
	got = n < 0 ? -1 : gn_form_next(r->form, part, err);
	if (got > 0 && r->hash)
		hash_part(r, part);
	return got;
}

int gn_body_drain(struct gn_request *r, struct gn_error *err)
{
	char *discard = malloc(DRAIN_BYTES);
	ssize_t n = 0;

	if (!discard)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	if (r->form) {
		struct gn_form_part part;
		while ((n = next_part(r, &part, err)) > 0)
			continue;
	}
	/* Behind the last boundary, or of a body that is no form. */
	while (n >= 0 && (n = gn_body_read(r, discard, DRAIN_BYTES)) > 0)
		continue;
	free(discard);
	return n < 0 ? gn_fail(err, GN_CANCELLED, "", "the body ended early") : 0;
}

/* The handler's struct gn_multipart is the request itself: a request has one body. */
struct gn_multipart *gn_multipart_open(struct gn_request *r)
{
	struct gn_error err = {0};

	gn_assert(!r->form);
	if (gn_form_new(&r->form, gn_header(r, "Content-Type"), gn_body_read, r, &err) == 0)
		return (struct gn_multipart *)(void *)r;
	if (err.code == GN_UNSUPPORTED)
		gn_reply_problem(r, 415, "%s", err.text);
	else
		gn_reply_error(r, &err);
	return NULL;
}

int gn_multipart_next(struct gn_multipart *m, struct gn_form_part *part)
{
	struct gn_request *r = (struct gn_request *)(void *)m;
	struct gn_error err = {0};
	int got = next_part(r, part, &err);

	if (got < 0)
		gn_reply_error(r, &err);
	return got;
}

ssize_t gn_multipart_read(void *multipart, void *buffer, size_t size)
{
	struct gn_request *r = multipart;
	struct gn_error err = {0};
	ssize_t n = gn_form_read(r->form, buffer, size, &err);

	if (n > 0 && r->hash)
		gn_hash_feed(r, buffer, (size_t)n);
	if (n < 0 && err.code == GN_MALFORMED)
		r->form_broken = true;
	return n;
}
