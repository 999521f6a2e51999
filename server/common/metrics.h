/*
 * The metrics of GET /metrics: counters and histograms in the Prometheus text format. Counting is
 * lock-free (relaxed atomics) and never blocks, except for the first count of a label value.
 */
#ifndef GN_SERVER_METRICS_H
#define GN_SERVER_METRICS_H

#include <stdint.h>
#include "gonio.h"
#include "server/common/kinds.h"
#include "server/common/text.h"

struct gn_metrics;
enum gn_stage { GN_STAGE_DECODE, GN_STAGE_QUEUE, GN_STAGE_COMPUTE, GN_STAGE_COUNT };

int gn_metrics_new(struct gn_metrics **out, struct gn_error *err);
void gn_metrics_free(struct gn_metrics *m);

/* route: the pattern (a string that is never freed), "static" or "none". */
void gn_metrics_request(struct gn_metrics *m, const char *route, const char *method, int status, double seconds);
void gn_metrics_run_images(struct gn_metrics *m, uint64_t images);
void gn_metrics_classify_images(struct gn_metrics *m, const char *model_id,
                                uint64_t images); /* beyond 64 models: "other" */
void gn_metrics_classify_batch(struct gn_metrics *m, int images);
void gn_metrics_classify_seconds(struct gn_metrics *m, enum gn_stage stage, double seconds);

/* Values that are read when the text is made. */
struct gn_gauges {
	int jobs[GN_KIND_COUNT][GN_JOB_STATUS_COUNT]; /* of the kinds that are jobs */
	int queue_depth;                              /* images that wait to be classified */
	uint64_t disk_free_bytes;
};
/* The whole text, process_* included. Caller unrefs; NULL: out of memory. */
struct gn_text *gn_metrics_text(struct gn_metrics *m, const struct gn_gauges *gauges);

#endif
