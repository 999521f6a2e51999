/* The index of a data set: it is written and read back, and the reader trusts nothing in it. */
#include "data/index.h"
#include "base/files.h"
#include "tests/support/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PACK_BYTES 1000

static struct gn_item items[] = {
    {.path = "train/cat/a.jpg", .offset = 0, .bytes = 100, .width = 4, .height = 3, .label = 0, .split = GN_TRAIN},
    {.path = "train/dog/b.jpg", .offset = 100, .bytes = 100, .width = 5, .height = 6, .label = 1, .split = GN_TRAIN},
    {.path = "val/cat/c.jpg", .offset = 900, .bytes = 100, .width = 7, .height = 8, .label = 0, .split = GN_VAL},
};
enum { ITEMS = 3, RECORD = 40, HEADER = 40, RECORDS_AT = HEADER + 2 * 8, STRINGS_AT = RECORDS_AT + ITEMS * RECORD };

static char cat[] = "cat", dog[] = "dog";
static char *class_names[] = {cat, dog};

/* The bytes of a good index; caller frees. */
static uint8_t *write_index(size_t *size)
{
	struct gn_item *list[ITEMS] = {&items[0], &items[1], &items[2]};
	struct gn_arrangement a = {list, ITEMS, class_names, 2};
	struct gn_error err = {0};
	char folder[64], path[128], *bytes;
	uint64_t written;

	folder_make(folder);
	if (gn_index_write(folder, &a, PACK_BYTES, &written, &err))
		fail_msg("%s", err.text);
	snprintf(path, sizeof path, "%s/" GN_INDEX_NAME, folder);
	assert_int_equal(gn_file_read(&bytes, size, path, 1 << 20, &err), 0);
	assert_int_equal(*size, written);
	folder_remove(folder);
	return (uint8_t *)bytes;
}

/* Parses a copy of exactly this size, so that a sanitizer sees a read past its end. */
static int parse(const uint8_t *bytes, size_t size, struct gn_error *err)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct gn_dataset dataset = {0};
	int rc;

	assert_non_null(copy);
	if (size)
		memcpy(copy, bytes, size);
	rc = gn_index_parse(&dataset, copy, size, PACK_BYTES, err);
	for (int i = 0; rc == 0 && i < dataset.sample_count; i++)
		assert_true(strlen(dataset.samples[i].path) < size &&
		            dataset.samples[i].offset + dataset.samples[i].bytes <= PACK_BYTES);
	free(dataset.classes);
	free(dataset.samples);
	free(copy);
	return rc;
}

static void an_index_is_read_back(void **state)
{
	struct gn_dataset dataset = {0};
	struct gn_error err = {0};
	size_t size;
	uint8_t *bytes = write_index(&size);

	(void)state;
	assert_int_equal(gn_index_parse(&dataset, bytes, size, PACK_BYTES, &err), 0);
	assert_int_equal(dataset.class_count, 2);
	assert_int_equal(dataset.sample_count, 3);
	assert_string_equal(dataset.classes[1].name, "dog");
	assert_int_equal(dataset.classes[0].counts[GN_TRAIN], 1);
	assert_int_equal(dataset.classes[0].counts[GN_VAL], 1);
	assert_int_equal(dataset.totals[GN_TRAIN], 2);
	for (int i = 0; i < ITEMS; i++) {
		assert_string_equal(dataset.samples[i].path, items[i].path);
		assert_int_equal(dataset.samples[i].offset, items[i].offset);
		assert_int_equal(dataset.samples[i].bytes, items[i].bytes);
		assert_int_equal(dataset.samples[i].width, items[i].width);
		assert_int_equal(dataset.samples[i].height, items[i].height);
		assert_int_equal(dataset.samples[i].label, items[i].label);
		assert_int_equal(dataset.samples[i].split, items[i].split);
	}
	free(dataset.classes);
	free(dataset.samples);
	free(bytes);
}

static void no_prefix_is_an_index(void **state)
{
	size_t size;
	uint8_t *bytes = write_index(&size);

	(void)state;
	for (size_t cut = 0; cut < size; cut++) {
		struct gn_error err = {0};

		assert_int_equal(parse(bytes, cut, &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
	}
	free(bytes);
}

/* Each field set to a value that leaves its bounds. */
static void lying_fields_are_seen(void **state)
{
	static const struct {
		size_t at;
		int width;
		uint64_t value;
		const char *words;
	} lies[] = {
	    {0, 4, 0, "not an index"},
	    {12, 4, 0, "number of classes"},
	    {12, 4, UINT32_MAX, "number of classes"},
	    {12, 4, 3, ""},
	    {16, 8, 0, "number of images"},
	    {16, 8, UINT64_MAX, "number of images"},
	    {16, 8, UINT64_MAX / RECORD + 1, "number of images"},
	    {24, 8, UINT64_MAX, "length of the names"},
	    {32, 8, PACK_BYTES + 1, "another size"},
	    {HEADER, 8, UINT64_MAX, "class name lies outside"},
	    {HEADER + 8, 8, 0, "classes are not in order"},
	    {RECORDS_AT, 8, PACK_BYTES, "outside of the pack"},
	    {RECORDS_AT, 8, UINT64_MAX - 50, "outside of the pack"},
	    {RECORDS_AT + 8, 8, 0, "outside of the pack"},
	    {RECORDS_AT + 8, 8, PACK_BYTES + 1, "outside of the pack"},
	    {RECORDS_AT + 16, 8, 1000, "path lies outside"},
	    {RECORDS_AT + 24, 4, 0, "without pixels"},
	    {RECORDS_AT + 28, 4, UINT32_MAX, "without pixels"},
	    {RECORDS_AT + 32, 4, 2, "no class or split"},
	    {RECORDS_AT + 36, 4, 3, "no class or split"},
	    {RECORDS_AT + 36, 4, 2, "images are not in order"},
	};
	size_t size;
	uint8_t *bytes = write_index(&size);

	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		struct gn_error err = {0};
		uint8_t kept[8];

		memcpy(kept, bytes + lies[i].at, 8);
		memcpy(bytes + lies[i].at, &lies[i].value, (size_t)lies[i].width);
		assert_int_equal(parse(bytes, size, &err), -1);
		if (err.code != GN_MALFORMED || !strstr(err.text, lies[i].words))
			fail_msg("lie %zu: code %d, %s", i, err.code, err.text);
		memcpy(bytes + lies[i].at, kept, 8);
	}
	bytes[8] = 2; /* the version */
	struct gn_error err = {0};
	assert_int_equal(parse(bytes, size, &err), -1);
	assert_int_equal(err.code, GN_UNSUPPORTED);
	bytes[8] = 1;
	bytes[size - 1] = 'x'; /* the last NUL */
	err = (struct gn_error){0};
	assert_int_equal(parse(bytes, size, &err), -1);
	free(bytes);
}

/* Any damage is either seen or harmless. */
static void any_byte_may_be_wrong(void **state)
{
	size_t size;
	uint8_t *bytes = write_index(&size);

	(void)state;
	for (size_t i = 0; i < size; i++)
		for (int bit = 0; bit < 8; bit++) {
			struct gn_error err = {0};

			bytes[i] ^= (uint8_t)(1 << bit);
			parse(bytes, size, &err);
			bytes[i] ^= (uint8_t)(1 << bit);
		}
	free(bytes);
}

static void missing_files_are_named(void **state)
{
	struct gn_dataset *dataset = NULL;
	struct gn_error err = {0};
	char folder[64], path[128];
	size_t size;
	uint8_t *bytes = write_index(&size);

	(void)state;
	folder_make(folder);
	assert_int_equal(gn_dataset_open(&dataset, folder, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	snprintf(path, sizeof path, "%s/" GN_INDEX_NAME, folder);
	err = (struct gn_error){0};
	assert_int_equal(gn_file_put(path, bytes, size, &err), 0);
	assert_int_equal(gn_dataset_open(&dataset, folder, &err), -1);
	assert_non_null(strstr(err.where, GN_PACK_NAME));
	snprintf(path, sizeof path, "%s/" GN_PACK_NAME, folder);
	err = (struct gn_error){0};
	assert_int_equal(gn_file_put(path, "too short", 9, &err), 0);
	assert_int_equal(gn_dataset_open(&dataset, folder, &err), -1);
	assert_non_null(strstr(err.text, "another size"));
	assert_null(dataset);
	folder_remove(folder);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_index_is_read_back),   cmocka_unit_test(no_prefix_is_an_index),
	    cmocka_unit_test(lying_fields_are_seen),   cmocka_unit_test(any_byte_may_be_wrong),
	    cmocka_unit_test(missing_files_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
