/* Evaluations of a model on a split of a data set: launch, one with its whole report, and the
 * pictures of a cell of the matrix. */
#include "api/api.h"
#include "server/common/files.h"
#include "server/formats/verdicts.h"

enum { REPORT_LIMIT = 256 << 20 };
static const size_t images_limit = (size_t)1 << 32;

struct evaluation {
	char name[GN_NAME_SIZE], model[GN_NAME_SIZE], dataset[GN_NAME_SIZE];
	int split; /* index into SPLITS */
	int priority, threads;
};

static const char *const SPLITS[] = {
    [GN_TRAIN] = "train", [GN_VAL] = "val", [GN_TEST] = "test", [GN_SPLIT_COUNT] = "all", NULL};

static const struct gn_field FIELDS[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_NULLABLE, offsetof(struct evaluation, name), .help = "A name for it."},
    {"model", GN_FIELD_REF, GN_FIELD_REQUIRED, offsetof(struct evaluation, model), .help = "The model, by id or name."},
    {"dataset", GN_FIELD_REF, GN_FIELD_REQUIRED, offsetof(struct evaluation, dataset),
     .help = "The data set, by id or name. Its classes must be the model's."},
    {"split", GN_FIELD_CHOICE, 0, offsetof(struct evaluation, split), .fallback = GN_VAL, .choices = SPLITS,
     .help = "Which images: val, train, test, or all of them."},
    {"priority", GN_FIELD_INT, 0, offsetof(struct evaluation, priority), -100, 100, 0,
     .help = "Of two queued jobs the larger goes first."},
    {"threads", GN_FIELD_INT, GN_FIELD_NULLABLE, offsetof(struct evaluation, threads), 1, 1024, 0,
     .help = "Threads of the worker; null: the service's number."},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };

/* ---------------------------------------------------------------- launching ------------------- */

static int split_images(const struct gn_dataset *dataset, int split)
{
	return split == GN_SPLIT_COUNT ? dataset->sample_count : dataset->totals[split];
}

/* Replies and returns -1 if the model cannot be measured on the data set. */
static int check_fit(struct gn_request *r, const struct evaluation *e, const struct gn_model *model,
                     const struct gn_dataset *dataset)
{
	struct gn_error err = {0};

	if (!model->label_count)
		gn_reply_field(r, "/model", "does not name its classes");
	else if (gn_labels_match(model, dataset, &err))
		gn_reply_field(r, "/dataset", "%s", err.text);
	else if (!split_images(dataset, e->split))
		gn_reply_field(r, "/split", "the data set has no %s images", SPLITS[e->split]);
	else
		return 0;
	return -1;
}

static int check_parts(struct gn_request *r, const struct evaluation *e)
{
	struct gn_dataset_cache *cache = gn_api_of(r)->datasets;
	struct gn_dataset *dataset;
	struct gn_open_model *model;
	struct gn_error err = {0};
	int result;

	if (gn_modelpool_hold(gn_api_models(r), e->model, &model, &err)) {
		gn_reply_error(r, &err);
		return -1;
	}
	result = gn_dataset_hold(cache, e->dataset, &dataset, &err);
	if (result) {
		gn_reply_error(r, &err);
	} else {
		result = check_fit(r, e, model->model, dataset);
		gn_dataset_drop(cache, dataset);
	}
	gn_modelpool_drop(gn_api_models(r), model);
	return result;
}

static void submit(struct gn_request *r, const struct evaluation *e)
{
	json_t *request = gn_fields_write(FIELDS, FIELD_COUNT, e), *members = json_object();
	json_t *needs = json_pack("{s:s,s:s}", "/model", e->model, "/dataset", e->dataset);
	const struct gn_job_new job = {.kind = GN_KIND_EVALUATION,
	                               .name = e->name,
	                               .priority = e->priority,
	                               .needs = needs,
	                               .request = request,
	                               .members = members};

	gn_api_job_submit(r, &job);
	json_decref(request);
	json_decref(members);
	json_decref(needs);
}

void gn_api_evaluations_post(struct gn_request *r)
{
	struct evaluation e;
	struct gn_error err = {0};
	json_t *errors;

	if (gn_api_no_query(r))
		return;
	errors = json_array();
	gn_fields_read(FIELDS, FIELD_COUNT, gn_request_json(r), &e, "", errors);
	if (gn_api_resolve(r, GN_KIND_MODEL, e.model, "/model", errors, &err) ||
	    gn_api_resolve(r, GN_KIND_DATASET, e.dataset, "/dataset", errors, &err)) {
		json_decref(errors);
		gn_reply_error(r, &err);
	} else if (!gn_reply_fields(r, errors) && check_parts(r, &e) == 0) {
		submit(r, &e);
	}
}

/* ---------------------------------------------------------------- one, with its report -------- */

/* The members of report.json into the result. */
static int add_report(json_t *result, const char *path, struct gn_error *err)
{
	json_t *report;
	char *text;
	size_t size;

	if (gn_file_load(path, REPORT_LIMIT, &text, &size, err))
		return -1;
	report = json_loadb(text, size, 0, NULL);
	free(text);
	json_object_update(result, report);
	json_decref(report);
	return 0;
}

void gn_api_evaluation_get(struct gn_request *r)
{
	char id[GN_ID_SIZE], path[PATH_MAX];
	struct gn_error err = {0};
	json_t *resource, *result;

	if (gn_api_no_query(r) || gn_api_job_file(r, GN_KIND_EVALUATION, "report.json", id, path))
		return;
	resource = gn_supervisor_resource(gn_request_service(r)->supervisor, GN_KIND_EVALUATION, id);
	result = json_object_get(resource, "result");
	if (json_is_object(result) && add_report(result, path, &err)) {
		json_decref(resource);
		gn_reply_error(r, &err);
	} else {
		gn_reply_json(r, 200, resource);
	}
}

/* ---------------------------------------------------------------- the pictures of a cell ------ */

struct view {
	int limit, after;     /* after -1: from the first */
	int label, predicted; /* -1: any */
};

static const struct gn_field VIEW[] = {
    GN_INDEX_PAGE_FIELDS(struct view),
    {"label", GN_FIELD_SPECIAL, 0, 0, .special = &gn_api_any_text, .help = "Only images of this class."},
    {"predicted", GN_FIELD_SPECIAL, 0, 0, .special = &gn_api_any_text, .help = "Only images taken for this class."},
};

/* The class that the query names, or -1 if it names none. Replies 422 and returns -2 if the model
 * has no such class. */
static int class_of_query(struct gn_request *r, const char *parameter, const json_t *classes)
{
	const char *name = gn_query(r, parameter);
	char pointer[32];

	if (!name)
		return -1;
	for (size_t k = 0; k < json_array_size(classes); k++)
		if (!strcmp(json_string_value(json_object_get(json_array_get(classes, k), "class")), name))
			return (int)k;
	snprintf(pointer, sizeof pointer, "/%s", parameter);
	gn_reply_field(r, pointer, "the model has no such class");
	return -2;
}

static json_t *image_item(const struct gn_dataset *dataset, const json_t *classes, const struct gn_verdict *v)
{
	const struct gn_sample *sample = &dataset->samples[v->sample];
	const json_t *label = json_object_get(json_array_get(classes, (size_t)v->label), "class"),
	             *predicted = json_object_get(json_array_get(classes, (size_t)v->predicted), "class");

	return json_pack("{s:i,s:O,s:O,s:o,s:s,s:s,s:i,s:i,s:I}", "index", v->sample, "label", label, "predicted",
	                 predicted, "confidence", gn_json_real((double)v->confidence), "split",
	                 gn_split_name(sample->split), "path", sample->path, "width", sample->width, "height",
	                 sample->height, "bytes", (json_int_t)sample->bytes);
}

/* The files of a finished evaluation: its classes, and its verdicts in order. */
struct outcome {
	json_t *classes; /* [{"class"}] */
	char *bytes;
	const struct gn_verdict *verdicts;
	int64_t count;
};

static int load_outcome(struct outcome *o, const char *report, const char *images, struct gn_error *err)
{
	json_t *result = json_object();
	size_t size;
	int failed = add_report(result, report, err);

	o->classes = json_incref(json_object_get(result, "per_class"));
	json_decref(result);
	if (failed || gn_file_load(images, images_limit, &o->bytes, &size, err))
		return -1;
	return gn_verdicts_parse(&o->verdicts, &o->count, o->bytes, size, err);
}

static bool fits(const struct gn_verdict *v, const struct view *view)
{
	return (view->label < 0 || v->label == view->label) && (view->predicted < 0 || v->predicted == view->predicted);
}

static void reply_page(struct gn_request *r, const struct outcome *o, const struct gn_dataset *dataset,
                       const struct view *view)
{
	json_t *items = json_array(), *next = json_null();
	int64_t at = 0;
	int count = 0, last = 0;

	while (view->after >= 0 && at < o->count && o->verdicts[at].sample != view->after)
		at++;
	if (view->after >= 0 && at++ == o->count) {
		json_decref(items);
		gn_reply_field(r, "/after", "the evaluation has no image with this index");
		return;
	}
	for (; at < o->count; at++) {
		if (o->verdicts[at].sample < 0 || o->verdicts[at].sample >= dataset->sample_count ||
		    !fits(&o->verdicts[at], view))
			continue;
		if (count++ == view->limit) {
			next = json_integer(last);
			break;
		}
		last = o->verdicts[at].sample;
		json_array_append_new(items, image_item(dataset, o->classes, &o->verdicts[at]));
	}
	gn_reply_json(r, 200, json_pack("{s:o,s:o}", "items", items, "next", next));
}

/* Opens the data set of the evaluation. If it was deleted, replies 409 and returns -1. */
static int hold_dataset(struct gn_request *r, const char *id, struct gn_dataset **dataset)
{
	json_t *resource = gn_supervisor_resource(gn_request_service(r)->supervisor, GN_KIND_EVALUATION, id);
	const char *name = json_string_value(json_object_get(resource, "dataset"));
	struct gn_error err = {0};
	struct gn_row row;
	int failed = -1;

	if (!name || gn_store_get(gn_request_service(r)->store, GN_KIND_DATASET, name, &row, &err)) {
		gn_reply_problem(r, 409, "the data set and its pictures were deleted");
	} else {
		failed = gn_dataset_hold(gn_api_of(r)->datasets, row.id, dataset, &err);
		if (failed)
			gn_reply_error(r, &err);
		gn_row_release(&row);
	}
	json_decref(resource);
	return failed;
}

static void reply_images(struct gn_request *r, const char *id, const struct outcome *o, struct view *view)
{
	struct gn_dataset *dataset;

	view->label = class_of_query(r, "label", o->classes);
	if (view->label < -1)
		return;
	view->predicted = class_of_query(r, "predicted", o->classes);
	if (view->predicted < -1 || hold_dataset(r, id, &dataset))
		return;
	reply_page(r, o, dataset, view);
	gn_dataset_drop(gn_api_of(r)->datasets, dataset);
}

void gn_api_evaluation_images(struct gn_request *r)
{
	char id[GN_ID_SIZE], report[PATH_MAX], images[PATH_MAX];
	struct outcome outcome = {0};
	struct gn_error err = {0};
	enum gn_job_status status;
	struct view view;

	if (gn_api_query(r, VIEW, sizeof VIEW / sizeof *VIEW, &view) ||
	    gn_api_job_file(r, GN_KIND_EVALUATION, "report.json", id, report) ||
	    gn_api_job_file(r, GN_KIND_EVALUATION, "images.bin", id, images))
		return;
	if (gn_supervisor_find(gn_request_service(r)->supervisor, GN_KIND_EVALUATION, id, id, &status) ||
	    status != GN_JOB_SUCCEEDED)
		gn_reply_problem(r, 409, "the evaluation has no images before it has succeeded");
	else if (load_outcome(&outcome, report, images, &err))
		gn_reply_error(r, &err);
	else
		reply_images(r, id, &outcome, &view);
	json_decref(outcome.classes);
	free(outcome.bytes);
}

/* ---------------------------------------------------------------- what all jobs have ---------- */

void gn_api_evaluations_list(struct gn_request *r)
{
	gn_api_job_list(r, GN_KIND_EVALUATION);
}

void gn_api_evaluation_cancel(struct gn_request *r)
{
	gn_api_job_cancel(r, GN_KIND_EVALUATION);
}

void gn_api_evaluation_delete(struct gn_request *r)
{
	gn_api_job_delete(r, GN_KIND_EVALUATION);
}

void gn_api_evaluation_events(struct gn_request *r)
{
	gn_api_job_events(r, GN_KIND_EVALUATION);
}

void gn_api_evaluation_log(struct gn_request *r)
{
	gn_api_job_log(r, GN_KIND_EVALUATION);
}
