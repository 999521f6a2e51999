/*
 * What the files of the supervisor share: supervisor.c (start, stop, and changes), table.c (the
 * table), resource.c (resources and statuses), read.c (what handlers read), event_feed.c (a job's
 * events as a source), loop.c (the thread: workers, queue), start.c (starting a worker), events.c
 * (event files), finish.c (what becomes of a job whose worker ended).
 *
 * Locks, in this order:
 *   change  who changes jobs: held over SQLite and disk. Every member of struct gn_job may be
 *           read with it.
 *   lock    what handlers read, held for moments: the table, listeners, and of a job text, told,
 *           row.kind, row.id, row.name. These change with both held.
 */
#ifndef GN_SERVER_SUPERVISOR_PRIVATE_H
#define GN_SERVER_SUPERVISOR_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "server/jobs/jobs.h"

enum { GN_LISTENERS_MAX = 256, GN_DEATHS_MAX = 3 };

/* Who is woken whenever the job's events grow or its status changes, until it is removed. wake is
 * called with `lock` held: it must only set a flag or resume a connection. */
struct gn_listener {
	void (*wake)(void *user);
	void *user;
	struct gn_listener *next;
	struct gn_job *job; /* NULL: none, or deleted by now */
};

enum gn_stop_reason { GN_STOP_NONE, GN_STOP_CANCEL, GN_STOP_SERVICE };

struct gn_job {
	struct gn_job_row row;
	struct gn_text *text;
	enum gn_job_status told; /* the status in text, and for handlers; its event is in the file by then */
	struct gn_listener *listeners;
	struct gn_job *id_next, *name_next; /* hash chains */
	struct gn_job *active_next;         /* list of queued and running jobs, oldest first */

	/* events */
	uint64_t event_offset; /* bytes of events.ndjson that were read */
	int64_t last_event;
	int64_t checkpoint_step; /* the furthest of the phase */
	char phase[16];          /* of a run with a probe; "" otherwise */
	int64_t step;            /* of the last step event; for counting images */
	bool says_queued;        /* the last status event */
	bool loaded;             /* active since the service started; its file may not tell yet that it is queued */
	bool dirty;              /* progress or members changed since text was made */

	/* worker */
	pid_t pid; /* 0: none */
	enum gn_stop_reason stop;
	double kill_at;    /* monotonic seconds; 0: SIGTERM not sent, or SIGKILL sent */
	double not_before; /* monotonic seconds: not started earlier */
};

struct gn_supervisor {
	struct gn_supervisor_options options;
	char program[PATH_MAX];
	pthread_mutex_t change, lock;
	pthread_cond_t wake; /* with change */
	pthread_t thread;
	bool threaded, going, stopping; /* with change */
	struct gn_job **jobs;           /* of every kind, oldest first */
	int count, capacity;
	struct gn_job *active;
	struct gn_job **by_id, **by_name; /* [buckets] */
	size_t buckets;
	int listener_count;
};

/* table.c */
/* Makes room for more jobs; -1: out of memory. With lock held, or before the thread starts. */
int gn_jobs_grow(struct gn_supervisor *s);
/* Takes over row's content. NULL: out of memory, row is released. With change held, or before the
 * thread starts. */
struct gn_job *gn_jobs_add(struct gn_supervisor *s, struct gn_job_row *row);
/* Finds a job by id or name; NULL if there is no such job of that kind. With change or lock
 * held. */
struct gn_job *gn_jobs_find(const struct gn_supervisor *s, enum gn_kind kind, const char *text);
/* Removes the job from the table, ends its listeners' streams and frees it. With change held. */
void gn_jobs_remove(struct gn_supervisor *s, struct gn_job *job);
void gn_jobs_release(struct gn_supervisor *s);
/* Adds the job to the list of queued and running jobs, or removes it; removing it twice does
 * nothing. With change held. */
void gn_jobs_activate(struct gn_supervisor *s, struct gn_job *job);
void gn_jobs_deactivate(struct gn_supervisor *s, struct gn_job *job);
bool gn_job_is_active(const struct gn_job *job);

/* read.c */
/* -1: no such job, or too many listeners (GN_TOO_LARGE). */
int gn_supervisor_listen(struct gn_supervisor *s, enum gn_kind kind, const char *id, struct gn_listener *listener,
                         struct gn_error *err);
void gn_supervisor_unlisten(struct gn_supervisor *s, struct gn_listener *listener);

/* resource.c: with change held */
/* Makes the job's resource text again and wakes its listeners. */
void gn_job_publish(struct gn_supervisor *s, struct gn_job *job);
/* Sets the status and all that depends on it: times, the status event, the row, the text. */
void gn_job_set_status(struct gn_supervisor *s, struct gn_job *job, enum gn_job_status status);
void gn_job_wake_listeners(struct gn_supervisor *s, struct gn_job *job);
/* Path of a file of the job's folder. */
void gn_job_path(const struct gn_supervisor *s, const struct gn_job *job, const char *file, char out[PATH_MAX]);

/* events.c: with change held */
void gn_job_tail(struct gn_supervisor *s, struct gn_job *job);
/* Appends a status event; the file has been read to its end first. */
void gn_job_append_status(struct gn_supervisor *s, struct gn_job *job);
/* The previous service may have died before it wrote that the job is queued (again). If the last
 * status event is another one, writes it now. No worker may hold the job's folder. */
void gn_job_tell_queued(struct gn_supervisor *s, struct gn_job *job);

/* start.c: with change held, on the supervisor's thread */
/* Whether no worker holds the job's folder. The worker of a killed service may still be writing its
 * checkpoint. */
bool gn_job_folder_free(const struct gn_supervisor *s, const struct gn_job *job);
/* Returns true if a worker was started or the job has ended in another way. Returns false while the
 * last worker still holds the job's folder. */
bool gn_job_start(struct gn_supervisor *s, struct gn_job *job);

/* finish.c: with change held */
/* The worker ended with this wait status. */
void gn_job_ended(struct gn_supervisor *s, struct gn_job *job, int wait_status);
/* If an earlier worker left a result that was not taken over, finishes the job and returns true.
 * Otherwise removes what a failed attempt left. */
bool gn_job_adopt_result(struct gn_supervisor *s, struct gn_job *job);

/* sweeps.c: with change held, or before the thread starts */
/* The sweep that the run belongs to, or NULL. */
const char *gn_job_sweep(const struct gn_job *job);
/* The member "shared" of the run's job.json (see job_folder.h); makes the folder. JSON null if the
 * run is in no sweep or the folder cannot be made. New reference. */
json_t *gn_sweep_shared(const struct gn_supervisor *s, const struct gn_job *job);
/* Call it when a run is not active any more. After the last active run of a sweep, removes what the
 * runs shared. */
void gn_sweep_leave(struct gn_supervisor *s, const struct gn_job *job);
/* Removes the shared folders of sweeps without active runs. */
void gn_sweeps_tidy(struct gn_supervisor *s);

/* loop.c */
void *gn_supervisor_thread(void *supervisor);

#endif
