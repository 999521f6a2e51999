/*
 * Idempotency-Key: the first answer of 201 to a key is kept for 24 h. The same request with that
 * key gets this answer again. Another request with it gets a 422. A request that comes while the
 * first is still in progress gets a 409. Errors are not kept, so that the client can try again.
 *
 * A hash of the path, the query and the body, taken while the body streams, decides whether two
 * requests are the same. It covers the parts of a form, but not its boundary, because clients
 * choose a new boundary each time.
 */
#include <stdlib.h>
#include <string.h>

#include "server/http/request.h"
#include "server/common/log.h"
#include "server/store/store.h"

enum { KEY_LIMIT = 255 };

/* ---------------------------------------------------------------- keys in work ----------------------------------- */

static int claim(struct gn_request *r, const char *header)
{
	struct gn_http *http = r->http;
	size_t size = strlen(r->label) + strlen(header) + 2;
	char **grown, *key = malloc(size);
	int result = -1;

	if (!key) {
		gn_reply_problem(r, 503, "out of memory");
		return -1;
	}
	snprintf(key, size, "%s %s", r->label, header);
	pthread_mutex_lock(&http->claims_lock);
	for (int i = 0; i < http->claim_count; i++)
		if (!strcmp(http->claims[i], key)) {
			gn_reply_problem(r, 409, "a request with this Idempotency-Key is still in work");
			goto done;
		}
	grown = realloc(http->claims, (size_t)(http->claim_count + 1) * sizeof *grown);
	if (!grown) {
		gn_reply_problem(r, 503, "out of memory");
		goto done;
	}
	http->claims = grown;
	grown[http->claim_count++] = key;
	r->key = key;
	result = 0;
done:
	pthread_mutex_unlock(&http->claims_lock);
	if (result)
		free(key);
	return result;
}

static void release(struct gn_request *r)
{
	struct gn_http *http = r->http;

	pthread_mutex_lock(&http->claims_lock);
	for (int i = 0; i < http->claim_count; i++)
		if (http->claims[i] == r->key) {
			http->claims[i] = http->claims[--http->claim_count];
			break;
		}
	pthread_mutex_unlock(&http->claims_lock);
}

/* ---------------------------------------------------------------- the answer ------------------------------------- */

/* Gives the kept answer, once the body has shown that it is the same request. */
static void replay(struct gn_request *r, struct gn_answer *kept)
{
	bool form = r->route->body == GN_BODY_STREAM && !strcmp(gn_content_type(r), "multipart/form-data");
	struct gn_error err = {0};
	char hash[65];

	if (form && !gn_multipart_open(r))
		return;
	if (r->route->body == GN_BODY_STREAM && gn_body_drain(r, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	gn_hash_finish(r, hash);
	if (strcmp(hash, kept->hash) != 0) {
		gn_reply_problem(r, 422, "this Idempotency-Key belongs to another request");
		return;
	}
	gn_reply_header(r, "Idempotency-Replayed", "true");
	if (kept->location[0])
		gn_reply_header(r, "Location", kept->location);
	gn_reply_text(r, kept->status, "application/json", gn_text_new(kept->body, kept->bytes));
}

static bool key_valid(const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < n; i++)
		if (key[i] <= ' ' || key[i] > '~')
			return false;
	return n > 0 && n <= KEY_LIMIT;
}

int gn_idempotency_begin(struct gn_request *r)
{
	const char *key = r->route->flags & GN_CREATES ? gn_header(r, "Idempotency-Key") : NULL;
	struct gn_error err = {0};
	struct gn_answer kept;
	int found;

	if (!key || !r->http->options.store)
		return 0;
	if (!key_valid(key)) {
		gn_reply_problem(r, 400, "Idempotency-Key must be 1 to %d visible ASCII characters", KEY_LIMIT);
		return 1;
	}
	if (claim(r, key) || gn_hash_start(r))
		return 1;
	found = gn_store_answer_get(r->http->options.store, r->key, &kept, &err);
	if (found < 0)
		gn_reply_error(r, &err);
	if (found > 0) {
		replay(r, &kept);
		free(kept.body);
	}
	return found != 0;
}

static void keep(struct gn_request *r)
{
	struct gn_answer answer = {.status = r->status};
	struct gn_error err = {0};

	if (r->route->body == GN_BODY_STREAM && gn_body_drain(r, &err))
		return;
	gn_hash_finish(r, answer.hash);
	for (int i = 0; i < r->header_count; i++)
		if (!strcmp(r->headers[i].name, "Location"))
			snprintf(answer.location, sizeof answer.location, "%s", r->headers[i].value);
	answer.body = r->answer->data;
	answer.bytes = r->answer->bytes;
	if (gn_store_answer_put(r->http->options.store, r->key, &answer, &err))
		gn_log(GN_LOG_ERROR, "http", "%s: the answer to an Idempotency-Key is not kept: %s", r->id, err.text);
}

void gn_idempotency_end(struct gn_request *r)
{
	if (!r->key)
		return;
	if (r->status == 201 && r->answer && r->hash) /* not when it was replayed */
		keep(r);
	release(r);
}
