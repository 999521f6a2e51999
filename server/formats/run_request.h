/*
 * A run's JSON: what POST /v1/runs takes, what the store keeps, what job.json holds and what GET /v1/schemas/run
 * describes. All four come from one table of fields (run_request.c).
 */
#ifndef GN_SERVER_RUNCONFIG_H
#define GN_SERVER_RUNCONFIG_H

#include "server/common/fields.h"

struct gn_run_request {
	char name[GN_NAME_SIZE];                         /* "": none */
	char model[GN_NAME_SIZE], dataset[GN_NAME_SIZE]; /* ids or names, as given */
	struct gn_run_config config;                     /* lr is the strategy's where none was given */
	int priority;                                    /* the larger goes first */
	int threads;                                     /* 0: the service's number */
	int precision;                                   /* enum gn_precision */
	int classes, train_images, val_images;           /* of a plan without a data set; classes 0: not given */
	struct gn_guide guide;     /* of the strategy angle; probe_epochs 0: its layers are those of `from` */
	char from[GN_NAME_SIZE];   /* the run whose angles decide, as given; "": a probe's */
	char **patterns, **layers; /* what config.strategy's patterns and layers point to; owned */
};

/* Reads a run's JSON object, with all defaults. Every bad field goes into errors (see server/common/fields.h); the request is
 * usable when errors stays empty. for_plan: classes, train_images and val_images may be given in place of dataset.
 * The caller releases the request in either case. */
void gn_run_request_read(struct gn_run_request *request, const json_t *object, bool for_plan, json_t *errors);
void gn_run_request_release(struct gn_run_request *request);
/* The run's JSON with all defaults filled in; what gn_run_request_read takes. A new reference. */
json_t *gn_run_request_write(const struct gn_run_request *request);
/* The table of a run's fields. */
const struct gn_field *gn_run_fields(int *count);
/* GET /v1/schemas/run. A new reference. */
json_t *gn_run_request_schema(void);

#endif
