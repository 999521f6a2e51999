// What the service and its workers write: the n-th write, fsync or rename fails, for n = 1, 2, 3,
// ... until the call succeeds. Each failure is reported with its kind, leaves the old file as it
// was, and of what is added to the store neither row nor folder.
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"
#include "server/common/files.h"
#include "server/formats/job_folder.h"
#include "server/formats/verdicts.h"
#include "server/http/handler.h"
#include "server/store/store.h"
#include "tests/support/client.h"

/* ---------------------------------------------------------------- the faults ------------------ */

static struct gn_sys_calls real;
static int left; // calls until the one that fails; 0: it has

static int fails_now(int code)
{
	if (left == 0 || --left > 0)
		return 0;
	errno = code;
	return 1;
}

static ssize_t failing_write(int fd, const void *bytes, size_t size)
{
	return fails_now(ENOSPC) ? -1 : write(fd, bytes, size);
}

static int failing_fsync(int fd)
{
	return fails_now(EIO) ? -1 : fsync(fd);
}

static int failing_rename(const char *from, const char *to)
{
	return fails_now(EDQUOT) ? -1 : rename(from, to);
}

static void set_faults(int kind, int n)
{
	left = n;
	gn_sys = real;
	if (kind == 0)
		gn_sys.write = failing_write;
	else if (kind == 1)
		gn_sys.fsync = failing_fsync;
	else
		gn_sys.rename = failing_rename;
}

static const enum gn_code codes[] = {GN_NO_SPACE, GN_IO, GN_NO_SPACE};

/* ---------------------------------------------------------------- files ----------------------- */

static int write_order(const char *path, struct gn_error *err)
{
	json_t *object = json_object(), *models = json_array();
	const struct gn_job_order order = {
	    .job = "run_1", .request = object, .members = object, .models = models, .device = "cpu"};
	int result = gn_job_order_write(path, &order, err);

	json_decref(object);
	json_decref(models);
	return result;
}

static int write_result(const char *path, struct gn_error *err)
{
	struct gn_job_result result = {.result = json_pack("{s:i}", "kept", 2)};
	int failed = gn_job_result_write(path, &result, err);

	gn_job_result_release(&result);
	return failed;
}

static int write_verdicts(const char *path, struct gn_error *err)
{
	struct gn_evaluated_image image = {.sample = 1, .label = 2, .predicted = 2, .confidence = 0.5};
	const struct gn_evaluation_report report = {.images = 1, .results = &image};

	return gn_verdicts_write(path, &report, err);
}

static ssize_t read_three(void *user, void *buffer, size_t size)
{
	int *pieces = user;

	(void)size;
	memcpy(buffer, "abc", 3);
	return (*pieces)-- > 0 ? 3 : 0;
}

static int save_source(const char *path, struct gn_error *err)
{
	int pieces = 3;

	return gn_source_save(read_three, &pieces, path, err);
}

static int entries(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static void test_files(void **state)
{
	static int (*const calls[])(const char *path, struct gn_error *err) = {write_order, write_result,
	                                                                       write_verdicts, save_source};
	// file and folder are synced; only the upload comes in pieces
	static const int most[][3] = {{1, 2, 1}, {1, 2, 1}, {1, 2, 1}, {3, 2, 1}};
	char folder[128], path[160], *text;
	size_t size;

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/file", folder);
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		for (int kind = 0; kind < 3; kind++) {
			int n = 0, failed;
			do {
				struct gn_error err = {0};
				bool renamed = kind == 1 && n == 1; // the folder's fsync: the new file is there
				gn_sys = real;
				assert_int_equal(gn_file_replace(path, "old", 3, NULL), 0);
				set_faults(kind, ++n);
				failed = calls[i](path, &err);
				gn_sys = real;
				assert_int_equal(entries(folder), 1);
				if (!failed)
					break;
				assert_int_equal(err.code, codes[kind]);
				if (renamed)
					continue;
				assert_int_equal(gn_file_load(path, 100, &text, &size, NULL), 0);
				assert_string_equal(text, "old");
				free(text);
			} while (n < 20);
			assert_int_equal(n, most[i][kind] + 1);
		}
	temporary_remove(folder);
}

/* ---------------------------------------------------------------- the store ------------------- */

struct store {
	char folder[128], models[160];
	struct gn_store *store;
	char base[GN_ID_SIZE];
	struct gn_job_row run;
};

// Stages a model's folder with one file.
static void stage(struct store *s, char staged[PATH_MAX])
{
	char path[PATH_MAX + 32];

	assert_int_equal(gn_store_stage(s->store, staged, NULL), 0);
	snprintf(path, sizeof path, "%s/model.safetensors", staged);
	assert_int_equal(gn_file_replace(path, "x", 1, NULL), 0);
}

static int add_model(struct store *s, const char *staged, struct gn_row *model, struct gn_error *err)
{
	return gn_store_add(s->store, GN_KIND_MODEL, staged, model, err);
}

static int finish_run(struct store *s, const char *staged, struct gn_row *model, struct gn_error *err)
{
	memcpy(model->base, s->base, sizeof model->base);
	memcpy(model->run, s->run.id, sizeof model->run);
	return gn_store_finish_job(s->store, &s->run, staged, model, err);
}

static void setup_store(struct store *s)
{
	struct gn_row base = {.fields = json_object()};
	char staged[PATH_MAX];

	temporary_folder(s->folder, sizeof s->folder);
	snprintf(s->models, sizeof s->models, "%s/models", s->folder);
	assert_int_equal(gn_store_open(&s->store, s->folder, 0, NULL), 0);
	stage(s, staged);
	assert_int_equal(gn_store_add(s->store, GN_KIND_MODEL, staged, &base, NULL), 0);
	memcpy(s->base, base.id, sizeof s->base);
	json_decref(base.fields);
	s->run = (struct gn_job_row){.kind = GN_KIND_RUN,
	                             .needs = json_object(),
	                             .request = json_object(),
	                             .members = json_object(),
	                             .result = json_object()};
	memcpy(s->run.base, s->base, sizeof s->base);
	assert_int_equal(gn_store_add_jobs(s->store, &s->run, 1, NULL), 0);
	s->run.status = GN_JOB_SUCCEEDED;
}

// Every failure leaves no folder beside the base's, and no row: the same staged folder can be made
// and added again.
static void test_store(void **state)
{
	static int (*const adds[])(struct store * s, const char *staged, struct gn_row *model,
	                           struct gn_error *err) = {add_model, finish_run};
	struct store s = {.store = NULL};
	int models = 1;

	(void)state;
	setup_store(&s);
	for (size_t i = 0; i < sizeof adds / sizeof adds[0]; i++)
		for (int kind = 1; kind < 3; kind++) {
			int n = 0, failed;
			do {
				struct gn_row model = {.name = "tuned", .fields = json_object()}, got;
				struct gn_error err = {0};
				char staged[PATH_MAX];
				gn_sys = real;
				stage(&s, staged);
				set_faults(kind, ++n);
				failed = adds[i](&s, staged, &model, &err);
				gn_sys = real;
				gn_store_unstage(s.store, staged);
				assert_int_equal(gn_store_get(s.store, GN_KIND_MODEL, "tuned", &got, NULL) != 0,
				                 failed != 0);
				assert_int_equal(entries(s.models), models + !failed);
				if (failed)
					assert_int_equal(err.code, codes[kind]);
				else
					assert_int_equal(gn_store_rename(s.store, GN_KIND_MODEL, model.id, "", &err),
					                 0);
				if (!failed)
					gn_row_release(&got);
				gn_row_release(&model);
			} while (failed && n < 20);
			models++;
			assert_int_equal(n, kind == 1 ? 5
			                              : 2); // file and folder that are staged, both parents; one rename
		}
	gn_job_row_release(&s.run);
	gn_store_close(s.store);
	temporary_remove(s.folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_store)};

	real = gn_sys;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
