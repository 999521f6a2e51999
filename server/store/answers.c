/* Idempotent answers: see store.h. */
#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>

#include "server/store/store_private.h"
#include "server/common/text.h"

enum { ANSWER_MILLISECONDS = 24 * 3600 * 1000 };

int gn_store_answer_get(struct gn_store *store, const char *key, struct gn_answer *answer, struct gn_error *err)
{
	static const char query[] = "SELECT status,hash,location,body FROM answers WHERE key=?1 AND created_at>?2";
	struct gn_conn *conn = gn_db_reader(store->db);
	sqlite3_stmt *stmt = gn_db_prepare(conn, query, err);
	int found = -1;

	memset(answer, 0, sizeof *answer);
	if (stmt) {
		gn_db_bind_text(stmt, 1, key);
		sqlite3_bind_int64(stmt, 2, gn_now() - ANSWER_MILLISECONDS);
		found = gn_db_step(conn, stmt, err);
	}
	if (found == 1) {
		answer->status = sqlite3_column_int(stmt, 0);
		gn_db_copy(answer->hash, sizeof answer->hash, stmt, 1);
		gn_db_copy(answer->location, sizeof answer->location, stmt, 2);
		answer->bytes = (size_t)sqlite3_column_bytes(stmt, 3);
		answer->body = malloc(answer->bytes + 1);
		if (answer->body && answer->bytes)
			memcpy(answer->body, sqlite3_column_blob(stmt, 3), answer->bytes);
		if (!answer->body)
			found = gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	}
	gn_db_release(store->db, conn);
	return found;
}

int gn_store_answer_put(struct gn_store *store, const char *key, const struct gn_answer *answer, struct gn_error *err)
{
	static const char insert[] =
	    "INSERT OR REPLACE INTO answers(key,created_at,hash,status,location,body) VALUES(?1,?2,?3,?4,?5,?6)";
	static const char expire[] = "DELETE FROM answers WHERE created_at<?1";
	struct gn_conn *conn = gn_db_writer(store->db);
	sqlite3_stmt *stmt = gn_db_prepare(conn, expire, err);
	int result = -1;

	if (stmt) {
		sqlite3_bind_int64(stmt, 1, gn_now() - ANSWER_MILLISECONDS);
		result = gn_db_step(conn, stmt, err);
	}
	stmt = result == 0 ? gn_db_prepare(conn, insert, err) : NULL;
	if (stmt) {
		gn_db_bind_text(stmt, 1, key);
		sqlite3_bind_int64(stmt, 2, gn_now());
		gn_db_bind_text(stmt, 3, answer->hash);
		sqlite3_bind_int(stmt, 4, answer->status);
		gn_db_bind_text(stmt, 5, answer->location);
		sqlite3_bind_blob64(stmt, 6, answer->body, answer->bytes, SQLITE_TRANSIENT);
		result = gn_db_step(conn, stmt, err);
	}
	gn_db_release(store->db, conn);
	return result;
}
