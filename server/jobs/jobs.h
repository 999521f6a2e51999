/*
 * The supervisor: the queue of jobs (runs, soups, evaluations), their worker processes, and a table
 * of all jobs in memory.
 *
 * Every job's resource is kept as JSON text (struct gn_text), which the supervisor makes again
 * after each change. It has the request's members, then the job's own (gn_job_row.members), then
 * id, name, created_at, started_at, finished_at, status, attempts, progress, result, error. Reading
 * it takes a shared lock and no SQLite: gn_supervisor_get and _list never block (INLINE handlers).
 *
 * A worker is `gonio train|soup|evaluate DIR`. DIR holds job.json (supervisor -> worker),
 * events.ndjson (both append), log.txt (its stdout and stderr), checkpoint.bin, result.json (worker
 * -> supervisor), model.safetensors (until it moves to models/ID/) and lock (held by the live
 * worker). See formats/job_folder.h for job.json and the exit statuses.
 *
 * events.ndjson: see server/formats/events.h. The supervisor writes the status events
 * ({"status","attempt"}), only while no worker lives.
 */
#ifndef GN_SERVER_SUPERVISOR_H
#define GN_SERVER_SUPERVISOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "gonio.h"
#include "server/store/store.h"
#include "server/common/text.h"

struct gn_event_source;
struct gn_metrics;
struct gn_service;
struct gn_supervisor;

/* Makes the resource members of the model that a job leaves (gn_row.fields) from its file. chain:
 * the tuned model and its bases, open. job: the job's resource. New reference in *fields. On the
 * supervisor's thread; may block. */
typedef int gn_describe_model(json_t **fields, const char *path, const struct gn_chain *chain, const json_t *job,
                              struct gn_error *err);

struct gn_supervisor_options {
	struct gn_store *store;
	struct gn_metrics *metrics; /* NULL: not counted */
	int max_runs;
	const char *device;          /* handed to workers: "cpu", "cuda:0" */
	enum gn_precision precision; /* of a job that leaves it open */
	uint64_t
	    gpu_bytes; /* memory of the GPU that jobs may take together, as they say in members.gpu_bytes; 0: no bound */
	int threads;   /* of a job that does not say; 0 all */
	uint64_t max_pixels;
	const char *program;               /* NULL: /proc/self/exe. Started as PROGRAM train DIR */
	double grace_seconds;              /* between SIGTERM and SIGKILL; 0: 30 */
	gn_describe_model *describe_model; /* NULL: an empty object */
	/* The service's own view of the device. suspect: a worker ended with a failure of it.
	 * usable: false while that is looked into and after the device is found broken; jobs wait
	 * in the queue then, rather than fail one after another. Neither blocks. NULL: it works. */
	void (*suspect_device)(struct gn_service *service);
	bool (*device_usable)(const struct gn_service *service);
	struct gn_service *service; /* for both */
};

/* Loads every job; those that were running are queued again. Starts nothing before
 * gn_supervisor_go. */
int gn_supervisor_new(struct gn_supervisor **out, const struct gn_supervisor_options *options, struct gn_error *err);
void gn_supervisor_go(struct gn_supervisor *s);
/* Starts no more workers, and tells the running ones to write a checkpoint and stop. Waits for
 * them, with SIGKILL after the grace period. Their jobs are queued for the next start. Then
 * frees. */
void gn_supervisor_free(struct gn_supervisor *s);

/* ---------------------------------------------------------------- changing jobs: task threads - */

struct gn_job_new {
	enum gn_kind kind;     /* of a job */
	const char *name;      /* "" none; checked by the caller */
	int priority;          /* higher jobs first, whatever their kind */
	const char *base;      /* the model that its result will be tuned from; NULL: it makes none */
	const json_t *needs;   /* {"/model":ID,...}: see gn_job_row */
	const json_t *request; /* every member of the request with its default; models and data sets as ids */
	const json_t
	    *members; /* {"tuned_layers":[...],...}: see gn_job_row. The worker's "record" events change them */
};
/* Queues count jobs, all or none. ids receives their ids. GN_CONFLICT "/name"; GN_NOT_FOUND with
 * the pointer of a missing model or data set. */
int gn_supervisor_submit(struct gn_supervisor *s, const struct gn_job_new *jobs, int count, char ids[][GN_ID_SIZE],
                         struct gn_error *err);
/* The same for the runs of a sweep, with its row; sweep: name and request are used, the rest is
 * set. Caller releases. */
int gn_supervisor_submit_sweep(struct gn_supervisor *s, struct gn_sweep_row *sweep, const struct gn_job_new *jobs,
                               int count, struct gn_error *err);
/* Deletes the sweep's row and what its runs shared. The remaining runs then belong to no sweep.
 * GN_CONFLICT while one of them is active. *freed (may be NULL) receives the freed bytes. */
int gn_supervisor_delete_sweep(struct gn_supervisor *s, const char *id, uint64_t *freed, struct gn_error *err);
/* All accept an id or a name. GN_NOT_FOUND; GN_CONFLICT if the status does not allow the change. */
int gn_supervisor_cancel(struct gn_supervisor *s, enum gn_kind kind, const char *job,
                         struct gn_error *err); /* queued or running; returns at once */
int gn_supervisor_resume(struct gn_supervisor *s, enum gn_kind kind, const char *job,
                         struct gn_error *err); /* failed or cancelled */
int gn_supervisor_delete(struct gn_supervisor *s, enum gn_kind kind, const char *job, uint64_t *freed,
                         struct gn_error *err); /* not active, and needed by no active job */

/* ---------------------------------------------------------------- reading jobs: never blocks -- */

/* The resource by id or name, with a reference for the caller; NULL if there is no such job. */
struct gn_text *gn_supervisor_get(struct gn_supervisor *s, enum gn_kind kind, const char *job);
/* The same as a value: new reference; NULL: no such job, or out of memory. */
json_t *gn_supervisor_resource(struct gn_supervisor *s, enum gn_kind kind, const char *job);
/* {"items":[...],"next":...}, newest first; status -1 is any. NULL with GN_INVALID "/after" when
 * there is no such job. */
struct gn_text *gn_supervisor_list(struct gn_supervisor *s, enum gn_kind kind, int status, int limit, const char *after,
                                   struct gn_error *err);
/* The id and status of a job by id or name; -1: no such job. */
int gn_supervisor_find(struct gn_supervisor *s, enum gn_kind kind, const char *job, char id[GN_ID_SIZE],
                       enum gn_job_status *status);
void gn_supervisor_counts(struct gn_supervisor *s, enum gn_kind kind, int counts[GN_JOB_STATUS_COUNT]);

/* ---------------------------------------------------------------- events ---------------------- */

/* The events of a job, by id or name, that follow the id `after`: what is in its event file, and
 * what comes until it has ended. GN_NOT_FOUND. Caller closes the source, before the supervisor is
 * freed. */
int gn_supervisor_events(struct gn_event_source *source, struct gn_supervisor *s, enum gn_kind kind, const char *job,
                         int64_t after, struct gn_error *err);

#endif
