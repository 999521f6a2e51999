/*
 * The n-th allocation, write, fsync or rename of a greedy soup fails, for n = 1, 2, 3, ... until it
 * succeeds: each failure is reported with its kind, leaves no incomplete file, and a second call in
 * the same folder makes the same soup. Under AddressSanitizer it also shows that nothing leaks.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"
#include "tests/support/ingredients.h"

static atomic_int calls_left; /* until the one that fails; the loader's threads call, too */
static struct gn_sys_calls real;
static struct soup_set set;
static struct gn_model *straight; /* the soup without faults */

static bool fails_now(void)
{
	return atomic_fetch_sub(&calls_left, 1) == 1;
}

static ssize_t failing_write(int fd, const void *bytes, size_t size)
{
	errno = ENOSPC;
	return fails_now() ? -1 : real.write(fd, bytes, size);
}

static int failing_fsync(int fd)
{
	errno = EIO;
	return fails_now() ? -1 : real.fsync(fd);
}

static int failing_rename(const char *from, const char *to)
{
	errno = EIO;
	return fails_now() ? -1 : real.rename(from, to);
}

static void *failing_alloc(size_t count, size_t size)
{
	return fails_now() ? NULL : real.alloc(count, size);
}

static int make(const char *folder, struct gn_error *err)
{
	struct gn_soup_options options = soup_options_measured(GN_SOUP_GREEDY, &set, folder);
	struct gn_soup_result result = {0};
	int rc = gn_soup_make(&result, &options, err);

	gn_soup_result_release(&result);
	return rc;
}

static int set_up(void **state)
{
	struct gn_error err = {0};
	char folder[600];

	if (soup_set_up(state))
		return -1;
	set = soup_models(3, 77);
	soup_folder(folder);
	if (make(folder, &err))
		fail_msg("%s: %s", err.where, err.text);
	straight = soup_open_result(folder);
	return 0;
}

static int tear_down(void **state)
{
	gn_model_close(straight);
	soup_close_set(&set);
	return soup_tear_down(state);
}

static void no_file_is_half_made(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;

	assert_non_null(folder);
	while ((entry = readdir(folder)))
		if (strstr(entry->d_name, ".tmp"))
			fail_msg("%s is left", entry->d_name);
	closedir(folder);
}

static void goes_on(const char *folder)
{
	struct gn_error err = {0};
	struct gn_model *soup;

	if (make(folder, &err))
		fail_msg("the second call: %s: %s", err.where, err.text);
	soup = soup_open_result(folder);
	soup_assert_same_bits(soup, straight, true);
	gn_model_close(soup);
}

static void each_call_fails_in_turn(struct gn_sys_calls failing, enum gn_code code, const char *what)
{
	int n = 0, rc = -1;

	while (rc) {
		struct gn_error err = {0};
		char folder[600];

		soup_folder(folder);
		atomic_store(&calls_left, ++n);
		gn_sys = failing;
		rc = make(folder, &err);
		gn_sys = real;
		if (rc && err.code != code)
			fail_msg("%s %d: code %d instead of %d, \"%s\"", what, n, err.code, code, err.text);
		no_file_is_half_made(folder);
		/* every one would take long: allocations fail by the hundred */
		if (n < 20 || n % 10 == 0)
			goes_on(folder);
		assert_true(n < 10000);
	}
	print_message("%s: %d calls\n", what, n - 1);
	assert_true(n > 1);
}

static void allocations(void **state)
{
	struct gn_sys_calls failing = real;

	(void)state;
	failing.alloc = failing_alloc;
	each_call_fails_in_turn(failing, GN_NO_MEMORY, "allocation");
}

static void writes(void **state)
{
	struct gn_sys_calls failing = real;

	(void)state;
	failing.write = failing_write;
	each_call_fails_in_turn(failing, GN_NO_SPACE, "write");
}

static void fsyncs(void **state)
{
	struct gn_sys_calls failing = real;

	(void)state;
	failing.fsync = failing_fsync;
	each_call_fails_in_turn(failing, GN_IO, "fsync");
}

static void renames(void **state)
{
	struct gn_sys_calls failing = real;

	(void)state;
	failing.rename = failing_rename;
	each_call_fails_in_turn(failing, GN_IO, "rename");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(allocations),
	    cmocka_unit_test(writes),
	    cmocka_unit_test(fsyncs),
	    cmocka_unit_test(renames),
	};

	real = gn_sys;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
