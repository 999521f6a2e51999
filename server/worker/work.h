/* What the files of a worker share: worker.c (the process: lock, signals, result), work.c (inputs,
 * events) and train.c, soup.c, evaluate.c (the work). */
#ifndef GN_SERVER_WORKER_PRIVATE_H
#define GN_SERVER_WORKER_PRIVATE_H

#include <jansson.h>
#include <stdbool.h>

#include "server/worker/worker.h"

struct gn_worker {
	json_t *job; /* job.json; owns the order */
	struct gn_job_order order;
	struct gn_model **models;
	int model_count;            /* of the request's model or models, in its order */
	struct gn_dataset *dataset; /* NULL: the job has none */
	struct gn_device *device;
	uint64_t max_pixels;

	int events; /* file descriptor of events.ndjson */
	int64_t last_event;
	bool write_failed;  /* an event could not be written: the disk is full; stop is set */
	volatile int *stop; /* != 0: end soon, keeping what helps the next attempt */

	double begun_at, told_at; /* of gn_worker_progress; monotonic seconds */

	const struct gn_worker_watch *watch; /* NULL: nobody looks on */

	struct gn_opened *opened; /* every model file, a base before what builds on it */
	int opened_count;
};

/* Opens the event file; opens models, data set and device. */
int gn_worker_open_events(struct gn_worker *w, struct gn_error *err);
int gn_worker_open(struct gn_worker *w, struct gn_error *err);
void gn_worker_release(struct gn_worker *w);
/* A line of text for people: the job's log.txt, which is stderr, or whoever looks on. */
void gn_worker_say(const struct gn_worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends an event; line is what gn_event_line or gn_event_line_of made, freed here. */
void gn_worker_tell(struct gn_worker *w, char *line);
/* Appends {"done","total","eta_seconds"} as a "progress" event. Drops it if the last one is younger
 * than half a second, except at the beginning (done 0) and at the end. */
void gn_worker_progress(struct gn_worker *w, int64_t done, int64_t total);

/* The work of each kind. Checks the request and returns the "result" member of result.json, a new
 * reference. NULL with err filled in on an error; GN_CANCELLED if it was stopped. */
json_t *gn_worker_train(struct gn_worker *w, struct gn_error *err);
json_t *gn_worker_soup(struct gn_worker *w, struct gn_error *err);
json_t *gn_worker_evaluate(struct gn_worker *w, struct gn_error *err);

#endif
