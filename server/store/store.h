/*
 * The store: a data directory with gonio.db (SQLite), models/ID/, datasets/ID/, a folder for each
 * kind of job (runs/ID/, soups/ID/, evaluations/ID/) and tmp/. Rows hold metadata, files hold
 * bytes. A folder is filled under tmp/, synced, and renamed to its place before the row that names
 * it is committed. Opening the store removes folders that no row names. Only one process at a time
 * owns a data directory (a lock on DIR/lock).
 *
 * Every function may block on the disk, so only task threads may call it. All are thread-safe:
 * there is one writer connection under a mutex, and several readers.
 */
#ifndef GN_SERVER_STORE_H
#define GN_SERVER_STORE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include "gonio.h"
#include "server/common/fields.h" /* GN_NAME_SIZE */
#include "server/common/kinds.h"

struct gn_store;

/* ---------------------------------------------------------------- life cycle ------------------ */

/* Creates the directory if it is missing (0700), takes its lock, migrates the schema and cleans up.
 * GN_CONFLICT if another gonio has the lock. disk_reserve: bytes that stay free on its file
 * system. */
int gn_store_open(struct gn_store **out, const char *directory, uint64_t disk_reserve, struct gn_error *err);
void gn_store_close(struct gn_store *store);
/* DIR/models/ID and so on. Borrowed text goes into out. */
void gn_store_folder(const struct gn_store *store, enum gn_kind kind, const char *id, char out[PATH_MAX]);

/* GN_NO_SPACE when fewer than reserve + bytes are free. */
int gn_store_space(const struct gn_store *store, uint64_t bytes, struct gn_error *err);
uint64_t gn_store_free_bytes(const struct gn_store *store);
uint64_t gn_store_reserve(const struct gn_store *store); /* disk_reserve */

/* ---------------------------------------------------------------- staging --------------------- */

/* A new empty folder under tmp/ (0700). */
int gn_store_stage(struct gn_store *store, char folder[PATH_MAX], struct gn_error *err);
/* Removes a folder of tmp/ and everything in it; "" does nothing. Allowed also after gn_store_add
 * has moved it. */
void gn_store_unstage(struct gn_store *store, const char *folder);

/* ------------------------------------------------------------ rows of models and data sets ---- */

/* A resource: the members that the store needs to find and protect it, and the others as JSON,
 * which only api/ reads. */
struct gn_row {
	char id[GN_ID_SIZE];
	char name[GN_NAME_SIZE]; /* "" none; the resource then shows null */
	int64_t created_at;      /* milliseconds since 1970 */
	uint64_t bytes;          /* of its folder */
	char base[GN_ID_SIZE];   /* models: "" for a base model */
	/* models: the run or the soup that made it; "" for none. It may have been deleted */
	char run[GN_ID_SIZE], soup[GN_ID_SIZE];
	json_t *fields; /* the resource's other members; an object */
};
void gn_row_release(struct gn_row *row);

/* The kind's prefix ("mdl_", "dst_", "run_", "sop_", "evl_") and 16 random characters. */
void gn_store_new_id(char id[GN_ID_SIZE], enum gn_kind kind);
/* Moves the staged folder to its place and commits the row, both or neither. Uses name, base, run,
 * soup and fields of row (borrowed); sets id, created_at and bytes. GN_CONFLICT with where "/name"
 * if the name exists already; GN_NOT_FOUND if base was deleted. */
int gn_store_add(struct gn_store *store, enum gn_kind kind, const char *staged, struct gn_row *row,
                 struct gn_error *err);
/* By id or by name. GN_NOT_FOUND. Caller releases. */
int gn_store_get(struct gn_store *store, enum gn_kind kind, const char *id_or_name, struct gn_row *row,
                 struct gn_error *err);
/* Visits up to limit rows, newest first, that are older than the row `after`; NULL begins with the
 * newest. visit borrows each row. *more: whether rows remain. GN_INVALID "/after" if there is no
 * such row. */
int gn_store_list(struct gn_store *store, enum gn_kind kind, int limit, const char *after,
                  void (*visit)(void *user, const struct gn_row *row), void *user, bool *more, struct gn_error *err);
/* name "" removes the name. GN_CONFLICT, GN_NOT_FOUND. Models and data sets only. */
int gn_store_rename(struct gn_store *store, enum gn_kind kind, const char *id, const char *name, struct gn_error *err);
/* Deletes row and folder. GN_CONFLICT if a queued or running job or a tuned model needs it; the
 * text names that. Models and data sets only: the supervisor deletes jobs. */
int gn_store_delete(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed, struct gn_error *err);

/* The model and its bases, the model first: ids[0] is id itself. Returns their number (1 for a base
 * model), or -1. */
int gn_store_chain(struct gn_store *store, const char *id, char ids[GN_CHAIN_MAX][GN_ID_SIZE], struct gn_error *err);

/* ------------------------------------------------------- rows of jobs (for the supervisor) ---- */

struct gn_job_row {
	enum gn_kind kind; /* of a job */
	char id[GN_ID_SIZE];
	char name[GN_NAME_SIZE];
	int64_t created_at, started_at, finished_at; /* milliseconds; 0: not yet */
	enum gn_job_status status;
	int priority, attempts;
	int deaths;            /* in a row without progress in between */
	char base[GN_ID_SIZE]; /* what its result will be tuned from; "" when it makes no model */
	/* The models and data sets that the job needs: {"/dataset":ID,...}, by their pointers in
	 * the request. They must exist at the start, and cannot be deleted while the job is queued
	 * or running. */
	json_t *needs;
	json_t *request; /* all defaults filled in */
	json_t *
	    members; /* what the resource shows beyond the request and what all jobs have: tuned_layers, ingredients, ... */
	json_t *progress, *result, *error; /* NULL: null */
};
void gn_job_row_release(struct gn_job_row *row);
/* The id that the job needs at that pointer; "" if there is none. Borrowed. */
const char *gn_job_need(const struct gn_job_row *row, const char *pointer);
/* Adds all of the jobs or none, in one transaction. Sets id and created_at; makes their folders.
 * GN_NOT_FOUND with the pointer of a need that was deleted; GN_CONFLICT "/name". */
int gn_store_add_jobs(struct gn_store *store, struct gn_job_row *rows, int count, struct gn_error *err);
/* Writes status, times, attempts, deaths, members, progress, result and error. */
int gn_store_update_job(struct gn_store *store, const struct gn_job_row *row, struct gn_error *err);
/* The same, in one transaction with the check that its needs still exist: GN_NOT_FOUND. */
int gn_store_requeue_job(struct gn_store *store, const struct gn_job_row *row, struct gn_error *err);
/* gn_store_update_job, and in the same transaction adds the model that the job made: moves its
 * staged folder to its place, adds its row, and sets its id in the job's result ("model" of
 * row->result). */
int gn_store_finish_job(struct gn_store *store, struct gn_job_row *row, const char *staged, struct gn_row *model,
                        struct gn_error *err);
/* Deletes row and folder. GN_CONFLICT if a queued or running job needs it. */
int gn_store_delete_job(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed,
                        struct gn_error *err);
/* Visits every job, oldest first; visit owns the row's content. */
int gn_store_each_job(struct gn_store *store, void (*visit)(void *user, struct gn_job_row *row), void *user,
                      struct gn_error *err);

/* ---------------------------------------------------------------- rows of sweeps -------------- */

/* Runs that one request created together. Each of them has the sweep's id in its members
 * ("sweep"). */
struct gn_sweep_row {
	char id[GN_ID_SIZE];
	char name[GN_NAME_SIZE]; /* "" none */
	int64_t created_at;
	json_t *request; /* model, dataset, strategies, seeds, defaults */
	json_t *runs;    /* array of ids, in the order of the request; some may have been deleted */
};
void gn_sweep_row_release(struct gn_sweep_row *row);
void gn_store_new_sweep_id(char id[GN_ID_SIZE]);
/* Adds the sweep, whose id is set already, and its runs: all or nothing, in one transaction. Sets
 * created_at and runs of the sweep, and the same members of the runs as gn_store_add_jobs. */
int gn_store_add_sweep(struct gn_store *store, struct gn_sweep_row *sweep, struct gn_job_row *runs, int count,
                       struct gn_error *err);
/* By id or by name. GN_NOT_FOUND. Caller releases. */
int gn_store_get_sweep(struct gn_store *store, const char *id_or_name, struct gn_sweep_row *row, struct gn_error *err);
/* As gn_store_list. */
int gn_store_list_sweeps(struct gn_store *store, int limit, const char *after,
                         void (*visit)(void *user, const struct gn_sweep_row *row), void *user, bool *more,
                         struct gn_error *err);
/* Deletes the row only. */
int gn_store_delete_sweep(struct gn_store *store, const char *id, struct gn_error *err);
/* DIR/sweeps/ID, for what the runs share while they are active; it may not exist. */
void gn_store_sweep_folder(const struct gn_store *store, const char *id, char out[PATH_MAX]);

/* ---------------------------------------------------------------- idempotency (for http) ------ */

struct gn_answer {
	int status;
	char hash[65]; /* of the request that it answered */
	char location[160];
	char *body; /* malloc'd */
	size_t bytes;
};
/* 1: there is an answer younger than 24 h (caller frees answer->body); 0: there is none; -1:
 * error. */
int gn_store_answer_get(struct gn_store *store, const char *key, struct gn_answer *answer, struct gn_error *err);
/* Keeps an answer and drops those older than 24 h. */
int gn_store_answer_put(struct gn_store *store, const char *key, const struct gn_answer *answer, struct gn_error *err);

#endif
