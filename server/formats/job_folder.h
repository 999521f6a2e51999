/*
 * The folder of a job, on which its owner (the service or the command line) and its worker agree.
 * It holds
 *   job.json       owner -> worker: what is to be done; struct gn_job_order
 *   result.json    worker -> owner: what came of it; struct gn_job_result
 *   events.ndjson  both append: events.h
 *   log.txt        the worker's stdout and stderr
 *   lock           held by the worker that lives
 * and what the kind of job leaves: checkpoint.bin, model.safetensors, soup.bin, report.json,
 * images.bin.
 */
#ifndef GN_SERVER_JOB_FOLDER_H
#define GN_SERVER_JOB_FOLDER_H

#include <jansson.h>
#include "gonio.h"

/* ---------------------------------------------------------------- job.json -------------------- */

#define GN_JOB_JSON "job.json"

/* {"job":ID,"request":{...},"members":{...},"models":[[path,...],...],"dataset":path|null,
 * "shared":{...}|null,"device":"cpu","precision":"fp32","threads":N,"max_pixels":N,"attempt":N}.
 * Paths are relative to the folder. */
struct gn_job_order {
	const char *job;       /* an id, or on the command line the kind's word */
	const json_t *request; /* with all defaults */
	const json_t *members; /* see gn_job_row */
	const json_t *models;  /* each a chain: the model, its base, the base's base, ... */
	const char *dataset;   /* NULL: none */
	const json_t *shared;  /* as gn_job_shared_write makes it; NULL: left out */
	const char *device;    /* NULL: not said */
	const char *precision; /* of a request that leaves it open; NULL: left out */
	int64_t threads, max_pixels;
	int attempt;
};
/* Writes the file at path, whole or not at all. */
int gn_job_order_write(const char *path, const struct gn_job_order *order, struct gn_error *err);
/* Reads one. Members that are missing or of another type are NULL and 0. Everything is borrowed
 * from *whole, a new reference. GN_NOT_FOUND, GN_TOO_LARGE, GN_MALFORMED. */
int gn_job_order_read(struct gn_job_order *order, json_t **whole, const char *path, struct gn_error *err);

/* {"folder","identity","stages":[N,...],"disk_reserve"}, of struct gn_shared. New reference; NULL:
 * out of memory. */
json_t *gn_job_shared_write(const struct gn_shared *shared);
/*
 * The way back. cuts has room for `room` numbers; texts are borrowed from the object. folder is
 * NULL where object is NULL or null. GN_INVALID where GN_JOB_JSON.
 */
int gn_job_shared_read(struct gn_shared *shared, int *cuts, int room, const json_t *object, struct gn_error *err);

/* ---------------------------------------------------------------- result.json ----------------- */

#define GN_RESULT_JSON "result.json"

/* {"result":{...}} or {"error":{"type","detail"}}: one of the two, the other NULL. */
struct gn_job_result {
	json_t *result, *error;
};
/* Writes the file at path, whole or not at all. Borrows. */
int gn_job_result_write(const char *path, const struct gn_job_result *result, struct gn_error *err);
/* Reads one; both are NULL where the file is not there or holds neither. Caller releases. */
void gn_job_result_read(struct gn_job_result *result, const char *path);
void gn_job_result_release(struct gn_job_result *result);

/* error.type of a failure: "invalid", "conflict", "out_of_memory", "disk_full", "device" or
 * "internal". */
const char *gn_job_error_type(enum gn_code code);
/* {"type","detail"}. New reference. */
json_t *gn_job_error(const char *type, const char *detail);

/* ---------------------------------------------------------------- exit statuses --------------- */

enum gn_worker_exit {
	GN_WORKER_DONE = 0,    /* result.json holds the result */
	GN_WORKER_USAGE = 2,   /* the folder or job.json is not what it must be; the reason is on stderr */
	GN_WORKER_STOPPED = 3, /* on request, after a checkpoint */
	GN_WORKER_FAILED = 4,  /* result.json holds the error */
	GN_WORKER_BUSY = 5     /* another worker holds the lock */
};

#endif
