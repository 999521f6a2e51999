/* Runs: launch. Their other endpoints are in jobs.c; metrics and angles are in views.c. */
#include "api/api.h"

/* The members of a run's resource that come from its plan. */
static json_t *members(const struct gn_prepared *p)
{
	json_t *layers = p->layers_known ? json_incref(p->tuned_layers) : json_array();

	return json_pack("{s:o,s:I,s:I,s:f,s:I,s:i,s:O?,s:n}", "tuned_layers", layers, "tuned_parameters",
	                 (json_int_t)p->plan.tuned_parameters, "total_parameters", (json_int_t)p->plan.total_parameters,
	                 "flops", gn_api_run_flops(p), "gpu_bytes", (json_int_t)p->plan.memory.device, "prefix_stage",
	                 p->layers_known ? p->plan.prefix_cut : 0, "selection", p->selection, "sweep");
}

struct gn_job_new gn_api_run_job(const struct gn_prepared *p)
{
	return (struct gn_job_new){
	    .kind = GN_KIND_RUN,
	    .name = p->request.name,
	    .priority = p->request.priority,
	    .base = p->request.model,
	    .needs = json_pack("{s:s,s:s}", "/model", p->request.model, "/dataset", p->request.dataset),
	    .request = gn_run_request_write(&p->request),
	    .members = members(p),
	};
}

void gn_api_run_job_release(struct gn_job_new *job)
{
	json_decref((json_t *)(uintptr_t)job->needs);
	json_decref((json_t *)(uintptr_t)job->request);
	json_decref((json_t *)(uintptr_t)job->members);
}

static void submit(struct gn_request *r, struct gn_prepared *prepared)
{
	struct gn_job_new job = gn_api_run_job(prepared);

	gn_api_job_submit(r, &job);
	gn_api_run_job_release(&job);
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
