/* The hash by which Idempotency-Key recognises a request. This file begins and ends it. The code
 * that reads the body updates it in between. */
#include <string.h>

#include "server/http/request.h"

void gn_hash_feed(struct gn_request *r, const void *bytes, size_t size)
{
	EVP_DigestUpdate(r->hash, bytes, size);
}

static void feed_query(void *user, const char *name, const char *value)
{
	gn_hash_feed(user, name, strlen(name) + 1);
	gn_hash_feed(user, value, strlen(value) + 1);
}

int gn_hash_start(struct gn_request *r)
{
	const char *type = gn_content_type(r);

	r->hash = EVP_MD_CTX_new();
	if (!r->hash || EVP_DigestInit_ex(r->hash, EVP_sha256(), NULL) != 1) {
		gn_reply_problem(r, 503, "out of memory");
		return -1;
	}
	gn_query_each(r, feed_query, r);
	gn_hash_feed(r, type, strlen(type) + 1);
	if (r->route->body == GN_BODY_JSON)
		gn_hash_feed(r, r->text ? r->text : "", (size_t)r->received);
	return 0;
}

void gn_hash_finish(struct gn_request *r, char hash[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	EVP_DigestFinal_ex(r->hash, digest, NULL);
	for (int i = 0; i < 32; i++)
		snprintf(hash + 2 * i, 3, "%02x", digest[i]);
	EVP_MD_CTX_free(r->hash);
	r->hash = NULL;
}
