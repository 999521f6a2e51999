/*
 * Request bodies. MHD's thread puts the bytes of a stream into the request's ring; the task thread
 * takes them out. While the ring is full the connection is suspended, so a slow disk slows the
 * client and memory stays bounded.
 */
#include <stdlib.h>
#include <string.h>

#include "server/common/cond.h"
#include "server/common/json.h"
#include "server/http/request.h"
#include "server/store/store.h"

enum { SPACE_STEP = 16 << 20, SLOW_BYTES = 1000 };

static const double LOOK_SECONDS = 0.25;

/* ---------------------------------------------------------------- MHD's side ------------------------------------- */

int gn_body_append(struct gn_request *r, const char *data, size_t size)
{
	size_t used = (size_t)r->received;

	if (used + size + 1 > r->text_capacity) {
		size_t capacity = 2 * (used + size) + 512;
		char *grown = realloc(r->text, capacity);
		if (!grown)
			return -1;
		r->text = grown;
		r->text_capacity = capacity;
	}
	memcpy(r->text + used, data, size);
	r->text[used + size] = '\0';
	r->received += size;
	return 0;
}

static size_t ring_put(struct gn_request *r, const char *data, size_t size)
{
	size_t done = 0;

	while (done < size && r->ring_used < GN_RING_BYTES) {
		size_t at = (r->ring_at + r->ring_used) % GN_RING_BYTES, room = GN_RING_BYTES - r->ring_used;
		size_t n = GN_RING_BYTES - at;
		if (n > room)
			n = room;
		if (n > size - done)
			n = size - done;
		memcpy(r->ring + at, data + done, n);
		r->ring_used += n;
		done += n;
	}
	return done;
}

enum MHD_Result gn_body_push(struct gn_request *r, const char *data, size_t *size)
{
	size_t taken;

	pthread_mutex_lock(&r->lock);
	if (r->finished || r->fault) { /* nobody reads any more: the rest is thrown away, then comes the answer */
		r->discarded += *size;
		*size = 0;
	} else if (r->received + *size > r->limit) {
		r->fault = GN_FAULT_TOO_LARGE;
		*size = 0;
		pthread_cond_signal(&r->changed);
	} else {
		taken = ring_put(r, data, *size);
		r->received += taken;
		*size -= taken;
		if (taken)
			pthread_cond_signal(&r->changed);
		if (*size) {
			r->suspended = true;
			MHD_suspend_connection(r->connection);
		}
	}
	pthread_mutex_unlock(&r->lock);
	return MHD_YES;
}

/* ---------------------------------------------------------------- the handler's side ----------------------------- */

static size_t ring_take(struct gn_request *r, char *buffer, size_t size)
{
	size_t done = 0;

	while (done < size && r->ring_used) {
		size_t n = GN_RING_BYTES - r->ring_at;
		if (n > r->ring_used)
			n = r->ring_used;
		if (n > size - done)
			n = size - done;
		memcpy(buffer + done, r->ring + r->ring_at, n);
		r->ring_at = (r->ring_at + n) % GN_RING_BYTES;
		r->ring_used -= n;
		done += n;
	}
	return done;
}

/*
 * A client that sends a byte now and then would hold a task thread for ever; MHD's timeout only
 * sees silence.
 */
static bool too_slow(const struct gn_request *r)
{
	return r->waited > r->http->options.timeout_seconds && (double)r->received < r->waited * SLOW_BYTES;
}

static bool nothing_yet(const struct gn_request *r)
{
	return !r->ring_used && !r->ended && !r->gone && !r->fault;
}

/*
 * Wakes now and then to see whether the service breaks uploads off, and whether the client is still
 * there: MHD may miss an end that comes together with the last bytes, and would wait for its
 * timeout. Two looks make sure that MHD has handed on what came. With the lock.
 */
static void sleep_until_bytes(struct gn_request *r)
{
	int closed = 0;

	while (nothing_yet(r)) {
		double start = gn_clock();
		gn_cond_wait_until(&r->changed, &r->lock, start + LOOK_SECONDS);
		r->waited += gn_clock() - start;
		if (atomic_load(&r->http->aborting))
			r->fault = GN_FAULT_STOPPING;
		else if (too_slow(r))
			r->fault = GN_FAULT_SLOW;
		else if (nothing_yet(r) && gn_request_peer_closed(r, true) && ++closed == 2)
			r->fault = GN_FAULT_HUNG_UP;
	}
}

/*
 * Waits until there is a byte, the end, or a fault. An upload works on only when its turn comes;
 * one that is over need not wait for that. With the lock, which is let go in between.
 */
static void wait_for_bytes(struct gn_request *r)
{
	bool over;

	if (!nothing_yet(r))
		return;
	pthread_mutex_unlock(&r->lock);
	gn_request_pause_work(r);
	pthread_mutex_lock(&r->lock);
	sleep_until_bytes(r);
	over = r->gone || r->fault;
	pthread_mutex_unlock(&r->lock);
	if (!over)
		gn_request_start_work(r);
	pthread_mutex_lock(&r->lock);
}

/* The disk may fill while an upload goes on. */
static void check_space(struct gn_request *r, size_t bytes)
{
	struct gn_store *store = r->http->options.store;

	r->unchecked += bytes;
	if (!store || !(r->route->flags & GN_UPLOADS) || r->unchecked < SPACE_STEP)
		return;
	r->unchecked = 0;
	if (gn_store_space(store, 0, NULL)) {
		pthread_mutex_lock(&r->lock);
		r->fault = GN_FAULT_NO_SPACE;
		pthread_mutex_unlock(&r->lock);
	}
}

ssize_t gn_body_read(void *request, void *buffer, size_t size)
{
	struct gn_request *r = request;
	ssize_t result = -1;

	gn_assert(r->route->body == GN_BODY_STREAM);
	pthread_mutex_lock(&r->lock);
	wait_for_bytes(r);
	if (!r->gone && !r->fault) {
		result = (ssize_t)ring_take(r, buffer, size);
		if (r->suspended && r->ring_used <= GN_RING_BYTES / 2) {
			r->suspended = false;
			MHD_resume_connection(r->connection);
		}
	}
	pthread_mutex_unlock(&r->lock);
	if (result > 0) {
		check_space(r, (size_t)result);
		if (r->hash && !r->form)
			gn_hash_feed(r, buffer, (size_t)result);
	}
	return result;
}

json_t *gn_body_json(struct gn_request *r, size_t limit)
{
	struct gn_error err = {0};
	void *data;
	size_t size;
	json_t *value;

	if (gn_source_load(gn_body_read, r, limit, &data, &size, &err)) {
		gn_reply_error(r, &err);
		return NULL;
	}
	if (gn_json_load(&value, data, size, &err))
		value = NULL;
	free(data);
	if (value && !json_is_object(value)) {
		json_decref(value);
		value = NULL;
		gn_fail(&err, GN_MALFORMED, "", "the body is JSON, but not an object");
	}
	if (!value)
		gn_reply_error(r, &err);
	return value;
}
