/*
 * The supervisor: the queue of runs, their worker processes, and what is known of every run, in memory.
 *
 * Every run's resource lies ready as JSON text (struct gn_text), made again by the supervisor whenever something changes: the request's
 * members, then those of the plan (tuned_layers, tuned_parameters), then id, name, created_at, started_at, finished_at, status, attempts,
 * progress, result, error. Reading it takes a shared lock and no SQLite: gn_supervisor_get and _list never block (INLINE handlers).
 *
 * A worker is `gonio train RUN_DIR`. RUN_DIR holds run.json (supervisor -> worker), events.ndjson (both append), log.txt (its stdout and stderr), checkpoint.bin, result.json (worker -> supervisor), model.safetensors
 * (until it moves to models/ID/) and lock (held by the live worker). See worker.h for run.json and the exit codes.
 *
 * events.ndjson: see server/eventjson.h. The supervisor writes the status events ({"status","attempt"}), only while no worker lives.
 */
#ifndef GN_SERVER_SUPERVISOR_H
#define GN_SERVER_SUPERVISOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "gonio.h"
#include "server/store.h"
#include "server/text.h"

struct gn_metrics;
struct gn_supervisor;

struct gn_supervisor_options {
	struct gn_store *store;
	struct gn_metrics *metrics; /* NULL: not counted */
	int max_runs;
	const char *device; /* handed to workers: "cpu", "auto", "cuda:0" */
	int threads;        /* of a run that does not say; 0 all */
	uint64_t max_pixels;
	const char *program;  /* NULL: /proc/self/exe. Started as PROGRAM train RUN_DIR */
	double grace_seconds; /* between SIGTERM and SIGKILL; 0: 30 */
	/* Makes the resource members of the model that a run leaves (gn_row.fields) from its file. chain: the tuned model and its bases, open.
	 * run: the run's resource. New reference in *fields. On the supervisor's thread; may block. NULL: an empty object. */
	int (*describe_model)(json_t **fields, const char *path, const struct gn_chain *chain, const json_t *run,
	                      struct gn_error *err);
};

/* Loads every run; those that were running are queued again. Starts nothing before gn_supervisor_go. */
int gn_supervisor_new(struct gn_supervisor **out, const struct gn_supervisor_options *options, struct gn_error *err);
void gn_supervisor_go(struct gn_supervisor *s);
/* Starts no more workers, asks the living to checkpoint and stop, waits for them (SIGKILL after the grace period); their runs are queued
 * for the next start. Then frees. */
void gn_supervisor_free(struct gn_supervisor *s);

/* ---------------------------------------------------------------- changing runs: job threads --------------------- */

struct gn_run_new {
	const char *name;            /* "" none; checked by the caller */
	const char *model, *dataset; /* ids, not names */
	int priority;                /* higher runs first */
	const json_t *request;       /* every member of the request with its default; model and dataset as ids */
	const json_t *plan;          /* {"tuned_layers":[...],"tuned_parameters":N} */
};
/* Queues a run. id receives its id. GN_CONFLICT "/name", GN_NOT_FOUND "/model", "/dataset". */
int gn_supervisor_submit(struct gn_supervisor *s, const struct gn_run_new *run, char id[GN_ID_SIZE],
                         struct gn_error *err);
/* All take an id or a name. GN_NOT_FOUND; GN_CONFLICT when the status does not allow it. */
int gn_supervisor_cancel(struct gn_supervisor *s, const char *run,
                         struct gn_error *err); /* queued or running; returns at once */
int gn_supervisor_resume(struct gn_supervisor *s, const char *run, struct gn_error *err); /* failed or cancelled */
int gn_supervisor_delete(struct gn_supervisor *s, const char *run, uint64_t *freed,
                         struct gn_error *err); /* not active */

/* ---------------------------------------------------------------- reading runs: never blocks --------------------- */

/* The resource by id or name: one reference for the caller; NULL: no such run. */
struct gn_text *gn_supervisor_get(struct gn_supervisor *s, const char *run);
/* {"items":[...],"next":...}, newest first; status -1 is any. NULL with GN_INVALID "/after" when there is no such run. */
struct gn_text *gn_supervisor_list(struct gn_supervisor *s, int status, int limit, const char *after,
                                   struct gn_error *err);
/* The id and status of a run by id or name; -1: no such run. */
int gn_supervisor_find(struct gn_supervisor *s, const char *run, char id[GN_ID_SIZE], enum gn_run_status *status);
void gn_supervisor_counts(struct gn_supervisor *s, int counts[GN_RUN_STATUS_COUNT]);

/* ---------------------------------------------------------------- events ----------------------------------------- */

/* Wakes a listener whenever the run's events grow or its status changes, until it is removed. wake is called with a lock held: it
 * must only set a flag or resume a connection. -1: no such run, or too many listeners (GN_TOO_LARGE). For sse.c. */
struct gn_listener {
	void (*wake)(void *user);
	void *user;
	struct gn_listener *next;
	struct gn_run *run;
};
int gn_supervisor_listen(struct gn_supervisor *s, const char *run_id, struct gn_listener *listener,
                         struct gn_error *err);
void gn_supervisor_unlisten(struct gn_supervisor *s, struct gn_listener *listener);

#endif
