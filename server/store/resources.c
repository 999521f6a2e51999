/*
 * Rows of models and data sets: see store.h. Both kinds have the same columns, except for base, run
 * and soup, which only models have. The queries are written out for each kind, because a
 * statement's text is its key.
 */
#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/common/files.h"
#include "server/common/log.h"
#include "server/store/store_private.h"
#include "server/common/text.h"

#define MODEL_COLUMNS   "SELECT id,name,created_at,bytes,fields,base,run,soup FROM models "
#define DATASET_COLUMNS "SELECT id,name,created_at,bytes,fields,NULL,NULL,NULL FROM datasets "

void gn_row_release(struct gn_row *row)
{
	json_decref(row->fields);
	row->fields = NULL;
}

/* ---------------------------------------------------------------- JSON columns ---------------- */

json_t *gn_store_column_json(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);
	json_t *value;

	if (!text)
		return NULL;
	value = json_loads(text, JSON_DECODE_ANY, NULL);
	return value ? value : json_object();
}

int gn_store_bind_json(sqlite3_stmt *stmt, int parameter, const json_t *value, struct gn_error *err)
{
	char *text;

	if (!value)
		return sqlite3_bind_null(stmt, parameter) == SQLITE_OK ? 0 : -1;
	text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!text)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	sqlite3_bind_text(stmt, parameter, text, -1, SQLITE_TRANSIENT);
	free(text);
	return 0;
}

/* ---------------------------------------------------------------- adding ---------------------- */

int gn_store_insert_row(struct gn_conn *conn, enum gn_kind kind, const struct gn_row *row, struct gn_error *err)
{
	static const char *const queries[] = {
	    "INSERT INTO models(id,name,created_at,bytes,fields,base,run,soup) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
	    "INSERT INTO datasets(id,name,created_at,bytes,fields) VALUES(?1,?2,?3,?4,?5)"};
	sqlite3_stmt *stmt = gn_db_prepare(conn, queries[kind], err);
	struct gn_error sql = {0};

	if (!stmt || gn_store_bind_json(stmt, 5, row->fields, err))
		return -1;
	gn_db_bind_text(stmt, 1, row->id);
	gn_db_bind_text(stmt, 2, row->name);
	sqlite3_bind_int64(stmt, 3, row->created_at);
	sqlite3_bind_int64(stmt, 4, (sqlite3_int64)row->bytes);
	if (kind == GN_KIND_MODEL) {
		gn_db_bind_text(stmt, 6, row->base);
		gn_db_bind_text(stmt, 7, row->run);
		gn_db_bind_text(stmt, 8, row->soup);
	}
	if (gn_db_step(conn, stmt, &sql) == 0)
		return 0;
	if (sql.code == GN_CONFLICT && strstr(sql.text, "FOREIGN KEY"))
		return gn_fail(err, GN_NOT_FOUND, "", "the base model %s is gone", row->base);
	if (sql.code == GN_CONFLICT)
		return gn_fail(err, GN_CONFLICT, "/name", "a %s named '%s' exists", gn_kinds[kind].word, row->name);
	return gn_fail(err, sql.code, sql.where, "%s", sql.text);
}

int gn_store_add(struct gn_store *store, enum gn_kind kind, const char *staged, struct gn_row *row,
                 struct gn_error *err)
{
	char folder[PATH_MAX];
	struct gn_conn *conn;
	int result = -1;

	gn_assert(kind < GN_KIND_RUN);
	if (gn_tree_sync(staged, err))
		return -1;
	gn_store_new_id(row->id, kind);
	row->created_at = gn_now();
	row->bytes = gn_tree_bytes(staged);
	gn_store_folder(store, kind, row->id, folder);

	conn = gn_db_writer(store->db);
	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) || gn_store_insert_row(conn, kind, row, err))
		gn_db_rollback(conn);
	else
		result = gn_store_commit_staged(conn, staged, folder, err);
	gn_db_release(store->db, conn);
	return result;
}

/* ---------------------------------------------------------------- reading --------------------- */

static void read_row(struct gn_row *row, sqlite3_stmt *stmt)
{
	memset(row, 0, sizeof *row);
	gn_db_copy(row->id, sizeof row->id, stmt, 0);
	gn_db_copy(row->name, sizeof row->name, stmt, 1);
	row->created_at = sqlite3_column_int64(stmt, 2);
	row->bytes = (uint64_t)sqlite3_column_int64(stmt, 3);
	row->fields = gn_store_column_json(stmt, 4);
	gn_db_copy(row->base, sizeof row->base, stmt, 5);
	gn_db_copy(row->run, sizeof row->run, stmt, 6);
	gn_db_copy(row->soup, sizeof row->soup, stmt, 7);
}

/* On a borrowed connection. id_or_name is a client's text. */
static int get_row(struct gn_conn *conn, enum gn_kind kind, const char *id_or_name, struct gn_row *row,
                   struct gn_error *err)
{
	static const char *const queries[] = {MODEL_COLUMNS "WHERE id=?1 OR name=?1",
	                                      DATASET_COLUMNS "WHERE id=?1 OR name=?1"};
	sqlite3_stmt *stmt;
	int found = gn_db_find(&stmt, conn, queries[kind], id_or_name, err);

	if (found < 0)
		return -1;
	if (!found)
		return gn_fail(err, GN_NOT_FOUND, "", "there is no %s '%.80s'", gn_kinds[kind].word, id_or_name);
	read_row(row, stmt);
	return 0;
}

int gn_store_get(struct gn_store *store, enum gn_kind kind, const char *id_or_name, struct gn_row *row,
                 struct gn_error *err)
{
	struct gn_conn *conn;
	int result;

	gn_assert(kind < GN_KIND_RUN);
	conn = gn_db_reader(store->db);
	result = get_row(conn, kind, id_or_name, row, err);
	gn_db_release(store->db, conn);
	return result;
}

/* The position of a row in its list. */
static int sequence_of(struct gn_conn *conn, enum gn_kind kind, const char *id, int64_t *seq, struct gn_error *err)
{
	static const char *const queries[] = {"SELECT seq FROM models WHERE id=?1 OR name=?1",
	                                      "SELECT seq FROM datasets WHERE id=?1 OR name=?1"};
	sqlite3_stmt *stmt;
	int found = gn_db_find(&stmt, conn, queries[kind], id, err);

	if (found < 0)
		return -1;
	if (!found)
		return gn_fail(err, GN_INVALID, "/after", "there is no %s '%.80s'", gn_kinds[kind].word, id);
	*seq = sqlite3_column_int64(stmt, 0);
	return 0;
}

int gn_store_list(struct gn_store *store, enum gn_kind kind, int limit, const char *after,
                  void (*visit)(void *user, const struct gn_row *row), void *user, bool *more, struct gn_error *err)
{
	static const char *const queries[] = {MODEL_COLUMNS "WHERE seq<?1 ORDER BY seq DESC LIMIT ?2",
	                                      DATASET_COLUMNS "WHERE seq<?1 ORDER BY seq DESC LIMIT ?2"};
	struct gn_conn *conn;
	int64_t before = INT64_MAX;
	sqlite3_stmt *stmt = NULL;
	int got = -1, count = 0;

	gn_assert(kind < GN_KIND_RUN);
	*more = false;
	conn = gn_db_reader(store->db);
	if (!after || sequence_of(conn, kind, after, &before, err) == 0)
		stmt = gn_db_prepare(conn, queries[kind], err);
	if (stmt) {
		sqlite3_bind_int64(stmt, 1, before);
		sqlite3_bind_int(stmt, 2, limit + 1);
		while ((got = gn_db_step(conn, stmt, err)) == 1) {
			struct gn_row row;
			if (count++ == limit) {
				*more = true;
				break;
			}
			read_row(&row, stmt);
			visit(user, &row);
			gn_row_release(&row);
		}
	}
	gn_db_release(store->db, conn);
	return got < 0 ? -1 : 0;
}

/* ---------------------------------------------------------------- changing -------------------- */

int gn_store_rename(struct gn_store *store, enum gn_kind kind, const char *id, const char *name, struct gn_error *err)
{
	static const char *const queries[] = {"UPDATE models SET name=?2 WHERE id=?1 RETURNING 1",
	                                      "UPDATE datasets SET name=?2 WHERE id=?1 RETURNING 1"};
	struct gn_conn *conn = gn_db_writer(store->db);
	sqlite3_stmt *stmt = gn_db_prepare(conn, queries[kind], err);
	struct gn_error sql = {0};
	int result = -1;

	gn_assert(kind < GN_KIND_RUN);
	if (stmt) {
		gn_db_bind_text(stmt, 1, id);
		gn_db_bind_text(stmt, 2, name);
		result = gn_db_step(conn, stmt, &sql);
		if (result == 1)
			result = gn_db_step(conn, stmt, &sql) == 0 ? 1 : -1;
		if (result == 0)
			gn_fail(err, GN_NOT_FOUND, "", "there is no %s '%.80s'", gn_kinds[kind].word, id);
		else if (result < 0 && sql.code == GN_CONFLICT)
			gn_fail(err, GN_CONFLICT, "/name", "a %s named '%s' exists", gn_kinds[kind].word, name);
		else if (result < 0)
			gn_fail(err, sql.code, sql.where, "%s", sql.text);
	}
	gn_db_release(store->db, conn);
	return result == 1 ? 0 : -1;
}

int gn_store_check_unneeded(struct gn_conn *conn, enum gn_kind kind, const char *id, struct gn_error *err)
{
	static const char query[] =
	    "SELECT 'the tuned model',id FROM models WHERE base=?1 UNION ALL "
	    "SELECT 'the '||status||' '||kind,id FROM job_needs JOIN jobs ON jobs.id=job WHERE thing=?1 AND "
	    "status IN ('queued','running') LIMIT 1";
	sqlite3_stmt *stmt;
	int found = gn_db_find(&stmt, conn, query, id, err);

	if (found == 1)
		gn_fail(err, GN_CONFLICT, "", "%s %s needs this %s", sqlite3_column_text(stmt, 0),
		        sqlite3_column_text(stmt, 1), gn_kinds[kind].word);
	sqlite3_reset(stmt);
	return found == 0 ? 0 : -1;
}

int gn_store_delete_row(struct gn_conn *conn, enum gn_kind kind, const char *id, struct gn_error *err)
{
	static const char *const queries[] = {"DELETE FROM models WHERE id=?1", "DELETE FROM datasets WHERE id=?1",
	                                      "DELETE FROM jobs WHERE id=?1"};
	sqlite3_stmt *stmt;

	return gn_db_find(&stmt, conn, queries[kind < GN_KIND_RUN ? kind : GN_KIND_RUN], id, err);
}

int gn_store_delete(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	struct gn_row row = {0};
	int result = -1;

	gn_assert(kind < GN_KIND_RUN);
	if (gn_db_run(conn, "BEGIN IMMEDIATE", err) == 0 && get_row(conn, kind, id, &row, err) == 0 &&
	    gn_store_check_unneeded(conn, kind, row.id, err) == 0 && gn_store_delete_row(conn, kind, row.id, err) == 0)
		result = gn_db_run(conn, "COMMIT", err);
	if (result)
		gn_db_rollback(conn);
	gn_db_release(store->db, conn);
	/* Only now the files: a row never names what is half gone. A crash between the two is what
	 * the clean-up at start is for. */
	if (result == 0)
		result = gn_store_drop_folder(store, kind, row.id, freed, err);
	gn_row_release(&row);
	return result;
}

/* ---------------------------------------------------------------- bases ----------------------- */

int gn_store_chain(struct gn_store *store, const char *id, char ids[GN_CHAIN_MAX][GN_ID_SIZE], struct gn_error *err)
{
	char next[GN_NAME_SIZE];
	int count = 0;

	snprintf(next, sizeof next, "%s", id);
	while (next[0]) {
		struct gn_row row;
		if (count == GN_CHAIN_MAX)
			return gn_fail(err, GN_INVALID, "", "more than %d models tuned one on another",
			               GN_CHAIN_MAX - 1);
		if (gn_store_get(store, GN_KIND_MODEL, next, &row, err))
			return -1;
		memcpy(ids[count++], row.id, GN_ID_SIZE);
		snprintf(next, sizeof next, "%s", row.base);
		gn_row_release(&row);
	}
	return count;
}
