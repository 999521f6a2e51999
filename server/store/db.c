/* SQLite connections: see db.h. */
#include "server/store/db.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { READERS = 3, CONNECTIONS = READERS + 1, MAX_STATEMENTS = 48, BUSY_MILLISECONDS = 10000 };

struct gn_conn {
	sqlite3 *handle;
	bool busy;
	int statements;
	struct {
		const char *sql;
		sqlite3_stmt *stmt;
	} cache[MAX_STATEMENTS];
};

struct gn_db {
	pthread_mutex_t lock; /* over every conn.busy */
	pthread_cond_t freed;
	struct gn_conn conns[CONNECTIONS]; /* [0] is the writer */
};

static int fail_sql(struct gn_conn *conn, struct gn_error *err)
{
	int code = sqlite3_extended_errcode(conn->handle);
	enum gn_code kind = GN_IO;

	if ((code & 0xff) == SQLITE_FULL)
		kind = GN_NO_SPACE;
	else if ((code & 0xff) == SQLITE_NOMEM)
		kind = GN_NO_MEMORY;
	else if ((code & 0xff) == SQLITE_CONSTRAINT)
		kind = GN_CONFLICT;
	return gn_fail(err, kind, "gonio.db", "%s", sqlite3_errmsg(conn->handle));
}

/* ---------------------------------------------------------------- statements ------------------ */

sqlite3_stmt *gn_db_prepare(struct gn_conn *conn, const char *sql, struct gn_error *err)
{
	sqlite3_stmt *stmt;

	for (int i = 0; i < conn->statements; i++)
		if (conn->cache[i].sql == sql) {
			stmt = conn->cache[i].stmt;
			sqlite3_reset(stmt);
			sqlite3_clear_bindings(stmt);
			return stmt;
		}
	gn_assert(conn->statements < MAX_STATEMENTS);
	if (sqlite3_prepare_v3(conn->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK) {
		fail_sql(conn, err);
		return NULL;
	}
	conn->cache[conn->statements].sql = sql;
	conn->cache[conn->statements++].stmt = stmt;
	return stmt;
}

int gn_db_step(struct gn_conn *conn, sqlite3_stmt *stmt, struct gn_error *err)
{
	switch (sqlite3_step(stmt)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		sqlite3_reset(stmt);
		return 0;
	default:
		fail_sql(conn, err);
		sqlite3_reset(stmt);
		return -1;
	}
}

int gn_db_run(struct gn_conn *conn, const char *sql, struct gn_error *err)
{
	return sqlite3_exec(conn->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail_sql(conn, err);
}

void gn_db_rollback(struct gn_conn *conn)
{
	for (int i = 0; i < conn->statements; i++)
		sqlite3_reset(conn->cache[i].stmt);
	if (!sqlite3_get_autocommit(conn->handle))
		gn_db_run(conn, "ROLLBACK", NULL);
}

void gn_db_copy(char *out, size_t size, sqlite3_stmt *stmt, int column)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	snprintf(out, size, "%s", text ? (const char *)text : "");
}

void gn_db_bind_text(sqlite3_stmt *stmt, int parameter, const char *text)
{
	if (text && *text)
		sqlite3_bind_text(stmt, parameter, text, -1, SQLITE_TRANSIENT);
	else
		sqlite3_bind_null(stmt, parameter);
}

int gn_db_find(sqlite3_stmt **stmt, struct gn_conn *conn, const char *sql, const char *text, struct gn_error *err)
{
	*stmt = gn_db_prepare(conn, sql, err);
	if (!*stmt)
		return -1;
	gn_db_bind_text(*stmt, 1, text);
	return gn_db_step(conn, *stmt, err);
}

/* ---------------------------------------------------------------- connections ------------------------------------ */

static int conn_open(struct gn_conn *conn, const char *path, bool writer, struct gn_error *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);

	if (sqlite3_open_v2(path, &conn->handle, flags, NULL) != SQLITE_OK) {
		if (!conn->handle)
			return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
		return fail_sql(conn, err);
	}
	sqlite3_extended_result_codes(conn->handle, 1);
	sqlite3_busy_timeout(conn->handle, BUSY_MILLISECONDS);
	if (gn_db_run(conn, "PRAGMA foreign_keys=ON", err))
		return -1;
	if (!writer)
		return 0;
	return gn_db_run(conn, "PRAGMA journal_mode=WAL", err) || gn_db_run(conn, "PRAGMA synchronous=FULL", err) ? -1
	                                                                                                          : 0;
}

static int user_version(struct gn_conn *conn, int *version, struct gn_error *err)
{
	sqlite3_stmt *stmt = gn_db_prepare(conn, "PRAGMA user_version", err);

	if (!stmt || gn_db_step(conn, stmt, err) != 1)
		return -1;
	*version = sqlite3_column_int(stmt, 0);
	sqlite3_reset(stmt);
	return 0;
}

static int migrate(struct gn_conn *conn, struct gn_error *err)
{
	int version = 0, known = 0;

	while (gn_migrations[known])
		known++;
	if (user_version(conn, &version, err))
		return -1;
	if (version > known)
		return gn_fail(err, GN_UNSUPPORTED, "gonio.db",
		               "written by a newer gonio (schema %d; this one knows %d)", version, known);
	for (; version < known; version++) {
		char stamp[64];
		snprintf(stamp, sizeof stamp, "PRAGMA user_version=%d", version + 1);
		if (gn_db_run(conn, "BEGIN IMMEDIATE", err) || gn_db_run(conn, gn_migrations[version], err) ||
		    gn_db_run(conn, stamp, err) || gn_db_run(conn, "COMMIT", err)) {
			gn_db_rollback(conn);
			return -1;
		}
	}
	return 0;
}

int gn_db_open(struct gn_db **out, const char *path, struct gn_error *err)
{
	struct gn_db *db = calloc(1, sizeof *db);

	if (!db)
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->freed, NULL);
	if (conn_open(&db->conns[0], path, true, err) || migrate(&db->conns[0], err))
		goto failed;
	for (int i = 1; i < CONNECTIONS; i++)
		if (conn_open(&db->conns[i], path, false, err))
			goto failed;
	*out = db;
	return 0;
failed:
	gn_db_close(db);
	return -1;
}

void gn_db_close(struct gn_db *db)
{
	if (!db)
		return;
	/* Readers first: the last connection to close folds the WAL back into the file, and must be
	 * able to write. */
	for (int i = CONNECTIONS - 1; i >= 0; i--) {
		struct gn_conn *conn = &db->conns[i];
		for (int s = 0; s < conn->statements; s++)
			sqlite3_finalize(conn->cache[s].stmt);
		sqlite3_close(conn->handle);
	}
	pthread_cond_destroy(&db->freed);
	pthread_mutex_destroy(&db->lock);
	free(db);
}

static struct gn_conn *borrow(struct gn_db *db, int first, int count)
{
	struct gn_conn *found = NULL;

	pthread_mutex_lock(&db->lock);
	while (!found) {
		for (int i = first; i < first + count && !found; i++)
			if (!db->conns[i].busy)
				found = &db->conns[i];
		if (!found)
			pthread_cond_wait(&db->freed, &db->lock);
	}
	found->busy = true;
	pthread_mutex_unlock(&db->lock);
	return found;
}

struct gn_conn *gn_db_reader(struct gn_db *db)
{
	return borrow(db, 1, READERS);
}

struct gn_conn *gn_db_writer(struct gn_db *db)
{
	return borrow(db, 0, 1);
}

void gn_db_release(struct gn_db *db, struct gn_conn *conn)
{
	/* A statement that is not reset would hold its snapshot, and the WAL would grow. */
	for (int i = 0; i < conn->statements; i++)
		sqlite3_reset(conn->cache[i].stmt);
	pthread_mutex_lock(&db->lock);
	conn->busy = false;
	pthread_cond_broadcast(&db->freed);
	pthread_mutex_unlock(&db->lock);
}
