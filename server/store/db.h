/*
 * SQLite connections of the store: one writer and a few readers, each used by one thread at a time.
 * Each keeps its prepared statements. Private to server/store.
 *
 * The database is in WAL mode, so that readers never wait for the writer. It uses synchronous=FULL,
 * because an answer of 201 promises that the row survives a power failure. Commits are rare: they
 * come with uploads and status changes, not with each request.
 */
#ifndef GN_SERVER_DB_H
#define GN_SERVER_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include "gonio.h"

struct gn_db;
struct gn_conn;

int gn_db_open(struct gn_db **out, const char *path, struct gn_error *err);
void gn_db_close(struct gn_db *db);

/* Borrows a connection; waits until one is free. There are one writer and several readers. A thread
 * must not hold two at once. */
struct gn_conn *gn_db_reader(struct gn_db *db);
struct gn_conn *gn_db_writer(struct gn_db *db);
void gn_db_release(struct gn_db *db, struct gn_conn *conn);

/* A reset statement without bindings, or NULL with the error. sql must be a string that is never
 * freed, because its address is the key. */
sqlite3_stmt *gn_db_prepare(struct gn_conn *conn, const char *sql, struct gn_error *err);
/* SQLITE_ROW: 1; SQLITE_DONE: 0; else -1 with the error: a UNIQUE constraint is GN_CONFLICT, a full
 * disk GN_NO_SPACE. */
int gn_db_step(struct gn_conn *conn, sqlite3_stmt *stmt, struct gn_error *err);
/* Prepares sql with ?1 = text and returns its first step. */
int gn_db_find(sqlite3_stmt **stmt, struct gn_conn *conn, const char *sql, const char *text, struct gn_error *err);
/* Runs one statement without results: "BEGIN IMMEDIATE", "COMMIT", ... */
int gn_db_run(struct gn_conn *conn, const char *sql, struct gn_error *err);
/* ROLLBACK, in any state of the transaction. */
void gn_db_rollback(struct gn_conn *conn);

/* Column and parameter helpers. gn_db_copy: at most size - 1 bytes of a text column, "" for NULL.
 * gn_db_bind_text: NULL or "" binds NULL. */
void gn_db_copy(char *out, size_t size, sqlite3_stmt *stmt, int column);
void gn_db_bind_text(sqlite3_stmt *stmt, int parameter, const char *text);

/* The schema's migrations, the first for an empty database; ended by NULL. See migrations.c. */
extern const char *const gn_migrations[];

#endif
