/* Rows of runs: see store.h. Only the supervisor writes them. */
#include "server/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/files.h"
#include "server/store_private.h"
#include "server/text.h"

static const char *const status_names[GN_RUN_STATUS_COUNT] = {"queued", "running", "succeeded", "failed", "cancelled"};

const char *gn_run_status_name(enum gn_run_status status)
{
	return status_names[status];
}

int gn_run_status_from_name(const char *name)
{
	for (int i = 0; i < GN_RUN_STATUS_COUNT; i++)
		if (!strcmp(status_names[i], name))
			return i;
	return -1;
}

void gn_run_row_release(struct gn_run_row *row)
{
	json_decref(row->request);
	json_decref(row->plan);
	json_decref(row->progress);
	json_decref(row->result);
	json_decref(row->error);
	row->request = row->plan = row->progress = row->result = row->error = NULL;
}

/* ---------------------------------------------------------------- adding ----------------------------------------- */

static int require(struct gn_conn *conn, const char *query, const char *id, const char *pointer, const char *word,
                   struct gn_error *err)
{
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	int found;

	if (!stmt)
		return -1;
	gn_db_bind_text(stmt, 1, id);
	found = gn_db_step(conn, stmt, err);
	sqlite3_reset(stmt);
	if (found == 0)
		return gn_fail(err, GN_NOT_FOUND, pointer, "there is no %s '%.80s'", word, id);
	return found == 1 ? 0 : -1;
}

static int insert_run(struct gn_conn *conn, const struct gn_run_row *row, struct gn_error *err)
{
	static const char query[] = "INSERT INTO runs(id,name,created_at,status,priority,model,dataset,request,plan) "
	                            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)";
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	struct gn_error sql = {0};

	if (!stmt || gn_store_bind_json(stmt, 8, row->request, err) || gn_store_bind_json(stmt, 9, row->plan, err))
		return -1;
	gn_db_bind_text(stmt, 1, row->id);
	gn_db_bind_text(stmt, 2, row->name);
	sqlite3_bind_int64(stmt, 3, row->created_at);
	gn_db_bind_text(stmt, 4, status_names[row->status]);
	sqlite3_bind_int(stmt, 5, row->priority);
	gn_db_bind_text(stmt, 6, row->model);
	gn_db_bind_text(stmt, 7, row->dataset);
	if (gn_db_step(conn, stmt, &sql) == 0)
		return 0;
	if (sql.code == GN_CONFLICT)
		return gn_fail(err, GN_CONFLICT, "/name", "a run named '%s' exists", row->name);
	return gn_fail(err, sql.code, sql.where, "%s", sql.text);
}

int gn_store_add_run(struct gn_store *store, struct gn_run_row *row, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	char folder[PATH_MAX];
	int result = -1;

	gn_store_new_id(row->id, GN_KIND_RUN);
	row->created_at = gn_now();
	gn_store_folder(store, GN_KIND_RUN, row->id, folder);
	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) == 0 &&
	    require(conn, "SELECT 1 FROM models WHERE id=?1", row->model, "/model", "model", err) == 0 &&
	    require(conn, "SELECT 1 FROM datasets WHERE id=?1", row->dataset, "/dataset", "data set", err) == 0 &&
	    insert_run(conn, row, err) == 0) {
		if (mkdir(folder, 0700))
			gn_fail_errno(err, folder, "cannot create the folder");
		else
			result = gn_db_run(conn, "COMMIT", err);
	}
	if (result) {
		gn_db_rollback(conn);
		gn_tree_remove(folder, NULL, NULL);
	}
	gn_db_release(store->db, conn);
	return result;
}

/* ---------------------------------------------------------------- changing --------------------------------------- */

static int update_run(struct gn_conn *conn, const struct gn_run_row *row, struct gn_error *err)
{
	static const char query[] =
	    "UPDATE runs SET status=?2,started_at=?3,finished_at=?4,attempts=?5,deaths=?6,progress=?7,"
	    "result=?8,error=?9 WHERE id=?1";
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);

	if (!stmt || gn_store_bind_json(stmt, 7, row->progress, err) || gn_store_bind_json(stmt, 8, row->result, err) ||
	    gn_store_bind_json(stmt, 9, row->error, err))
		return -1;
	gn_db_bind_text(stmt, 1, row->id);
	gn_db_bind_text(stmt, 2, status_names[row->status]);
	sqlite3_bind_int64(stmt, 3, row->started_at);
	sqlite3_bind_int64(stmt, 4, row->finished_at);
	sqlite3_bind_int(stmt, 5, row->attempts);
	sqlite3_bind_int(stmt, 6, row->deaths);
	return gn_db_step(conn, stmt, err);
}

int gn_store_update_run(struct gn_store *store, const struct gn_run_row *row, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = update_run(conn, row, err);

	gn_db_release(store->db, conn);
	return result;
}

int gn_store_requeue_run(struct gn_store *store, const struct gn_run_row *row, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = -1;

	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) == 0 &&
	    require(conn, "SELECT 1 FROM models WHERE id=?1", row->model, "/model", "model", err) == 0 &&
	    require(conn, "SELECT 1 FROM datasets WHERE id=?1", row->dataset, "/dataset", "data set", err) == 0 &&
	    update_run(conn, row, err) == 0)
		result = gn_db_run(conn, "COMMIT", err);
	if (result)
		gn_db_rollback(conn);
	gn_db_release(store->db, conn);
	return result;
}

int gn_store_finish_run(struct gn_store *store, struct gn_run_row *row, const char *staged, struct gn_row *model,
                        struct gn_error *err)
{
	char folder[PATH_MAX];
	struct gn_conn *conn;
	bool moved = false;

	if (gn_tree_sync(staged, err))
		return -1;
	gn_store_new_id(model->id, GN_KIND_MODEL);
	model->created_at = gn_now();
	model->bytes = gn_tree_bytes(staged);
	gn_store_folder(store, GN_KIND_MODEL, model->id, folder);
	if (json_object_set_new(row->result, "model", json_string(model->id)))
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");

	conn = gn_db_writer(store->db);
	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) || gn_store_insert_row(conn, GN_KIND_MODEL, model, err) ||
	    update_run(conn, row, err) || gn_store_move(staged, folder, err))
		goto failed;
	moved = true;
	if (gn_db_run(conn, "COMMIT", err))
		goto failed;
	gn_db_release(store->db, conn);
	return 0;
failed:
	gn_db_rollback(conn);
	gn_db_release(store->db, conn);
	if (moved)
		gn_store_move(folder, staged, NULL);
	return -1;
}

/* ---------------------------------------------------------------- reading ---------------------------------------- */

static void read_run(struct gn_run_row *row, sqlite3_stmt *stmt)
{
	char status[16];
	int value;

	memset(row, 0, sizeof *row);
	gn_db_copy(row->id, sizeof row->id, stmt, 0);
	gn_db_copy(row->name, sizeof row->name, stmt, 1);
	row->created_at = sqlite3_column_int64(stmt, 2);
	row->started_at = sqlite3_column_int64(stmt, 3);
	row->finished_at = sqlite3_column_int64(stmt, 4);
	gn_db_copy(status, sizeof status, stmt, 5);
	value = gn_run_status_from_name(status);
	row->status = value < 0 ? GN_RUN_FAILED : (enum gn_run_status)value;
	row->priority = sqlite3_column_int(stmt, 6);
	row->attempts = sqlite3_column_int(stmt, 7);
	row->deaths = sqlite3_column_int(stmt, 8);
	gn_db_copy(row->model, sizeof row->model, stmt, 9);
	gn_db_copy(row->dataset, sizeof row->dataset, stmt, 10);
	row->request = gn_store_column_json(stmt, 11);
	row->plan = gn_store_column_json(stmt, 12);
	row->progress = gn_store_column_json(stmt, 13);
	row->result = gn_store_column_json(stmt, 14);
	row->error = gn_store_column_json(stmt, 15);
}

int gn_store_each_run(struct gn_store *store, void (*visit)(void *user, struct gn_run_row *row), void *user,
                      struct gn_error *err)
{
	static const char query[] =
	    "SELECT id,name,created_at,started_at,finished_at,status,priority,attempts,deaths,model,dataset,"
	    "request,plan,progress,result,error FROM runs ORDER BY seq";
	struct gn_conn *conn = gn_db_reader(store->db);
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	int got = -1;

	while (stmt && (got = gn_db_step(conn, stmt, err)) == 1) {
		struct gn_run_row row;
		read_run(&row, stmt);
		visit(user, &row);
	}
	gn_db_release(store->db, conn);
	return got;
}
