/*
 * Task threads, which run handlers that may block. A thread starts when a task waits and no thread
 * is free, up to a limit, and then stays. Kinds of work that must not block each other have their
 * own threads.
 */
#ifndef GN_SERVER_TASKS_H
#define GN_SERVER_TASKS_H

#include <stdbool.h>
#include "gonio.h"

struct gn_task { /* embedded in the caller's struct; zero-initialised */
	void (*run)(struct gn_task *task);
	struct gn_task *next;
};

struct gn_tasks;
/* nice: the nice value of the threads and of the threads that they start; 0 is normal, larger
 * values have a lower priority. */
int gn_tasks_new(struct gn_tasks **out, int threads, int queue_limit, int nice, struct gn_error *err);
/* Runs the waiting tasks and joins the threads. From now on submit returns -1. */
void gn_tasks_stop(struct gn_tasks *tasks);
/* Stops, unless it is stopped already, and frees. */
void gn_tasks_free(struct gn_tasks *tasks);
/* 0, or -1 if queue_limit tasks wait already or no thread can be started. Never blocks. */
int gn_tasks_submit(struct gn_tasks *tasks, struct gn_task *task);

#endif
