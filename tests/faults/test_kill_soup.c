// The worker of a greedy soup is killed after nearly every step: the final soup has the same bits
// as without the kills. Uses the built program (GONIO in the environment).
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "server/formats/events.h"
#include "server/common/files.h"
#include "server/worker/worker.h"
#include "tests/support/ingredients.h"
#include "tests/support/program.h"

enum { MODELS = 8 };

// DIR/job.json of a soup of the models MADE, MADE + 1, ... of the toy's folder.
static void make_job(char folder[600], int made)
{
	json_t *chains = json_array(), *ids = json_array(), *job;
	char path[700];

	soup_folder(folder);
	for (int i = 0; i < MODELS; i++) {
		json_array_append_new(ids, json_sprintf("mdl_%d", i));
		json_array_append_new(chains,
		                      json_pack("[o,s]", json_sprintf("../model-%d", made + i), "../base.safetensors"));
	}
	job = json_pack("{s:s,s:{s:s,s:o,s:n},s:{},s:o,s:s,s:s,s:i,s:i,s:i}", "job", "sop_x", "request", "method",
	                "greedy", "models", ids, "weights", "members", "models", chains, "dataset", "../set", "device",
	                "cpu", "threads", 1, "max_pixels", 1 << 20, "attempt", 1);
	assert_non_null(job);
	snprintf(path, sizeof path, "%s/job.json", folder);
	assert_int_equal(json_dump_file(job, path, 0), 0);
	json_decref(job);
}

static off_t file_size(const char *folder, const char *file)
{
	char path[700];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	return stat(path, &st) ? 0 : st.st_size;
}

// Waits until the worker has measured something new, which it then keeps in another soup.bin, and
// kills it. Returns how it ended.
static int kill_after_a_step(const char *folder, int signal_number)
{
	char path[700];
	struct stat before = {0}, now = {0};
	pid_t pid;
	int status;

	snprintf(path, sizeof path, "%s/soup.bin", folder);
	(void)stat(path, &before);
	pid = program_worker("soup", folder);
	for (int i = 0; i < 60000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (stat(path, &now) == 0 && now.st_ino != before.st_ino)
			break;
		program_pause(1);
	}
	kill(pid, signal_number);
	return program_wait(pid);
}

static bool take_record(void *user, const struct gn_event_record *record)
{
	json_t **ingredients = user;

	if (!strcmp(record->kind, "record")) {
		json_decref(*ingredients);
		*ingredients = json_incref(json_object_get(record->data, "ingredients"));
	}
	return true;
}

// What the worker recorded last. New reference.
static json_t *ingredients_of(const char *folder)
{
	json_t *ingredients = NULL;
	char path[700];

	snprintf(path, sizeof path, "%s/events.ndjson", folder);
	assert_int_equal(gn_events_read(path, take_record, &ingredients, NULL), 0);
	assert_int_equal(json_array_size(ingredients), MODELS);
	return ingredients;
}

static void expect_same_file(const char *one, const char *other, const char *file)
{
	char path[700], *a, *b;
	size_t a_size, b_size;

	snprintf(path, sizeof path, "%s/%s", one, file);
	assert_int_equal(gn_file_load(path, 64 << 20, &a, &a_size, NULL), 0);
	snprintf(path, sizeof path, "%s/%s", other, file);
	assert_int_equal(gn_file_load(path, 64 << 20, &b, &b_size, NULL), 0);
	assert_int_equal(a_size, b_size);
	assert_memory_equal(a, b, a_size);
	free(a);
	free(b);
}

static void test_killed_soup(void **state)
{
	int made = soup_toy.made, status = -1, deaths = 0, stops = 0;
	struct soup_set set = soup_models(MODELS, 5);
	char reference[600], killed[600];
	json_t *one, *other;

	(void)state;
	program_needed();
	make_job(reference, made);
	assert_int_equal(program_wait(program_worker("soup", reference)), GN_WORKER_DONE);
	make_job(killed, made);
	for (int i = 0; i < 200 && status != GN_WORKER_DONE; i++) {
		status = kill_after_a_step(killed, i % 3 == 2 ? SIGTERM : SIGKILL);
		deaths += status == 128 + SIGKILL;
		stops += status == GN_WORKER_STOPPED;
		assert_true(status == GN_WORKER_DONE || status == 128 + SIGKILL || status == GN_WORKER_STOPPED);
	}
	assert_int_equal(status, GN_WORKER_DONE);
	assert_true(deaths >= 2);
	print_message("%d deaths, %d stops\n", deaths, stops);
	expect_same_file(reference, killed, "model.safetensors");
	one = ingredients_of(reference);
	other = ingredients_of(killed);
	assert_true(json_equal(one, other));
	json_decref(one);
	json_decref(other);
	soup_close_set(&set);
}

// A job that does not say what to mix, and one whose weights do not fit.
static void test_bad_jobs(void **state)
{
	static const char *const requests[] = {"{\"request\":{},\"models\":[[\"../base.safetensors\"]]}",
	                                       "{\"request\":{\"method\":\"stirred\",\"models\":[\"a\"]},"
	                                       "\"models\":[[\"../base.safetensors\"]]}",
	                                       "{\"request\":{\"method\":\"weighted\",\"models\":[\"a\"],"
	                                       "\"weights\":[1,2]},\"models\":[[\"../base.safetensors\"]]}",
	                                       "{\"request\":{},\"models\":[[]]}", "{\"request\":{},\"models\":[7]}"};
	char folder[600], path[700];

	(void)state;
	program_needed();
	for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
		soup_folder(folder);
		snprintf(path, sizeof path, "%s/job.json", folder);
		assert_int_equal(gn_file_replace(path, requests[i], strlen(requests[i]), NULL), 0);
		assert_int_equal(program_wait(program_worker("soup", folder)), GN_WORKER_USAGE);
		assert_int_equal(program_wait(program_worker("evaluate", folder)), GN_WORKER_USAGE);
	}
	// a base model is no ingredient: a failure that is told
	static const char base[] = "{\"request\":{\"method\":\"uniform\",\"models\":[\"a\"]},\"device\":\"cpu\","
	                           "\"models\":[[\"../base.safetensors\"]]}";
	soup_folder(folder);
	snprintf(path, sizeof path, "%s/job.json", folder);
	assert_int_equal(gn_file_replace(path, base, strlen(base), NULL), 0);
	assert_int_equal(program_wait(program_worker("soup", folder)), GN_WORKER_FAILED);
	assert_true(file_size(folder, "result.json") > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed_soup), cmocka_unit_test(test_bad_jobs)};

	return cmocka_run_group_tests(tests, soup_set_up, soup_tear_down);
}
