// A run's events over HTTP: replay, resume after Last-Event-ID, the live end, many listeners.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/http/server.h"
#include "server/common/files.h"
#include "server/http/event_stream.h"
#include "tests/support/client.h"
#include "tests/support/runs.h"

static struct gn_supervisor *supervisor;

static void on_events(struct gn_request *r)
{
	struct gn_event_source source;
	struct gn_error err = {0};

	if (gn_supervisor_events(&source, supervisor, GN_KIND_RUN, gn_path(r, "id"), gn_last_event_id(r), &err))
		gn_reply_error(r, &err);
	else
		gn_reply_events(r, &source);
}

static const struct gn_route routes[] = {{GN_GET, "/{id}", on_events, GN_BODY_NONE, 0, 0}, {0}};

struct fixture {
	struct runs *runs;
	struct gn_http *http;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct gn_http_options options = {
	    .routes = routes, .listen = "127.0.0.1:0", .max_upload = 1000, .timeout_seconds = 5};
	struct gn_error err = {0};

	runs_setup((void **)(void *)&f->runs);
	supervisor = f->runs->supervisor;
	assert_int_equal(gn_http_start(&f->http, &options, &err), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->http)
		gn_http_stop(f->http, 5);
	runs_teardown((void **)(void *)&f->runs);
	free(f);
	return 0;
}

static void ask(struct fixture *f, const char *id, const char *headers, struct reply *reply)
{
	char path[64];

	snprintf(path, sizeof path, "/%s", id);
	client_request(gn_http_address(f->http), "GET", path, headers, NULL, 0, reply);
}

static void let_go(struct fixture *f, const char *id)
{
	char folder[PATH_MAX], path[PATH_MAX + 8];

	gn_store_folder(f->runs->store, GN_KIND_RUN, id, folder);
	snprintf(path, sizeof path, "%s/go", folder);
	assert_int_equal(gn_file_replace(path, "", 0, NULL), 0);
}

static void test_replay(void **state)
{
	struct fixture *f = *state;
	char id[GN_ID_SIZE];
	struct reply reply;
	const char *at;

	runs_submit(f->runs, "good", "named", 0, id);
	runs_wait(f->runs, id, GN_JOB_SUCCEEDED);
	ask(f, "named", "", &reply); // ends by itself
	assert_int_equal(reply.status, 200);
	assert_string_equal(client_header(&reply, "Content-Type"), "text/event-stream");
	at = strstr(reply.body, "id: 1\nevent: status\ndata: {\"status\":\"queued\"");
	assert_ptr_equal(at, reply.body);
	assert_non_null(strstr(reply.body, "id: 4\nevent: step\ndata: {\"step\":2,\"steps\":2,\"epoch\":1,\"epochs\":1,"
	                                   "\"images_per_second\":9.5,\"eta_seconds\":0}\n\n"));
	assert_non_null(strstr(reply.body, "id: 5\nevent: status\ndata: {\"status\":\"succeeded\""));
	client_release(&reply);
	ask(f, id, "Last-Event-ID: 4\r\n", &reply);
	assert_ptr_equal(strstr(reply.body, "id: 5\n"), reply.body);
	client_release(&reply);
	ask(f, id, "Last-Event-ID: 99\r\n", &reply);
	assert_string_equal(reply.body, "");
	client_release(&reply);
	ask(f, "run_none", "", &reply);
	assert_int_equal(reply.status, 404);
	client_release(&reply);
}

struct listener {
	struct fixture *fixture;
	const char *id;
	struct reply reply;
};

static void *listen_to_end(void *user)
{
	struct listener *l = user;

	ask(l->fixture, l->id, "", &l->reply);
	return NULL;
}

// Listeners that came while the run went on all see the whole story, and the stream's end.
static void test_live(void **state)
{
	enum { LISTENERS = 12 };
	struct fixture *f = *state;
	struct listener listeners[LISTENERS];
	pthread_t threads[LISTENERS];
	char id[GN_ID_SIZE];

	runs_submit(f->runs, "slow", "", 0, id);
	for (int i = 0; i < LISTENERS; i++) {
		listeners[i] = (struct listener){.fixture = f, .id = id};
		assert_int_equal(pthread_create(&threads[i], NULL, listen_to_end, &listeners[i]), 0);
	}
	runs_wait(f->runs, id, GN_JOB_RUNNING);
	nanosleep(&(struct timespec){0, 300000000}, NULL);
	let_go(f, id);
	for (int i = 0; i < LISTENERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(listeners[i].reply.status, 200);
		assert_non_null(strstr(listeners[i].reply.body, "{\"status\":\"running\""));
		assert_non_null(strstr(listeners[i].reply.body, "{\"status\":\"succeeded\""));
		assert_string_equal(listeners[i].reply.body, listeners[0].reply.body);
		if (i)
			client_release(&listeners[i].reply);
	}
	client_release(&listeners[0].reply);
}

// Listeners that hang up, and a service that stops in the middle of a stream.
static void test_hang_up_and_stop(void **state)
{
	struct fixture *f = *state;
	char id[GN_ID_SIZE], head[128], buffer[4096];
	size_t used = 0;
	ssize_t n;
	int fd;

	runs_submit(f->runs, "slow", "", 0, id);
	runs_wait(f->runs, id, GN_JOB_RUNNING);
	snprintf(head, sizeof head, "GET /%s HTTP/1.1\r\nHost: t\r\n\r\n", id);
	for (int i = 0; i < 10; i++) {
		fd = client_connect(gn_http_address(f->http));
		assert_int_equal(client_send(fd, head, strlen(head)), 0);
		assert_true(recv(fd, buffer, sizeof buffer, 0) > 0);
		close(fd);
	}
	fd = client_connect(gn_http_address(f->http));
	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	assert_int_equal(recv(fd, buffer, 1, 0), 1);
	gn_http_stop(f->http, 10);
	f->http = NULL;
	while ((n = recv(fd, buffer + used, sizeof buffer - 1 - used, 0)) > 0)
		used += (size_t)n;
	assert_int_equal(n, 0);
	buffer[used] = '\0';
	assert_non_null(strstr(buffer, "running"));
	assert_string_equal(buffer + used - 5, "0\r\n\r\n"); // a whole answer, not one that was cut
	close(fd);
}

static void test_deleted_run(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct listener listener;
	pthread_t thread;
	char slow[GN_ID_SIZE], id[GN_ID_SIZE];
	uint64_t freed;

	runs_submit(f->runs, "slow", "", 0, slow);
	runs_wait(f->runs, slow, GN_JOB_RUNNING);
	runs_submit(f->runs, "good", "", 0, id);
	listener = (struct listener){.fixture = f, .id = id};
	assert_int_equal(pthread_create(&thread, NULL, listen_to_end, &listener), 0);
	nanosleep(&(struct timespec){0, 200000000}, NULL);
	assert_int_equal(gn_supervisor_cancel(f->runs->supervisor, GN_KIND_RUN, id, &err), 0);
	assert_int_equal(gn_supervisor_delete(f->runs->supervisor, GN_KIND_RUN, id, &freed, &err), 0);
	pthread_join(thread, NULL);
	assert_int_equal(listener.reply.status, 200);
	client_release(&listener.reply);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {CASE(test_replay), CASE(test_live), CASE(test_hang_up_and_stop),
	                                   CASE(test_deleted_run)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
