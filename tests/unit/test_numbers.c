// The pixels of an inference request, cut out of its JSON: which lists are cut out, what remains,
// and which lists are not numbers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/kserve/numbers.h"

// The body as JSON, and what was cut out of it. numbers is borrowed from text.
static json_t *load(const char *text, struct gn_numbers *numbers)
{
	struct gn_error err = {0};
	json_t *body;

	if (gn_numbers_load(&body, numbers, text, strlen(text), &err))
		fail_msg("%s: %s", text, err.text);
	return body;
}

static void test_lists_of_numbers_are_cut_out(void **state)
{
	static const char *const TEXTS[] = {
	    "{\"inputs\":[{\"name\":\"pixels\",\"data\":[1,-2.5,3e2],\"shape\":[3]}],\"id\":\"a\"}",
	    "{\"id\":\"\\\"data\\\":[\",\"inputs\" : [ { \"data\" :\n[ [1, -2.5] ,[ 3E+2 ],[]] } ] }",
	    "{\"a\":{\"data\":[7],\"b\":{\"data\":[8]}},\"inputs\":[{\"c\":{\"data\":[9]},\"data\":[1,-2.5,3e2]}]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		struct gn_numbers numbers;
		json_t *body = load(TEXTS[i], &numbers), *input = json_array_get(json_object_get(body, "inputs"), 0);
		float out[4];
		size_t used;

		assert_true(numbers.length > 0);
		assert_true(json_is_array(json_object_get(input, "data")));
		assert_int_equal(json_array_size(json_object_get(input, "data")), 0);
		assert_null(gn_numbers_read(out, 3, &used, &numbers));
		assert_true(used == 3 && out[0] == 1 && out[1] == -2.5F && out[2] == 300);
		assert_string_equal(gn_numbers_read(out, 4, &used, &numbers), "has too few values");
		assert_string_equal(gn_numbers_read(out, 2, &used, &numbers), "has too many values");
		json_decref(body);
	}
}

static void test_other_lists_stay(void **state)
{
	static const char *const TEXTS[] = {
	    "{\"inputs\":[{\"data\":[\"aGk=\"]}]}",
	    "{\"inputs\":[{\"data\":[1,null]}]}",
	    "{\"inputs\":[{\"data\":[1,{}]}]}",
	    "{\"inputs\":[{\"data\":[]}]}",
	    "{\"inputs\":{\"data\":{\"data\":[1]}}}",
	    "{\"inputs\":[{\"values\":[1]}]}",
	    "{\"inputs\":[{\"a\":\"data\",\"b\":[1]}]}",
	    "{\"data\":[1]}",
	    "[[[1]]]",
	    "1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		struct gn_numbers numbers;
		json_t *body = load(TEXTS[i], &numbers);
		char *written = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);

		assert_int_equal(numbers.length, 0);
		assert_string_equal(written, TEXTS[i]);
		free(written);
		json_decref(body);
	}
}

static void test_what_is_no_list(void **state)
{
	static const struct {
		const char *list, *wrong;
	} cases[] = {
	    {"1 2", "is not a list of JSON"},
	    {"1,", "is not a list of JSON"},
	    {",1", "is not a list of JSON"},
	    {"[1,]", "is not a list of JSON"},
	    {"[1][2]", "is not a list of JSON"},
	    {"01", "is not a list of JSON"},
	    {"1.", "is not a list of JSON"},
	    {".5", "is not a list of JSON"},
	    {"+1", "is not a list of JSON"},
	    {"1e", "is not a list of JSON"},
	    {"--1", "is not a list of JSON"},
	    {"1-", "is not a list of JSON"},
	    {"1e39", "has something that is no finite FP32 number"},
	    {"-1e999", "has something that is no finite FP32 number"},
	    {"[[[[1]]]]", "has something that is no finite FP32 number"},
	    {"[],[[]]", "has too few values"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[100];
		struct gn_numbers numbers;
		const char *wrong;
		float out[2];
		size_t used;

		snprintf(text, sizeof text, "{\"inputs\":[{\"data\":[%s]}]}", cases[i].list);
		json_decref(load(text, &numbers));
		wrong = gn_numbers_read(out, 2, &used, &numbers);
		if (!wrong || strcmp(wrong, cases[i].wrong) != 0)
			fail_msg("%s: %s", cases[i].list, wrong ? wrong : "taken");
	}
}

static void test_malformed(void **state)
{
	static const char *const TEXTS[] = {
	    "{\"inputs\":[{\"data\":[1,2",
	    "{\"inputs\":[{\"data\":[1,2]",
	    "{\"inputs\":[{\"data\"[1,2]}]}",
	    "{\"inputs\":[{\"data\":[1],\"data\":[2]}]}",
	    "{\"inputs\":[{\"data",
	    "{\"inputs\":[{\"data\":[1]]}",
	    "",
	};

	(void)state;
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
		struct gn_numbers numbers;
		struct gn_error err = {0};
		json_t *body;

		assert_int_equal(gn_numbers_load(&body, &numbers, TEXTS[i], strlen(TEXTS[i]), &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
	}
}

// As many numbers as a body has room for; outside of the list so many values are refused.
static void test_many(void **state)
{
	static const char before[] = "{\"inputs\":[{\"data\":[", after[] = "1]}]}";
	size_t count = 8 << 20, used, start = sizeof before - 1;
	char *text = malloc(start + 2 * count + sizeof after);
	float *out = malloc((count + 1) * sizeof *out);
	struct gn_error err = {0};
	struct gn_numbers numbers;
	json_t *body;

	(void)state;
	assert_true(text && out);
	memcpy(text, before, start);
	for (size_t i = 0; i < count; i++)
		memcpy(text + start + 2 * i, "7,", 2);
	memcpy(text + start + 2 * count, after, sizeof after);
	json_decref(load(text, &numbers));
	assert_null(gn_numbers_read(out, count + 1, &used, &numbers));
	assert_true(out[0] == 7 && out[count - 1] == 7 && out[count] == 1);
	memcpy(strstr(text, "data"), "date", 4);
	assert_int_equal(gn_numbers_load(&body, &numbers, text, strlen(text), &err), -1);
	assert_int_equal(err.code, GN_TOO_LARGE);
	free(out);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists_of_numbers_are_cut_out),
	    cmocka_unit_test(test_other_lists_stay),
	    cmocka_unit_test(test_what_is_no_list),
	    cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
