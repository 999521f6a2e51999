/* Rows of sweeps: see store.h. Their runs are rows of jobs, which the supervisor writes. */
#include "server/store/store.h"

#include <string.h>

#include "server/common/files.h"
#include "server/store/store_private.h"
#include "server/common/text.h"

#define COLUMNS "SELECT id,name,created_at,request,runs,seq FROM sweeps "

void gn_sweep_row_release(struct gn_sweep_row *row)
{
	json_decref(row->request);
	json_decref(row->runs);
	row->request = row->runs = NULL;
}

void gn_store_new_sweep_id(char id[GN_ID_SIZE])
{
	gn_store_random_id(id, GN_SWEEP_PREFIX);
}

void gn_store_sweep_folder(const struct gn_store *store, const char *id, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/sweeps/%s", store->directory, id);
}

/* ---------------------------------------------------------------- writing --------------------- */

int gn_store_insert_sweep(struct gn_conn *conn, struct gn_sweep_row *sweep, const struct gn_job_row *runs, int count,
                          struct gn_error *err)
{
	static const char query[] = "INSERT INTO sweeps(id,name,created_at,request,runs) VALUES(?1,?2,?3,?4,?5)";
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	struct gn_error sql = {0};

	json_decref(sweep->runs);
	sweep->runs = json_array();
	for (int i = 0; i < count; i++)
		json_array_append_new(sweep->runs, json_string(runs[i].id));
	sweep->created_at = gn_now();
	if (!stmt || gn_store_bind_json(stmt, 4, sweep->request, err) || gn_store_bind_json(stmt, 5, sweep->runs, err))
		return -1;
	gn_db_bind_text(stmt, 1, sweep->id);
	gn_db_bind_text(stmt, 2, sweep->name);
	sqlite3_bind_int64(stmt, 3, sweep->created_at);
	if (gn_db_step(conn, stmt, &sql) == 0)
		return 0;
	if (sql.code == GN_CONFLICT)
		return gn_fail(err, GN_CONFLICT, "/name", "another sweep named '%s' exists", sweep->name);
	return gn_fail(err, sql.code, sql.where, "%s", sql.text);
}

int gn_store_delete_sweep(struct gn_store *store, const char *id, struct gn_error *err)
{
	static const char query[] = "DELETE FROM sweeps WHERE id=?1";
	struct gn_conn *conn = gn_db_writer(store->db);
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	int result = -1;

	if (stmt) {
		gn_db_bind_text(stmt, 1, id);
		result = gn_db_step(conn, stmt, err);
	}
	gn_db_release(store->db, conn);
	return result;
}

/* ---------------------------------------------------------------- reading --------------------- */

static void read_sweep(struct gn_sweep_row *row, sqlite3_stmt *stmt)
{
	memset(row, 0, sizeof *row);
	gn_db_copy(row->id, sizeof row->id, stmt, 0);
	gn_db_copy(row->name, sizeof row->name, stmt, 1);
	row->created_at = sqlite3_column_int64(stmt, 2);
	row->request = gn_store_column_json(stmt, 3);
	row->runs = gn_store_column_json(stmt, 4);
}

/* On a borrowed connection. seq may be NULL. Returns 1, 0 when there is none, or -1. */
static int find_sweep(struct gn_conn *conn, const char *id_or_name, struct gn_sweep_row *row, int64_t *seq,
                      struct gn_error *err)
{
	static const char query[] = COLUMNS "WHERE id=?1 OR name=?1";
	sqlite3_stmt *stmt;
	int found = gn_db_find(&stmt, conn, query, id_or_name, err);

	if (found == 1 && row)
		read_sweep(row, stmt);
	if (found == 1 && seq)
		*seq = sqlite3_column_int64(stmt, 5);
	sqlite3_reset(stmt);
	return found;
}

int gn_store_get_sweep(struct gn_store *store, const char *id_or_name, struct gn_sweep_row *row, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_reader(store->db);
	int found = find_sweep(conn, id_or_name, row, NULL, err);

	gn_db_release(store->db, conn);
	if (found == 0)
		return gn_fail(err, GN_NOT_FOUND, "", "there is no sweep '%.80s'", id_or_name);
	return found == 1 ? 0 : -1;
}

int gn_store_list_sweeps(struct gn_store *store, int limit, const char *after,
                         void (*visit)(void *user, const struct gn_sweep_row *row), void *user, bool *more,
                         struct gn_error *err)
{
	static const char query[] = COLUMNS "WHERE seq<?1 ORDER BY seq DESC LIMIT ?2";
	struct gn_conn *conn = gn_db_reader(store->db);
	int64_t before = INT64_MAX;
	int got = -1, count = 0, found = after ? find_sweep(conn, after, NULL, &before, err) : 1;
	sqlite3_stmt *stmt = found == 1 ? gn_db_prepare(conn, query, err) : NULL;

	*more = false;
	if (found == 0)
		gn_fail(err, GN_INVALID, "/after", "there is no sweep '%.80s'", after);
	if (stmt) {
		sqlite3_bind_int64(stmt, 1, before);
		sqlite3_bind_int(stmt, 2, limit + 1);
		while ((got = gn_db_step(conn, stmt, err)) == 1) {
			struct gn_sweep_row row;
			if (count++ == limit) {
				*more = true;
				sqlite3_reset(stmt);
				break;
			}
			read_sweep(&row, stmt);
			visit(user, &row);
			gn_sweep_row_release(&row);
		}
	}
	gn_db_release(store->db, conn);
	return got < 0 ? -1 : 0;
}
