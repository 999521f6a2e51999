/* The endpoints that runs, soups and evaluations share: submit, list, one, cancel, resume, delete,
 * events, log. */
#include "api/api.h"
#include "server/http/event_stream.h"

#include <unistd.h>

static struct gn_supervisor *supervisor_of(const struct gn_request *r)
{
	return gn_request_service(r)->supervisor;
}

static void reply_none(struct gn_request *r, enum gn_kind kind)
{
	gn_reply_problem(r, 404, "there is no %s with this id or name", gn_kinds[kind].word);
}

/* ---------------------------------------------------------------- submitting ------------------ */

/* GPU memory for measuring with a data set: models of one architecture, one at a time. */
static uint64_t measuring_bytes(struct gn_request *r, const json_t *needs)
{
	const struct gn_service *service = gn_request_service(r);
	const char *one = json_string_value(json_object_get(needs, "/model")),
	           *model = one ? one : json_string_value(json_object_get(needs, "/models/0"));
	struct gn_open_model *opened;
	uint64_t bytes;

	if (!model || !json_object_get(needs, "/dataset") || gn_modelpool_hold(gn_api_models(r), model, &opened, NULL))
		return 0;
	bytes = gn_infer_gpu_bytes(service->device, service->device_info.precision, &opened->model->arch,
	                           GN_EVALUATE_BATCH);
	gn_modelpool_drop(gn_api_models(r), opened);
	return bytes;
}

/* GPU memory of a soup or an evaluation. A soup measures and averages alternately. */
static uint64_t job_bytes(struct gn_request *r, const struct gn_job_new *job)
{
	const struct gn_service *service = gn_request_service(r);
	uint64_t measuring = measuring_bytes(r, job->needs), averaging = 0;

	if (job->kind == GN_KIND_SOUP)
		averaging = gn_soup_gpu_bytes(service->device, service->device_info.precision);
	return measuring > averaging ? measuring : averaging;
}

void gn_api_job_submit(struct gn_request *r, const struct gn_job_new *given)
{
	struct gn_error err = {0};
	struct gn_job_new job = *given;
	char id[GN_ID_SIZE], location[64];
	json_t *members = json_copy((json_t *)(uintptr_t)given->members);
	int failed;

	if (!json_object_get(members, "gpu_bytes"))
		json_object_set_new(members, "gpu_bytes", json_integer((json_int_t)job_bytes(r, given)));
	job.members = members;
	failed = gn_supervisor_submit(supervisor_of(r), &job, 1, &id, &err);
	json_decref(members);
	if (failed) {
		gn_reply_error(r, &err);
		return;
	}
	snprintf(location, sizeof location, "/v1/%s/%s", gn_kinds[job.kind].folder, id);
	gn_reply_created(r, location, gn_supervisor_resource(supervisor_of(r), job.kind, id));
}

/* ---------------------------------------------------------------- list, one ------------------- */

struct job_page {
	int limit;
	char after[GN_NAME_SIZE];
	int status;
};
static const struct gn_field JOB_PAGE[] = {
    GN_PAGE_FIELDS(struct job_page),
    {"status", GN_FIELD_CHOICE, 0, offsetof(struct job_page, status), .fallback = -1, .choices = gn_job_status_names,
     .help = "Only those with this status."},
};

void gn_api_job_list(struct gn_request *r, enum gn_kind kind)
{
	struct gn_error err = {0};
	struct job_page page;

	if (gn_api_query(r, JOB_PAGE, sizeof JOB_PAGE / sizeof *JOB_PAGE, &page))
		return;
	struct gn_text *text =
	    gn_supervisor_list(supervisor_of(r), kind, page.status, page.limit, *page.after ? page.after : NULL, &err);
	if (!text && err.code)
		gn_reply_error(r, &err);
	else
		gn_reply_text(r, 200, "application/json", text);
}

static void reply_job(struct gn_request *r, enum gn_kind kind)
{
	struct gn_text *text = gn_supervisor_get(supervisor_of(r), kind, gn_path(r, "id"));

	if (text)
		gn_reply_text(r, 200, "application/json", text);
	else
		reply_none(r, kind);
}

void gn_api_job_get(struct gn_request *r, enum gn_kind kind)
{
	if (!gn_api_no_query(r))
		reply_job(r, kind);
}

/* ---------------------------------------------------------------- changing -------------------- */

/* Replies with the job after a change, or with the reason why there was no change. */
static void reply_changed(struct gn_request *r, enum gn_kind kind, int failed, const struct gn_error *err)
{
	if (!failed)
		reply_job(r, kind);
	else if (err->code == GN_NOT_FOUND)
		reply_none(r, kind);
	else
		gn_reply_error(r, err);
}

void gn_api_job_cancel(struct gn_request *r, enum gn_kind kind)
{
	struct gn_error err = {0};

	if (!gn_api_no_query(r))
		reply_changed(r, kind, gn_supervisor_cancel(supervisor_of(r), kind, gn_path(r, "id"), &err), &err);
}

void gn_api_job_resume(struct gn_request *r, enum gn_kind kind)
{
	struct gn_error err = {0};

	if (!gn_api_no_query(r))
		reply_changed(r, kind, gn_supervisor_resume(supervisor_of(r), kind, gn_path(r, "id"), &err), &err);
}

void gn_api_job_delete(struct gn_request *r, enum gn_kind kind)
{
	struct gn_error err = {0};
	uint64_t freed = 0;

	if (gn_api_no_query(r))
		return;
	if (gn_supervisor_delete(supervisor_of(r), kind, gn_path(r, "id"), &freed, &err))
		reply_changed(r, kind, -1, &err);
	else
		gn_reply_json(r, 200, json_pack("{s:I}", "freed_bytes", (json_int_t)freed));
}

/* ---------------------------------------------------------------- files ----------------------- */

int gn_api_job_file(struct gn_request *r, enum gn_kind kind, const char *file, char id[GN_ID_SIZE], char path[PATH_MAX])
{
	const struct gn_service *service = gn_request_service(r);
	enum gn_job_status status;

	if (gn_supervisor_find(service->supervisor, kind, gn_path(r, "id"), id, &status)) {
		reply_none(r, kind);
		return -1;
	}
	gn_store_folder(service->store, kind, id, path);
	size_t used = strlen(path);
	snprintf(path + used, PATH_MAX - used, "/%s", file);
	return 0;
}

void gn_api_job_events(struct gn_request *r, enum gn_kind kind)
{
	struct gn_event_source source;
	struct gn_error err = {0};

	if (gn_api_no_query(r))
		return;
	if (gn_supervisor_events(&source, supervisor_of(r), kind, gn_path(r, "id"), gn_last_event_id(r), &err))
		gn_reply_error(r, &err);
	else
		gn_reply_events(r, &source);
}

void gn_api_job_log(struct gn_request *r, enum gn_kind kind)
{
	char id[GN_ID_SIZE], path[PATH_MAX];

	if (gn_api_no_query(r) || gn_api_job_file(r, kind, "log.txt", id, path))
		return;
	/* a job that never started has no log yet */
	if (access(path, F_OK))
		gn_reply_bytes(r, 200, "text/plain; charset=utf-8", "", 0, NULL);
	else
		gn_reply_file(r, path, "text/plain; charset=utf-8", NULL, NULL);
}
