/* A store with a model and a data set of nothing, and a worker that is a shell script: for the
 * tests of the supervisor. */
#ifndef GN_TEST_RUNS_H
#define GN_TEST_RUNS_H

#include "server/store/store.h"
#include "server/jobs/jobs.h"

struct runs {
	char folder[64], program[128];
	struct gn_store *store;
	struct gn_supervisor *supervisor;
	char model[GN_ID_SIZE], dataset[GN_ID_SIZE];
	/* of the supervisor, which then may run two workers; 0: no bound, one worker */
	uint64_t gpu_bytes;
	int job_gpu_bytes; /* of the jobs submitted from now on */
};

/* cmocka fixture: *state becomes a struct runs whose supervisor is going. */
int runs_setup(void **state);
int runs_teardown(void **state);
void runs_start(struct runs *f); /* store and supervisor, on the folder as it is */
void runs_stop(struct runs *f);

/* Submits a run whose worker behaves as mode says (see runs.c). */
void runs_submit(struct runs *f, const char *mode, const char *name, int priority, char id[GN_ID_SIZE]);
/* The same for a job of any kind. */
void runs_submit_kind(struct runs *f, enum gn_kind kind, const char *mode, const char *name, int priority,
                      char id[GN_ID_SIZE]);
/* Waits until the job has the status; fails the test after 20 s. */
void runs_wait(struct runs *f, const char *id, enum gn_job_status status);
/* The resource of a job by its id, of a run by its name too; the caller decrefs. */
json_t *runs_get(struct runs *f, const char *id);

#endif
