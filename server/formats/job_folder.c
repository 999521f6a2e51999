/* The folder of a job: see job_folder.h. */
#include "server/formats/job_folder.h"

#include <stdlib.h>
#include <string.h>

#include "server/common/files.h"

enum { ORDER_LIMIT = 4 << 20, RESULT_LIMIT = 1 << 20 };

/* Writes an object, which is stolen; NULL: memory was out when it was made. */
static int write_json(const char *path, json_t *object, size_t flags, struct gn_error *err)
{
	char *text = object ? json_dumps(object, flags) : NULL;
	int result;

	json_decref(object);
	if (!text)
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	result = gn_file_replace(path, text, strlen(text), err);
	free(text);
	return result;
}

/* ---------------------------------------------------------------- job.json -------------------- */

static json_t *text_or_null(const char *text)
{
	json_t *string = text ? json_string(text) : json_null();

	return string ? string : json_string("(not UTF-8)");
}

int gn_job_order_write(const char *path, const struct gn_job_order *order, struct gn_error *err)
{
	json_t *object = json_pack("{s:s,s:O,s:O,s:O,s:o}", "job", order->job, "request", order->request, "members",
	                           order->members, "models", order->models, "dataset", text_or_null(order->dataset));

	if (order->shared)
		json_object_set(object, "shared", (json_t *)(uintptr_t)order->shared);
	json_object_set_new(object, "device", json_string(order->device));
	if (order->precision)
		json_object_set_new(object, "precision", json_string(order->precision));
	json_object_set_new(object, "threads", json_integer((json_int_t)order->threads));
	json_object_set_new(object, "max_pixels", json_integer((json_int_t)order->max_pixels));
	if (json_object_set_new(object, "attempt", json_integer(order->attempt))) {
		json_decref(object);
		object = NULL;
	}
	return write_json(path, object, JSON_INDENT(1) | JSON_REAL_PRECISION(17), err);
}

int gn_job_order_read(struct gn_job_order *order, json_t **whole, const char *path, struct gn_error *err)
{
	json_error_t error;
	json_t *object;
	char *text;
	size_t size;

	if (gn_file_load(path, ORDER_LIMIT, &text, &size, err))
		return -1;
	object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	free(text);
	if (!object)
		return gn_fail(err, GN_MALFORMED, path, "line %d: %s", error.line, error.text);
	*order = (struct gn_job_order){
	    .job = json_string_value(json_object_get(object, "job")),
	    .request = json_object_get(object, "request"),
	    .members = json_object_get(object, "members"),
	    .models = json_object_get(object, "models"),
	    .dataset = json_string_value(json_object_get(object, "dataset")),
	    .shared = json_object_get(object, "shared"),
	    .device = json_string_value(json_object_get(object, "device")),
	    .precision = json_string_value(json_object_get(object, "precision")),
	    .threads = json_integer_value(json_object_get(object, "threads")),
	    .max_pixels = json_integer_value(json_object_get(object, "max_pixels")),
	    .attempt = (int)json_integer_value(json_object_get(object, "attempt")),
	};
	*whole = object;
	return 0;
}

json_t *gn_job_shared_write(const struct gn_shared *shared)
{
	json_t *cuts = json_array();

	for (int i = 0; i < shared->cut_count; i++)
		json_array_append_new(cuts, json_integer(shared->cuts[i]));
	return json_pack("{s:s,s:s,s:o,s:I}", "folder", shared->folder, "identity", shared->identity, "stages", cuts,
	                 "disk_reserve", (json_int_t)shared->disk_reserve);
}

int gn_job_shared_read(struct gn_shared *shared, int *cuts, int room, const json_t *object, struct gn_error *err)
{
	const json_t *list = json_object_get(object, "stages");
	size_t count = json_array_size(list);

	*shared = (struct gn_shared){.cuts = cuts};
	if (!object || json_is_null(object))
		return 0;
	shared->folder = json_string_value(json_object_get(object, "folder"));
	shared->identity = json_string_value(json_object_get(object, "identity"));
	shared->disk_reserve = (uint64_t)json_integer_value(json_object_get(object, "disk_reserve"));
	if (!shared->folder || !shared->identity || count > (size_t)room)
		return gn_fail(err, GN_INVALID, GN_JOB_JSON,
		               "shared must have a folder, an identity and at most %d stages", room);
	for (size_t i = 0; i < count; i++)
		cuts[shared->cut_count++] = (int)json_integer_value(json_array_get(list, i));
	return 0;
}

/* ---------------------------------------------------------------- result.json ----------------- */

int gn_job_result_write(const char *path, const struct gn_job_result *result, struct gn_error *err)
{
	json_t *object =
	    result->error ? json_pack("{s:O}", "error", result->error) : json_pack("{s:O}", "result", result->result);

	return write_json(path, object, JSON_COMPACT | JSON_REAL_PRECISION(12), err);
}

/* A member that must be an object. New reference. */
static json_t *take_object(const json_t *whole, const char *name)
{
	json_t *value = json_object_get(whole, name);

	return json_is_object(value) ? json_incref(value) : NULL;
}

void gn_job_result_read(struct gn_job_result *result, const char *path)
{
	json_t *whole;
	char *text;
	size_t size;

	*result = (struct gn_job_result){0};
	if (gn_file_load(path, RESULT_LIMIT, &text, &size, NULL))
		return;
	whole = json_loadb(text, size, 0, NULL);
	free(text);
	result->result = take_object(whole, "result");
	result->error = take_object(whole, "error");
	json_decref(whole);
}

void gn_job_result_release(struct gn_job_result *result)
{
	json_decref(result->result);
	json_decref(result->error);
	*result = (struct gn_job_result){0};
}

const char *gn_job_error_type(enum gn_code code)
{
	switch (code) {
	case GN_NO_MEMORY:
		return "out_of_memory";
	case GN_NO_SPACE:
		return "disk_full";
	case GN_DEVICE:
		return "device";
	case GN_INVALID:
	case GN_MALFORMED:
	case GN_UNSUPPORTED:
	case GN_TOO_LARGE:
		return "invalid";
	case GN_NOT_FOUND:
	case GN_CONFLICT:
		return "conflict";
	case GN_OK:
	case GN_IO:
	case GN_CANCELLED:
		break;
	}
	return "internal";
}

json_t *gn_job_error(const char *type, const char *detail)
{
	json_t *error = json_pack("{s:s,s:s}", "type", type, "detail", detail);

	return error ? error : json_pack("{s:s,s:s}", "type", type, "detail", "(not UTF-8)");
}
