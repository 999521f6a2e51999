/* Declarations that the files of the store share: see store.h. */
#ifndef GN_SERVER_STORE_PRIVATE_H
#define GN_SERVER_STORE_PRIVATE_H

#include <stdatomic.h>
#include "server/store/db.h"
#include "server/store/store.h"

#define GN_DATA_PATH 3072 /* leaves room for kind, id and file name within PATH_MAX */

struct gn_store {
	struct gn_db *db;
	int lock_fd;
	uint64_t reserve;
	atomic_uint stages; /* numbers the folders of tmp/ */
	char directory[GN_DATA_PATH];
};

/* The prefix of four characters, then 16 random characters. */
void gn_store_random_id(char id[GN_ID_SIZE], const char *prefix);
/* Ends a transaction whose rows name a folder: moves the staged one to its place and commits. On a
 * failure it rolls back, and the folder is gone. */
int gn_store_commit_staged(struct gn_conn *conn, const char *staged, const char *folder, struct gn_error *err);
/* Takes a folder out of its place and removes it. *freed (may be NULL) receives the bytes. */
int gn_store_drop_folder(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed,
                         struct gn_error *err);
/* Deletes a row; part of a transaction. */
int gn_store_delete_row(struct gn_conn *conn, enum gn_kind kind, const char *id, struct gn_error *err);
/* GN_CONFLICT if a tuned model or a queued or running job needs the row; the text names it. */
int gn_store_check_unneeded(struct gn_conn *conn, enum gn_kind kind, const char *id, struct gn_error *err);
/* Inserts a sweep's row with the ids of its runs; part of a transaction. GN_CONFLICT "/name". */
int gn_store_insert_sweep(struct gn_conn *conn, struct gn_sweep_row *sweep, const struct gn_job_row *runs, int count,
                          struct gn_error *err);
/* Inserts a model or data set row; part of a transaction. GN_CONFLICT "/name", GN_NOT_FOUND for the
 * base. */
int gn_store_insert_row(struct gn_conn *conn, enum gn_kind kind, const struct gn_row *row, struct gn_error *err);
/* Parses a JSON column. Text that is not JSON, which only a damaged file has, gives an empty
 * object. NULL for a NULL column. */
json_t *gn_store_column_json(sqlite3_stmt *stmt, int column);
/* Binds compact JSON; NULL binds NULL. */
int gn_store_bind_json(sqlite3_stmt *stmt, int parameter, const json_t *value, struct gn_error *err);

#endif
