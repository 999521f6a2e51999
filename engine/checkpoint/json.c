/*
 * Bounded JSON: see json.h. Depth and number of objects are measured before jansson parses the
 * text, for two reasons: jansson recurses up to a bound that the distribution sets at compile time,
 * and its objects need much more memory than their text.
 */
#include "checkpoint/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/files.h"

/* An empty object is three characters of text, but some 250 bytes in jansson. The longest header of
 * a safetensors file has 3 x 80,000 objects and lists: a tensor's entry, its shape and its
 * offsets. */
enum { BRACKETS_LIMIT = 300000 };

/* Counts brackets outside of strings. If the text is not JSON, jansson will report it. */
static int measure(int *depth, const char *text, size_t size)
{
	int open = 0, brackets = 0;
	bool in_string = false;

	*depth = 0;
	for (size_t i = 0; i < size; i++) {
		if (in_string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				in_string = false;
		} else if (text[i] == '"') {
			in_string = true;
		} else if (text[i] == '{' || text[i] == '[') {
			brackets++;
			open++;
			*depth = open > *depth ? open : *depth;
		} else if (text[i] == '}' || text[i] == ']') {
			open--;
		}
	}
	return brackets;
}

int gn_json_parse(json_t **out, const char *text, size_t size, size_t max_bytes, int max_depth, const char *what,
                  struct gn_error *err)
{
	json_error_t problem;
	int depth, brackets;

	if (size > max_bytes)
		return gn_fail(err, GN_TOO_LARGE, "", "%s has %zu bytes of JSON, at most %zu are taken", what, size,
		               max_bytes);
	brackets = measure(&depth, text, size);
	if (brackets > BRACKETS_LIMIT)
		return gn_fail(err, GN_TOO_LARGE, "", "%s has %d JSON objects and lists, at most %d are taken", what,
		               brackets, BRACKETS_LIMIT);
	if (depth > max_depth)
		return gn_fail(err, GN_MALFORMED, "", "%s is nested deeper than %d levels", what, max_depth);
	*out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
	if (*out)
		return 0;
	if (json_error_code(&problem) == json_error_out_of_memory)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the JSON of %s", what);
	return gn_fail(err, GN_MALFORMED, "", "%s is not valid JSON: %.200s (byte %d)", what, problem.text,
	               problem.position);
}

/* The member, or NULL if it is missing or null. */
static const json_t *member(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_null(value) ? NULL : value;
}

int gn_json_int(int *out, const json_t *object, const char *name, int low, int high, struct gn_error *err)
{
	const json_t *value = member(object, name);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
		return gn_fail(err, GN_INVALID, name, "%s must be a whole number of %d to %d", name, low, high);
	*out = (int)json_integer_value(value);
	return 0;
}

static bool in_range(const json_t *value, double low, double high)
{
	return json_is_number(value) && json_number_value(value) >= low && json_number_value(value) <= high;
}

int gn_json_number(double *out, const json_t *object, const char *name, double low, double high, struct gn_error *err)
{
	const json_t *value = member(object, name);

	if (!value)
		return 0;
	if (!in_range(value, low, high))
		return gn_fail(err, GN_INVALID, name, "%s must be a number of %g to %g", name, low, high);
	*out = json_number_value(value);
	return 0;
}

int gn_json_bool(bool *out, const json_t *object, const char *name, struct gn_error *err)
{
	const json_t *value = member(object, name);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return gn_fail(err, GN_INVALID, name, "%s must be true or false", name);
	*out = json_is_true(value);
	return 0;
}

int gn_json_text(const char **out, const json_t *object, const char *name, struct gn_error *err)
{
	const json_t *value = member(object, name);

	if (!value)
		return 0;
	if (!json_is_string(value))
		return gn_fail(err, GN_INVALID, name, "%s must be a string", name);
	*out = json_string_value(value);
	return 0;
}

int gn_json_triple(float out[3], const json_t *object, const char *name, double low, double high, struct gn_error *err)
{
	const json_t *value = member(object, name);
	bool good = json_is_array(value) && json_array_size(value) == 3;

	if (!value)
		return 0;
	for (size_t i = 0; good && i < 3; i++)
		good = in_range(json_array_get(value, i), low, high);
	if (!good)
		return gn_fail(err, GN_INVALID, name, "%s must be three numbers of %g to %g", name, low, high);
	for (size_t i = 0; i < 3; i++)
		out[i] = (float)json_number_value(json_array_get(value, i));
	return 0;
}

int gn_json_text_list(char ***out, int *count, const json_t *array, const char *what, struct gn_error *err)
{
	size_t n = json_array_size(array);
	char **list;

	if (!json_is_array(array) || n > 1000000)
		return gn_fail(err, GN_INVALID, what, "%s must be a list of strings", what);
	list = gn_alloc(n, sizeof *list, err);
	if (!list)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(array, i);

		if (!json_is_string(item))
			gn_fail(err, GN_INVALID, what, "%s must be a list of strings: item %zu is none", what, i);
		else
			list[i] = gn_copy_text(json_string_value(item), json_string_length(item), err);
		if (!list[i]) {
			gn_text_list_free(list, (int)i);
			return -1;
		}
	}
	*out = list;
	*count = (int)n;
	return 0;
}

void gn_text_list_free(char **list, int count)
{
	for (int i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

static char *dump(const json_t *json, size_t flags, struct gn_error *err)
{
	/* json_dumps loses an object's key when its buffer cannot grow (2.14), so the buffer is
	 * ours and large enough. */
	size_t size = json ? json_dumpb(json, NULL, 0, flags) : 0;
	char *text = size > 0 ? gn_alloc(size + 1, 1, err) : NULL;

	if (text && json_dumpb(json, text, size, flags) != size) {
		free(text);
		text = NULL;
	}
	if (!text)
		gn_fail(err, GN_NO_MEMORY, "", "no memory for writing JSON");
	return text;
}

char *gn_json_dump(const json_t *json, struct gn_error *err)
{
	return dump(json, JSON_COMPACT | JSON_REAL_PRECISION(9), err);
}

char *gn_json_dump_pretty(const json_t *json, struct gn_error *err)
{
	return dump(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15), err);
}
