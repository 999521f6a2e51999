/*
 * Job threads: where handlers that may block run. Threads start when jobs wait and none is free, up to a number, and stay.
 */
#ifndef GN_SERVER_JOBS_H
#define GN_SERVER_JOBS_H

#include <stdbool.h>
#include "gonio.h"

struct gn_job { /* embedded in what the job is about; zero-initialised */
	void (*run)(struct gn_job *job);
	struct gn_job *next;
};

struct gn_jobs;
int gn_jobs_new(struct gn_jobs **out, int threads, int queue_limit, struct gn_error *err);
/* Runs the jobs that still wait and joins; from now on submit gives -1. */
void gn_jobs_stop(struct gn_jobs *jobs);
/* Stops, if that is not done, and frees. */
void gn_jobs_free(struct gn_jobs *jobs);
/* 0, or -1 when queue_limit jobs wait already (or no thread can be had). Never blocks. */
int gn_jobs_submit(struct gn_jobs *jobs, struct gn_job *job);

#endif
