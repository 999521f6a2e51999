// The HTTP room: a real daemon on a free loopback port, with the test's own route table.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/common/files.h"
#include "server/http/server.h"
#include "server/common/metrics.h"
#include "server/store/store.h"
#include "tests/support/client.h"

// What handlers leave for the test to see.
static struct {
	atomic_int calls, ended, aborted, made;
	atomic_ulong taken; // bytes of a body that were read
	atomic_bool hold;   // a slow reader waits while it is set
} seen;

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* ---------------------------------------------------------------- handlers -------------------- */

static void on_inline(struct gn_request *r)
{
	gn_reply_json(r, 200, json_pack("{s:s,s:s?}", "id", gn_path(r, "id"), "q", gn_query(r, "q")));
}

static void on_job(struct gn_request *r)
{
	const char *n = gn_query(r, "n");

	if (n && strcmp(n, "7") != 0) {
		gn_reply_field(r, "/n", "must be %d", 7);
		return;
	}
	gn_reply_json(r, 200,
	              json_pack("{s:i,s:s?,s:s?}", "n", 7, "agent", gn_header(r, "X-Agent"), "accept",
	                        gn_accepts(r, "text/csv", "application/json") ? "csv" : NULL));
}

static void on_json(struct gn_request *r)
{
	gn_reply_json(r, 200, json_incref(gn_request_json(r)));
}

static void on_create(struct gn_request *r)
{
	char location[64];
	int n = atomic_fetch_add(&seen.made, 1);

	while (atomic_load(&seen.hold))
		pause_ms(5);
	snprintf(location, sizeof location, "/things/%d", n);
	gn_reply_created(r, location, json_pack("{s:i}", "thing", n));
}

// Reads a body to its end and says how long it was.
static void on_upload(struct gn_request *r)
{
	unsigned long total = 0;
	char buffer[10000];
	ssize_t n;

	atomic_fetch_add(&seen.calls, 1);
	while ((n = gn_body_read(r, buffer, sizeof buffer)) > 0) {
		total += (unsigned long)n;
		atomic_store(&seen.taken, total);
		while (atomic_load(&seen.hold))
			pause_ms(5);
	}
	if (n < 0) {
		atomic_fetch_add(&seen.aborted, 1);
		gn_reply_error(r, &(struct gn_error){.code = GN_CANCELLED, .text = "broken off"});
	} else {
		gn_reply_json(r, 200, json_pack("{s:I}", "bytes", (json_int_t)total));
	}
	atomic_fetch_add(&seen.ended, 1);
}

// Reads its body, then works on until the client hangs up or the test lets go.
static void on_patient(struct gn_request *r)
{
	char buffer[1000];

	while (gn_body_read(r, buffer, sizeof buffer) > 0)
		continue;
	atomic_fetch_add(&seen.calls, 1);
	while (atomic_load(&seen.hold) && !gn_request_gone(r))
		pause_ms(5);
	if (atomic_load(&seen.hold))
		atomic_fetch_add(&seen.aborted, 1);
	gn_reply_json(r, 200, json_object());
	atomic_fetch_add(&seen.ended, 1);
}

// Fails after the first bytes.
static void on_picky(struct gn_request *r)
{
	char byte;

	gn_body_read(r, &byte, 1);
	gn_reply_problem(r, 422, "not what I wanted");
}

static void on_form(struct gn_request *r)
{
	struct gn_multipart *m = gn_multipart_open(r);
	struct gn_form_part part;
	json_t *parts = json_array();
	int got = -1;

	atomic_fetch_add(&seen.made, 1);
	while (m && (got = gn_multipart_next(m, &part)) > 0) {
		char *name = strdup(part.name), *data = NULL;
		size_t size = 0;
		struct gn_error err = {0};
		if (gn_source_load(gn_multipart_read, m, 1 << 20, (void **)(void *)&data, &size, &err)) {
			gn_reply_error(r, &err);
			got = -2;
			free(name);
			break;
		}
		json_array_append_new(parts, json_pack("{s:s,s:I}", "name", name, "bytes", (json_int_t)size));
		free(name);
		free(data);
	}
	if (got == 0)
		gn_reply_created(r, "/forms/1", json_pack("{s:O}", "parts", parts));
	json_decref(parts);
}

static size_t digits(void *user, uint64_t offset, void *buffer, size_t size)
{
	(void)user;
	for (size_t i = 0; i < size; i++)
		((char *)buffer)[i] = (char)('0' + (offset + i) % 10);
	return size;
}

static void on_release(void *user)
{
	atomic_fetch_add((atomic_int *)user, 1);
}

static atomic_int released;

static void on_download(struct gn_request *r)
{
	gn_reply_download(
	    r, &(struct gn_download){"text/plain", "v1", "digits.txt", 300000, digits, on_release, &released});
}

static void on_tagged(struct gn_request *r)
{
	gn_reply_bytes(r, 200, "text/plain", "hello", 5, "tag");
}

static const struct gn_route routes[] = {
    {GN_GET, "/inline/{id}", on_inline, GN_BODY_NONE, GN_INLINE, 0},
    {GN_GET, "/job", on_job, GN_BODY_NONE, 0, 0},
    {GN_POST, "/json", on_json, GN_BODY_JSON, 0, 2000},
    {GN_PATCH, "/json", on_json, GN_BODY_JSON, GN_INLINE, 2000},
    {GN_POST, "/things", on_create, GN_BODY_JSON, GN_CREATES, 0},
    {GN_POST, "/upload", on_upload, GN_BODY_STREAM, GN_UPLOADS, 0},
    {GN_POST, "/patient", on_patient, GN_BODY_STREAM, GN_UPLOADS, 0},
    {GN_POST, "/small", on_upload, GN_BODY_STREAM, 0, 1000},
    {GN_POST, "/picky", on_picky, GN_BODY_STREAM, 0, 0},
    {GN_POST, "/form", on_form, GN_BODY_STREAM, GN_CREATES, 0},
    {GN_GET, "/download", on_download, GN_BODY_NONE, 0, 0},
    {GN_GET, "/tagged", on_tagged, GN_BODY_NONE, GN_INLINE, 0},
    {0},
};

/* ---------------------------------------------------------------- fixture --------------------- */

struct fixture {
	char folder[64], share[64];
	struct gn_store *store;
	struct gn_metrics *metrics;
	struct gn_http *http;
	const char *at;
};

static int start(void **state, uint64_t reserve, const char *cors)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct gn_error err = {0};
	char path[128];

	memset(&seen, 0, sizeof seen);
	temporary_folder(f->folder, sizeof f->folder);
	temporary_folder(f->share, sizeof f->share);
	snprintf(path, sizeof path, "%s/static", f->share);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/static/index.html", f->share);
	assert_int_equal(gn_file_replace(path, "<p>hi</p>", 9, &err), 0);
	snprintf(path, sizeof path, "%s/static/.hidden.js", f->share);
	assert_int_equal(gn_file_replace(path, "secret", 6, &err), 0);
	assert_int_equal(gn_store_open(&f->store, f->folder, reserve, &err), 0);
	assert_int_equal(gn_metrics_new(&f->metrics, &err), 0);
	struct gn_http_options options = {.routes = routes,
	                                  .store = f->store,
	                                  .metrics = f->metrics,
	                                  .listen = "127.0.0.1:0",
	                                  .cors = cors,
	                                  .share_dirs = f->share,
	                                  .max_upload = 64 << 20,
	                                  .max_uploads = 1,
	                                  .timeout_seconds = 2};
	assert_int_equal(gn_http_start(&f->http, &options, &err), 0);
	f->at = gn_http_address(f->http);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start(state, 0, "");
}

static int setup_full_disk(void **state)
{
	return start(state, 1ull << 60, "");
}

static int setup_cors(void **state)
{
	return start(state, 0, "https://lab.example");
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->http)
		gn_http_stop(f->http, 5);
	gn_metrics_free(f->metrics);
	gn_store_close(f->store);
	temporary_remove(f->folder);
	temporary_remove(f->share);
	free(f);
	return 0;
}

// A request; checks the status; the reply is released by the caller.
static struct reply ask(struct fixture *f, const char *method, const char *path, const char *headers, const char *body,
                        int status)
{
	struct reply reply;

	client_request(f->at, method, path, headers, body, body ? strlen(body) : 0, &reply);
	if (reply.status != status)
		print_message("%s %s: %s\n", method, path, reply.body);
	assert_int_equal(reply.status, status);
	return reply;
}

static void expect(struct fixture *f, const char *method, const char *path, const char *headers, const char *body,
                   int status, const char *part)
{
	struct reply reply = ask(f, method, path, headers, body, status);

	if (!strstr(reply.body, part))
		print_message("%s lacks %s\n", reply.body, part);
	assert_non_null(strstr(reply.body, part));
	client_release(&reply);
}

#define JSON "Content-Type: application/json\r\n"

/* ---------------------------------------------------------------- tests ----------------------- */

static void test_routes(void **state)
{
	struct fixture *f = *state;
	struct reply reply;

	expect(f, "GET", "/inline/abc?q=1%202", "", NULL, 200, "{\"id\":\"abc\",\"q\":\"1 2\"}");
	expect(f, "GET", "/inline/a%41c", "", NULL, 200, "aAc");
	expect(f, "GET", "/inline/a%00c", "", NULL, 200, "a%00c");
	expect(f, "GET", "/inline/", "", NULL, 404, "problem:not-found");
	expect(f, "GET", "/inline/a/b", "", NULL, 404, "not-found");
	expect(f, "GET", "/job", "X-Agent: me\r\n", NULL, 200, "{\"n\":7,\"agent\":\"me\",\"accept\":null}");
	expect(f, "GET", "/job?n=7", "X-Agent: me\r\nAccept: text/csv, */*;q=0.1\r\n", NULL, 200, "\"accept\":\"csv\"");
	expect(f, "GET", "/job?n=11", "", NULL, 422, "\"pointer\":\"/n\"");
	reply = ask(f, "DELETE", "/json", "", NULL, 405);
	assert_string_equal(client_header(&reply, "Allow"), "POST, PATCH");
	client_release(&reply);
	reply = ask(f, "POST", "/tagged", "", NULL, 405);
	assert_string_equal(client_header(&reply, "Allow"), "GET, HEAD");
	client_release(&reply);
	expect(f, "OPTIONS", "/json", "", NULL, 405, "method-not-allowed");
	reply = ask(f, "HEAD", "/inline/abc", "", NULL, 200);
	assert_non_null(client_header(&reply, "X-Request-Id"));
	assert_string_equal(client_header(&reply, "X-Content-Type-Options"), "nosniff");
	assert_non_null(strstr(client_header(&reply, "Content-Security-Policy"), "default-src 'self'"));
	assert_null(client_header(&reply, "Access-Control-Allow-Origin"));
	client_release(&reply);
}

static void test_cors(void **state)
{
	struct fixture *f = *state;
	struct reply reply = ask(f, "OPTIONS", "/json", "Origin: https://lab.example\r\n", NULL, 204);

	assert_string_equal(client_header(&reply, "Access-Control-Allow-Origin"), "https://lab.example");
	assert_non_null(client_header(&reply, "Access-Control-Allow-Methods"));
	client_release(&reply);
	reply = ask(f, "GET", "/tagged", "", NULL, 200);
	assert_string_equal(client_header(&reply, "Access-Control-Allow-Origin"), "https://lab.example");
	client_release(&reply);
}

static void test_json_bodies(void **state)
{
	static const char *const methods[] = {"POST", "PATCH"};
	struct fixture *f = *state;
	char *large = malloc(4001), *deep = malloc(1901);

	memset(large, ' ', 4000);
	large[4000] = '\0';
	memset(deep, '[', 1900);
	deep[1900] = '\0';
	for (int i = 0; i < 2; i++) {
		expect(f, methods[i], "/json", JSON, "{\"a\":[1,2.5,\"x\"]}", 200, "{\"a\":[1,2.5,\"x\"]}");
		expect(f, methods[i], "/json", "Content-Type: Application/JSON; charset=utf-8\r\n", "{}", 200, "{}");
		expect(f, methods[i], "/json", JSON, "{\"a\":\n 1,}", 400, "line 2");
		expect(f, methods[i], "/json", JSON, "{\"a\":1,\"a\":2}", 400, "problem:bad-request");
		expect(f, methods[i], "/json", JSON, "[1]", 400, "object");
		expect(f, methods[i], "/json", JSON, "", 400, "bad-request");
		expect(f, methods[i], "/json", JSON, "{\"a\":\"\xff\"}", 400, "bad-request");
		expect(f, methods[i], "/json", JSON, deep, 400, "bad-request");
		expect(f, methods[i], "/json", "Content-Type: text/plain\r\n", "{}", 415, "application/json");
		expect(f, methods[i], "/json", JSON, large, 413, "too-large");
	}
	free(large);
	free(deep);
}

// A chunked body past the limit: its length is not known beforehand.
static void test_chunked(void **state)
{
	struct fixture *f = *state;
	int fd = client_connect(f->at);
	char chunk[512 + 16];
	const char *head =
	    "POST /json HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
	const char *good = "4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n";
	struct reply reply;

	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	assert_int_equal(client_send(fd, good, strlen(good)), 0);
	client_read(fd, &reply, 0);
	assert_int_equal(reply.status, 200);
	assert_string_equal(reply.body, "{\"a\":1}");
	client_release(&reply);

	// on the same connection: keep-alive
	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	memset(chunk, ' ', sizeof chunk);
	snprintf(chunk, 6, "200\r\n");
	chunk[5] = ' ';
	snprintf(chunk + 5 + 512, 3, "\r\n");
	for (int i = 0; i < 8; i++)
		assert_int_equal(client_send(fd, chunk, 5 + 512 + 2), 0);
	assert_int_equal(client_send(fd, "0\r\n\r\n", 5), 0);
	client_read(fd, &reply, 0);
	assert_int_equal(reply.status, 413);
	client_release(&reply);
	close(fd);
}

static void test_stream(void **state)
{
	struct fixture *f = *state;
	size_t size = 20 << 20;
	char *body = calloc(1, size);
	struct reply reply;

	client_request(f->at, "POST", "/upload", "", body, size, &reply);
	assert_int_equal(reply.status, 200);
	assert_string_equal(reply.body, "{\"bytes\":20971520}");
	client_release(&reply);
	client_request(f->at, "POST", "/upload", "", NULL, 0, &reply);
	assert_string_equal(reply.body, "{\"bytes\":0}");
	client_release(&reply);
	// the handler answers early, and the client still gets to read it
	client_request(f->at, "POST", "/picky", "", body, size, &reply);
	assert_int_equal(reply.status, 422);
	client_release(&reply);
	client_request(f->at, "POST", "/small", "", body, 5000, &reply);
	assert_int_equal(reply.status, 413);
	client_release(&reply);
	free(body);
}

// Past --max-upload with Expect: the answer comes before any byte was sent.
static void test_expect(void **state)
{
	struct fixture *f = *state;
	const char *head =
	    "POST /upload HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n\r\n";
	int fd = client_connect(f->at);
	struct reply reply;

	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	client_read(fd, &reply, 0);
	assert_int_equal(reply.status, 413);
	client_release(&reply);
	close(fd);
}

// While the handler does not read, the client cannot send more than what the ring and the sockets
// hold.
static void test_back_pressure(void **state)
{
	struct fixture *f = *state;
	const size_t size = 60 << 20;
	char head[128], *piece = calloc(1, 65536);
	int fd = client_connect(f->at);
	size_t sent = 0;
	struct reply reply;

	atomic_store(&seen.hold, true);
	snprintf(head, sizeof head, "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", size);
	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	for (int stalls = 0; stalls < 40 && sent < size;) {
		ssize_t n = send(fd, piece, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			sent += (size_t)n;
		} else {
			stalls++;
			pause_ms(10);
		}
	}
	assert_true(sent < 30 << 20);
	assert_true(atomic_load(&seen.taken) <= 10000);
	atomic_store(&seen.hold, false);
	while (sent < size) {
		size_t n = size - sent < 65536 ? size - sent : 65536;
		assert_int_equal(client_send(fd, piece, n), 0);
		sent += n;
	}
	client_read(fd, &reply, 0);
	assert_int_equal(reply.status, 200);
	assert_int_equal(atomic_load(&seen.taken), size);
	client_release(&reply);
	close(fd);
	free(piece);
}

static void wait_for(atomic_int *counter, int value)
{
	for (int i = 0; i < 1000 && atomic_load(counter) < value; i++)
		pause_ms(10);
	assert_int_equal(atomic_load(counter), value);
}

static void test_client_hangs_up(void **state)
{
	struct fixture *f = *state;
	const char *head = "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nsome bytes";

	for (int i = 1; i <= 20; i++) {
		int fd = client_connect(f->at);
		assert_int_equal(client_send(fd, head, strlen(head)), 0);
		if (i % 2)
			pause_ms(5);
		close(fd);
	}
	// Those whose headers were read before the end of the connection was seen.
	for (int i = 0; i < 300 && atomic_load(&seen.ended) < 20; i++)
		pause_ms(10);
	assert_int_equal(atomic_load(&seen.calls), atomic_load(&seen.ended));
	assert_int_equal(atomic_load(&seen.aborted), atomic_load(&seen.ended));
	assert_true(atomic_load(&seen.ended) >= 10);
	expect(f, "GET", "/inline/x", "", NULL, 200, "x");
}

// A client that says nothing more is cut off after the timeout, in mid-body and in mid-header.
static void test_slow_client(void **state)
{
	struct fixture *f = *state;
	const char *head = "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nsome", *half = "GET /inl";
	int fd = client_connect(f->at), other = client_connect(f->at);
	char byte;

	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	assert_int_equal(client_send(other, half, strlen(half)), 0);
	wait_for(&seen.aborted, 1);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	assert_true(recv(other, &byte, 1, 0) <= 0);
	close(fd);
	close(other);
}

// A client that sends a byte now and then is never silent for long, and is cut off all the same.
static void test_trickle(void **state)
{
	struct fixture *f = *state;
	const char *head = "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n";
	int fd = client_connect(f->at);

	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	for (int i = 0; i < 40 && !atomic_load(&seen.aborted); i++) {
		assert_int_equal(client_send(fd, "x", 1), 0);
		pause_ms(200);
	}
	assert_int_equal(atomic_load(&seen.aborted), 1);
	close(fd);
}

static void test_long_header(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(200000), byte;
	int fd = client_connect(f->at), n = snprintf(text, 200000, "GET /inline/x HTTP/1.1\r\nHost: t\r\nX-Long: ");

	memset(text + n, 'x', 200000 - (size_t)n);
	client_send(fd, text, 200000);
	// 431 or the connection is cut: MHD's business; the service goes on.
	recv(fd, &byte, 1, 0);
	close(fd);
	free(text);
	expect(f, "GET", "/inline/x", "", NULL, 200, "x");
}

static const char form_head[] = "Content-Type: multipart/form-data; boundary=AA\r\n";
static const char form_body[] = "--AA\r\nContent-Disposition: form-data; name=\"one\"\r\n\r\n1\r\n--AA\r\n"
                                "Content-Disposition: form-data; name=\"two\"; filename=\"f\"\r\n\r\n22\r\n--AA--\r\n";

static void test_form(void **state)
{
	struct fixture *f = *state;

	expect(f, "POST", "/form", form_head, form_body, 201,
	       "{\"parts\":[{\"name\":\"one\",\"bytes\":1},{\"name\":\"two\",\"bytes\":2}]}");
	expect(f, "POST", "/form", "", form_body, 415, "multipart/form-data");
	expect(f, "POST", "/form", form_head, "--AA\r\nContent-Disposition: form-data; name=\"one\"\r\n\r\n1", 400,
	       "within");
	expect(f, "POST", "/form", form_head, "rubbish", 400, "bad-request");
}

static void test_idempotency(void **state)
{
	struct fixture *f = *state;
	struct reply reply;

	expect(f, "POST", "/things", JSON "Idempotency-Key: a\r\n", "{\"x\":1}", 201, "{\"thing\":0}");
	reply = ask(f, "POST", "/things", JSON "Idempotency-Key: a\r\n", "{\"x\":1}", 201);
	assert_string_equal(reply.body, "{\"thing\":0}");
	assert_string_equal(client_header(&reply, "Location"), "/things/0");
	client_release(&reply);
	expect(f, "POST", "/things", JSON "Idempotency-Key: a\r\n", "{\"x\":2}", 422, "another request");
	expect(f, "POST", "/things?q=1", JSON "Idempotency-Key: a\r\n", "{\"x\":1}", 422, "another request");
	expect(f, "POST", "/things", JSON "Idempotency-Key: b\r\n", "{\"x\":1}", 201, "{\"thing\":1}");
	expect(f, "POST", "/things", JSON, "{\"x\":1}", 201, "{\"thing\":2}");
	expect(f, "POST", "/things", JSON "Idempotency-Key: a b\r\n", "{\"x\":1}", 400, "Idempotency-Key");
	// a failure is not kept
	expect(f, "POST", "/things", JSON "Idempotency-Key: c\r\n", "[]", 400, "object");
	expect(f, "POST", "/things", JSON "Idempotency-Key: c\r\n", "{}", 201, "{\"thing\":3}");
}

static void test_idempotent_form(void **state)
{
	struct fixture *f = *state;
	char other[sizeof form_body];

	expect(f, "POST", "/form", "Idempotency-Key: f\r\nContent-Type: multipart/form-data; boundary=AA\r\n",
	       form_body, 201, "parts");
	assert_int_equal(atomic_load(&seen.made), 1);
	// the same form with another boundary is the same request
	memcpy(other, form_body, sizeof other);
	for (char *at = other; (at = strstr(at, "--AA"));)
		memcpy(at, "--BB", 4);
	expect(f, "POST", "/form", "Idempotency-Key: f\r\nContent-Type: multipart/form-data; boundary=BB\r\n", other,
	       201, "parts");
	assert_int_equal(atomic_load(&seen.made), 1);
	*strstr(other, "22") = '3';
	expect(f, "POST", "/form", "Idempotency-Key: f\r\nContent-Type: multipart/form-data; boundary=BB\r\n", other,
	       422, "another");
	assert_int_equal(atomic_load(&seen.made), 1);
}

static void *send_first(void *user)
{
	struct fixture *f = user;
	struct reply reply = {0};

	client_request(f->at, "POST", "/things", JSON "Idempotency-Key: z\r\n", "{}", 2, &reply);
	client_release(&reply);
	return NULL;
}

static void test_concurrent_key(void **state)
{
	struct fixture *f = *state;
	pthread_t first;

	atomic_store(&seen.hold, true);
	assert_int_equal(pthread_create(&first, NULL, send_first, f), 0);
	wait_for(&seen.made, 1);
	expect(f, "POST", "/things", JSON "Idempotency-Key: z\r\n", "{}", 409, "still in work");
	atomic_store(&seen.hold, false);
	pthread_join(first, NULL);
	expect(f, "POST", "/things", JSON "Idempotency-Key: z\r\n", "{}", 201, "{\"thing\":0}");
}

static void expect_range(struct fixture *f, const char *range, int status, size_t bytes, const char *content_range)
{
	char header[128];
	struct reply reply;

	snprintf(header, sizeof header, "Range: %s\r\n", range);
	reply = ask(f, "GET", "/download", header, NULL, status);
	if (status != 416)
		assert_int_equal(reply.bytes, bytes);
	if (content_range)
		assert_string_equal(client_header(&reply, "Content-Range"), content_range);
	else
		assert_null(client_header(&reply, "Content-Range"));
	if (status == 206)
		assert_int_equal(reply.body[0] - '0', strtol(content_range + 6, NULL, 10) % 10);
	client_release(&reply);
}

static void test_download(void **state)
{
	struct fixture *f = *state;
	struct reply reply = ask(f, "GET", "/download", "", NULL, 200);

	assert_int_equal(reply.bytes, 300000);
	assert_string_equal(client_header(&reply, "ETag"), "\"v1\"");
	assert_string_equal(client_header(&reply, "Content-Disposition"), "attachment; filename=\"digits.txt\"");
	for (size_t i = 0; i < reply.bytes; i++)
		assert_int_equal(reply.body[i], '0' + i % 10);
	client_release(&reply);
	expect_range(f, "bytes=0-9", 206, 10, "bytes 0-9/300000");
	expect_range(f, "bytes=299995-", 206, 5, "bytes 299995-299999/300000");
	expect_range(f, "bytes=-3", 206, 3, "bytes 299997-299999/300000");
	expect_range(f, "bytes=7-999999999", 206, 299993, "bytes 7-299999/300000");
	expect_range(f, "bytes=300000-", 416, 0, "bytes */300000");
	expect_range(f, "bytes=-0", 416, 0, "bytes */300000");
	expect_range(f, "bytes=99999999999999999999-", 416, 0, "bytes */300000");
	expect_range(f, "bytes=9-1", 200, 300000, NULL);
	expect_range(f, "bytes=0-1,5-6", 200, 300000, NULL);
	expect_range(f, "lines=1", 200, 300000, NULL);
	reply = ask(f, "GET", "/download", "Range: bytes=0-1\r\nIf-Range: \"v0\"\r\n", NULL, 200);
	client_release(&reply);
	reply = ask(f, "GET", "/download", "If-None-Match: \"v0\", W/\"v1\"\r\n", NULL, 304);
	client_release(&reply);
	reply = ask(f, "HEAD", "/download", "", NULL, 200);
	assert_string_equal(client_header(&reply, "Content-Length"), "300000");
	client_release(&reply);
	gn_http_stop(f->http, 5);
	f->http = NULL;
	assert_int_equal(atomic_load(&released), 14);
}

static void test_etag(void **state)
{
	struct fixture *f = *state;
	struct reply reply = ask(f, "GET", "/tagged", "If-None-Match: \"tag\"\r\n", NULL, 304);

	client_release(&reply);
	reply = ask(f, "GET", "/tagged", "If-None-Match: *\r\n", NULL, 304);
	client_release(&reply);
	expect(f, "GET", "/tagged", "If-None-Match: \"tagg\"\r\n", NULL, 200, "hello");
	expect(f, "GET", "/tagged", "If-None-Match: tag\r\n", NULL, 200, "hello");
}

static void test_static_files(void **state)
{
	struct fixture *f = *state;
	struct reply reply = ask(f, "GET", "/", "", NULL, 200);
	char etag[64], header[128];

	assert_string_equal(reply.body, "<p>hi</p>");
	assert_string_equal(client_header(&reply, "Content-Type"), "text/html; charset=utf-8");
	snprintf(etag, sizeof etag, "%s", client_header(&reply, "ETag"));
	client_release(&reply);
	snprintf(header, sizeof header, "If-None-Match: %s\r\n", etag);
	reply = ask(f, "GET", "/", header, NULL, 304);
	client_release(&reply);
	expect(f, "GET", "/static/index.html", "", NULL, 200, "hi");
	expect(f, "GET", "/static/.hidden.js", "", NULL, 404, "not-found");
	expect(f, "GET", "/static/../../../../etc/passwd", "", NULL, 404, "not-found");
	expect(f, "GET", "/static/%2e%2e/%2e%2e/etc/passwd", "", NULL, 404, "not-found");
	expect(f, "GET", "/static//etc/passwd", "", NULL, 404, "not-found");
}

static void test_full_disk(void **state)
{
	struct fixture *f = *state;

	expect(f, "POST", "/upload", "", "bytes", 507, "problem:disk-full");
	assert_int_equal(atomic_load(&seen.calls), 0);
}

static void test_metrics(void **state)
{
	struct fixture *f = *state;
	struct gn_gauges gauges = {.jobs = {[GN_KIND_RUN] = {1, 2, 3, 4, 5}, [GN_KIND_SOUP] = {6}},
	                           .disk_free_bytes = 77};
	struct gn_text *text;

	expect(f, "GET", "/inline/x", "", NULL, 200, "x");
	expect(f, "GET", "/inline/y", "", NULL, 200, "y");
	expect(f, "GET", "/nowhere", "", NULL, 404, "not-found");
	gn_metrics_classify_images(f->metrics, "mdl_x", 3);
	gn_metrics_classify_batch(f->metrics, 4);
	gn_metrics_classify_seconds(f->metrics, GN_STAGE_COMPUTE, 0.003);
	gn_metrics_run_images(f->metrics, 64);
	text = gn_metrics_text(f->metrics, &gauges);
	assert_non_null(
	    strstr(text->data, "gonio_http_requests_total{route=\"/inline/{id}\",method=\"GET\",status=\"200\"} 2\n"));
	assert_non_null(
	    strstr(text->data, "gonio_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1\n"));
	assert_non_null(strstr(text->data, "gonio_http_request_seconds_count 3\n"));
	assert_non_null(strstr(text->data, "gonio_http_request_seconds_bucket{le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(text->data, "gonio_runs{status=\"failed\"} 4\n"));
	assert_non_null(strstr(text->data, "gonio_soups{status=\"queued\"} 6\n"));
	assert_non_null(strstr(text->data, "gonio_evaluations{status=\"queued\"} 0\n"));
	assert_non_null(strstr(text->data, "gonio_run_images_total 64\n"));
	assert_non_null(strstr(text->data, "gonio_classify_images_total{model=\"mdl_x\"} 3\n"));
	assert_non_null(strstr(text->data, "gonio_classify_batch_size_bucket{le=\"4\"} 1\n"));
	assert_non_null(strstr(text->data, "gonio_classify_seconds_bucket{stage=\"compute\",le=\"0.0025\"} 0\n"));
	assert_non_null(strstr(text->data, "gonio_classify_seconds_bucket{stage=\"compute\",le=\"0.005\"} 1\n"));
	assert_non_null(strstr(text->data, "gonio_disk_free_bytes 77\n"));
	assert_non_null(strstr(text->data, "process_resident_memory_bytes "));
	gn_text_unref(text);
}

static void *hammer(void *user)
{
	struct fixture *f = user;
	struct reply reply;

	for (int i = 0; i < 40; i++) {
		client_request(f->at, "GET", i % 2 ? "/job" : "/inline/x", "", NULL, 0, &reply);
		assert_int_equal(reply.status, 200);
		client_release(&reply);
		client_request(f->at, "POST", "/upload", "", "some bytes of a body", 20, &reply);
		assert_int_equal(reply.status, 200);
		client_release(&reply);
	}
	return NULL;
}

static void test_many_at_once(void **state)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, *state), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
}

// A stop lets an answer finish, and breaks off an upload that does not end.
static void test_stop(void **state)
{
	struct fixture *f = *state;
	const char *head = "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nsome bytes";
	int fd = client_connect(f->at);

	assert_int_equal(client_send(fd, head, strlen(head)), 0);
	wait_for(&seen.calls, 1);
	gn_http_stop(f->http, 0.2);
	f->http = NULL;
	assert_int_equal(atomic_load(&seen.aborted), 1);
	close(fd);
}

static bool reaches(atomic_int *number, int wanted)
{
	for (int i = 0; i < 400 && atomic_load(number) < wanted; i++)
		pause_ms(5);
	return atomic_load(number) >= wanted;
}

static void send_patient(int fd)
{
	static const char text[] = "POST /patient HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";

	assert_int_equal(client_send(fd, text, sizeof text - 1), 0);
}

/* MHD does not look at a connection while its request is worked on: the handler does. */
static void test_a_hang_up_is_seen_during_work(void **state)
{
	struct fixture *f = *state;
	int fd = client_connect(f->at);
	struct reply reply;

	atomic_store(&seen.hold, true);
	send_patient(fd);
	assert_true(reaches(&seen.calls, 1));
	pause_ms(200);
	assert_int_equal(atomic_load(&seen.ended), 0); /* who waits for the answer is there */
	close(fd);
	assert_true(reaches(&seen.aborted, 1));
	fd = client_connect(f->at);
	send_patient(fd);
	assert_true(reaches(&seen.calls, 2));
	atomic_store(&seen.hold, false);
	client_read(fd, &reply, 0);
	assert_int_equal(reply.status, 200);
	assert_int_equal(atomic_load(&seen.aborted), 1);
	client_release(&reply);
	close(fd);
}

/* One upload computes at a time; one that waits for its client lets another go first. */
static void test_uploads_take_turns(void **state)
{
	static const char head[] = "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo";
	struct fixture *f = *state;
	int slow = client_connect(f->at), first = client_connect(f->at), second = client_connect(f->at);
	struct reply reply;

	assert_int_equal(client_send(slow, head, sizeof head - 1), 0);
	assert_true(reaches(&seen.calls, 1));
	pause_ms(50); /* it has read what there is, and waits */
	atomic_store(&seen.hold, true);
	send_patient(first);
	assert_true(reaches(&seen.calls, 2)); /* the slow client does not keep it from working */
	send_patient(second);
	pause_ms(200);
	assert_int_equal(atomic_load(&seen.calls), 2);
	expect(f, "GET", "/job?n=7", "", NULL, 200, "7"); /* other requests go on */
	atomic_store(&seen.hold, false);
	assert_true(reaches(&seen.calls, 3));
	assert_int_equal(client_send(slow, "dy", 2), 0);
	client_read(slow, &reply, 0);
	assert_int_equal(reply.status, 200);
	client_release(&reply);
	close(slow);
	close(first);
	close(second);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_routes),
	    CASE(test_a_hang_up_is_seen_during_work),
	    CASE(test_uploads_take_turns),
	    cmocka_unit_test_setup_teardown(test_cors, setup_cors, teardown),
	    CASE(test_json_bodies),
	    CASE(test_chunked),
	    CASE(test_stream),
	    CASE(test_expect),
	    CASE(test_back_pressure),
	    CASE(test_client_hangs_up),
	    CASE(test_slow_client),
	    CASE(test_trickle),
	    CASE(test_long_header),
	    CASE(test_form),
	    CASE(test_idempotency),
	    CASE(test_idempotent_form),
	    CASE(test_concurrent_key),
	    CASE(test_download),
	    CASE(test_etag),
	    CASE(test_static_files),
	    cmocka_unit_test_setup_teardown(test_full_disk, setup_full_disk, teardown),
	    CASE(test_metrics),
	    CASE(test_many_at_once),
	    CASE(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
