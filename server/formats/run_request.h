/*
 * A run's JSON in the body of POST /v1/runs, in the store and in job.json, and its schema at GET
 * /v1/schemas/run. All four use one table of fields (run_request.c).
 */
#ifndef GN_SERVER_RUNCONFIG_H
#define GN_SERVER_RUNCONFIG_H

#include "server/common/fields.h"

struct gn_run_request {
	char name[GN_NAME_SIZE];                         /* "": none */
	char model[GN_NAME_SIZE], dataset[GN_NAME_SIZE]; /* ids or names, as given */
	/* lr is the strategy's if none was given */
	struct gn_run_config config;
	int priority;  /* the larger runs first */
	int threads;   /* 0: the service's number */
	int precision; /* enum gn_precision */
	/* for a plan without a data set; classes 0: not given */
	int classes, train_images, val_images;
	/* for the strategy angle; probe_epochs 0: the angles are those of `from` */
	struct gn_guide guide;
	char from[GN_NAME_SIZE];   /* the run whose angles are used, as given; "": a probe */
	char **patterns, **layers; /* owned; config.strategy's patterns and layers point to them */
};

/* Reads a run's JSON object, with all defaults. Adds each invalid field to errors (see
 * server/common/fields.h); the request is usable if errors stays empty. for_plan: classes,
 * train_images and val_images may replace dataset. The caller releases the request in both
 * cases. */
void gn_run_request_read(struct gn_run_request *request, const json_t *object, bool for_plan, json_t *errors);
void gn_run_request_release(struct gn_run_request *request);
/* The run's JSON with all defaults filled in, which gn_run_request_read can read. A new
 * reference. */
json_t *gn_run_request_write(const struct gn_run_request *request);
/* The table of a run's fields. */
const struct gn_field *gn_run_fields(int *count);
/* GET /v1/schemas/run. A new reference. */
json_t *gn_run_request_schema(void);

#endif
