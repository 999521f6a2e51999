/*
 * The store: a data directory with gonio.db (SQLite), models/ID/, datasets/ID/, a folder for each kind of job (runs/ID/, soups/ID/,
 * evaluations/ID/) and tmp/. Rows hold metadata, files hold bytes. A folder is filled under tmp/, synced and renamed into place before the row that names it is committed; opening
 * the store removes what no row names. One process at a time owns a data directory (a lock on DIR/lock).
 *
 * Every function here may block on the disk: task threads only. All are thread-safe: one writer connection under a mutex,
 * readers beside it.
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

/* ---------------------------------------------------------------- life cycle ------------------------------------- */

/* Creates the directory where it is missing (0700), takes its lock (GN_CONFLICT: another gonio has it), migrates the schema, cleans
 * up. disk_reserve: bytes that stay free on its file system. */
int gn_store_open(struct gn_store **out, const char *directory, uint64_t disk_reserve, struct gn_error *err);
void gn_store_close(struct gn_store *store);
/* DIR/models/ID and so on. Borrowed text goes into out. */
void gn_store_folder(const struct gn_store *store, enum gn_kind kind, const char *id, char out[PATH_MAX]);

/* GN_NO_SPACE when fewer than reserve + bytes are free. */
int gn_store_space(const struct gn_store *store, uint64_t bytes, struct gn_error *err);
uint64_t gn_store_free_bytes(const struct gn_store *store);
uint64_t gn_store_reserve(const struct gn_store *store); /* disk_reserve */

/* ---------------------------------------------------------------- staging ---------------------------------------- */

/* A new empty folder under tmp/ (0700). */
int gn_store_stage(struct gn_store *store, char folder[PATH_MAX], struct gn_error *err);
/* Removes a folder of tmp/ and everything in it; "" does nothing. Also when it was moved away by an add. */
void gn_store_unstage(struct gn_store *store, const char *folder);

/* ---------------------------------------------------------------- rows of models and data sets ------------------- */

/* A resource: what the store must know to find and protect it, and the rest as JSON that only api/ understands. */
struct gn_row {
	char id[GN_ID_SIZE];
	char name[GN_NAME_SIZE]; /* "" none; the resource then shows null */
	int64_t created_at;      /* milliseconds since 1970 */
	uint64_t bytes;          /* of its folder */
	char base[GN_ID_SIZE];   /* models: "" for a base model */
	/* models: the run or the soup that made it; "" none. It may be gone */
	char run[GN_ID_SIZE], soup[GN_ID_SIZE];
	json_t *fields; /* the resource's other members; an object */
};
void gn_row_release(struct gn_row *row);

/* The kind's prefix ("mdl_", "dst_", "run_", "sop_", "evl_") and 16 random characters. */
void gn_store_new_id(char id[GN_ID_SIZE], enum gn_kind kind);
/* Moves the staged folder to its place and commits the row, both or neither. row: name, base, run, soup and fields are used (borrowed); id,
 * created_at and bytes are set. GN_CONFLICT with where "/name" when the name is taken; GN_NOT_FOUND when base is gone. */
int gn_store_add(struct gn_store *store, enum gn_kind kind, const char *staged, struct gn_row *row,
                 struct gn_error *err);
/* By id or by name. GN_NOT_FOUND. Caller releases. */
int gn_store_get(struct gn_store *store, enum gn_kind kind, const char *id_or_name, struct gn_row *row,
                 struct gn_error *err);
/* Newest first: up to limit rows that are older than the row `after` (NULL: from the newest; GN_INVALID "/after" when there is no such
 * row). visit gets each, borrowed. *more: whether rows remain. */
int gn_store_list(struct gn_store *store, enum gn_kind kind, int limit, const char *after,
                  void (*visit)(void *user, const struct gn_row *row), void *user, bool *more, struct gn_error *err);
/* name "" takes the name away. GN_CONFLICT, GN_NOT_FOUND. Models and data sets. */
int gn_store_rename(struct gn_store *store, enum gn_kind kind, const char *id, const char *name, struct gn_error *err);
/* Row and folder. GN_CONFLICT, saying by what it is needed: a queued or running job, a tuned model. Models and data sets; jobs go by
 * the supervisor. */
int gn_store_delete(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed, struct gn_error *err);

/* The model and its bases, the model first: ids[0] is id itself. Returns how many (1 for a base model), or -1. */
int gn_store_chain(struct gn_store *store, const char *id, char ids[GN_CHAIN_MAX][GN_ID_SIZE], struct gn_error *err);

/* ---------------------------------------------------------------- rows of jobs (for the supervisor) -------------- */

struct gn_job_row {
	enum gn_kind kind; /* of a job */
	char id[GN_ID_SIZE];
	char name[GN_NAME_SIZE];
	int64_t created_at, started_at, finished_at; /* milliseconds; 0: not yet */
	enum gn_job_status status;
	int priority, attempts;
	int deaths;            /* in a row without progress in between */
	char base[GN_ID_SIZE]; /* what its result will be tuned from; "" when it makes no model */
	/* What must be there to start, and may not go while the job is queued or running: {"/dataset":ID,...}, by where the request names it. */
	json_t *needs;
	json_t *request; /* all defaults filled in */
	json_t *
	    members; /* what the resource shows beyond the request and what all jobs have: tuned_layers, ingredients, ... */
	json_t *progress, *result, *error; /* NULL: null */
};
void gn_job_row_release(struct gn_job_row *row);
/* The id that the job needs by that pointer; "" when it has no such need. Borrowed. */
const char *gn_job_need(const struct gn_job_row *row, const char *pointer);
/* All of the jobs or none, in one transaction. Sets id and created_at; makes their folders. GN_NOT_FOUND with the pointer of a need
 * that is gone, GN_CONFLICT "/name". */
int gn_store_add_jobs(struct gn_store *store, struct gn_job_row *rows, int count, struct gn_error *err);
/* Writes status, times, attempts, deaths, members, progress, result and error. */
int gn_store_update_job(struct gn_store *store, const struct gn_job_row *row, struct gn_error *err);
/* The same; in one transaction with the check that what it needs is still there: GN_NOT_FOUND. */
int gn_store_requeue_job(struct gn_store *store, const struct gn_job_row *row, struct gn_error *err);
/* gn_store_update_job, and in one transaction the model that the job made: its staged folder moved into place, its row, its id in the job's
 * result ("model"), which is set in row->result. */
int gn_store_finish_job(struct gn_store *store, struct gn_job_row *row, const char *staged, struct gn_row *model,
                        struct gn_error *err);
/* Row and folder. GN_CONFLICT when a queued or running job needs it. */
int gn_store_delete_job(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed,
                        struct gn_error *err);
/* Every job, oldest first; visit owns the row's content. */
int gn_store_each_job(struct gn_store *store, void (*visit)(void *user, struct gn_job_row *row), void *user,
                      struct gn_error *err);

/* ---------------------------------------------------------------- rows of sweeps --------------------------------- */

/* Runs that were asked for together. Each of them has the sweep's id in its members ("sweep"). */
struct gn_sweep_row {
	char id[GN_ID_SIZE];
	char name[GN_NAME_SIZE]; /* "" none */
	int64_t created_at;
	json_t *request; /* model, dataset, strategies, seeds, defaults */
	json_t *runs;    /* array of ids, in the order in which they were asked for; some may be gone */
};
void gn_sweep_row_release(struct gn_sweep_row *row);
void gn_store_new_sweep_id(char id[GN_ID_SIZE]);
/* The sweep, whose id is set, and its runs: all or nothing, in one transaction. Sets created_at and runs of the sweep, and what
 * gn_store_add_jobs sets of the runs. */
int gn_store_add_sweep(struct gn_store *store, struct gn_sweep_row *sweep, struct gn_job_row *runs, int count,
                       struct gn_error *err);
/* By id or by name. GN_NOT_FOUND. Caller releases. */
int gn_store_get_sweep(struct gn_store *store, const char *id_or_name, struct gn_sweep_row *row, struct gn_error *err);
/* As gn_store_list. */
int gn_store_list_sweeps(struct gn_store *store, int limit, const char *after,
                         void (*visit)(void *user, const struct gn_sweep_row *row), void *user, bool *more,
                         struct gn_error *err);
/* The row alone. */
int gn_store_delete_sweep(struct gn_store *store, const char *id, struct gn_error *err);
/* DIR/sweeps/ID, for what the runs share while they go on; it may not be there. */
void gn_store_sweep_folder(const struct gn_store *store, const char *id, char out[PATH_MAX]);

/* ---------------------------------------------------------------- idempotency (for http) ------------------------- */

struct gn_answer {
	int status;
	char hash[65]; /* of the request that it answered */
	char location[160];
	char *body; /* malloc'd */
	size_t bytes;
};
/* 1: an answer younger than 24 h is there (caller frees answer->body); 0: none; -1: error. */
int gn_store_answer_get(struct gn_store *store, const char *key, struct gn_answer *answer, struct gn_error *err);
/* Keeps an answer and drops those older than 24 h. */
int gn_store_answer_put(struct gn_store *store, const char *key, const struct gn_answer *answer, struct gn_error *err);

#endif
