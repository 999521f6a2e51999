/*
 * What the files of the supervisor share: supervisor.c (the table of runs, and what handlers call), run_work.c (the thread: workers,
 * queue), run_events.c (event files), run_finish.c (what becomes of a run whose worker ended).
 *
 * Locks, in this order:
 *   change  who changes runs: held over SQLite and disk. Every member of struct gn_run may be read with it.
 *   lock    what handlers read, held for moments: the tables, listeners, and of a run text, told, row.id, row.name. These
 *           change with both held.
 */
#ifndef GN_SERVER_SUPERVISOR_PRIVATE_H
#define GN_SERVER_SUPERVISOR_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "server/supervisor.h"

enum { GN_LISTENERS_MAX = 256, GN_DEATHS_MAX = 3 };

enum gn_stop_reason { GN_STOP_NONE, GN_STOP_CANCEL, GN_STOP_SERVICE };

struct gn_run {
	struct gn_run_row row;
	struct gn_text *text;
	enum gn_run_status told; /* the status in text, and for handlers; its event is in the file by then */
	struct gn_listener *listeners;
	struct gn_run *id_next, *name_next; /* hash chains */
	struct gn_run *active_next;         /* list of queued and running runs, oldest first */

	/* events */
	uint64_t event_offset; /* bytes of events.ndjson that were read */
	int64_t last_event;
	int64_t checkpoint_step; /* the furthest */
	int64_t step;            /* of the last step event; for counting images */
	bool dirty;              /* progress changed since text was made */

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
	struct gn_run **runs;           /* oldest first */
	int count, capacity;
	struct gn_run *active;
	struct gn_run **by_id, **by_name; /* [buckets] */
	size_t buckets;
	int listener_count;
};

double gn_monotonic(void);

/* supervisor.c */
/* Makes the run's resource text again and wakes its listeners. With change held. */
void gn_run_publish(struct gn_supervisor *s, struct gn_run *run);
/* Sets the status with all that follows from it: times, the status event, the row, the text. With change held. */
void gn_run_set_status(struct gn_supervisor *s, struct gn_run *run, enum gn_run_status status);
/* {"type","detail"} */
json_t *gn_run_error(const char *type, const char *detail);
void gn_run_wake_listeners(struct gn_supervisor *s, struct gn_run *run);
/* Path of a file of the run's folder. */
void gn_run_path(const struct gn_supervisor *s, const struct gn_run *run, const char *file, char out[PATH_MAX]);

/* run_events.c: with change held */
void gn_run_tail(struct gn_supervisor *s, struct gn_run *run);
/* Appends a status event; the file has been read to its end first. */
void gn_run_append_status(struct gn_supervisor *s, struct gn_run *run);

/* run_finish.c: with change held */
/* The worker ended with this wait status. */
void gn_run_ended(struct gn_supervisor *s, struct gn_run *run, int wait_status);
/* True when an earlier worker left a result that was never taken over; the run is finished then. Else removes what a failed attempt left. */
bool gn_run_adopt_result(struct gn_supervisor *s, struct gn_run *run);

/* run_work.c */
void *gn_supervisor_thread(void *supervisor);

#endif
