/* What the service keeps: models, data sets, and three kinds of jobs. And how a job stands. */
#ifndef GN_SERVER_KINDS_H
#define GN_SERVER_KINDS_H

#define GN_ID_SIZE 24 /* "mdl_" and 16 characters of [0-9a-z], NUL included */

/* From GN_KIND_RUN on: the kinds of jobs. */
enum gn_kind { GN_KIND_MODEL, GN_KIND_DATASET, GN_KIND_RUN, GN_KIND_SOUP, GN_KIND_EVALUATION, GN_KIND_COUNT };
extern const char *const gn_kind_words[GN_KIND_COUNT];   /* "model", "data set", "run", "soup", "evaluation" */
extern const char *const gn_kind_folders[GN_KIND_COUNT]; /* of the data directory: "models", "datasets", "runs", ... */

enum gn_job_status {
	GN_JOB_QUEUED,
	GN_JOB_RUNNING,
	GN_JOB_SUCCEEDED,
	GN_JOB_FAILED,
	GN_JOB_CANCELLED,
	GN_JOB_STATUS_COUNT
};
const char *gn_job_status_name(enum gn_job_status status); /* "queued", "running", ... */
int gn_job_status_from_name(const char *name);             /* -1: no such status */

#endif
