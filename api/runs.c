/* Runs: launch; the rest is what all jobs have (jobs.c). What they tell: run_views.c. */
#include "api/api.h"

json_t *gn_api_run_members(const struct gn_prepared *p)
{
	return json_pack("{s:o,s:I,s:f,s:O?}", "tuned_layers",
	                 p->layers_known ? json_incref(p->tuned_layers) : json_array(), "tuned_parameters",
	                 (json_int_t)p->plan.tuned_parameters, "flops", gn_api_run_flops(p), "selection", p->selection);
}

static void submit(struct gn_request *r, struct gn_prepared *prepared)
{
	const struct gn_run_request *request = &prepared->request;
	json_t *stored = gn_run_request_write(request);
	json_t *plan = gn_api_run_members(prepared);
	json_t *needs = json_pack("{s:s,s:s}", "/model", request->model, "/dataset", request->dataset);
	const struct gn_job_new job = {
	    .kind = GN_KIND_RUN,
	    .name = request->name,
	    .priority = request->priority,
	    .base = request->model,
	    .needs = needs,
	    .request = stored,
	    .members = plan,
	};

	gn_api_job_submit(r, &job);
	json_decref(needs);
	json_decref(stored);
	json_decref(plan);
}

void gn_api_runs_post(struct gn_request *r)
{
	struct gn_prepared prepared;

	if (!gn_api_prepare(r, &prepared, false))
		submit(r, &prepared);
	gn_api_prepared_release(r, &prepared);
}

void gn_api_runs_list(struct gn_request *r)
{
	gn_api_job_list(r, GN_KIND_RUN);
}

void gn_api_run_get(struct gn_request *r)
{
	gn_api_job_get(r, GN_KIND_RUN);
}

void gn_api_run_cancel(struct gn_request *r)
{
	gn_api_job_cancel(r, GN_KIND_RUN);
}

void gn_api_run_resume(struct gn_request *r)
{
	gn_api_job_resume(r, GN_KIND_RUN);
}

void gn_api_run_delete(struct gn_request *r)
{
	gn_api_job_delete(r, GN_KIND_RUN);
}

void gn_api_run_events(struct gn_request *r)
{
	gn_api_job_events(r, GN_KIND_RUN);
}

void gn_api_run_log(struct gn_request *r)
{
	gn_api_job_log(r, GN_KIND_RUN);
}
