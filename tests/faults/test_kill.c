// Workers and the service are killed in mid-run, again and again: the model in the end is bit for
// bit that of a run that nobody touched. Uses the built program (GONIO in the environment).
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/common/files.h"
#include "server/store/store.h"
#include "server/worker/worker.h"
#include "tests/support/client.h"
#include "tests/support/program.h"
#include "tests/support/toy.h"

static const char request[] =
    "{\"model\":\"toy\",\"dataset\":\"toy\",\"strategy\":\"full\",\"epochs\":40,\"batch_size\":8,\"lr\":0.001,"
    "\"augment\":\"standard\",\"checkpoint_every_seconds\":0.1,\"threads\":1,\"seed\":3}";

struct fixture {
	char *folder; /* model.safetensors, pictures/, and the runs reference/, killed/ ... */
	char *reference;
	size_t reference_bytes;
};

/* ---------------------------------------------------------------- runs ------------------------ */

static void make_run_of(const struct fixture *f, const char *name, const char *run_request, char run[PATH_MAX])
{
	char path[PATH_MAX + 16], text[1024];
	int n;

	snprintf(run, PATH_MAX, "%s/%s", f->folder, name);
	assert_int_equal(mkdir(run, 0700), 0);
	n = snprintf(
	    text, sizeof text,
	    "{\"job\":\"run_x\",\"request\":%s,\"models\":[[\"../model.safetensors\"]],\"dataset\":\"../pictures\","
	    "\"device\":\"cpu\",\"threads\":1,\"max_pixels\":1000000,\"attempt\":1}",
	    run_request);
	snprintf(path, sizeof path, "%s/job.json", run);
	assert_int_equal(gn_file_replace(path, text, (size_t)n, NULL), 0);
}

static void make_run(const struct fixture *f, const char *name, char run[PATH_MAX])
{
	make_run_of(f, name, request, run);
}

static pid_t start_worker(const char *run)
{
	return program_worker("train", run);
}

static void load(const char *folder, const char *file, char **data, size_t *size)
{
	char path[PATH_MAX + 32];
	struct gn_error err = {0};

	snprintf(path, sizeof path, "%s/%s", folder, file);
	if (gn_file_load(path, 64 << 20, data, size, &err))
		fail_msg("%s: %s", err.where, err.text);
}

static void expect_reference(const struct fixture *f, const char *folder)
{
	char *data;
	size_t size;

	load(folder, "model.safetensors", &data, &size);
	assert_int_equal(size, f->reference_bytes);
	assert_memory_equal(data, f->reference, size);
	free(data);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char run[PATH_MAX];

	f->folder = toy_folder();
	gn_dataset_close(toy_dataset(f->folder, "pictures", 3, 16));
	gn_model_close(toy_model(f->folder, "model", &toy_arch, 1));
	*state = f;
	if (!getenv("GONIO"))
		return 0;
	make_run(f, "reference", run);
	assert_int_equal(program_wait(start_worker(run)), GN_WORKER_DONE);
	load(run, "model.safetensors", &f->reference, &f->reference_bytes);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free(f->reference);
	toy_remove(f->folder);
	free(f);
	return 0;
}

/* ---------------------------------------------------------------- workers --------------------- */

// SIGKILL after a time that grows, at another moment of the step each time; SIGTERM every third
// time.
static void kill_until_done(const char *run)
{
	int status = -1, deaths = 0, stops = 0;

	for (int i = 0; i < 60 && status != GN_WORKER_DONE; i++) {
		bool kindly = i % 3 == 2;
		pid_t pid = start_worker(run);
		// reaches seconds, for sanitizers on a busy machine
		program_pause(60 + 8 * i + 2 * i * i);
		kill(pid, kindly ? SIGTERM : SIGKILL);
		status = program_wait(pid);
		deaths += status == 128 + SIGKILL;
		stops += status == GN_WORKER_STOPPED;
		assert_true(status == GN_WORKER_DONE || status == 128 + SIGKILL || status == GN_WORKER_STOPPED ||
		            status == 128 + SIGTERM); // before its handler was there
	}
	assert_int_equal(status, GN_WORKER_DONE);
	assert_true(deaths >= 2);
	print_message("%d deaths, %d stops\n", deaths, stops);
}

static void test_killed_worker(void **state)
{
	const struct fixture *f = *state;
	char run[PATH_MAX];

	program_needed();
	make_run(f, "killed", run);
	kill_until_done(run);
	expect_reference(f, run);
}

// A run with a probe, two trials and the tuning; deaths fall into all of them.
static void test_killed_probe(void **state)
{
	static const char guided[] =
	    "{\"model\":\"toy\",\"dataset\":\"toy\",\"strategy\":{\"kind\":\"angle\",\"probe\":{\"epochs\":12,\"lr\":0."
	    "001},"
	    "\"order\":\"auto\",\"attention_layers\":2,\"ffn_layers\":1},\"epochs\":20,\"batch_size\":8,\"lr\":0.001,"
	    "\"augment\":\"standard\",\"checkpoint_every_seconds\":0.1,\"threads\":1,\"seed\":3}";
	struct fixture guided_reference = {.folder = ((struct fixture *)*state)->folder};
	char run[PATH_MAX];

	program_needed();
	make_run_of(&guided_reference, "probe-reference", guided, run);
	assert_int_equal(program_wait(start_worker(run)), GN_WORKER_DONE);
	load(run, "model.safetensors", &guided_reference.reference, &guided_reference.reference_bytes);
	make_run_of(&guided_reference, "probe-killed", guided, run);
	kill_until_done(run);
	expect_reference(&guided_reference, run);
	free(guided_reference.reference);
}

// A folder has one worker: the second waits, and goes when the first is gone.
static void test_one_worker(void **state)
{
	const struct fixture *f = *state;
	char run[PATH_MAX], lock[PATH_MAX + 8];
	pid_t pid;
	int fd;

	program_needed();
	make_run(f, "shared", run);
	snprintf(lock, sizeof lock, "%s/lock", run);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	pid = start_worker(run);
	program_pause(400);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGTERM);
	assert_int_equal(program_wait(pid), GN_WORKER_BUSY);
	close(fd);
	assert_int_equal(program_wait(start_worker(run)), GN_WORKER_DONE);
	expect_reference(f, run);
}

// Files may not grow past 20 kB: the worker says so in result.json and leaves no model.
static void test_full_disk(void **state)
{
	const struct fixture *f = *state;
	struct rlimit before, limit;
	char run[PATH_MAX], *text, path[PATH_MAX + 32];
	size_t size;
	pid_t pid;

	program_needed();
	make_run(f, "full", run);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 20000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	pid = start_worker(run);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(program_wait(pid), GN_WORKER_FAILED);
	load(run, "result.json", &text, &size);
	assert_non_null(strstr(text, "\"error\""));
	free(text);
	snprintf(path, sizeof path, "%s/model.safetensors", run);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_bad_folders(void **state)
{
	const struct fixture *f = *state;
	char run[PATH_MAX], path[PATH_MAX + 16];

	program_needed();
	snprintf(path, sizeof path, "%s/log", f->folder);
	assert_int_equal(program_wait(program_start("train", "/nonexistent", NULL, NULL, path)), GN_WORKER_USAGE);
	make_run(f, "broken", run);
	snprintf(path, sizeof path, "%s/job.json", run);
	assert_int_equal(gn_file_replace(path, "{\"request\":", 11, NULL), 0);
	assert_int_equal(program_wait(start_worker(run)), GN_WORKER_USAGE);
	assert_int_equal(gn_file_replace(path, "{\"request\":{}}", 14, NULL), 0);
	assert_int_equal(program_wait(start_worker(run)), GN_WORKER_USAGE);
}

/* ---------------------------------------------------------------- the service ----------------- */

// Puts the model or the data set of the fixture into a store.
static void put_into_store(const struct fixture *f, struct gn_store *store, enum gn_kind kind)
{
	static const char *const files[] = {"model.safetensors", "pictures/images.pack", "pictures/index.bin"};
	struct gn_error err = {0};
	struct gn_row row = {.name = "toy", .fields = json_object()};
	char staged[PATH_MAX], path[PATH_MAX + 32], *data;
	size_t size;

	assert_int_equal(gn_store_stage(store, staged, &err), 0);
	for (int i = kind == GN_KIND_MODEL ? 0 : 1; i < (kind == GN_KIND_MODEL ? 1 : 3); i++) {
		load(f->folder, files[i], &data, &size);
		snprintf(path, sizeof path, "%s/%s", staged,
		         strrchr(files[i], '/') ? strrchr(files[i], '/') + 1 : files[i]);
		assert_int_equal(gn_file_replace(path, data, size, &err), 0);
		free(data);
	}
	assert_int_equal(gn_store_add(store, kind, staged, &row, &err), 0);
	gn_row_release(&row);
}

static json_t *get_run(const char *address)
{
	struct reply reply;
	json_t *run;

	client_request(address, "GET", "/v1/runs/watched", "", NULL, 0, &reply);
	assert_int_equal(reply.status, 200);
	run = json_loadb(reply.body, reply.bytes, 0, NULL);
	assert_non_null(run);
	client_release(&reply);
	return run;
}

// Waits until the run is past `step` or has ended; returns its step, or -1 at the end.
static json_int_t wait_past(const char *address, json_int_t step)
{
	for (int i = 0; i < 3000; i++) {
		json_t *run = get_run(address);
		const char *status = json_string_value(json_object_get(run, "status"));
		bool over = strcmp(status, "queued") != 0 && strcmp(status, "running") != 0,
		     failed = !strcmp(status, "failed");
		json_int_t now = json_integer_value(json_object_get(json_object_get(run, "progress"), "step"));
		json_decref(run);
		assert_false(failed);
		if (over)
			return -1;
		if (now > step)
			return now;
		program_pause(10);
	}
	fail_msg("the run does not go on");
	return -1;
}

static void test_killed_service(void **state)
{
	const struct fixture *f = *state;
	static const int signals[] = {SIGKILL, SIGTERM, SIGKILL};
	char data[PATH_MAX], folder[PATH_MAX], address[64], body[600];
	struct gn_store *store;
	struct gn_error err = {0};
	struct reply reply;
	json_int_t step = 0;
	json_t *run;
	pid_t pid;
	int n;

	program_needed();
	snprintf(data, sizeof data, "%s/data", f->folder);
	assert_int_equal(gn_store_open(&store, data, 0, &err), 0);
	put_into_store(f, store, GN_KIND_MODEL);
	put_into_store(f, store, GN_KIND_DATASET);
	gn_store_close(store);

	pid = program_service(data, address);
	n = snprintf(body, sizeof body, "{\"name\":\"watched\",%s", request + 1);
	client_request(address, "POST", "/v1/runs", "Content-Type: application/json\r\n", body, (size_t)n, &reply);
	if (reply.status != 201)
		fail_msg("%s", reply.body);
	client_release(&reply);
	for (size_t i = 0; i < sizeof signals / sizeof signals[0] && step >= 0; i++) {
		step = wait_past(address, step);
		kill(pid, signals[i]);
		assert_int_equal(program_wait(pid), signals[i] == SIGTERM ? 0 : 128 + SIGKILL);
		pid = program_service(data, address);
	}
	while (step >= 0)
		step = wait_past(address, step);
	run = get_run(address);
	assert_string_equal(json_string_value(json_object_get(run, "status")), "succeeded");
	assert_true(json_integer_value(json_object_get(run, "attempts")) >= 2);
	kill(pid, SIGTERM);
	assert_int_equal(program_wait(pid), 0);
	snprintf(folder, sizeof folder, "%s/data/models/%s", f->folder,
	         json_string_value(json_object_get(json_object_get(run, "result"), "model")));
	json_decref(run);
	expect_reference(f, folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_killed_worker), cmocka_unit_test(test_killed_probe),
	    cmocka_unit_test(test_one_worker),    cmocka_unit_test(test_full_disk),
	    cmocka_unit_test(test_bad_folders),   cmocka_unit_test(test_killed_service),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
