/*
 * The safetensors reader: every case of tests/cases/safetensors through a whole import, with the
 * error's text pinned; a good file cut at every length and damaged at every byte; what the header's
 * writer makes.
 */
#include "checkpoint/safetensors.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "tests/support/st_builder.h"

#define CASES GN_SOURCE_DIR "/tests/cases/safetensors"

/* ---------------------------------------------------------------- cases ----------------------- */

static const char *code_name(enum gn_code code)
{
	switch (code) {
	case GN_INVALID:
		return "invalid";
	case GN_MALFORMED:
		return "malformed";
	case GN_UNSUPPORTED:
		return "unsupported";
	case GN_TOO_LARGE:
		return "too_large";
	default:
		return "another";
	}
}

static void test_case(void **state)
{
	const char *name = *state;
	struct gn_import_options options = st_options(2);
	struct gn_error err = {0};
	char path[600], folder[64], found[800], *expected;
	size_t size;

	st_folder(folder);
	snprintf(path, sizeof path, CASES "/%s/expected.txt", name);
	if (gn_file_read(&expected, &size, path, 4096, &err))
		fail_msg("%s: %s", err.where, err.text);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	snprintf(found, sizeof found, CASES "/%s/input.safetensors", name);
	if (gn_model_import(path, found, &options, NULL, &err)) {
		snprintf(found, sizeof found, "%s\n%s\n%s\n", code_name(err.code), err.where, err.text);
		assert_int_equal(st_folder_count(folder), 0);
	} else {
		snprintf(found, sizeof found, "ok\n");
		assert_int_equal(st_folder_count(folder), 1);
	}
	assert_string_equal(found, expected);
	free(expected);
	st_folder_remove(folder);
}

/* One test per folder of CASES. */
static size_t find_cases(struct CMUnitTest *tests, size_t limit)
{
	struct dirent **entries;
	int n = scandir(CASES, &entries, NULL, alphasort);
	size_t count = 0;

	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.' && entries[i]->d_type == DT_DIR && count < limit) {
			char *name = strdup(entries[i]->d_name);

			tests[count++] = (struct CMUnitTest){name, test_case, NULL, NULL, name};
		}
		free(entries[i]);
	}
	free(entries);
	return count;
}

/* ---------------------------------------------------------------- damage ---------------------- */

static uint8_t *good_file(size_t *size)
{
	char *bytes;

	assert_int_equal(gn_file_read(&bytes, size, CASES "/good/input.safetensors", 1 << 20, NULL), 0);
	return (uint8_t *)bytes;
}

static int parse(const uint8_t *bytes, size_t size, struct gn_error *err)
{
	/* a buffer of the exact size, so that AddressSanitizer sees a read past the end */
	uint8_t *copy = malloc(size ? size : 1);
	struct gn_st_file file;
	int result;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	result = gn_st_parse(&file, copy, size, err);
	gn_st_release(&file);
	free(copy);
	return result;
}

static void test_cut_anywhere(void **state)
{
	size_t size;
	uint8_t *bytes = good_file(&size);

	(void)state;
	for (size_t cut = 0; cut < size; cut++) {
		struct gn_error err = {0};

		assert_int_equal(parse(bytes, cut, &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
		assert_true(*err.text != 0);
	}
	assert_int_equal(parse(bytes, size, NULL), 0);
	free(bytes);
}

static void test_any_byte_of_the_header_damaged(void **state)
{
	size_t size, refused = 0;
	uint8_t *bytes = good_file(&size);
	uint64_t header;

	(void)state;
	memcpy(&header, bytes, 8);
	for (size_t i = 0; i < 8 + header; i++) {
		for (int bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1 << bit);
			refused += parse(bytes, size, NULL) != 0;
			bytes[i] ^= (uint8_t)(1 << bit);
		}
	}
	/* what is left are letters of names */
	assert_true(refused > 8 * header / 2);
	free(bytes);
}

static void test_header_past_the_limit(void **state)
{
	size_t size = GN_ST_HEADER_LIMIT + 100;
	uint64_t length = GN_ST_HEADER_LIMIT + 1;
	uint8_t *bytes = calloc(size, 1);
	struct gn_error err = {0};
	struct gn_st_file file;

	(void)state;
	assert_non_null(bytes);
	memcpy(bytes, &length, 8);
	assert_int_equal(gn_st_parse(&file, bytes, size, &err), -1);
	assert_int_equal(err.code, GN_TOO_LARGE);
	free(bytes);
}

/* ---------------------------------------------------------------- what it reads --------------- */

static void test_reads_what_is_there(void **state)
{
	static const char header[] = "{\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[6,14]},"
	                             "\"a\":{\"dtype\":\"BF16\",\"shape\":[1,3],\"data_offsets\":[0,6]},"
	                             "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[6,6]},"
	                             "\"__metadata__\":{\"k\":\"v \\u00e9\"}}  ";
	uint8_t bytes[8 + sizeof header - 1 + 14] = {0};
	uint64_t length = sizeof header - 1;
	struct gn_st_file file;
	char text[32];

	(void)state;
	memcpy(bytes, &length, 8);
	memcpy(bytes + 8, header, sizeof header - 1);
	bytes[8 + length + 6] = 77;
	assert_int_equal(gn_st_parse(&file, bytes, sizeof bytes, NULL), 0);
	assert_int_equal(file.count, 3);
	assert_string_equal(file.tensors[0].name, "a");
	assert_string_equal(gn_st_dtype_name(file.tensors[0].dtype), "BF16");
	assert_string_equal(gn_st_shape_text(text, sizeof text, file.tensors[0].shape, file.tensors[0].rank), "[1, 3]");
	assert_string_equal(file.tensors[1].name, "empty");
	assert_int_equal(file.tensors[1].numel, 0);
	assert_string_equal(file.tensors[2].name, "b");
	assert_int_equal(file.tensors[2].numel, 1);
	assert_int_equal(file.tensors[2].data[0], 77);
	assert_string_equal(gn_st_metadata(&file, "k"), "v \xc3\xa9");
	assert_null(gn_st_metadata(&file, "another"));
	gn_st_release(&file);
}

static void test_shape_text_is_bounded(void **state)
{
	const int64_t shape[8] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
	                          INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
	char text[32];

	(void)state;
	memset(text, 'x', sizeof text);
	gn_st_shape_text(text, 16, shape, 8);
	assert_true(strlen(text) < 16 && text[16] == 'x');
	assert_string_equal(gn_st_shape_text(text, sizeof text, shape, 0), "[]");
}

static void visit(void *user, const char *name, const char *dtype, int rank, const int64_t *shape)
{
	int *seen = user;

	if (!strcmp(name, "patch_embed.proj.weight")) {
		assert_string_equal(dtype, "F32");
		assert_int_equal(rank, 4);
		assert_int_equal(shape[0] * 1000 + shape[1] * 100 + shape[2] * 10 + shape[3], 8322);
	}
	(*seen)++;
}

static void test_inspect(void **state)
{
	struct gn_error err = {0};
	int seen = 0;

	(void)state;
	assert_int_equal(gn_inspect(CASES "/good/input.safetensors", visit, &seen, &err), 0);
	assert_int_equal(seen, 32);
	assert_int_equal(gn_inspect(CASES "/gap/input.safetensors", visit, &seen, &err), -1);
	assert_int_equal(seen, 32);
	assert_int_equal(err.code, GN_MALFORMED);
	err = (struct gn_error){0};
	assert_int_equal(gn_inspect(CASES "/there/is/none", visit, &seen, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest own[] = {
	    cmocka_unit_test(test_cut_anywhere),          cmocka_unit_test(test_any_byte_of_the_header_damaged),
	    cmocka_unit_test(test_header_past_the_limit), cmocka_unit_test(test_reads_what_is_there),
	    cmocka_unit_test(test_shape_text_is_bounded), cmocka_unit_test(test_inspect),
	};
	static struct CMUnitTest tests[256];
	size_t count = sizeof own / sizeof *own, cases;
	int failed;

	memcpy(tests, own, sizeof own);
	cases = find_cases(tests + count, 200);
	if (cases < 50) {
		fprintf(stderr, "only %zu cases in " CASES "\n", cases);
		return 1;
	}
	/* an array whose length is known at run time: the macro's function, called as the macro
	 * does */
	failed = _cmocka_run_group_tests("safetensors", tests, count + cases, NULL, NULL);
	for (size_t i = count; i < count + cases; i++)
		free(tests[i].initial_state);
	return failed;
}
