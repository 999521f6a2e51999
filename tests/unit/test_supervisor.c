// The supervisor, with a shell script as worker: every way in which a worker can end, the queue,
// and restarts of the service.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/formats/events.h"
#include "server/common/files.h"
#include "tests/support/client.h"
#include "tests/support/runs.h"

static bool job_has(struct runs *f, enum gn_kind kind, const char *id, const char *file)
{
	char folder[PATH_MAX], path[PATH_MAX + 32];
	struct stat st;

	gn_store_folder(f->store, kind, id, folder);
	snprintf(path, sizeof path, "%s/%s", folder, file);
	return stat(path, &st) == 0;
}

static bool run_has(struct runs *f, const char *id, const char *file)
{
	return job_has(f, GN_KIND_RUN, id, file);
}

static void touch(struct runs *f, const char *id, const char *file)
{
	char folder[PATH_MAX], path[PATH_MAX + 32];

	gn_store_folder(f->store, GN_KIND_RUN, id, folder);
	snprintf(path, sizeof path, "%s/%s", folder, file);
	assert_int_equal(gn_file_replace(path, "", 0, NULL), 0);
}

// The statuses that the event file tells, as one line; ids must count up.
struct story {
	char text[256];
	int64_t last;
};

static bool tell(void *user, const struct gn_event_record *record)
{
	struct story *story = user;
	size_t n = strlen(story->text);

	assert_true(record->id > story->last);
	story->last = record->id;
	if (!strcmp(record->kind, "status"))
		snprintf(story->text + n, sizeof story->text - n, "%s ",
		         json_string_value(json_object_get(record->data, "status")));
	return true;
}

static void expect_story(struct runs *f, const char *id, const char *expected)
{
	struct story story = {"", 0};
	char folder[PATH_MAX], path[PATH_MAX + 32];

	gn_store_folder(f->store, GN_KIND_RUN, id, folder);
	snprintf(path, sizeof path, "%s/events.ndjson", folder);
	// the status event follows the status
	for (int i = 0; i < 100 && strcmp(story.text, expected) != 0; i++) {
		story = (struct story){"", 0};
		assert_int_equal(gn_events_read(path, tell, &story, NULL), 0);
		nanosleep(&(struct timespec){0, 10000000}, NULL);
	}
	assert_string_equal(story.text, expected);
}

// The resource after a final status: that text follows the status by a moment.
static json_t *get_final(struct runs *f, const char *id)
{
	json_t *run = runs_get(f, id);

	for (int i = 0; i < 200 && json_is_null(json_object_get(run, "finished_at")); i++) {
		json_decref(run);
		nanosleep(&(struct timespec){0, 10000000}, NULL);
		run = runs_get(f, id);
	}
	return run;
}

static const char *error_type(const json_t *run)
{
	return json_string_value(json_object_get(json_object_get(run, "error"), "type"));
}

static void test_success(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	struct gn_row model;
	char id[GN_ID_SIZE];
	json_t *run;
	const char *made;

	runs_submit(f, "good", "first", 0, id);
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	run = get_final(f, "first");
	assert_string_equal(json_string_value(json_object_get(run, "id")), id);
	assert_string_equal(json_string_value(json_object_get(run, "status")), "succeeded");
	assert_string_equal(json_string_value(json_object_get(run, "name")), "first");
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 1);
	assert_int_equal(json_integer_value(json_object_get(run, "tuned_parameters")), 10);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(run, "progress"), "step")), 2);
	assert_true(json_is_string(json_object_get(run, "started_at")));
	assert_true(json_is_null(json_object_get(run, "error")));
	made = json_string_value(json_object_get(json_object_get(run, "result"), "model"));
	assert_int_equal(gn_store_get(f->store, GN_KIND_MODEL, made, &model, &err), 0);
	assert_string_equal(model.base, f->model);
	assert_string_equal(model.run, id);
	gn_row_release(&model);
	json_decref(run);
	expect_story(f, id, "queued running succeeded ");
	for (int i = 0; i < 100 && run_has(f, id, "checkpoint.bin"); i++)
		nanosleep(&(struct timespec){0, 10000000}, NULL);
	assert_false(run_has(f, id, "checkpoint.bin"));
	assert_false(run_has(f, id, "model.safetensors"));
	assert_true(run_has(f, id, "log.txt"));
}

static void test_reported_failure(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	char id[GN_ID_SIZE];
	uint64_t freed;
	json_t *run;

	runs_submit(f, "fail", "", 0, id);
	runs_wait(f, id, GN_JOB_FAILED);
	run = get_final(f, id);
	assert_string_equal(error_type(run), "invalid");
	assert_true(json_is_null(json_object_get(run, "result")));
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 1);
	json_decref(run);
	assert_int_equal(gn_supervisor_cancel(f->supervisor, GN_KIND_RUN, id, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	err = (struct gn_error){0};
	// fails again
	assert_int_equal(gn_supervisor_resume(f->supervisor, GN_KIND_RUN, id, &err), 0);
	runs_wait(f, id, GN_JOB_FAILED);
	expect_story(f, id, "queued running failed queued running failed ");
	assert_int_equal(gn_supervisor_delete(f->supervisor, GN_KIND_RUN, id, &freed, &err), 0);
	assert_true(freed > 0);
	assert_null(gn_supervisor_get(f->supervisor, GN_KIND_RUN, id));
	assert_false(run_has(f, id, "."));
}

static void test_crash_loop(void **state)
{
	struct runs *f = *state;
	char id[GN_ID_SIZE];
	json_t *run;

	runs_submit(f, "crash", "", 0, id);
	runs_wait(f, id, GN_JOB_FAILED);
	run = get_final(f, id);
	assert_string_equal(error_type(run), "crash_loop");
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 3);
	json_decref(run);
	expect_story(f, id, "queued running queued running queued running failed ");
}

// A worker that dies in mid-line and then succeeds: the torn line is ended, ids continue.
static void test_crash_once(void **state)
{
	struct runs *f = *state;
	char id[GN_ID_SIZE];
	json_t *run;

	runs_submit(f, "once", "", 0, id);
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	run = get_final(f, id);
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 2);
	json_decref(run);
	expect_story(f, id, "queued running queued running succeeded ");
}

// Four deaths, each after a further checkpoint, are no crash loop.
static void test_crash_with_progress(void **state)
{
	struct runs *f = *state;
	char id[GN_ID_SIZE];
	json_t *run;

	runs_submit(f, "forward", "", 0, id);
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	run = get_final(f, id);
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 5);
	json_decref(run);
}

static void test_cancel(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	char running[GN_ID_SIZE], waiting[GN_ID_SIZE], stubborn[GN_ID_SIZE];
	uint64_t freed;

	runs_submit(f, "slow", "", 0, running);
	runs_submit(f, "good", "", 0, waiting);
	runs_wait(f, running, GN_JOB_RUNNING);
	assert_int_equal(gn_supervisor_delete(f->supervisor, GN_KIND_RUN, running, &freed, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	err = (struct gn_error){0};
	assert_int_equal(gn_supervisor_cancel(f->supervisor, GN_KIND_RUN, waiting, &err), 0);
	runs_wait(f, waiting, GN_JOB_CANCELLED);
	assert_int_equal(gn_supervisor_cancel(f->supervisor, GN_KIND_RUN, running, &err), 0);
	runs_wait(f, running, GN_JOB_CANCELLED);
	runs_submit(f, "stubborn", "", 0, stubborn);
	runs_wait(f, stubborn, GN_JOB_RUNNING);
	assert_int_equal(gn_supervisor_cancel(f->supervisor, GN_KIND_RUN, stubborn, &err), 0);
	runs_wait(f, stubborn, GN_JOB_CANCELLED);

	assert_int_equal(gn_supervisor_resume(f->supervisor, GN_KIND_RUN, waiting, &err), 0);
	runs_wait(f, waiting, GN_JOB_SUCCEEDED);
	assert_int_equal(gn_supervisor_resume(f->supervisor, GN_KIND_RUN, waiting, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	err = (struct gn_error){0};
	assert_int_equal(gn_supervisor_cancel(f->supervisor, GN_KIND_RUN, "run_none", &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
}

static int64_t started(struct runs *f, const char *id)
{
	json_t *run = get_final(f, id);
	const char *text = json_string_value(json_object_get(run, "started_at"));
	int64_t value =
	    strtoll(text + 17, NULL, 10) * 1000 + strtoll(text + 20, NULL, 10) + strtoll(text + 14, NULL, 10) * 60000;

	json_decref(run);
	return value;
}

// One worker at a time: the highest priority first, then the oldest.
static void test_queue_order(void **state)
{
	struct runs *f = *state;
	char slow[GN_ID_SIZE], low[GN_ID_SIZE], low2[GN_ID_SIZE], high[GN_ID_SIZE];
	int counts[GN_JOB_STATUS_COUNT];

	runs_submit(f, "slow", "", 0, slow);
	runs_wait(f, slow, GN_JOB_RUNNING);
	runs_submit(f, "good", "", 0, low);
	runs_submit(f, "good", "", 0, low2);
	runs_submit(f, "good", "", 5, high);
	gn_supervisor_counts(f->supervisor, GN_KIND_RUN, counts);
	assert_int_equal(counts[GN_JOB_QUEUED], 3);
	assert_int_equal(counts[GN_JOB_RUNNING], 1);
	touch(f, slow, "go");
	runs_wait(f, low2, GN_JOB_SUCCEEDED);
	assert_true(started(f, high) < started(f, low));
	assert_true(started(f, low) < started(f, low2));
}

// Two workers may run, but not where they need more of the GPU's memory than there is: the second
// waits, and so do all jobs after it. One that is too large for the GPU gets its chance alone.
static void test_gpu_memory(void **state)
{
	struct runs *f = *state;
	char first[GN_ID_SIZE], second[GN_ID_SIZE], small[GN_ID_SIZE], huge[GN_ID_SIZE];
	int counts[GN_JOB_STATUS_COUNT];

	runs_stop(f);
	f->gpu_bytes = 1000;
	runs_start(f);
	f->job_gpu_bytes = 600;
	runs_submit(f, "slow", "", 0, first);
	runs_wait(f, first, GN_JOB_RUNNING);
	runs_submit(f, "good", "", 0, second);
	f->job_gpu_bytes = 100;
	runs_submit(f, "good", "", 0, small);
	f->job_gpu_bytes = 5000;
	runs_submit(f, "good", "", 0, huge);
	usleep(500000);
	gn_supervisor_counts(f->supervisor, GN_KIND_RUN, counts);
	assert_int_equal(counts[GN_JOB_RUNNING], 1);
	assert_int_equal(counts[GN_JOB_QUEUED], 3);
	touch(f, first, "go");
	runs_wait(f, huge, GN_JOB_SUCCEEDED);
	runs_wait(f, second, GN_JOB_SUCCEEDED);
	runs_wait(f, small, GN_JOB_SUCCEEDED);
	assert_true(started(f, second) <= started(f, small));
	assert_true(started(f, small) <= started(f, huge));
}

static void test_clean_stop_and_start(void **state)
{
	struct runs *f = *state;
	char id[GN_ID_SIZE];
	json_t *run;

	runs_submit(f, "slow", "", 0, id);
	runs_wait(f, id, GN_JOB_RUNNING);
	touch(f, id, "marker");
	runs_stop(f);
	runs_start(f);
	runs_wait(f, id, GN_JOB_RUNNING);
	touch(f, id, "go");
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	run = get_final(f, id);
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 2);
	json_decref(run);
	expect_story(f, id, "queued running queued running succeeded ");
}

// The service died: the row says running, no worker lives.
static void test_start_after_a_kill(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	struct gn_job_row row = {.kind = GN_KIND_RUN, .status = GN_JOB_RUNNING, .attempts = 1};
	char id[GN_ID_SIZE];

	gn_supervisor_free(f->supervisor);
	f->supervisor = NULL;
	memcpy(row.base, f->model, GN_ID_SIZE);
	row.needs = json_pack("{s:s,s:s}", "/model", f->model, "/dataset", f->dataset);
	row.request = json_pack("{s:s}", "mode", "good");
	row.members = json_object();
	assert_int_equal(gn_store_add_jobs(f->store, &row, 1, &err), 0);
	memcpy(id, row.id, GN_ID_SIZE);
	gn_job_row_release(&row);
	gn_store_close(f->store);
	runs_start(f);
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	expect_story(f, id, "queued running succeeded ");
}

static void remove_from(struct runs *f, const char *id, const char *file)
{
	char folder[PATH_MAX], path[PATH_MAX + 32];

	gn_store_folder(f->store, GN_KIND_RUN, id, folder);
	snprintf(path, sizeof path, "%s/%s", folder, file);
	assert_int_equal(unlink(path), 0);
}

// What waits in the queue tells it once, whether the service before had come to telling it or not,
// and tells it while it waits.
static void test_queued_through_a_restart(void **state)
{
	struct runs *f = *state;
	char slow[GN_ID_SIZE], told[GN_ID_SIZE], untold[GN_ID_SIZE];

	runs_submit(f, "slow", "", 0, slow);
	runs_wait(f, slow, GN_JOB_RUNNING);
	runs_submit(f, "good", "", 0, told);
	runs_submit(f, "good", "", 0, untold);
	gn_supervisor_free(f->supervisor);
	remove_from(f, untold, "events.ndjson"); // as if killed between the row and its event
	gn_store_close(f->store);
	runs_start(f);
	runs_wait(f, slow, GN_JOB_RUNNING);
	expect_story(f, told, "queued ");
	expect_story(f, untold, "queued ");
	runs_stop(f);
	runs_start(f);
	runs_wait(f, slow, GN_JOB_RUNNING);
	touch(f, slow, "go");
	runs_wait(f, untold, GN_JOB_SUCCEEDED);
	expect_story(f, slow, "queued running queued running queued running succeeded ");
	expect_story(f, told, "queued running succeeded ");
	expect_story(f, untold, "queued running succeeded ");
}

// A service that was killed, and a worker that still writes: nobody else writes into its events
// until it is gone.
static void test_queued_behind_a_worker(void **state)
{
	struct runs *f = *state;
	char slow[GN_ID_SIZE], id[GN_ID_SIZE], folder[PATH_MAX], path[PATH_MAX + 32];
	int lock;

	runs_submit(f, "slow", "", 0, slow);
	runs_wait(f, slow, GN_JOB_RUNNING);
	runs_submit(f, "good", "", 0, id);
	gn_supervisor_free(f->supervisor);
	remove_from(f, id, "events.ndjson");
	gn_store_folder(f->store, GN_KIND_RUN, id, folder);
	snprintf(path, sizeof path, "%s/lock", folder);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	gn_store_close(f->store);
	runs_start(f);
	runs_wait(f, slow, GN_JOB_RUNNING);
	usleep(300000);
	assert_false(run_has(f, id, "events.ndjson"));
	close(lock);
	expect_story(f, id, "queued ");
	touch(f, slow, "go");
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	expect_story(f, id, "queued running succeeded ");
}

// The service died after the worker's success and before the model was registered: nothing is
// trained again.
static void test_left_result(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	char slow[GN_ID_SIZE], id[GN_ID_SIZE], folder[PATH_MAX], path[PATH_MAX + 32];
	json_t *run;

	runs_submit(f, "slow", "", 0, slow);
	runs_wait(f, slow, GN_JOB_RUNNING);
	runs_submit(f, "crash", "", 0, id);
	gn_store_folder(f->store, GN_KIND_RUN, id, folder);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	assert_int_equal(gn_file_replace(path, "w", 1, &err), 0);
	snprintf(path, sizeof path, "%s/result.json", folder);
	assert_int_equal(gn_file_replace(path, "{\"result\":{}}", 13, &err), 0);
	touch(f, slow, "go");
	runs_wait(f, id, GN_JOB_SUCCEEDED);
	run = get_final(f, id);
	assert_int_equal(json_integer_value(json_object_get(run, "attempts")), 0);
	json_decref(run);
}

static void test_list(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	char ids[4][GN_ID_SIZE];
	struct gn_text *text;
	json_t *page;

	for (int i = 0; i < 4; i++)
		runs_submit(f, "good", "", 0, ids[i]);
	runs_wait(f, ids[3], GN_JOB_SUCCEEDED);
	text = gn_supervisor_list(f->supervisor, GN_KIND_RUN, -1, 3, NULL, &err);
	page = json_loadb(text->data, text->bytes, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(page, "items")), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(page, "items"), 0), "id")),
	                    ids[3]);
	assert_string_equal(json_string_value(json_object_get(page, "next")), ids[1]);
	json_decref(page);
	gn_text_unref(text);
	text = gn_supervisor_list(f->supervisor, GN_KIND_RUN, GN_JOB_SUCCEEDED, 3, ids[1], &err);
	page = json_loadb(text->data, text->bytes, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(page, "items")), 1);
	assert_true(json_is_null(json_object_get(page, "next")));
	json_decref(page);
	gn_text_unref(text);
	text = gn_supervisor_list(f->supervisor, GN_KIND_RUN, GN_JOB_FAILED, 3, NULL, &err);
	assert_string_equal(text->data, "{\"items\":[],\"next\":null}");
	gn_text_unref(text);
	assert_null(gn_supervisor_list(f->supervisor, GN_KIND_RUN, -1, 3, "run_none", &err));
	assert_string_equal(err.where, "/after");
}

static void test_names_and_missing_parts(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	json_t *needs = json_pack("{s:s,s:s}", "/model", f->model, "/dataset", "dst_none"), *empty = json_object();
	struct gn_job_new run = {GN_KIND_RUN, "n", 0, f->model, needs, empty, empty};
	char id[GN_ID_SIZE];

	assert_int_equal(gn_supervisor_submit(f->supervisor, &run, 1, &id, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	assert_string_equal(err.where, "/dataset");
	err = (struct gn_error){0};
	runs_submit(f, "good", "n", 0, id);
	json_object_set_new(needs, "/dataset", json_string(f->dataset));
	assert_int_equal(gn_supervisor_submit(f->supervisor, &run, 1, &id, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_string_equal(err.where, "/name");
	json_decref(needs);
	json_decref(empty);
}

// A soup leaves a model, an evaluation only its report; what the worker records is in the resource,
// and stays.
static void test_kinds(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	char soup[GN_ID_SIZE], evaluation[GN_ID_SIZE], run[GN_ID_SIZE];
	struct gn_row model;
	json_t *job;

	runs_submit_kind(f, GN_KIND_SOUP, "mix", "same", 0, soup);
	runs_submit_kind(f, GN_KIND_EVALUATION, "measure", "same", 0, evaluation);
	runs_submit(f, "good", "same", 0, run);
	runs_wait(f, soup, GN_JOB_SUCCEEDED);
	runs_wait(f, evaluation, GN_JOB_SUCCEEDED);
	runs_wait(f, run, GN_JOB_SUCCEEDED);
	job = get_final(f, evaluation);
	assert_string_equal(json_string_value(json_object_get(json_object_get(job, "result"), "by")), "evaluate");
	assert_null(json_object_get(json_object_get(job, "result"), "model"));
	json_decref(job);
	assert_true(job_has(f, GN_KIND_EVALUATION, evaluation, "report.json"));
	runs_stop(f);
	runs_start(f);

	job = get_final(f, soup);
	assert_string_equal(json_string_value(json_object_get(json_object_get(job, "result"), "by")), "soup");
	assert_int_equal(json_array_size(json_object_get(job, "ingredients")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(job, "progress"), "done")), 2);
	assert_int_equal(gn_store_get(f->store, GN_KIND_MODEL,
	                              json_string_value(json_object_get(json_object_get(job, "result"), "model")),
	                              &model, &err),
	                 0);
	assert_string_equal(model.soup, soup);
	assert_string_equal(model.run, "");
	assert_string_equal(model.base, f->model);
	gn_row_release(&model);
	json_decref(job);
	assert_false(job_has(f, GN_KIND_SOUP, soup, "soup.bin"));
	assert_null(gn_supervisor_get(f->supervisor, GN_KIND_RUN, soup));
	assert_int_equal(gn_supervisor_cancel(f->supervisor, GN_KIND_EVALUATION, soup, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
}

// One queue for all kinds: an evaluation with priority goes before a run that came earlier.
static void test_one_queue(void **state)
{
	struct runs *f = *state;
	char slow[GN_ID_SIZE], run[GN_ID_SIZE], soup[GN_ID_SIZE], evaluation[GN_ID_SIZE];
	int counts[GN_JOB_STATUS_COUNT];

	runs_submit(f, "slow", "", 0, slow);
	runs_wait(f, slow, GN_JOB_RUNNING);
	runs_submit(f, "good", "", 0, run);
	runs_submit_kind(f, GN_KIND_SOUP, "mix", "", 0, soup);
	runs_submit_kind(f, GN_KIND_EVALUATION, "measure", "", 5, evaluation);
	gn_supervisor_counts(f->supervisor, GN_KIND_SOUP, counts);
	assert_int_equal(counts[GN_JOB_QUEUED], 1);
	touch(f, slow, "go");
	runs_wait(f, soup, GN_JOB_SUCCEEDED);
	assert_true(started(f, evaluation) < started(f, run));
	assert_true(started(f, run) < started(f, soup));
}

// Jobs that are submitted together come together or not at all.
static void test_all_or_none(void **state)
{
	struct runs *f = *state;
	struct gn_error err = {0};
	json_t *needs = json_pack("{s:s}", "/model", f->model), *empty = json_object(),
	       *request = json_pack("{s:s}", "mode", "measure");
	struct gn_job_new jobs[2] = {{GN_KIND_EVALUATION, "one", 0, NULL, needs, request, empty},
	                             {GN_KIND_EVALUATION, "one", 0, NULL, needs, request, empty}};
	char ids[2][GN_ID_SIZE];

	assert_int_equal(gn_supervisor_submit(f->supervisor, jobs, 2, ids, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_null(gn_supervisor_get(f->supervisor, GN_KIND_EVALUATION, "one"));
	err = (struct gn_error){0};
	jobs[1].name = "two";
	assert_int_equal(gn_supervisor_submit(f->supervisor, jobs, 2, ids, &err), 0);
	runs_wait(f, ids[0], GN_JOB_SUCCEEDED);
	runs_wait(f, ids[1], GN_JOB_SUCCEEDED);
	json_decref(needs);
	json_decref(empty);
	json_decref(request);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, runs_setup, runs_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_success),
	    CASE(test_reported_failure),
	    CASE(test_crash_loop),
	    CASE(test_crash_once),
	    CASE(test_crash_with_progress),
	    CASE(test_cancel),
	    CASE(test_queue_order),
	    CASE(test_gpu_memory),
	    CASE(test_clean_stop_and_start),
	    CASE(test_start_after_a_kill),
	    CASE(test_queued_through_a_restart),
	    CASE(test_queued_behind_a_worker),
	    CASE(test_left_result),
	    CASE(test_list),
	    CASE(test_names_and_missing_parts),
	    CASE(test_kinds),
	    CASE(test_one_queue),
	    CASE(test_all_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
