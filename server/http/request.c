/*
 * What a handler reads of a request, whether its client is still there, and the request's end: see
 * handler.h and request.h.
 */
#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>

#include "server/http/request.h"

/* ---------------------------------------------------------------- headers and query ------------------------------ */

struct copy {
	struct gn_value *values;
	char *text;
	int count;
	size_t bytes;
};

static enum MHD_Result measure(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct copy *copy = cls;

	(void)kind;
	copy->count++;
	copy->bytes += strlen(name) + 1 + (value ? strlen(value) : 0) + 1;
	return MHD_YES;
}

static char *put(struct copy *copy, const char *text)
{
	size_t n = strlen(text) + 1;
	char *at = copy->text;

	memcpy(at, text, n);
	copy->text += n;
	return at;
}

static enum MHD_Result store(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct copy *copy = cls;
	struct gn_value *slot = &copy->values[copy->count++];

	slot->kind = kind;
	slot->name = put(copy, name);
	slot->value = put(copy, value ? value : "");
	return MHD_YES;
}

/* MHD's own list dies with the connection, which a task may outlive. */
void gn_request_copy_values(struct gn_request *r)
{
	const enum MHD_ValueKind kinds = MHD_HEADER_KIND | MHD_GET_ARGUMENT_KIND;
	struct copy copy = {0};

	MHD_get_connection_values(r->connection, kinds, measure, &copy);
	r->values = malloc((size_t)copy.count * sizeof *r->values + copy.bytes + 1);
	if (!r->values)
		return;
	copy.values = r->values;
	copy.text = (char *)(r->values + copy.count);
	copy.count = 0;
	MHD_get_connection_values(r->connection, kinds, store, &copy);
	r->value_count = copy.count;
}

static const char *lookup(const struct gn_request *r, enum MHD_ValueKind kind, const char *name)
{
	const char *value = NULL;
	size_t size;

	if (!r->values) {
		if (MHD_lookup_connection_value_n(r->connection, kind, name, strlen(name), &value, &size) == MHD_NO)
			return NULL;
		return value ? value : "";
	}
	for (int i = 0; i < r->value_count; i++)
		if (r->values[i].kind == kind &&
		    (kind == MHD_HEADER_KIND ? !strcasecmp(r->values[i].name, name) : !strcmp(r->values[i].name, name)))
			return r->values[i].value;
	return NULL;
}

struct gn_service *gn_request_service(const struct gn_request *r)
{
	return r->http->options.service;
}

const char *gn_path(const struct gn_request *r, const char *name)
{
	size_t n = strlen(name);

	for (int i = 0; i < r->param_count; i++)
		if (!strncmp(r->params[i].name, name, n) && r->params[i].name[n] == '}')
			return r->params[i].text;
	gn_assert(!"a parameter that the pattern does not have");
	return "";
}

const char *gn_query(const struct gn_request *r, const char *name)
{
	return lookup(r, MHD_GET_ARGUMENT_KIND, name);
}

const char *gn_header(const struct gn_request *r, const char *name)
{
	return lookup(r, MHD_HEADER_KIND, name);
}

struct each {
	void (*visit)(void *user, const char *name, const char *value);
	void *user;
};

static enum MHD_Result visit_one(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct each *each = cls;

	(void)kind;
	each->visit(each->user, name, value ? value : "");
	return MHD_YES;
}

void gn_query_each(const struct gn_request *r, void (*visit)(void *user, const char *name, const char *value),
                   void *user)
{
	struct each each = {visit, user};

	if (!r->values) {
		MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, visit_one, &each);
		return;
	}
	for (int i = 0; i < r->value_count; i++)
		if (r->values[i].kind == MHD_GET_ARGUMENT_KIND)
			visit(user, r->values[i].name, r->values[i].value);
}

static _Thread_local char content_type_text[128];

const char *gn_content_type(const struct gn_request *r)
{
	const char *value = gn_header(r, "Content-Type");
	size_t n = value ? strcspn(value, "; \t") : 0;

	if (n >= sizeof content_type_text)
		n = 0;
	for (size_t i = 0; i < n; i++)
		content_type_text[i] = (char)tolower((unsigned char)value[i]);
	content_type_text[n] = '\0';
	return content_type_text;
}

/*
 * The quality that an Accept header gives a media type by its most specific range; -1 when none
 * matches.
 */
static double accept_quality(const char *accept, const char *media)
{
	size_t kind = strcspn(media, "/") + 1, length = strlen(media);
	double best = -1;
	int best_rank = 0;

	while (*accept) {
		size_t item = strcspn(accept, ","), type = strcspn(accept, ";, \t");
		const char *q = memmem(accept, item, "q=", 2);
		int rank = 0;
		if (type == length && !strncasecmp(accept, media, length))
			rank = 3;
		else if (type == kind + 1 && !strncasecmp(accept, media, kind) && accept[kind] == '*')
			rank = 2;
		else if (type == 3 && !strncmp(accept, "*/*", 3))
			rank = 1;
		if (rank > best_rank) {
			best_rank = rank;
			best = q ? strtod(q + 2, NULL) : 1;
		}
		accept += item;
		accept += strspn(accept, ", \t");
	}
	return best;
}

bool gn_accepts(const struct gn_request *r, const char *media, const char *other)
{
	const char *accept = gn_header(r, "Accept");
	double wanted;

	if (!accept)
		return false;
	wanted = accept_quality(accept, media);
	return wanted > 0 && wanted > accept_quality(accept, other);
}

json_t *gn_request_json(const struct gn_request *r)
{
	gn_assert(r->route->body == GN_BODY_JSON);
	return r->json;
}

/* ---------------------------------------------------------------- the client ------------------------------------- */

/*
 * An end of the client's stream is taken for a hang-up, as other servers do: clients that still
 * want the answer keep their side open.
 */
bool gn_request_peer_closed(const struct gn_request *r, bool drained)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd fd = {.fd = info ? info->connect_fd : -1, .events = POLLRDHUP};
	int left = 0;

	if (poll(&fd, 1, 0) < 1 || !(fd.revents & (POLLRDHUP | POLLHUP | POLLERR)))
		return false;
	return !drained || (!ioctl(fd.fd, FIONREAD, &left) && left == 0);
}

bool gn_request_gone(void *request)
{
	const double interval = 0.05; /* seconds between two looks */
	struct gn_request *r = request;
	double now = gn_clock();

	if (r->hung_up || now - r->looked < interval)
		return r->hung_up;
	r->looked = now;
	pthread_mutex_lock(&r->lock);
	/* MHD watches the connection, except while it is suspended */
	r->hung_up = r->gone || (r->suspended && gn_request_peer_closed(r, false));
	pthread_mutex_unlock(&r->lock);
	r->hung_up = r->hung_up || atomic_load(&r->http->aborting);
	return r->hung_up;
}

/* ---------------------------------------------------------------- its end ---------------------------------------- */

void gn_request_unref(struct gn_request *r)
{
	if (atomic_fetch_sub(&r->references, 1) != 1)
		return;
	if (r->response)
		MHD_destroy_response(r->response);
	for (int i = 0; i < r->header_count; i++)
		free(r->headers[i].value);
	gn_text_unref(r->answer);
	gn_form_free(r->form);
	json_decref(r->json);
	EVP_MD_CTX_free(r->hash);
	free(r->key);
	free(r->text);
	free(r->ring);
	free(r->values);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
