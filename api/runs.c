/* Runs: launch, list, one, cancel, resume, delete. What they tell: run_views.c. */
#include "api/api.h"

static void reply_no_run(struct gn_request *r)
{
	gn_reply_problem(r, 404, "there is no run with this id or name");
}

static void reply_run(struct gn_request *r, const char *run)
{
	struct gn_text *text = gn_supervisor_get(gn_request_service(r)->supervisor, GN_KIND_RUN, run);

	if (text)
		gn_reply_text(r, 200, "application/json", text);
	else
		reply_no_run(r);
}

/* ---------------------------------------------------------------- launching ------------------------------------- */

static void reply_launched(struct gn_request *r, const char *id)
{
	struct gn_text *text = gn_supervisor_get(gn_request_service(r)->supervisor, GN_KIND_RUN, id);
	json_t *resource = text ? json_loadb(text->data, text->bytes, 0, NULL) : NULL;
	char location[64];

	gn_text_unref(text);
	snprintf(location, sizeof location, "/v1/runs/%s", id);
	gn_reply_created(r, location, resource);
}

json_t *gn_api_run_members(const struct gn_prepared *p)
{
	return json_pack("{s:o,s:I,s:f,s:O?}", "tuned_layers",
	                 p->layers_known ? json_incref(p->tuned_layers) : json_array(), "tuned_parameters",
	                 (json_int_t)p->plan.tuned_parameters, "flops", gn_api_run_flops(p), "selection", p->selection);
}

static void submit(struct gn_request *r, struct gn_prepared *prepared)
{
	const struct gn_run_request *request = &prepared->request;
	struct gn_error err = {0};
	char id[GN_ID_SIZE];
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

	if (gn_supervisor_submit(gn_request_service(r)->supervisor, &job, 1, &id, &err))
		gn_reply_error(r, &err);
	else
		reply_launched(r, id);
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

/* ---------------------------------------------------------------- list, one ------------------------------------- */

struct run_page {
	int limit;
	char after[GN_NAME_SIZE];
	int status;
};
static const char *const STATUSES[] = {
    [GN_JOB_QUEUED] = "queued", [GN_JOB_RUNNING] = "running",     [GN_JOB_SUCCEEDED] = "succeeded",
    [GN_JOB_FAILED] = "failed", [GN_JOB_CANCELLED] = "cancelled", NULL};
static const struct gn_field RUN_PAGE[] = {
    GN_PAGE_FIELDS(struct run_page),
    {"status", GN_FIELD_CHOICE, 0, offsetof(struct run_page, status), .fallback = -1, .choices = STATUSES,
     .help = "Only runs with this status."},
};

void gn_api_runs_list(struct gn_request *r)
{
	struct gn_error err = {0};
	struct run_page page;

	if (gn_api_query(r, RUN_PAGE, sizeof RUN_PAGE / sizeof *RUN_PAGE, &page))
		return;
	struct gn_text *text = gn_supervisor_list(gn_request_service(r)->supervisor, GN_KIND_RUN, page.status,
	                                          page.limit, *page.after ? page.after : NULL, &err);
	if (!text && err.code)
		gn_reply_error(r, &err);
	else
		gn_reply_text(r, 200, "application/json", text);
}

void gn_api_run_get(struct gn_request *r)
{
	if (!gn_api_no_query(r))
		reply_run(r, gn_path(r, "id"));
}

/* ---------------------------------------------------------------- changing -------------------------------------- */

/* Answers with the run after a change, or with why there was none. */
static void reply_changed(struct gn_request *r, int failed, const struct gn_error *err)
{
	if (!failed)
		reply_run(r, gn_path(r, "id"));
	else if (err->code == GN_NOT_FOUND)
		reply_no_run(r);
	else
		gn_reply_error(r, err);
}

void gn_api_run_cancel(struct gn_request *r)
{
	struct gn_error err = {0};

	if (!gn_api_no_query(r))
		reply_changed(
		    r, gn_supervisor_cancel(gn_request_service(r)->supervisor, GN_KIND_RUN, gn_path(r, "id"), &err),
		    &err);
}

void gn_api_run_resume(struct gn_request *r)
{
	struct gn_error err = {0};

	if (!gn_api_no_query(r))
		reply_changed(
		    r, gn_supervisor_resume(gn_request_service(r)->supervisor, GN_KIND_RUN, gn_path(r, "id"), &err),
		    &err);
}

void gn_api_run_delete(struct gn_request *r)
{
	struct gn_error err = {0};
	uint64_t freed = 0;

	if (gn_api_no_query(r))
		return;
	if (gn_supervisor_delete(gn_request_service(r)->supervisor, GN_KIND_RUN, gn_path(r, "id"), &freed, &err))
		reply_changed(r, -1, &err);
	else
		gn_reply_json(r, 200, json_pack("{s:I}", "freed_bytes", (json_int_t)freed));
}
