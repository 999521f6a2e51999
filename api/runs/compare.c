/* Runs side by side: their configurations, the fields in which they differ, curves, last angles and
 * results. */
#include "api/api.h"

enum { RUNS_MIN = 2, RUNS_MAX = 16 };

/* ---------------------------------------------------------------- the query ------------------- */

struct wanted {
	int count;
	char runs[RUNS_MAX][GN_NAME_SIZE]; /* ids or names, as given */
};

/* Ids and names, separated by commas. */
static void read_runs(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct wanted *wanted = out;
	const char *text = json_string_value(value);

	wanted->count = 0;
	while (text) {
		size_t length = strcspn(text, ",");
		if (wanted->count == RUNS_MAX || length < 1 || length >= GN_NAME_SIZE) {
			wanted->count = 0;
			break;
		}
		snprintf(wanted->runs[wanted->count++], GN_NAME_SIZE, "%.*s", (int)length, text);
		text = text[length] ? text + length + 1 : NULL;
	}
	if (wanted->count < RUNS_MIN)
		gn_field_error(errors, pointer, "must be %d to %d ids or names of runs, separated by commas", RUNS_MIN,
		               RUNS_MAX);
}

static const struct gn_field_special RUNS = {.read = read_runs};
static const struct gn_field FIELDS[] = {
    {"runs", GN_FIELD_SPECIAL, GN_FIELD_REQUIRED, 0, .special = &RUNS, .help = "Ids or names, separated by commas."},
};

/* ---------------------------------------------------------------- one run --------------------- */

/* The run's resource. NULL with an error if there is no such run, or if the request names it twice.
 * New reference. */
static json_t *run_resource(struct gn_request *r, const json_t *runs, const char *name, json_t *errors)
{
	json_t *resource = gn_supervisor_resource(gn_request_service(r)->supervisor, GN_KIND_RUN, name), *other;
	size_t index;

	if (!resource)
		gn_field_error(errors, "/runs", "there is no run '%s'", name);
	json_array_foreach((json_t *)(uintptr_t)runs, index, other)
	{
		if (!resource || !json_equal(json_object_get(other, "id"), json_object_get(resource, "id")))
			continue;
		gn_field_error(errors, "/runs", "names the run '%s' twice", name);
		json_decref(resource);
		resource = NULL;
	}
	return resource;
}

/* The members of the run's request: those in the schema of a run's body. New reference. */
static json_t *configuration_of(const json_t *resource, const json_t *schema)
{
	json_t *configuration = json_object(), *property;
	const char *name;

	json_object_foreach(json_object_get(schema, "properties"), name, property)
	{
		if (strcmp(name, "name") != 0)
			json_object_set(configuration, name, json_object_get(resource, name));
	}
	return configuration;
}

/* Adds epochs and angles to the item, from the run's event file. */
static int add_events(struct gn_request *r, json_t *item, const char *id, struct gn_error *err)
{
	struct gn_curves curves;
	char path[PATH_MAX];
	json_t *epochs;
	size_t used;

	gn_store_folder(gn_request_service(r)->store, GN_KIND_RUN, id, path);
	used = strlen(path);
	snprintf(path + used, PATH_MAX - used, "/events.ndjson");
	if (gn_api_curves(&curves, path, err))
		return -1;
	json_object_set(item, "epochs", curves.epochs);
	gn_api_curves_release(&curves);
	if (gn_api_angle_epochs(&epochs, path, "tuning", 0, err))
		return -1;
	json_t *layers = json_object_get(json_array_get(epochs, 0), "layers");
	json_object_set_new(item, "angles", layers ? json_incref(layers) : json_array());
	json_decref(epochs);
	return 0;
}

/* NULL with err filled in. New reference. */
static json_t *compared(struct gn_request *r, const json_t *resource, const json_t *schema, struct gn_error *err)
{
	static const char *const copied[] = {"id",           "name",      "status", "tuned_parameters",
	                                     "tuned_layers", "selection", "result"};
	json_t *item = json_object();

	for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
		json_t *value = json_object_get(resource, copied[i]);
		json_object_set_new(item, copied[i], value ? json_incref(value) : json_null());
	}
	json_object_set_new(item, "configuration", configuration_of(resource, schema));
	if (add_events(r, item, json_string_value(json_object_get(resource, "id")), err)) {
		json_decref(item);
		return NULL;
	}
	return item;
}

/* ---------------------------------------------------------------- side by side ---------------- */

static bool differs(const json_t *items, const char *field)
{
	const json_t *first = json_object_get(json_object_get(json_array_get(items, 0), "configuration"), field);
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)(uintptr_t)items, index, item)
	{
		if (!json_equal(json_object_get(json_object_get(item, "configuration"), field), first))
			return true;
	}
	return false;
}

/* Names of the fields that are not the same in all configurations, in the order of the first. New
 * reference. */
static json_t *differing(const json_t *items)
{
	json_t *names = json_array(), *value;
	const char *name;

	json_object_foreach(json_object_get(json_array_get(items, 0), "configuration"), name, value)
	{
		if (differs(items, name))
			json_array_append_new(names, json_string(name));
	}
	return names;
}

static void reply_compared(struct gn_request *r, const json_t *resources)
{
	json_t *schema = gn_run_request_schema(), *items = json_array(), *resource, *item;
	struct gn_error err = {0};
	bool failed = false;
	size_t index;

	json_array_foreach((json_t *)(uintptr_t)resources, index, resource)
	{
		item = failed ? NULL : compared(r, resource, schema, &err);
		failed = !item || json_array_append_new(items, item);
	}
	if (failed)
		gn_reply_error(r, &err);
	else
		gn_reply_json(r, 200, json_pack("{s:O,s:o}", "runs", items, "differing", differing(items)));
	json_decref(items);
	json_decref(schema);
}

void gn_api_compare(struct gn_request *r)
{
	struct wanted wanted;
	json_t *resources, *errors;

	if (gn_api_query(r, FIELDS, 1, &wanted))
		return;
	resources = json_array();
	errors = json_array();
	for (int i = 0; i < wanted.count; i++) {
		json_t *resource = run_resource(r, resources, wanted.runs[i], errors);
		if (resource)
			json_array_append_new(resources, resource);
	}
	if (!gn_reply_fields(r, errors))
		reply_compared(r, resources);
	json_decref(resources);
}
