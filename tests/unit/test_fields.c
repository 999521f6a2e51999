// Reading by tables of fields: all invalid values reported together, defaults, null, query texts,
// JSON that is malformed or too large.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include <cmocka.h>

#include "server/common/fields.h"
#include "server/common/json.h"

struct thing {
	char name[GN_NAME_SIZE], other[GN_NAME_SIZE];
	int count, colour;
	int64_t seed;
	double share, mean[3];
	bool on;
};
static const char *const COLOURS[] = {"red", "green", NULL};
static const struct gn_field TABLE[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_NULLABLE, offsetof(struct thing, name), .help = "A name."},
    {"other", GN_FIELD_REF, GN_FIELD_REQUIRED, offsetof(struct thing, other), .help = "Another thing."},
    {"count", GN_FIELD_INT, GN_FIELD_NULLABLE, offsetof(struct thing, count), 1, 10, 0, .help = "How many."},
    {"colour", GN_FIELD_CHOICE, 0, offsetof(struct thing, colour), .fallback = 1, .choices = COLOURS, .help = "Which."},
    {"seed", GN_FIELD_INT64, 0, offsetof(struct thing, seed), 0, 9007199254740991.0, 7, .help = "A seed."},
    {"share", GN_FIELD_NUMBER, 0, offsetof(struct thing, share), 0, 1, 0.25, .help = "A share."},
    {"mean", GN_FIELD_TRIPLE, 0, offsetof(struct thing, mean), 0, 1, NAN, .help = "Three."},
    {"on", GN_FIELD_BOOL, 0, offsetof(struct thing, on), .fallback = 1, .help = "Whether."},
};
enum { COUNT = sizeof TABLE / sizeof *TABLE };

// Reads text into *thing; returns the errors' pointers in one line: "/a /b".
static const char *read_text(struct thing *thing, const char *text)
{
	static char pointers[4096];
	struct gn_error err = {0};
	json_t *value, *errors = json_array(), *item;
	size_t index;

	assert_int_equal(gn_json_load(&value, text, strlen(text), &err), 0);
	gn_fields_read(TABLE, COUNT, value, thing, "", errors);
	pointers[0] = 0;
	json_array_foreach(errors, index, item)
	{
		size_t used = strlen(pointers);
		snprintf(pointers + used, sizeof pointers - used, "%s%s", index ? " " : "",
		         json_string_value(json_object_get(item, "pointer")));
	}
	json_decref(errors);
	json_decref(value);
	return pointers;
}

static void test_values(void **state)
{
	struct thing t;

	(void)state;
	assert_string_equal(read_text(&t, "{\"name\":\"a.b-c_1\",\"other\":\"mdl_0\",\"count\":10,\"colour\":\"red\","
	                                  "\"seed\":9007199254740991,\"share\":1,\"mean\":[0,0.5,1],\"on\":false}"),
	                    "");
	assert_string_equal(t.name, "a.b-c_1");
	assert_string_equal(t.other, "mdl_0");
	assert_int_equal(t.count, 10);
	assert_int_equal(t.colour, 0);
	assert_true(t.seed == 9007199254740991);
	assert_true(t.share == 1 && t.mean[1] == 0.5 && !t.on);
	// a whole number may be written as 3.0
	assert_string_equal(read_text(&t, "{\"other\":\"x\",\"count\":3.0}"), "");
	assert_int_equal(t.count, 3);
}

static void test_defaults(void **state)
{
	struct thing t;

	(void)state;
	assert_string_equal(read_text(&t, "{\"other\":\"x\",\"name\":null,\"count\":null}"), "");
	assert_string_equal(t.name, "");
	assert_int_equal(t.count, 0);
	assert_int_equal(t.colour, 1);
	assert_true(t.seed == 7 && t.share == 0.25 && isnan(t.mean[0]) && t.on);
}

static void test_errors(void **state)
{
	struct thing t;
	char long_name[200] = "{\"other\":\"x\",\"name\":\"";

	(void)state;
	assert_string_equal(read_text(&t, "{\"name\":\"A\",\"count\":0,\"colour\":\"blue\",\"seed\":-1,\"share\":1.5,"
	                                  "\"mean\":[1,2],\"on\":1,\"x/y~z\":0}"),
	                    "/name /other /count /colour /seed /share /mean /on /x~1y~0z");
	assert_string_equal(read_text(&t, "{\"other\":7,\"count\":1.5,\"colour\":null,\"seed\":\"1\",\"share\":null}"),
	                    "/other /count /colour /seed /share");
	// bad values leave the default
	assert_int_equal(t.count, 0);
	assert_true(t.share == 0.25);
	// too large for any number
	assert_string_equal(read_text(&t, "{\"other\":\"x\",\"count\":1e400,\"seed\":123456789012345678901234567890,"
	                                  "\"share\":-1e999}"),
	                    "/count /seed /share");
	assert_string_equal(read_text(&t, "[]"), " /other");
	assert_string_equal(read_text(&t, "{\"other\":\"A B\"}"), "/other");
	assert_string_equal(read_text(&t, "{\"other\":\"x\",\"name\":\"run_x\"}"), "/name");
	memset(long_name + strlen(long_name), 'a', 65);
	memcpy(long_name + strlen(long_name), "\"}", 3);
	assert_string_equal(read_text(&t, long_name), "/name");
}

// The errors of a body with very many bad fields, and of fields with very long names, stay small.
static void test_bounded(void **state)
{
	json_t *object = json_object(), *errors = json_array(), *item;
	char name[1200];
	size_t index;
	struct thing t;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		memset(name, 0, sizeof name);
		for (int k = 0; k < 300; k++)
			memcpy(name + 3 * k, "\xE2\x82\xAC", 3);
		snprintf(name + 900, 100, "%d", i);
		json_object_set_new(object, name, json_integer(i));
	}
	gn_fields_read(TABLE, COUNT, object, &t, "", errors);
	assert_in_range(json_array_size(errors), 20, 64);
	json_array_foreach(errors, index, item)
	{
		assert_non_null(json_string_value(json_object_get(item, "pointer")));
		assert_in_range(json_string_length(json_object_get(item, "pointer")), 1, 256);
	}
	json_decref(errors);
	json_decref(object);
}

static void test_written_and_read_again(void **state)
{
	struct thing one, two;
	json_t *errors = json_array(), *object, *again;

	(void)state;
	memset(&one, 0, sizeof one);
	memset(&two, 0, sizeof two);
	read_text(&one, "{\"other\":\"x\",\"share\":0.1,\"mean\":[0.485,0.456,0.406]}");
	object = gn_fields_write(TABLE, COUNT, &one);
	assert_true(json_is_null(json_object_get(object, "count")));
	assert_true(json_is_null(json_object_get(object, "name")));
	gn_fields_read(TABLE, COUNT, object, &two, "", errors);
	assert_int_equal(json_array_size(errors), 0);
	again = gn_fields_write(TABLE, COUNT, &two);
	assert_true(json_equal(object, again));
	json_decref(again);
	json_decref(object);
	json_decref(errors);
}

// A query parameter becomes the JSON that its text stands for; what does not fit stays a string,
// which the reader refuses.
static void test_query_texts(void **state)
{
	static const struct {
		const char *field, *text, *json;
	} CASES[] = {
	    {"count", "3", "3.0"},       {"count", "3x", "\"3x\""},          {"count", " 3", "\" 3\""},
	    {"count", "", "\"\""},       {"share", "1e-3", "0.001"},         {"share", "nan", "\"nan\""},
	    {"share", "inf", "\"inf\""}, {"share", "0x1", "\"0x1\""},        {"share", "1e999", "9e307"},
	    {"on", "true", "true"},      {"on", "yes", "\"yes\""},           {"mean", "0.1,0.2,0.3", "[0.1,0.2,0.3]"},
	    {"mean", "1,2", "\"1,2\""},  {"mean", "1,2,3,4", "\"1,2,3,4\""}, {"colour", "red", "\"red\""},
	    {"name", "3", "\"3\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		json_t *found = gn_field_from_text(gn_field_find(TABLE, COUNT, CASES[i].field), CASES[i].text);
		json_t *wanted = json_loads(CASES[i].json, JSON_DECODE_ANY, NULL);
		assert_true(json_equal(found, wanted));
		json_decref(found);
		json_decref(wanted);
	}
}

static void test_malformed(void **state)
{
	static const char *const TEXTS[] = {"",       "{", "{\"a\":1,\"a\":2}", "{\"a\":NaN}", "{\"a\":\"\\u0000\"}",
	                                    "nothing"};
	struct gn_error err;
	json_t *value;
	char *deep = malloc(100001);

	(void)state;
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		err = (struct gn_error){0};
		assert_int_equal(gn_json_load(&value, TEXTS[i], strlen(TEXTS[i]), &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
	}
	memset(deep, '[', 100000);
	err = (struct gn_error){0};
	assert_int_equal(gn_json_load(&value, deep, 100000, &err), -1);
	assert_int_equal(err.code, GN_MALFORMED);
	free(deep);
}

// `text` n times, with `before` and `after` round it. The caller frees.
static char *repeated(const char *before, const char *text, size_t n, const char *after)
{
	size_t length = strlen(text), used = strlen(before);
	char *all = malloc(used + n * length + strlen(after) + 1);

	assert_non_null(all);
	memcpy(all, before, used);
	for (size_t i = 0; i < n; i++, used += length)
		memcpy(all + used, text, length);
	memcpy(all + used, after, strlen(after) + 1);
	return all;
}

// A megabyte that repeats a number too large is read once or twice, not once more for each of them.
static void test_many_overflows(void **state)
{
	static const char *const NUMBERS[] = {"2e308,", "-1e999,", "123456789012345678901,", "1.5e+400,"};
	struct gn_error err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
		char *text = repeated("{\"\\\"2e308,\":[", NUMBERS[i], 100000, "\"3e308\",7]}");
		json_t *value, *list;

		assert_int_equal(gn_json_load(&value, text, strlen(text), &err), 0);
		list = json_object_get(value, "\"2e308,");
		assert_int_equal(json_array_size(list), 100002);
		assert_true(json_number_value(json_array_get(list, 99999)) == (i == 1 ? -9e307 : 9e307));
		assert_string_equal(json_string_value(json_array_get(list, 100000)), "3e308");
		assert_int_equal(json_integer_value(json_array_get(list, 100001)), 7);
		json_decref(value);
		free(text);
	}
}

// What takes much more memory than its text is refused before it is parsed; what stands in strings
// does not count.
static void test_too_many_values(void **state)
{
	static const char *const VALUES[] = {"1,", "{},", "[],", "\"\","};
	struct gn_error err;
	json_t *value;
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof VALUES / sizeof *VALUES; i++) {
		text = repeated("[", VALUES[i], 300001, "1]");
		err = (struct gn_error){0};
		assert_int_equal(gn_json_load(&value, text, strlen(text), &err), -1);
		assert_int_equal(err.code, GN_TOO_LARGE);
		assert_string_equal(err.text, "the JSON text has more than 300000 values");
		free(text);
	}
	text = repeated("[\"", "[{,\\\"", 300001, "\"]");
	err = (struct gn_error){0};
	assert_int_equal(gn_json_load(&value, text, strlen(text), &err), 0);
	json_decref(value);
	free(text);
}

static void test_schema(void **state)
{
	json_t *schema = gn_fields_schema(TABLE, COUNT), *properties = json_object_get(schema, "properties");

	(void)state;
	assert_int_equal(json_object_size(properties), COUNT);
	assert_int_equal(json_array_size(json_object_get(schema, "required")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(properties, "count"), "maximum")), 10);
	assert_true(json_is_null(json_object_get(json_object_get(properties, "count"), "default")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(properties, "colour"), "default")),
	                    "green");
	json_decref(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),      cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_errors),      cmocka_unit_test(test_bounded),
	    cmocka_unit_test(test_query_texts), cmocka_unit_test(test_written_and_read_again),
	    cmocka_unit_test(test_malformed),   cmocka_unit_test(test_many_overflows),
	    cmocka_unit_test(test_schema),      cmocka_unit_test(test_too_many_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
