// The store: rows and folders stay consistent, names are unique, needed rows cannot be deleted, and
// a start cleans up.
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/common/files.h"
#include "server/store/db.h"
#include "server/store/store.h"
#include "tests/support/client.h"

struct fixture {
	char folder[64];
	struct gn_store *store;
};

static void reopen(struct fixture *f)
{
	struct gn_error err = {0};

	gn_store_close(f->store);
	f->store = NULL;
	assert_int_equal(gn_store_open(&f->store, f->folder, 0, &err), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	temporary_folder(f->folder, sizeof f->folder);
	reopen(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gn_store_close(f->store);
	temporary_remove(f->folder);
	free(f);
	return 0;
}

static bool exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

// Stages a folder with one file of `size` bytes and adds it. Returns the result of the add.
static int add(struct fixture *f, enum gn_kind kind, const char *name, const char *base, size_t size,
               struct gn_row *row, struct gn_error *err)
{
	char staged[PATH_MAX], path[PATH_MAX + 8], *bytes = calloc(1, size + 1);
	int result;

	memset(row, 0, sizeof *row);
	snprintf(row->name, sizeof row->name, "%s", name);
	snprintf(row->base, sizeof row->base, "%s", base);
	row->fields = json_pack("{s:i}", "answer", 42);
	assert_int_equal(gn_store_stage(f->store, staged, err), 0);
	snprintf(path, sizeof path, "%s/file", staged);
	assert_int_equal(gn_file_replace(path, bytes, size, err), 0);
	free(bytes);
	result = gn_store_add(f->store, kind, staged, row, err);
	gn_store_unstage(f->store, staged);
	assert_false(exists(staged));
	json_decref(row->fields);
	row->fields = NULL;
	return result;
}

static void test_add_get(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row row, got;
	char folder[PATH_MAX];

	assert_int_equal(add(f, GN_KIND_DATASET, "photos", "", 1000, &row, &err), 0);
	assert_memory_equal(row.id, "dst_", 4);
	assert_int_equal(strlen(row.id), 20);
	assert_true(row.created_at > 0);
	assert_int_equal(row.bytes, 1000);
	gn_store_folder(f->store, GN_KIND_DATASET, row.id, folder);
	assert_true(exists(folder));
	for (int by_name = 0; by_name < 2; by_name++) {
		assert_int_equal(gn_store_get(f->store, GN_KIND_DATASET, by_name ? "photos" : row.id, &got, &err), 0);
		assert_string_equal(got.id, row.id);
		assert_string_equal(got.name, "photos");
		assert_int_equal(json_integer_value(json_object_get(got.fields, "answer")), 42);
		gn_row_release(&got);
	}
	reopen(f);
	assert_int_equal(gn_store_get(f->store, GN_KIND_DATASET, "photos", &got, &err), 0);
	gn_row_release(&got);
	assert_int_equal(gn_store_get(f->store, GN_KIND_MODEL, "photos", &got, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
}

static void test_names(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row first, second, third;

	assert_int_equal(add(f, GN_KIND_MODEL, "a", "", 1, &first, &err), 0);
	assert_int_equal(add(f, GN_KIND_DATASET, "a", "", 1, &second, &err), 0); // another kind
	assert_int_equal(add(f, GN_KIND_MODEL, "a", "", 1, &second, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_string_equal(err.where, "/name");
	err = (struct gn_error){0};
	// without a name, any number
	assert_int_equal(add(f, GN_KIND_MODEL, "", "", 1, &second, &err), 0);
	assert_int_equal(add(f, GN_KIND_MODEL, "", "", 1, &third, &err), 0);
	assert_int_equal(gn_store_rename(f->store, GN_KIND_MODEL, second.id, "a", &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	err = (struct gn_error){0};
	assert_int_equal(gn_store_rename(f->store, GN_KIND_MODEL, first.id, "b", &err), 0);
	assert_int_equal(gn_store_rename(f->store, GN_KIND_MODEL, second.id, "a", &err), 0);
	assert_int_equal(gn_store_rename(f->store, GN_KIND_MODEL, "mdl_none", "z", &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
}

struct ids {
	char text[512];
};

static void note_name(void *user, const struct gn_row *row)
{
	struct ids *ids = user;
	size_t n = strlen(ids->text);

	snprintf(ids->text + n, sizeof ids->text - n, "%s ", row->name);
}

static void test_list(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e"};
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row rows[5];
	struct ids ids = {""};
	bool more;

	for (int i = 0; i < 5; i++)
		assert_int_equal(add(f, GN_KIND_DATASET, names[i], "", 1, &rows[i], &err), 0);
	assert_int_equal(gn_store_list(f->store, GN_KIND_DATASET, 2, NULL, note_name, &ids, &more, &err), 0);
	assert_string_equal(ids.text, "e d ");
	assert_true(more);
	ids.text[0] = '\0';
	assert_int_equal(gn_store_list(f->store, GN_KIND_DATASET, 2, rows[3].id, note_name, &ids, &more, &err), 0);
	assert_string_equal(ids.text, "c b ");
	assert_true(more);
	ids.text[0] = '\0';
	assert_int_equal(gn_store_list(f->store, GN_KIND_DATASET, 2, rows[1].id, note_name, &ids, &more, &err), 0);
	assert_string_equal(ids.text, "a ");
	assert_false(more);
	assert_int_equal(gn_store_list(f->store, GN_KIND_DATASET, 2, "dst_gone", note_name, &ids, &more, &err), -1);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, "/after");
}

static struct gn_job_row run_row(const char *model, const char *dataset)
{
	struct gn_job_row row = {
	    .kind = GN_KIND_RUN, .status = GN_JOB_QUEUED, .request = json_object(), .members = json_object()};

	snprintf(row.base, sizeof row.base, "%s", model);
	row.needs = json_pack("{s:s,s:s}", "/model", model, "/dataset", dataset);
	return row;
}

static void expect_conflict(struct fixture *f, enum gn_kind kind, const char *id)
{
	struct gn_error err = {0};
	uint64_t freed;

	assert_int_equal(gn_store_delete(f->store, kind, id, &freed, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
}

static void test_delete_and_needs(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row base, tuned, dataset;
	struct gn_job_row run;
	char folder[PATH_MAX];
	uint64_t freed = 0;

	assert_int_equal(add(f, GN_KIND_MODEL, "base", "", 5000, &base, &err), 0);
	assert_int_equal(add(f, GN_KIND_MODEL, "tuned", base.id, 10, &tuned, &err), 0);
	assert_int_equal(add(f, GN_KIND_DATASET, "d", "", 10, &dataset, &err), 0);
	run = run_row(tuned.id, dataset.id);
	assert_int_equal(gn_store_add_jobs(f->store, &run, 1, &err), 0);

	expect_conflict(f, GN_KIND_MODEL, base.id);  // the tuned model needs it
	expect_conflict(f, GN_KIND_MODEL, tuned.id); // the run does
	expect_conflict(f, GN_KIND_DATASET, dataset.id);
	run.status = GN_JOB_FAILED;
	assert_int_equal(gn_store_update_job(f->store, &run, &err), 0);
	assert_int_equal(gn_store_delete(f->store, GN_KIND_DATASET, "d", &freed, &err), 0);
	assert_int_equal(freed, 10);

	// the run may not be resumed now
	run.status = GN_JOB_QUEUED;
	assert_int_equal(gn_store_requeue_job(f->store, &run, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	err = (struct gn_error){0};

	assert_int_equal(gn_store_delete(f->store, GN_KIND_MODEL, tuned.id, &freed, &err), 0);
	assert_int_equal(gn_store_delete(f->store, GN_KIND_MODEL, base.id, &freed, &err), 0);
	assert_int_equal(freed, 5000);
	gn_store_folder(f->store, GN_KIND_MODEL, base.id, folder);
	assert_false(exists(folder));
	assert_int_equal(add(f, GN_KIND_MODEL, "orphan", base.id, 10, &tuned, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	gn_job_row_release(&run);
}

static void test_run_needs_model_and_dataset(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row model;
	struct gn_job_row run;

	assert_int_equal(add(f, GN_KIND_MODEL, "m", "", 1, &model, &err), 0);
	run = run_row(model.id, "dst_none");
	assert_int_equal(gn_store_add_jobs(f->store, &run, 1, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	assert_string_equal(err.where, "/dataset");
	gn_job_row_release(&run);
}

static void count_run(void *user, struct gn_job_row *row)
{
	struct gn_job_row *last = user;

	gn_job_row_release(last);
	*last = *row;
}

static void test_run_rows(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row model, dataset, made = {0};
	struct gn_job_row run, got = {0};
	char staged[PATH_MAX], path[PATH_MAX + 32];

	assert_int_equal(add(f, GN_KIND_MODEL, "m", "", 1, &model, &err), 0);
	assert_int_equal(add(f, GN_KIND_DATASET, "d", "", 1, &dataset, &err), 0);
	run = run_row(model.id, dataset.id);
	run.priority = 3;
	assert_int_equal(gn_store_add_jobs(f->store, &run, 1, &err), 0);
	run.status = GN_JOB_SUCCEEDED;
	run.started_at = 5;
	run.attempts = 2;
	run.result = json_pack("{s:f}", "val_accuracy", 0.5);

	assert_int_equal(gn_store_stage(f->store, staged, &err), 0);
	snprintf(path, sizeof path, "%s/model.safetensors", staged);
	assert_int_equal(gn_file_replace(path, "x", 1, &err), 0);
	memcpy(made.base, model.id, sizeof made.base);
	memcpy(made.run, run.id, sizeof made.run);
	made.fields = json_object();
	assert_int_equal(gn_store_finish_job(f->store, &run, staged, &made, &err), 0);
	gn_row_release(&made);

	reopen(f);
	assert_int_equal(gn_store_each_job(f->store, count_run, &got, &err), 0);
	assert_string_equal(got.id, run.id);
	assert_int_equal(got.status, GN_JOB_SUCCEEDED);
	assert_int_equal(got.started_at, 5);
	assert_int_equal(got.attempts, 2);
	assert_int_equal(got.priority, 3);
	assert_string_equal(json_string_value(json_object_get(got.result, "model")), made.id);
	assert_int_equal(gn_store_get(f->store, GN_KIND_MODEL, made.id, &made, &err), 0);
	assert_string_equal(made.base, model.id);
	assert_string_equal(made.run, run.id);
	gn_row_release(&made);
	gn_job_row_release(&got);
	gn_job_row_release(&run);
}

// Jobs of several kinds in one transaction; a job may need another; the two kinds share a name.
static void test_job_kinds(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row model, dataset;
	struct gn_job_row rows[2] = {{0}};
	char folder[PATH_MAX];
	uint64_t freed;

	assert_int_equal(add(f, GN_KIND_MODEL, "m", "", 1, &model, &err), 0);
	assert_int_equal(add(f, GN_KIND_DATASET, "d", "", 1, &dataset, &err), 0);
	rows[0] = run_row(model.id, dataset.id);
	rows[1] = run_row(model.id, "dst_none");
	snprintf(rows[0].name, sizeof rows[0].name, "same");
	snprintf(rows[1].name, sizeof rows[1].name, "same");
	rows[1].kind = GN_KIND_SOUP;
	rows[0].status = GN_JOB_FAILED;
	assert_int_equal(gn_store_add_jobs(f->store, rows, 2, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	gn_store_folder(f->store, GN_KIND_RUN, rows[0].id, folder);
	assert_false(exists(folder));
	err = (struct gn_error){0};
	json_object_set_new(rows[1].needs, "/dataset", json_string(dataset.id));
	assert_int_equal(gn_store_add_jobs(f->store, rows, 2, &err), 0);
	assert_memory_equal(rows[1].id, "sop_", 4);
	assert_string_equal(gn_job_need(&rows[1], "/dataset"), dataset.id);
	assert_string_equal(gn_job_need(&rows[1], "/none"), "");

	// a job may need another, which may not go then
	gn_job_row_release(&rows[1]);
	rows[1] = run_row(model.id, dataset.id);
	json_object_set_new(rows[1].needs, "/strategy/from", json_string(rows[0].id));
	assert_int_equal(gn_store_add_jobs(f->store, &rows[1], 1, &err), 0);
	assert_int_equal(gn_store_delete_job(f->store, GN_KIND_RUN, rows[0].id, &freed, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_non_null(strstr(err.text, rows[1].id));
	err = (struct gn_error){0};
	rows[1].status = GN_JOB_CANCELLED;
	assert_int_equal(gn_store_update_job(f->store, &rows[1], &err), 0);
	assert_int_equal(gn_store_delete_job(f->store, GN_KIND_RUN, rows[0].id, &freed, &err), 0);
	gn_job_row_release(&rows[0]);
	gn_job_row_release(&rows[1]);
}

// A data directory of the first schema: its runs are there afterwards, with what they need.
static void test_first_schema(void **state)
{
	struct fixture *f = *state;
	static const char rows[] =
	    "INSERT INTO runs(id,name,created_at,status,priority,model,dataset,request,plan) VALUES"
	    "('run_a','old',7,'queued',2,'mdl_a','dst_a','{\"epochs\":3}','{\"tuned_parameters\":5}');"
	    "PRAGMA user_version=1";
	char path[PATH_MAX];
	struct gn_job_row got = {0};
	struct gn_error err = {0};
	sqlite3 *db;

	gn_store_close(f->store);
	f->store = NULL;
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/gonio.db%s", f->folder, i == 0 ? "" : i == 1 ? "-wal" : "-shm");
		unlink(path);
	}
	snprintf(path, sizeof path, "%s/gonio.db", f->folder);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, gn_migrations[0], NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(gn_store_open(&f->store, f->folder, 0, &err), 0);
	assert_int_equal(gn_store_each_job(f->store, count_run, &got, &err), 0);
	assert_int_equal(got.kind, GN_KIND_RUN);
	assert_string_equal(got.id, "run_a");
	assert_string_equal(got.name, "old");
	assert_string_equal(got.base, "mdl_a");
	assert_string_equal(gn_job_need(&got, "/model"), "mdl_a");
	assert_string_equal(gn_job_need(&got, "/dataset"), "dst_a");
	assert_int_equal(got.priority, 2);
	assert_int_equal(json_integer_value(json_object_get(got.request, "epochs")), 3);
	assert_int_equal(json_integer_value(json_object_get(got.members, "tuned_parameters")), 5);
	gn_job_row_release(&got);
}

// What no row names goes at the next start; what a row names stays.
static void test_clean_up(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row row;
	char kept[PATH_MAX], stray[PATH_MAX], file[PATH_MAX + 8], tmp[PATH_MAX];

	assert_int_equal(add(f, GN_KIND_DATASET, "d", "", 1, &row, &err), 0);
	gn_store_folder(f->store, GN_KIND_DATASET, row.id, kept);
	gn_store_folder(f->store, GN_KIND_DATASET, "dst_stray", stray);
	assert_int_equal(mkdir(stray, 0700), 0);
	snprintf(file, sizeof file, "%s/pack", stray);
	assert_int_equal(gn_file_replace(file, "x", 1, &err), 0);
	assert_int_equal(gn_store_stage(f->store, tmp, &err), 0);
	reopen(f);
	assert_true(exists(kept));
	assert_false(exists(stray));
	assert_false(exists(tmp));
}

static void test_one_owner(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_store *other = NULL;

	assert_int_equal(gn_store_open(&other, f->folder, 0, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_null(other);
}

static void test_permissions(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_row row;
	char folder[PATH_MAX];
	struct stat st;

	assert_int_equal(add(f, GN_KIND_DATASET, "d", "", 1, &row, &err), 0);
	gn_store_folder(f->store, GN_KIND_DATASET, row.id, folder);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
}

static void test_space(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	uint64_t available = gn_store_free_bytes(f->store);

	assert_true(available > 0);
	assert_int_equal(gn_store_space(f->store, 1, &err), 0);
	assert_int_equal(gn_store_space(f->store, available + (1ull << 40), &err), -1);
	assert_int_equal(err.code, GN_NO_SPACE);
}

static void test_answers(void **state)
{
	struct fixture *f = *state;
	struct gn_error err = {0};
	struct gn_answer answer = {.status = 201, .hash = "h", .location = "/v1/x", .body = (char *)"{}", .bytes = 2},
	                 got;

	assert_int_equal(gn_store_answer_get(f->store, "k", &got, &err), 0);
	assert_int_equal(gn_store_answer_put(f->store, "k", &answer, &err), 0);
	reopen(f);
	assert_int_equal(gn_store_answer_get(f->store, "k", &got, &err), 1);
	assert_int_equal(got.status, 201);
	assert_string_equal(got.hash, "h");
	assert_string_equal(got.location, "/v1/x");
	assert_int_equal(got.bytes, 2);
	free(got.body);
}

// Eight threads add under one name: one of them wins, and nothing of the others stays.
static struct fixture *shared;
static atomic_int winners, conflicts;

static void *add_same_name(void *unused)
{
	struct gn_error err = {0};
	struct gn_row row;

	(void)unused;
	if (add(shared, GN_KIND_DATASET, "same", "", 100, &row, &err) == 0)
		atomic_fetch_add(&winners, 1);
	else if (err.code == GN_CONFLICT)
		atomic_fetch_add(&conflicts, 1);
	return NULL;
}

static void test_race_for_a_name(void **state)
{
	pthread_t threads[8];
	struct ids ids = {""};
	struct gn_error err = {0};
	bool more;
	char path[PATH_MAX];

	shared = *state;
	atomic_store(&winners, 0);
	atomic_store(&conflicts, 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_same_name, NULL), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(winners, 1);
	assert_int_equal(conflicts, 7);
	assert_int_equal(gn_store_list(shared->store, GN_KIND_DATASET, 10, NULL, note_name, &ids, &more, &err), 0);
	assert_string_equal(ids.text, "same ");
	snprintf(path, sizeof path, "%s/datasets", shared->folder);
	assert_int_equal(gn_tree_bytes(path), 100);
}

// A data directory of a newer gonio is refused, not misread.
static void test_newer_schema(void **state)
{
	struct fixture *f = *state;
	char command[PATH_MAX];
	struct gn_error err = {0};
	struct gn_store *store = NULL;

	gn_store_close(f->store);
	f->store = NULL;
	snprintf(command, sizeof command, "sqlite3 %s/gonio.db 'PRAGMA user_version=999' 2>/dev/null", f->folder);
	if (system(command))
		skip();
	assert_int_equal(gn_store_open(&store, f->folder, 0, &err), -1);
	assert_int_equal(err.code, GN_UNSUPPORTED);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_add_get),
	    CASE(test_names),
	    CASE(test_list),
	    CASE(test_delete_and_needs),
	    CASE(test_run_needs_model_and_dataset),
	    CASE(test_run_rows),
	    CASE(test_job_kinds),
	    CASE(test_first_schema),
	    CASE(test_clean_up),
	    CASE(test_one_owner),
	    CASE(test_permissions),
	    CASE(test_space),
	    CASE(test_answers),
	    CASE(test_race_for_a_name),
	    CASE(test_newer_schema),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
