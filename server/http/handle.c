/* Runs the handler of a request's route. Before it come the checks that many routes share. After it
 * the connection continues. */
#include "server/common/json.h"
#include "server/http/request.h"
#include "server/store/store.h"

static int parse_json(struct gn_request *r)
{
	struct gn_error err = {0};

	if (gn_json_load(&r->json, r->text ? r->text : "", (size_t)r->received, &err)) {
		gn_reply_error(r, &err);
		return -1;
	}
	if (!json_is_object(r->json)) {
		gn_reply_problem(r, 400, "the body is JSON, but not an object");
		return -1;
	}
	return 0;
}

/* The store's disk must take what the client announces. */
static int check_upload(struct gn_request *r)
{
	struct gn_store *store = r->http->options.store;
	struct gn_error err = {0};

	if (!(r->route->flags & GN_UPLOADS) || !store)
		return 0;
	if (gn_store_space(store, r->length > 0 ? (uint64_t)r->length : 0, &err) == 0)
		return 0;
	gn_reply_error(r, &err);
	return -1;
}

void gn_request_start_work(struct gn_request *r)
{
	if (!(r->route->flags & GN_UPLOADS) || r->working)
		return;
	gn_permits_take(r->http->permits);
	r->working = true;
}

void gn_request_pause_work(struct gn_request *r)
{
	if (!r->working)
		return;
	r->working = false;
	gn_permits_give(r->http->permits);
}

void gn_request_handle(struct gn_request *r)
{
	if (r->route->body == GN_BODY_JSON && parse_json(r))
		return;
	if (gn_idempotency_begin(r) == 0 && check_upload(r) == 0)
		r->route->handle(r);
	gn_assert(r->status);
	gn_idempotency_end(r);
}

void gn_request_complete(struct gn_request *r)
{
	pthread_mutex_lock(&r->lock);
	r->finished = true;
	if (r->suspended) {
		r->suspended = false;
		MHD_resume_connection(r->connection);
	}
	pthread_mutex_unlock(&r->lock);
	gn_request_unref(r);
}
