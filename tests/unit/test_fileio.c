/* Files: atomic writing, maps, bounded reading, SHA-256. tests/faults/test_checkpoint_io.c has
 * failing system calls. */
#include "base/files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/st_builder.h"

static char folder[64], path[128];

static int make_folder(void **state)
{
	(void)state;
	st_folder(folder);
	snprintf(path, sizeof path, "%s/file", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	st_folder_remove(folder);
	return 0;
}

static void test_nobody_sees_half_a_file(void **state)
{
	struct gn_file_writer writer;
	char *bytes;
	size_t size;

	(void)state;
	assert_int_equal(gn_file_begin(&writer, path, NULL), 0);
	assert_int_equal(gn_file_write(&writer, "half", 4, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(gn_file_write(&writer, NULL, 0, NULL), 0);
	assert_int_equal(gn_file_write(&writer, " and half", 9, NULL), 0);
	assert_int_equal(writer.bytes, 13);
	assert_int_equal(gn_file_commit(&writer, NULL), 0);
	assert_int_equal(gn_file_read(&bytes, &size, path, 13, NULL), 0);
	assert_string_equal(bytes, "half and half");
	free(bytes);
	assert_int_equal(st_folder_count(folder), 1);
}

static void test_abort_leaves_the_old_file(void **state)
{
	struct gn_file_writer writer;
	char *bytes;
	size_t size;

	(void)state;
	assert_int_equal(gn_file_put(path, "old", 3, NULL), 0);
	assert_int_equal(gn_file_begin(&writer, path, NULL), 0);
	assert_int_equal(gn_file_write(&writer, "new", 3, NULL), 0);
	gn_file_abort(&writer);
	gn_file_abort(&writer);
	assert_int_equal(gn_file_read(&bytes, &size, path, 100, NULL), 0);
	assert_string_equal(bytes, "old");
	free(bytes);
	assert_int_equal(st_folder_count(folder), 1);
}

/* The file of a killed process is overwritten, but a link under that name is not followed. */
static void test_an_old_temporary_file(void **state)
{
	char temporary[160], elsewhere[128];
	struct gn_error err = {0};
	struct gn_file_writer writer;

	(void)state;
	snprintf(temporary, sizeof temporary, "%s.tmp", path);
	snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", folder);
	assert_int_equal(gn_file_put(temporary, "a longer text of before", 23, NULL), 0);
	assert_int_equal(gn_file_put(path, "short", 5, NULL), 0);
	assert_int_equal(symlink(elsewhere, temporary), 0);
	assert_int_equal(gn_file_begin(&writer, path, &err), -1);
	assert_int_equal(err.code, GN_IO);
	gn_file_abort(&writer);
	assert_int_equal(access(elsewhere, F_OK), -1);
	assert_int_equal(unlink(temporary), 0);
}

static void test_places_that_cannot_be(void **state)
{
	struct gn_error err = {0};
	struct gn_file_map map;
	char *bytes;
	size_t size;

	(void)state;
	assert_int_equal(gn_file_put("/there/is/no/such/folder", "x", 1, &err), -1);
	assert_int_equal(err.code, GN_IO);
	err = (struct gn_error){0};
	assert_int_equal(gn_file_map(&map, "/there/is/none", &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	err = (struct gn_error){0};
	assert_int_equal(gn_file_map(&map, folder, &err), -1);
	assert_int_equal(err.code, GN_IO);
	err = (struct gn_error){0};
	assert_int_equal(gn_file_put(path, "four", 4, NULL), 0);
	assert_int_equal(gn_file_read(&bytes, &size, path, 3, &err), -1);
	assert_int_equal(err.code, GN_TOO_LARGE);
}

static void test_maps(void **state)
{
	struct gn_file_map map;

	(void)state;
	assert_int_equal(gn_file_put(path, "mapped", 6, NULL), 0);
	assert_int_equal(gn_file_map(&map, path, NULL), 0);
	assert_int_equal(map.size, 6);
	assert_memory_equal(map.bytes, "mapped", 6);
	/* a replaced file stays readable through the map */
	assert_int_equal(gn_file_put(path, "", 0, NULL), 0);
	assert_memory_equal(map.bytes, "mapped", 6);
	gn_file_forget(map.bytes, map.size);
	assert_memory_equal(map.bytes, "mapped", 6);
	gn_file_unmap(&map);
	gn_file_unmap(&map);
	assert_int_equal(gn_file_map(&map, path, NULL), 0);
	assert_true(map.size == 0 && map.bytes == NULL);
	gn_file_unmap(&map);
}

static void test_allocations(void **state)
{
	struct gn_error err = {0};
	uint8_t *zeros = gn_alloc(3, 5, &err), *none = gn_alloc(0, 8, &err);
	char *text = gn_copy_text("abcdef", 3, &err);

	(void)state;
	assert_non_null(zeros);
	assert_non_null(none);
	for (int i = 0; i < 15; i++)
		assert_int_equal(zeros[i], 0);
	assert_string_equal(text, "abc");
	free(zeros);
	free(none);
	free(text);
}

static void test_sha256(void **state)
{
	char million[1000], hex[65];
	struct gn_sha256 hash;
	struct gn_file_map map;

	(void)state;
	/* FIPS 180-2, appendix B, and of nothing */
	assert_int_equal(gn_sha256_of(hex, "abc", 3, NULL), 0);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(gn_file_put(path, "abc", 3, NULL), 0);
	assert_int_equal(gn_file_map(&map, path, NULL), 0);
	memset(hex, 0, sizeof hex);
	assert_int_equal(gn_sha256_of_map(hex, &map, NULL), 0);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	gn_file_unmap(&map);
	assert_int_equal(gn_sha256_of(hex, "", 0, NULL), 0);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	memset(million, 'a', sizeof million);
	assert_int_equal(gn_sha256_begin(&hash, NULL), 0);
	for (int i = 0; i < 1000; i++)
		gn_sha256_update(&hash, million, sizeof million);
	gn_sha256_end(&hash, hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	assert_int_equal(gn_sha256_begin(&hash, NULL), 0);
	gn_sha256_end(&hash, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nobody_sees_half_a_file),
	    cmocka_unit_test(test_abort_leaves_the_old_file),
	    cmocka_unit_test(test_an_old_temporary_file),
	    cmocka_unit_test(test_places_that_cannot_be),
	    cmocka_unit_test(test_maps),
	    cmocka_unit_test(test_allocations),
	    cmocka_unit_test(test_sha256),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
