/*
 * The daemon: libmicrohttpd's callbacks, and the way of a request through them.
 *
 *   first call (headers)   the route is found, its limits are checked; a STREAM handler starts on a task thread
 *   calls with data        thrown away, collected (JSON), or put into the ring (STREAM)
 *   call at the end        INLINE: the handler runs here; else it goes to a task thread and the connection is suspended
 *   call after a resume    the answer is queued
 *   completion             the request's first reference goes
 *
 * An answer that is known before the body has come is sent once the body is through, because
 * clients read no earlier; unless the client waits for a 100 Continue, or the body is too long to
 * wait for.
 */
#include "server/http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/common/address.h"
#include "server/common/cond.h"
#include "server/http/request.h"
#include "server/common/log.h"
#include "server/common/metrics.h"

enum {
	CONNECTIONS_MAX = 1024,
	CONNECTION_MEMORY = 64 * 1024, /* headers and one piece of a body */
	DISCARD_LIMIT = 64 << 20,      /* of a body whose answer is known already */
	TASK_THREADS = 8,
	STREAM_THREADS = 512, /* most of them wait: for their clients, or for a slot of the classifier */
	UPLOAD_THREADS = 64,  /* most of them wait: for their clients, or for a permit */
	PICTURE_THREADS = 4,
	TASKS_WAITING = 1024,
	UPLOADS_WAITING = 64,
	UPLOAD_NICE = 5, /* requests come first */
	DEFAULT_UPLOADS = 8,
	DEFAULT_TIMEOUT = 60
};

/* ---------------------------------------------------------------- a request's steps ------------------------------ */

static enum MHD_Result queue_answer(struct gn_request *r)
{
	double seconds = gn_clock() - r->started;
	enum MHD_Result result;

	if (!r->response)
		return MHD_NO;
	if (r->http->options.metrics)
		gn_metrics_request(r->http->options.metrics, r->label, r->method, r->status, seconds);
	if (gn_log_on(GN_LOG_DEBUG))
		gn_log(GN_LOG_DEBUG, "http", "%s %s %s %d %.6f s", r->id, r->method, r->label, r->status, seconds);
	result = MHD_queue_response(r->connection, (unsigned)r->status, r->response);
	MHD_destroy_response(r->response);
	r->response = NULL;
	return result;
}

static void run_task(struct gn_task *task)
{
	struct gn_request *r = (struct gn_request *)((char *)task - offsetof(struct gn_request, task));

	gn_request_start_work(r);
	gn_request_handle(r);
	gn_request_pause_work(r);
	gn_request_complete(r);
}

/* The threads for this kind of work. */
static struct gn_tasks *tasks_of(const struct gn_request *r)
{
	if (r->route->flags & GN_UPLOADS)
		return r->http->uploads;
	if (r->route->flags & GN_PICTURES)
		return r->http->pictures;
	return r->route->body == GN_BODY_STREAM ? r->http->streams : r->http->tasks;
}

/* Hands the request to a task thread; replies 503 when too many wait. */
static void start_task(struct gn_request *r)
{
	gn_request_copy_values(r);
	if (!r->values) {
		gn_reply_problem(r, 503, "out of memory");
		return;
	}
	r->task.run = run_task;
	r->started_task = true;
	atomic_fetch_add(&r->references, 1);
	if (gn_tasks_submit(tasks_of(r), &r->task) == 0)
		return;
	r->started_task = false;
	atomic_fetch_sub(&r->references, 1);
	gn_reply_problem(r, 503, "too many requests are waiting");
}

static bool always_answered(const char *path)
{
	return !strcmp(path, "/healthz") || !strcmp(path, "/readyz") || !strcmp(path, "/metrics");
}

static int check_ready(struct gn_request *r)
{
	if (!atomic_load(&r->http->stopping) || always_answered(r->label))
		return 0;
	gn_reply_problem(r, 503, "the service is stopping");
	return -1;
}

static int read_length(struct gn_request *r)
{
	const char *text = gn_header(r, "Content-Length");
	char *end;

	r->length = -1;
	if (!text)
		return 0;
	errno = 0;
	r->length = strtoll(text, &end, 10);
	if (errno || *end || r->length < 0) {
		gn_reply_problem(r, 400, "Content-Length is not a number");
		return -1;
	}
	return 0;
}

/* What can be said from the headers alone. */
static int check_body(struct gn_request *r)
{
	const struct gn_route *route = r->route;

	r->limit = route->body_limit             ? route->body_limit
	           : route->body == GN_BODY_JSON ? GN_JSON_LIMIT
	                                         : r->http->options.max_upload;
	if (route->body == GN_BODY_NONE)
		return 0;
	if (r->length > 0 && (uint64_t)r->length > r->limit) {
		gn_reply_problem(r, 413, "the body has %lld bytes; at most %llu are taken", (long long)r->length,
		                 (unsigned long long)r->limit);
		return -1;
	}
	if (route->body == GN_BODY_JSON && strcmp(gn_content_type(r), "application/json") != 0) {
		gn_reply_problem(r, 415, "the body must be application/json");
		return -1;
	}
	return 0;
}

static void preflight(struct gn_request *r)
{
	gn_reply_header(r, "Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE");
	gn_reply_header(r, "Access-Control-Allow-Headers",
	                "Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Range");
	gn_reply_header(r, "Access-Control-Max-Age", "600");
	gn_reply_response(r, 204, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

static void find_route(struct gn_request *r)
{
	int status;

	r->label = "none";
	if (!strcmp(r->method, "OPTIONS") && r->http->options.cors && *r->http->options.cors) {
		preflight(r);
		return;
	}
	status = gn_route_find(r, r->method);
	if (status == 200) {
		gn_static_reply(r, gn_static_find(r->http, r->path));
		return;
	}
	if (status == 404)
		gn_reply_problem(r, 404, "there is nothing at %.200s", r->path);
	else if (status == 405)
		gn_reply_problem(r, 405, "%s is not offered here", r->method);
}

static enum MHD_Result on_headers(struct gn_request *r)
{
	const char *expect;

	find_route(r);
	if (!r->status && read_length(r) == 0 && check_ready(r) == 0 && check_body(r) == 0 &&
	    r->route->body == GN_BODY_STREAM) {
		r->ring = malloc(GN_RING_BYTES);
		if (r->ring)
			start_task(r);
		else
			gn_reply_problem(r, 503, "out of memory");
	}
	if (r->started_task || !r->status)
		return MHD_YES;
	expect = gn_header(r, "Expect");
	if ((expect && !strcasecmp(expect, "100-continue")) || r->length > DISCARD_LIMIT)
		return queue_answer(r);
	return MHD_YES;
}

static enum MHD_Result on_data(struct gn_request *r, const char *data, size_t *size)
{
	if (r->started_task && r->route->body == GN_BODY_STREAM)
		return gn_body_push(r, data, size);
	if (!r->status && r->route->body == GN_BODY_JSON) {
		if (r->received + *size > r->limit)
			gn_reply_problem(r, 413, "the body is larger than %llu bytes", (unsigned long long)r->limit);
		else if (gn_body_append(r, data, *size))
			gn_reply_problem(r, 503, "out of memory");
	}
	r->discarded += *size;
	*size = 0;
	return r->discarded > DISCARD_LIMIT ? MHD_NO : MHD_YES;
}

/* The task goes on: wait for it. False when its answer is there. */
static bool wait_for_task(struct gn_request *r)
{
	bool waits;

	pthread_mutex_lock(&r->lock);
	r->ended = true;
	pthread_cond_signal(&r->changed);
	waits = !r->finished;
	if (waits && !r->suspended) {
		r->suspended = true;
		MHD_suspend_connection(r->connection);
	}
	pthread_mutex_unlock(&r->lock);
	return waits;
}

static enum MHD_Result on_end(struct gn_request *r)
{
	if (!r->started_task && !r->status) {
		if (r->route->flags & GN_INLINE)
			gn_request_handle(r);
		else
			start_task(r);
	}
	if (r->started_task && wait_for_task(r))
		return MHD_YES;
	return queue_answer(r);
}

/* ---------------------------------------------------------------- MHD's callbacks -------------------------------- */

static struct gn_request *request_new(struct gn_http *http, struct MHD_Connection *connection, const char *url,
                                      const char *method)
{
	size_t size = strlen(url) + 1;
	struct gn_request *r = calloc(1, sizeof *r + size);

	if (!r)
		return NULL;
	r->http = http;
	r->connection = connection;
	r->method = method;
	memcpy(r->path, url, size);
	atomic_init(&r->references, 1);
	r->started = gn_clock();
	snprintf(r->id, sizeof r->id, "%s-%lx", http->id_prefix, atomic_fetch_add(&http->next_id, 1));
	pthread_mutex_init(&r->lock, NULL);
	gn_cond_init(&r->changed);
	atomic_fetch_add(&http->active, 1);
	return r;
}

/* MHD's method text goes with the connection; the few methods that there are have literals. */
static const char *method_literal(const char *method)
{
	static const char *const known[] = {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(method, known[i]))
			return known[i];
	return "OTHER";
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *size, void **slot)
{
	struct gn_request *r = *slot;

	(void)version;
	if (!r) {
		r = request_new(cls, connection, url, method_literal(method));
		*slot = r;
		return r ? on_headers(r) : MHD_NO;
	}
	return *size ? on_data(r, data, size) : on_end(r);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode how)
{
	struct gn_http *http = cls;
	struct gn_request *r = *slot;

	(void)connection;
	(void)how;
	if (!r)
		return;
	*slot = NULL;
	pthread_mutex_lock(&r->lock);
	r->gone = true;
	r->suspended = false;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
	gn_request_unref(r);
	atomic_fetch_sub(&http->active, 1);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Percent-decoding in place. %00 stays as it is: a NUL would cut the text short behind every later
 * check.
 */
static size_t on_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
	char *out = text;

	(void)cls;
	(void)connection;
	for (const char *in = text; *in;) {
		int high = *in == '%' ? hex_digit(in[1]) : -1, low = high >= 0 ? hex_digit(in[2]) : -1;
		if (low >= 0 && (high || low)) {
			*out++ = (char)(high << 4 | low);
			in += 3;
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
	return (size_t)(out - text);
}

static void on_log(void *cls, const char *format, va_list arguments)
{
	char text[512];
	size_t n;

	(void)cls;
	if (!gn_log_on(GN_LOG_DEBUG))
		return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)vsnprintf(text, sizeof text, format, arguments);
#pragma GCC diagnostic pop
	n = strlen(text);
	if (n && text[n - 1] == '\n')
		text[n - 1] = '\0';
	gn_log(GN_LOG_DEBUG, "http", "%s", text);
}

/* ---------------------------------------------------------------- life cycle ------------------------------------- */

static int open_socket(const char *listen_on, struct gn_error *err)
{
	struct sockaddr_storage address;
	bool loopback;
	int fd, one = 1;
	socklen_t size;

	if (gn_address_parse(&address, &loopback, listen_on, err))
		return -1;
	size = address.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return gn_fail_errno(err, listen_on, "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 1024)) {
		gn_fail_errno(err, listen_on, "cannot listen");
		close(fd);
		return -1;
	}
	return fd;
}

static void note_address(struct gn_http *http, int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = {.v6 = {0}};
	socklen_t size = sizeof address;
	char text[INET6_ADDRSTRLEN] = "";

	getsockname(fd, &address.any, &size);
	if (address.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof text);
		snprintf(http->address, sizeof http->address, "[%s]:%u", text, ntohs(address.v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text);
		snprintf(http->address, sizeof http->address, "%s:%u", text, ntohs(address.v4.sin_port));
	}
}

static int start_daemon(struct gn_http *http, int fd, struct gn_error *err)
{
	unsigned threads = http->options.threads > 0 ? (unsigned)http->options.threads : 2;

	http->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
	    on_access, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_THREAD_POOL_SIZE, threads, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)http->options.timeout_seconds, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
	    http, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_END);
	return http->daemon ? 0 : gn_fail(err, GN_IO, http->options.listen, "cannot start the HTTP threads");
}

static void http_free(struct gn_http *http)
{
	gn_tasks_free(http->tasks);
	gn_tasks_free(http->streams);
	gn_tasks_free(http->uploads);
	gn_tasks_free(http->pictures);
	gn_permits_free(http->permits);
	gn_static_free(http);
	free(http->claims);
	pthread_mutex_destroy(&http->claims_lock);
	free(http);
}

int gn_http_start(struct gn_http **out, const struct gn_http_options *options, struct gn_error *err)
{
	struct gn_http *http = calloc(1, sizeof *http);
	unsigned char random[4] = {0};
	int fd = -1;

	if (!http)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	http->options = *options;
	if (http->options.timeout_seconds <= 0)
		http->options.timeout_seconds = DEFAULT_TIMEOUT;
	if (http->options.max_uploads <= 0)
		http->options.max_uploads = DEFAULT_UPLOADS;
	pthread_mutex_init(&http->claims_lock, NULL);
	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		gn_log(GN_LOG_WARN, "http", "no random bytes: request ids repeat after a restart");
	snprintf(http->id_prefix, sizeof http->id_prefix, "%02x%02x%02x%02x", random[0], random[1], random[2],
	         random[3]);
	if (gn_static_load(http, options->share_dirs, err) ||
	    gn_tasks_new(&http->tasks, TASK_THREADS, TASKS_WAITING, 0, err) ||
	    gn_tasks_new(&http->streams, STREAM_THREADS, TASKS_WAITING, 0, err) ||
	    gn_tasks_new(&http->pictures, PICTURE_THREADS, TASKS_WAITING, 0, err) ||
	    gn_tasks_new(&http->uploads, UPLOAD_THREADS, UPLOADS_WAITING, UPLOAD_NICE, err) ||
	    gn_permits_new(&http->permits, http->options.max_uploads, err))
		goto failed;
	fd = open_socket(options->listen, err);
	if (fd < 0)
		goto failed;
	note_address(http, fd);
	*out = http; /* handlers run from here on */
	if (start_daemon(http, fd, err) == 0)
		return 0;
	*out = NULL;
	close(fd);
failed:
	http_free(http);
	return -1;
}

const char *gn_http_address(const struct gn_http *http)
{
	return http->address;
}

void gn_http_quiesce(struct gn_http *http)
{
	MHD_socket fd;

	if (atomic_exchange(&http->stopping, true))
		return;
	fd = MHD_quiesce_daemon(http->daemon);
	if (fd != MHD_INVALID_SOCKET)
		close(fd);
}

bool gn_http_stopping(const struct gn_http *http)
{
	return atomic_load(&http->stopping);
}

/* Waits until no request is in work. MHD must not be stopped while a connection is suspended. */
static bool wait_idle(struct gn_http *http, double seconds)
{
	const struct timespec pause = {0, 20000000};

	for (double waited = 0; atomic_load(&http->active); waited += 0.02) {
		if (seconds >= 0 && waited >= seconds)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

void gn_http_stop(struct gn_http *http, double grace_seconds)
{
	if (!http)
		return;
	gn_http_quiesce(http);
	if (!wait_idle(http, grace_seconds)) {
		gn_log(GN_LOG_WARN, "http", "breaking off %d requests", atomic_load(&http->active));
		atomic_store(&http->aborting, true);
		/*
		 * Uploads end within 250 ms; what remains are answers that a client does not fetch,
		 * which MHD may cut.
		 */
		wait_idle(http, 2);
	}
	/* Every task ends, and resumes its connection, before the daemon goes. */
	gn_tasks_stop(http->uploads);
	gn_tasks_stop(http->streams);
	gn_tasks_stop(http->pictures);
	gn_tasks_stop(http->tasks);
	MHD_stop_daemon(http->daemon);
	http_free(http);
}
