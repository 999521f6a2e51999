/* Soups, which are averages of models that were tuned from one base: launch. Their other endpoints
 * are in jobs.c. */
#include "api/api.h"

#include <math.h>

struct soup {
	char name[GN_NAME_SIZE], dataset[GN_NAME_SIZE];
	char models[GN_SOUP_MODELS_MAX][GN_NAME_SIZE];
	int model_count;
	double weights[GN_SOUP_MODELS_MAX];
	int weight_count; /* 0: none were given */
	int method;       /* enum gn_soup_method */
	int priority, threads;
};

/* ---------------------------------------------------------------- fields ---------------------- */

static void read_models(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	static const struct gn_field MODEL = {"", GN_FIELD_REF, GN_FIELD_REQUIRED, 0, .help = ""};
	struct soup *soup = out;
	size_t count = json_array_size(value);

	soup->model_count = 0;
	if (!json_is_array(value) || count < 1 || count > GN_SOUP_MODELS_MAX) {
		gn_field_error(errors, pointer, "must be an array of 1 to %d ids or names", GN_SOUP_MODELS_MAX);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		char item[64];
		snprintf(item, sizeof item, "%s/%zu", pointer, i);
		gn_field_read(&MODEL, json_array_get(value, i), soup->models[i], item, errors);
	}
	soup->model_count = (int)count;
}

static json_t *write_models(const void *in)
{
	const struct soup *soup = in;
	json_t *models = json_array();

	for (int i = 0; i < soup->model_count; i++)
		json_array_append_new(models, json_string(soup->models[i]));
	return models;
}
static const struct gn_field_special MODELS = {.read = read_models, .write = write_models};

static void read_weights(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct soup *soup = out;
	size_t count = json_array_size(value);

	soup->weight_count = 0;
	if (!value || json_is_null(value))
		return;
	if (!json_is_array(value) || count < 1 || count > GN_SOUP_MODELS_MAX) {
		gn_field_error(errors, pointer, "must be an array of 1 to %d numbers", GN_SOUP_MODELS_MAX);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(value, i);
		char place[64];
		soup->weights[i] = json_number_value(item);
		snprintf(place, sizeof place, "%s/%zu", pointer, i);
		if (!json_is_number(item))
			gn_field_error(errors, place, "must be a number");
	}
	soup->weight_count = (int)count;
}

static json_t *write_weights(const void *in)
{
	const struct soup *soup = in;
	json_t *weights;

	if (!soup->weight_count)
		return json_null();
	weights = json_array();
	for (int i = 0; i < soup->weight_count; i++)
		json_array_append_new(weights, gn_json_real(soup->weights[i]));
	return weights;
}
static const struct gn_field_special WEIGHTS = {.read = read_weights, .write = write_weights};

static const char *const METHODS[] = {
    [GN_SOUP_UNIFORM] = "uniform", [GN_SOUP_GREEDY] = "greedy", [GN_SOUP_WEIGHTED] = "weighted", NULL};

static const struct gn_field FIELDS[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_NULLABLE, offsetof(struct soup, name), .help = "A name for it."},
    {"models", GN_FIELD_SPECIAL, GN_FIELD_REQUIRED, 0, .special = &MODELS, .help = "The ingredients."},
    {"method", GN_FIELD_CHOICE, 0, offsetof(struct soup, method), .fallback = GN_SOUP_UNIFORM, .choices = METHODS,
     .help = "uniform, greedy or weighted."},
    {"weights", GN_FIELD_SPECIAL, 0, 0, .special = &WEIGHTS, .help = "Of weighted: one for each model."},
    {"dataset", GN_FIELD_REF, GN_FIELD_NULLABLE, offsetof(struct soup, dataset), .help = "What it is measured on."},
    {"priority", GN_FIELD_INT, 0, offsetof(struct soup, priority), -100, 100, 0,
     .help = "Of two queued jobs the larger goes first."},
    {"threads", GN_FIELD_INT, GN_FIELD_NULLABLE, offsetof(struct soup, threads), 1, 1024, 0,
     .help = "Threads of the worker; null: the service's number."},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };

/* Checks that concern more than one field. The models are ids here. */
static void check_fields(const struct soup *soup, json_t *errors)
{
	char pointer[32];

	if (soup->method == GN_SOUP_WEIGHTED && !soup->weight_count)
		gn_field_error(errors, "/weights", "is required: the method is weighted");
	else if (soup->method != GN_SOUP_WEIGHTED && soup->weight_count)
		gn_field_error(errors, "/weights", "is for the method weighted only");
	else if (soup->weight_count && soup->weight_count != soup->model_count)
		gn_field_error(errors, "/weights", "has %d numbers for %d models", soup->weight_count,
		               soup->model_count);
	if (soup->method == GN_SOUP_GREEDY && !*soup->dataset)
		gn_field_error(errors, "/dataset", "is required: greedy measures on its validation split");
	for (int i = 0; i < soup->model_count; i++)
		for (int k = 0; k < i; k++)
			if (*soup->models[i] && !strcmp(soup->models[i], soup->models[k])) {
				snprintf(pointer, sizeof pointer, "/models/%d", i);
				gn_field_error(errors, pointer, "is the same model as /models/%d", k);
			}
}

/* ---------------------------------------------------------------- the models ------------------ */

struct kitchen {
	struct gn_open_model *opened[GN_SOUP_MODELS_MAX];
	const struct gn_model *models[GN_SOUP_MODELS_MAX];
	const char *names[GN_SOUP_MODELS_MAX];
	int count;
};

static int hold_models(struct gn_request *r, struct kitchen *kitchen, const struct soup *soup)
{
	struct gn_error err = {0};

	for (; kitchen->count < soup->model_count; kitchen->count++) {
		int i = kitchen->count;
		if (gn_modelpool_hold(gn_api_models(r), soup->models[i], &kitchen->opened[i], &err)) {
			gn_reply_error(r, &err);
			return -1;
		}
		kitchen->models[i] = kitchen->opened[i]->model;
		kitchen->names[i] = soup->models[i];
	}
	return 0;
}

/* Replies and returns -1 if the data set cannot measure the soup. */
static int check_dataset(struct gn_request *r, const struct soup *soup, const struct gn_model *model)
{
	struct gn_dataset *dataset;
	struct gn_error err = {0};
	int result = -1;

	if (!*soup->dataset)
		return 0;
	if (gn_dataset_hold(gn_api_of(r)->datasets, soup->dataset, &dataset, &err)) {
		gn_reply_error(r, &err);
		return -1;
	}
	if (gn_labels_match(model, dataset, &err))
		gn_reply_field(r, "/dataset", "%s", err.text);
	else if (!dataset->totals[GN_VAL])
		gn_reply_field(r, "/dataset", "the data set has no val images");
	else
		result = 0;
	gn_dataset_drop(gn_api_of(r)->datasets, dataset);
	return result;
}

static int check_models(struct gn_request *r, const struct soup *soup, const struct kitchen *kitchen)
{
	/* Without the data set: greedy's need of one was checked before, and its classes are
	 * checked next. */
	const struct gn_soup_options options = {
	    .method = soup->method == GN_SOUP_WEIGHTED ? GN_SOUP_WEIGHTED : GN_SOUP_UNIFORM,
	    .models = kitchen->models,
	    .count = kitchen->count,
	    .names = kitchen->names,
	    .weights = soup->weight_count ? soup->weights : NULL,
	};
	struct gn_error err = {0};

	if (gn_soup_check(&options, &err)) {
		gn_api_reply_member(r, &err);
		return -1;
	}
	return check_dataset(r, soup, kitchen->models[0]);
}

/* ---------------------------------------------------------------- launching ------------------- */

static json_t *first_ingredients(const struct soup *soup)
{
	json_t *items = json_array();

	for (int i = 0; i < soup->model_count; i++)
		json_array_append_new(items, json_pack("{s:s,s:n,s:n,s:n,s:n}", "model", soup->models[i],
		                                       "val_accuracy", "val_loss", "kept", "weight"));
	return json_pack("{s:o}", "ingredients", items);
}

static json_t *list_needs(const struct soup *soup)
{
	json_t *needs = json_object();
	char pointer[32];

	for (int i = 0; i < soup->model_count; i++) {
		snprintf(pointer, sizeof pointer, "/models/%d", i);
		json_object_set_new(needs, pointer, json_string(soup->models[i]));
	}
	if (*soup->dataset)
		json_object_set_new(needs, "/dataset", json_string(soup->dataset));
	return needs;
}

static void submit(struct gn_request *r, const struct soup *soup, const char *base)
{
	json_t *request = gn_fields_write(FIELDS, FIELD_COUNT, soup), *needs = list_needs(soup),
	       *members = first_ingredients(soup);
	const struct gn_job_new job = {.kind = GN_KIND_SOUP,
	                               .name = soup->name,
	                               .priority = soup->priority,
	                               .base = base,
	                               .needs = needs,
	                               .request = request,
	                               .members = members};

	gn_api_job_submit(r, &job);
	json_decref(request);
	json_decref(needs);
	json_decref(members);
}

/* Replaces names of the models and the data set by ids. Adds missing ones to errors. Returns -1 on
 * another failure. */
static int resolve(struct gn_request *r, struct soup *soup, json_t *errors, struct gn_error *err)
{
	char pointer[32];

	for (int i = 0; i < soup->model_count; i++) {
		snprintf(pointer, sizeof pointer, "/models/%d", i);
		if (gn_api_resolve(r, GN_KIND_MODEL, soup->models[i], pointer, errors, err))
			return -1;
	}
	return gn_api_resolve(r, GN_KIND_DATASET, soup->dataset, "/dataset", errors, err);
}

/* On any error, replies and returns -1. */
static int read_soup(struct gn_request *r, struct soup *soup)
{
	json_t *errors = json_array();
	struct gn_error err = {0};

	gn_fields_read(FIELDS, FIELD_COUNT, gn_request_json(r), soup, "", errors);
	if (resolve(r, soup, errors, &err)) {
		json_decref(errors);
		gn_reply_error(r, &err);
		return -1;
	}
	check_fields(soup, errors);
	return gn_reply_fields(r, errors) ? -1 : 0;
}

void gn_api_soups_post(struct gn_request *r)
{
	struct kitchen kitchen = {.count = 0};
	struct soup soup;

	if (gn_api_no_query(r) || read_soup(r, &soup))
		return;
	if (hold_models(r, &kitchen, &soup) == 0 && check_models(r, &soup, &kitchen) == 0)
		submit(r, &soup, kitchen.opened[0]->base->id);
	while (kitchen.count > 0)
		gn_modelpool_drop(gn_api_models(r), kitchen.opened[--kitchen.count]);
}

/* ---------------------------------------------------------------- what all jobs have ---------- */

void gn_api_soups_list(struct gn_request *r)
{
	gn_api_job_list(r, GN_KIND_SOUP);
}

void gn_api_soup_get(struct gn_request *r)
{
	gn_api_job_get(r, GN_KIND_SOUP);
}

void gn_api_soup_cancel(struct gn_request *r)
{
	gn_api_job_cancel(r, GN_KIND_SOUP);
}

void gn_api_soup_delete(struct gn_request *r)
{
	gn_api_job_delete(r, GN_KIND_SOUP);
}

void gn_api_soup_events(struct gn_request *r)
{
	gn_api_job_events(r, GN_KIND_SOUP);
}

void gn_api_soup_log(struct gn_request *r)
{
	gn_api_job_log(r, GN_KIND_SOUP);
}
