/* Health, readiness, metrics, and information about the service. */
#include "api/api.h"

void gn_api_healthz(struct gn_request *r)
{
	gn_reply_json(r, 200, json_pack("{s:s}", "status", "ok"));
}

void gn_api_readyz(struct gn_request *r)
{
	struct gn_service *service = gn_request_service(r);
	const char *reason = gn_service_not_ready(service);
	struct gn_error err = {0};

	if (reason)
		gn_reply_problem(r, 503, "not ready: %s", reason);
	else if (gn_store_space(service->store, 0, &err))
		gn_reply_problem(r, 503, "not ready: the disk has no free space beyond its reserve: %s", err.text);
	else
		gn_reply_json(r, 200, json_pack("{s:s}", "status", "ok"));
}

void gn_api_metrics(struct gn_request *r)
{
	struct gn_service *service = gn_request_service(r);
	struct gn_gauges gauges = {0};

	for (int kind = GN_KIND_RUN; kind < GN_KIND_COUNT; kind++)
		gn_supervisor_counts(service->supervisor, (enum gn_kind)kind, gauges.jobs[kind]);
	gauges.queue_depth = gn_classifier_depth(service->classifier);
	gauges.disk_free_bytes = gn_store_free_bytes(service->store);
	gn_reply_text(r, 200, "text/plain; version=0.0.4", gn_metrics_text(service->metrics, &gauges));
}

static json_t *limits_object(const struct gn_config *config)
{
	return json_pack("{s:I,s:I,s:I,s:i,s:I,s:I,s:I,s:I,s:I,s:I}", "max_upload_bytes",
	                 (json_int_t)config->max_upload, "max_uploads", (json_int_t)config->max_uploads, "max_pixels",
	                 (json_int_t)config->max_pixels, "max_side", GN_IMAGE_SIDE_MAX, "max_image_bytes",
	                 (json_int_t)config->max_image, "max_entries", (json_int_t)config->max_entries,
	                 "max_unpacked_bytes", (json_int_t)config->max_unpacked, "max_runs",
	                 (json_int_t)config->max_runs, "batch_max", (json_int_t)config->batch_max, "disk_reserve_bytes",
	                 (json_int_t)config->disk_reserve);
}

void gn_api_info(struct gn_request *r)
{
	const struct gn_service *service = gn_request_service(r);
	const struct gn_config *config = &service->config;
	const struct gn_device_info *device = &service->device_info;

	json_t *limits = limits_object(config);
	json_t *about = json_pack("{s:s,s:s,s:s,s:s,s:I,s:i,s:s,s:s}", "backend", device->backend, "device",
	                          device->spec, "name", device->name, "precision", gn_precision_name(device->precision),
	                          "memory_bytes", (json_int_t)device->memory_bytes, "threads", device->threads,
	                          "software", device->software, "remark", device->remark);
	int open;
	uint64_t bytes = gn_modelpool_bytes(gn_api_models(r), &open);
	json_t *models = json_pack("{s:i,s:I}", "open", open, "bytes", (json_int_t)bytes);
	gn_reply_json(r, 200,
	              json_pack("{s:s,s:o,s:o,s:o,s:o}", "version", gn_version(), "device", about, "limits", limits,
	                        "models", models, "uptime_seconds",
	                        gn_json_real((double)(gn_now() - service->started_at) / 1000)));
}

void gn_api_run_schema(struct gn_request *r)
{
	gn_reply_json(r, 200, gn_run_request_schema());
}
