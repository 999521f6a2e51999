/* All endpoints of the service. A new one needs a line here, a handler declared in api.h, and a
 * description in openapi.yaml. */
#include "api/api.h"

static const struct gn_route routes[] = {
    /* method, pattern, handler, body, flags, body limit */
    {GN_GET, "/healthz", gn_api_healthz, GN_BODY_NONE, GN_INLINE, 0},
    {GN_GET, "/readyz", gn_api_readyz, GN_BODY_NONE, 0, 0},
    {GN_GET, "/metrics", gn_api_metrics, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/info", gn_api_info, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/schemas/run", gn_api_run_schema, GN_BODY_NONE, GN_INLINE, 0},

    {GN_GET, "/v1/datasets", gn_api_datasets_list, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/datasets", gn_api_datasets_post, GN_BODY_STREAM, GN_CREATES | GN_UPLOADS, 0},
    {GN_GET, "/v1/datasets/{id}", gn_api_dataset_get, GN_BODY_NONE, 0, 0},
    {GN_DELETE, "/v1/datasets/{id}", gn_api_dataset_delete, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/datasets/{id}/images", gn_api_dataset_images, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/datasets/{id}/images/{index}", gn_api_dataset_image, GN_BODY_NONE, GN_PICTURES, 0},

    {GN_GET, "/v1/models", gn_api_models_list, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/models", gn_api_models_post, GN_BODY_STREAM, GN_CREATES | GN_UPLOADS, 0},
    {GN_GET, "/v1/models/{id}", gn_api_model_get, GN_BODY_NONE, 0, 0},
    {GN_PATCH, "/v1/models/{id}", gn_api_model_patch, GN_BODY_JSON, 0, 0},
    {GN_DELETE, "/v1/models/{id}", gn_api_model_delete, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/models/{id}/layers", gn_api_model_layers, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/models/{id}/checkpoint", gn_api_model_checkpoint, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/models/{id}/config", gn_api_model_config, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/models/{id}/export", gn_api_model_export, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/models/{id}/angles", gn_api_model_angles, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/models/{id}/classify", gn_api_classify, GN_BODY_STREAM, 0, 0},

    {GN_POST, "/v1/plans", gn_api_plans_post, GN_BODY_JSON, 0, 0},
    {GN_GET, "/v1/runs", gn_api_runs_list, GN_BODY_NONE, GN_INLINE, 0},
    {GN_POST, "/v1/runs", gn_api_runs_post, GN_BODY_JSON, GN_CREATES, 0},
    {GN_GET, "/v1/runs/{id}", gn_api_run_get, GN_BODY_NONE, GN_INLINE, 0},
    {GN_DELETE, "/v1/runs/{id}", gn_api_run_delete, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/runs/{id}/cancel", gn_api_run_cancel, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/runs/{id}/resume", gn_api_run_resume, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/runs/{id}/metrics", gn_api_run_metrics, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/runs/{id}/events", gn_api_run_events, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/runs/{id}/log", gn_api_run_log, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/runs/{id}/angles", gn_api_run_angles, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/runs/{id}/selection", gn_api_run_selection, GN_BODY_NONE, 0, 0},

    {GN_GET, "/v1/soups", gn_api_soups_list, GN_BODY_NONE, GN_INLINE, 0},
    {GN_POST, "/v1/soups", gn_api_soups_post, GN_BODY_JSON, GN_CREATES, 0},
    {GN_GET, "/v1/soups/{id}", gn_api_soup_get, GN_BODY_NONE, GN_INLINE, 0},
    {GN_DELETE, "/v1/soups/{id}", gn_api_soup_delete, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/soups/{id}/cancel", gn_api_soup_cancel, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/soups/{id}/events", gn_api_soup_events, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/soups/{id}/log", gn_api_soup_log, GN_BODY_NONE, 0, 0},

    {GN_GET, "/v1/evaluations", gn_api_evaluations_list, GN_BODY_NONE, GN_INLINE, 0},
    {GN_POST, "/v1/evaluations", gn_api_evaluations_post, GN_BODY_JSON, GN_CREATES, 0},
    {GN_GET, "/v1/evaluations/{id}", gn_api_evaluation_get, GN_BODY_NONE, 0, 0},
    {GN_DELETE, "/v1/evaluations/{id}", gn_api_evaluation_delete, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/evaluations/{id}/cancel", gn_api_evaluation_cancel, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/evaluations/{id}/events", gn_api_evaluation_events, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/evaluations/{id}/log", gn_api_evaluation_log, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/evaluations/{id}/images", gn_api_evaluation_images, GN_BODY_NONE, 0, 0},

    {GN_GET, "/v1/sweeps", gn_api_sweeps_list, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/sweeps", gn_api_sweeps_post, GN_BODY_JSON, GN_CREATES, 0},
    {GN_GET, "/v1/sweeps/{id}", gn_api_sweep_get, GN_BODY_NONE, 0, 0},
    {GN_DELETE, "/v1/sweeps/{id}", gn_api_sweep_delete, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v1/sweeps/{id}/cancel", gn_api_sweep_cancel, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v1/compare", gn_api_compare, GN_BODY_NONE, 0, 0},

    {GN_GET, "/v2", gn_api_v2, GN_BODY_NONE, GN_INLINE, 0},
    {GN_GET, "/v2/health/live", gn_api_v2_live, GN_BODY_NONE, GN_INLINE, 0},
    {GN_GET, "/v2/health/ready", gn_api_v2_ready, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v2/models/{name}", gn_api_v2_model, GN_BODY_NONE, 0, 0},
    {GN_GET, "/v2/models/{name}/ready", gn_api_v2_model_ready, GN_BODY_NONE, 0, 0},
    {GN_POST, "/v2/models/{name}/infer", gn_api_v2_infer, GN_BODY_STREAM, 0, 0},
    {0},
};

static int start(struct gn_service *service, struct gn_error *err)
{
	struct gn_api *api = calloc(1, sizeof *api);

	if (!api)
		return gn_fail_errno(err, "", "starting the API");
	api->rate = gn_rate_new();
	if (!api->rate || gn_dataset_cache_new(&api->datasets, service->store, err)) {
		gn_rate_free(api->rate);
		free(api);
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the API");
	}
	service->api = api;
	return 0;
}

static void stop(struct gn_service *service)
{
	if (!service->api)
		return;
	gn_dataset_cache_free(service->api->datasets);
	gn_rate_free(service->api->rate);
	free(service->api);
	service->api = NULL;
}

const struct gn_service_api gn_api_service = {
    .routes = routes,
    .start = start,
    .stop = stop,
    .describe_model = gn_api_describe_model,
};
