/*
 * Task threads: where handlers that may block run. Threads start when tasks wait and none is free, up to a number, and stay. Kinds
 * of work that must not starve each other have threads of their own.
 */
#ifndef GN_SERVER_TASKS_H
#define GN_SERVER_TASKS_H

#include <stdbool.h>
#include "gonio.h"

struct gn_task { /* embedded in what the task is about; zero-initialised */
	void (*run)(struct gn_task *task);
	struct gn_task *next;
};

struct gn_tasks;
/* nice: the threads' own, and that of the threads that they start; 0 is the usual, larger numbers give way. */
int gn_tasks_new(struct gn_tasks **out, int threads, int queue_limit, int nice, struct gn_error *err);
/* Runs the tasks that still wait and joins; from now on submit gives -1. */
void gn_tasks_stop(struct gn_tasks *tasks);
/* Stops, if that is not done, and frees. */
void gn_tasks_free(struct gn_tasks *tasks);
/* 0, or -1 when queue_limit tasks wait already (or no thread can be had). Never blocks. */
int gn_tasks_submit(struct gn_tasks *tasks, struct gn_task *task);

#endif
