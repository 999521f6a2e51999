/* Rows of jobs: see store.h. Only the supervisor writes them. */
#include "server/store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/common/files.h"
#include "server/store/store_private.h"
#include "server/common/text.h"

void gn_job_row_release(struct gn_job_row *row)
{
	json_decref(row->needs);
	json_decref(row->request);
	json_decref(row->members);
	json_decref(row->progress);
	json_decref(row->result);
	json_decref(row->error);
	row->needs = row->request = row->members = row->progress = row->result = row->error = NULL;
}

const char *gn_job_need(const struct gn_job_row *row, const char *pointer)
{
	const char *id = json_string_value(json_object_get(row->needs, pointer));

	return id ? id : "";
}

/* ---------------------------------------------------------------- adding ---------------------- */

/* What the job needs may be a model, a data set or another job. */
static int check_need(struct gn_conn *conn, const char *pointer, const char *id, struct gn_error *err)
{
	static const char query[] =
	    "SELECT 1 FROM models WHERE id=?1 UNION ALL SELECT 1 FROM datasets WHERE id=?1 UNION ALL "
	    "SELECT 1 FROM jobs WHERE id=?1";
	sqlite3_stmt *stmt;
	int found = gn_db_find(&stmt, conn, query, id, err);

	sqlite3_reset(stmt);
	if (found == 0)
		return gn_fail(err, GN_NOT_FOUND, pointer, "'%.80s' is gone", id);
	return found == 1 ? 0 : -1;
}

static int check_needs(struct gn_conn *conn, const struct gn_job_row *row, struct gn_error *err)
{
	const char *pointer;
	json_t *id;

	json_object_foreach(row->needs, pointer, id)
	{
		if (check_need(conn, pointer, json_string_value(id), err))
			return -1;
	}
	return 0;
}

static int insert_needs(struct gn_conn *conn, const struct gn_job_row *row, struct gn_error *err)
{
	static const char query[] = "INSERT INTO job_needs(job,member,thing) VALUES(?1,?2,?3)";
	const char *pointer;
	json_t *id;

	json_object_foreach(row->needs, pointer, id)
	{
		sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
		if (!stmt)
			return -1;
		gn_db_bind_text(stmt, 1, row->id);
		gn_db_bind_text(stmt, 2, pointer);
		gn_db_bind_text(stmt, 3, json_string_value(id));
		if (gn_db_step(conn, stmt, err))
			return -1;
	}
	return 0;
}

static int insert_row(struct gn_conn *conn, const struct gn_job_row *row, struct gn_error *err)
{
	static const char query[] = "INSERT INTO jobs(kind,id,name,created_at,status,priority,base,request,members) "
	                            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)";
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	struct gn_error sql = {0};

	if (!stmt || gn_store_bind_json(stmt, 8, row->request, err) || gn_store_bind_json(stmt, 9, row->members, err))
		return -1;
	gn_db_bind_text(stmt, 1, gn_kinds[row->kind].word);
	gn_db_bind_text(stmt, 2, row->id);
	gn_db_bind_text(stmt, 3, row->name);
	sqlite3_bind_int64(stmt, 4, row->created_at);
	gn_db_bind_text(stmt, 5, gn_job_status_name(row->status));
	sqlite3_bind_int(stmt, 6, row->priority);
	gn_db_bind_text(stmt, 7, row->base);
	if (gn_db_step(conn, stmt, &sql) == 0)
		return 0;
	if (sql.code == GN_CONFLICT)
		return gn_fail(err, GN_CONFLICT, "/name", "another %s named '%s' exists", gn_kinds[row->kind].word,
		               row->name);
	return gn_fail(err, sql.code, sql.where, "%s", sql.text);
}

static int insert_job(struct gn_store *store, struct gn_conn *conn, const struct gn_job_row *row, struct gn_error *err)
{
	char folder[PATH_MAX];

	if (check_needs(conn, row, err) || insert_row(conn, row, err) || insert_needs(conn, row, err))
		return -1;
	gn_store_folder(store, row->kind, row->id, folder);
	return mkdir(folder, 0700) ? gn_fail_errno(err, folder, "cannot create the folder") : 0;
}

/* sweep: NULL, or whose runs the jobs are. */
static int add_jobs(struct gn_store *store, struct gn_sweep_row *sweep, struct gn_job_row *rows, int count,
                    struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = gn_db_run(conn, "BEGIN IMMEDIATE", err), added = 0;

	for (; added < count && result == 0; added++) {
		gn_store_new_id(rows[added].id, rows[added].kind);
		rows[added].created_at = gn_now();
		result = insert_job(store, conn, &rows[added], err);
	}
	if (result == 0 && sweep)
		result = gn_store_insert_sweep(conn, sweep, rows, count, err);
	if (result == 0)
		result = gn_db_run(conn, "COMMIT", err);
	if (result) {
		gn_db_rollback(conn);
		for (int i = 0; i < added; i++) {
			char folder[PATH_MAX];
			gn_store_folder(store, rows[i].kind, rows[i].id, folder);
			gn_tree_remove(folder, NULL, NULL);
		}
	}
	gn_db_release(store->db, conn);
	return result;
}

int gn_store_add_jobs(struct gn_store *store, struct gn_job_row *rows, int count, struct gn_error *err)
{
	return add_jobs(store, NULL, rows, count, err);
}

int gn_store_add_sweep(struct gn_store *store, struct gn_sweep_row *sweep, struct gn_job_row *runs, int count,
                       struct gn_error *err)
{
	return add_jobs(store, sweep, runs, count, err);
}

/* ---------------------------------------------------------------- changing -------------------- */

static int update_job(struct gn_conn *conn, const struct gn_job_row *row, struct gn_error *err)
{
	static const char query[] =
	    "UPDATE jobs SET status=?2,started_at=?3,finished_at=?4,attempts=?5,deaths=?6,progress=?7,"
	    "result=?8,error=?9,members=?10 WHERE id=?1";
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);

	if (!stmt || gn_store_bind_json(stmt, 7, row->progress, err) || gn_store_bind_json(stmt, 8, row->result, err) ||
	    gn_store_bind_json(stmt, 9, row->error, err) || gn_store_bind_json(stmt, 10, row->members, err))
		return -1;
	gn_db_bind_text(stmt, 1, row->id);
	gn_db_bind_text(stmt, 2, gn_job_status_name(row->status));
	sqlite3_bind_int64(stmt, 3, row->started_at);
	sqlite3_bind_int64(stmt, 4, row->finished_at);
	sqlite3_bind_int(stmt, 5, row->attempts);
	sqlite3_bind_int(stmt, 6, row->deaths);
	return gn_db_step(conn, stmt, err);
}

int gn_store_update_job(struct gn_store *store, const struct gn_job_row *row, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = update_job(conn, row, err);

	gn_db_release(store->db, conn);
	return result;
}

int gn_store_requeue_job(struct gn_store *store, const struct gn_job_row *row, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = -1;

	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) == 0 && check_needs(conn, row, err) == 0 &&
	    update_job(conn, row, err) == 0)
		result = gn_db_run(conn, "COMMIT", err);
	if (result)
		gn_db_rollback(conn);
	gn_db_release(store->db, conn);
	return result;
}

int gn_store_finish_job(struct gn_store *store, struct gn_job_row *row, const char *staged, struct gn_row *model,
                        struct gn_error *err)
{
	char folder[PATH_MAX];
	struct gn_conn *conn;
	int result = -1;

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
	    update_job(conn, row, err))
		gn_db_rollback(conn);
	else
		result = gn_store_commit_staged(conn, staged, folder, err);
	gn_db_release(store->db, conn);
	return result;
}

int gn_store_delete_job(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed,
                        struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = -1;

	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) == 0 && gn_store_check_unneeded(conn, kind, id, err) == 0 &&
	    gn_store_delete_row(conn, kind, id, err) == 0)
		result = gn_db_run(conn, "COMMIT", err);
	if (result)
		gn_db_rollback(conn);
	gn_db_release(store->db, conn);
	return result ? -1 : gn_store_drop_folder(store, kind, id, freed, err);
}

/* ---------------------------------------------------------------- reading --------------------- */

/* -1 for the word of a kind that this version does not know. */
static int job_kind(const char *word)
{
	for (int kind = GN_KIND_RUN; kind < GN_KIND_COUNT; kind++)
		if (!strcmp(gn_kinds[kind].word, word))
			return kind;
	return -1;
}

static int read_job(struct gn_job_row *row, sqlite3_stmt *stmt, struct gn_error *err)
{
	char word[16];
	int kind, status;

	memset(row, 0, sizeof *row);
	gn_db_copy(word, sizeof word, stmt, 16);
	kind = job_kind(word);
	if (kind < 0)
		return gn_fail(err, GN_MALFORMED, "gonio.db", "a job of the unknown kind '%s'", word);
	row->kind = (enum gn_kind)kind;
	gn_db_copy(row->id, sizeof row->id, stmt, 0);
	gn_db_copy(row->name, sizeof row->name, stmt, 1);
	row->created_at = sqlite3_column_int64(stmt, 2);
	row->started_at = sqlite3_column_int64(stmt, 3);
	row->finished_at = sqlite3_column_int64(stmt, 4);
	gn_db_copy(word, sizeof word, stmt, 5);
	status = gn_job_status_from_name(word);
	row->status = status < 0 ? GN_JOB_FAILED : (enum gn_job_status)status;
	row->priority = sqlite3_column_int(stmt, 6);
	row->attempts = sqlite3_column_int(stmt, 7);
	row->deaths = sqlite3_column_int(stmt, 8);
	gn_db_copy(row->base, sizeof row->base, stmt, 9);
	row->needs = gn_store_column_json(stmt, 10);
	row->request = gn_store_column_json(stmt, 11);
	row->members = gn_store_column_json(stmt, 12);
	row->progress = gn_store_column_json(stmt, 13);
	row->result = gn_store_column_json(stmt, 14);
	row->error = gn_store_column_json(stmt, 15);
	return 0;
}

int gn_store_each_job(struct gn_store *store, void (*visit)(void *user, struct gn_job_row *row), void *user,
                      struct gn_error *err)
{
	static const char query[] =
	    "SELECT id,name,created_at,started_at,finished_at,status,priority,attempts,deaths,base,"
	    "(SELECT json_group_object(member,thing) FROM job_needs WHERE job=id),"
	    "request,members,progress,result,error,kind FROM jobs ORDER BY seq";
	struct gn_conn *conn = gn_db_reader(store->db);
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	int got = -1;

	while (stmt && (got = gn_db_step(conn, stmt, err)) == 1) {
		struct gn_job_row row;
		if (read_job(&row, stmt, err)) {
			sqlite3_reset(stmt);
			got = -1;
			break;
		}
		visit(user, &row);
	}
	gn_db_release(store->db, conn);
	return got;
}
