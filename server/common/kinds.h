/* The kinds of resources of the service: models, data sets, and three kinds of jobs; and the
 * statuses of a job. */
#ifndef GN_SERVER_KINDS_H
#define GN_SERVER_KINDS_H

#include <stdbool.h>

#define GN_ID_SIZE 24 /* "mdl_" and 16 characters of [0-9a-z], NUL included */

/* From GN_KIND_RUN on: the kinds of jobs. */
enum gn_kind { GN_KIND_MODEL, GN_KIND_DATASET, GN_KIND_RUN, GN_KIND_SOUP, GN_KIND_EVALUATION, GN_KIND_COUNT };

struct gn_kind_info {
	const char *word;   /* for people, and for the store: "run" */
	const char *folder; /* of the data directory, and in paths of the API: "runs" */
	char prefix[5];     /* of ids: "run_" */
	/* of jobs */
	const char *command;  /* the subcommand that does one: "train" */
	const char *files[3]; /* what its worker leaves beside the result for good; NULL-terminated */
};
extern const struct gn_kind_info gn_kinds[GN_KIND_COUNT];
#define GN_SWEEP_PREFIX "swp_" /* of the ids of sweeps, which are no kind */
/* The kind of job that a subcommand does; -1: none. */
int gn_job_kind_of_command(const char *command);
/* Whether a text begins as ids do. */
bool gn_kind_like_id(const char *text);

enum gn_job_status {
	GN_JOB_QUEUED,
	GN_JOB_RUNNING,
	GN_JOB_SUCCEEDED,
	GN_JOB_FAILED,
	GN_JOB_CANCELLED,
	GN_JOB_STATUS_COUNT
};
extern const char *const gn_job_status_names[GN_JOB_STATUS_COUNT + 1]; /* NULL-terminated */
const char *gn_job_status_name(enum gn_job_status status);             /* "queued", "running", ... */
int gn_job_status_from_name(const char *name);                         /* -1: no such status */

#endif
