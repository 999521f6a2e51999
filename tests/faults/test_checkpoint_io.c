/*
 * The n-th write, fsync, rename or allocation fails, for n = 1, 2, 3, ... until the call succeeds:
 * each failure is reported with its kind, and leaves no file. Under AddressSanitizer it also shows
 * that nothing leaks.
 */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"
#include "tests/support/st_builder.h"

/* ---------------------------------------------------------------- the faults ------------------ */

static int left; /* calls until the one that fails; negative: none does */

static bool fails_now(void)
{
	return left > 0 && --left == 0;
}

static ssize_t failing_write(int fd, const void *bytes, size_t size)
{
	if (fails_now()) {
		errno = ENOSPC;
		return -1;
	}
	return write(fd, bytes, size);
}

/* Takes a few bytes at a time, as a signal or a full pipe may have it. */
static ssize_t short_write(int fd, const void *bytes, size_t size)
{
	if (left++ % 3 == 0) {
		errno = EINTR;
		return -1;
	}
	return write(fd, bytes, size > 1000 ? 1000 : size);
}

static int failing_fsync(int fd)
{
	if (fails_now()) {
		errno = EIO;
		return -1;
	}
	return fsync(fd);
}

static int failing_rename(const char *from, const char *to)
{
	if (fails_now()) {
		errno = EDQUOT;
		return -1;
	}
	return rename(from, to);
}

static void *failing_alloc(size_t count, size_t size)
{
	return fails_now() ? NULL : calloc(count, size);
}

static void *failing_malloc(size_t size)
{
	return fails_now() ? NULL : malloc(size);
}

static const struct gn_sys_calls good = {write, fsync, rename, calloc};

static void mend(void)
{
	gn_sys = good;
	json_set_alloc_funcs(malloc, free);
}

/* ---------------------------------------------------------------- the calls ------------------- */

struct place {
	char folder[64], out[128], in[128];
};

static int import_hf(const struct place *place, struct gn_error *err)
{
	static const char config[] =
	    "{\"num_attention_heads\":3,\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\",\"3\":\"d\",\"4\":\"e\"}}";
	struct gn_import_options options = st_options(0);
	struct gn_import_report report;
	int result;

	options.config_json = config;
	options.config_bytes = sizeof config - 1;
	options.image_size = 24; /* so that positions are resampled */
	result = gn_model_import(place->out, GN_SOURCE_DIR "/tests/parity/golden/hf_vit.model.safetensors", &options,
	                         &report, err);
	if (!result)
		gn_import_report_release(&report);
	return result;
}

static int import_timm(const struct place *place, struct gn_error *err)
{
	struct gn_import_options options = st_options(3);

	return gn_model_import(place->out, GN_SOURCE_DIR "/tests/parity/golden/timm_reg2_embed.model.safetensors",
	                       &options, NULL, err);
}

static int write_random(const struct place *place, struct gn_error *err)
{
	static const char *const labels[] = {"one", "two"};
	struct gn_arch arch = {.image_size = 8,
	                       .patch_size = 4,
	                       .dim = 8,
	                       .depth = 1,
	                       .heads = 2,
	                       .mlp_dim = 16,
	                       .classes = 2,
	                       .norm_eps = 1e-6f,
	                       .class_token = true,
	                       .pos_on_prefix = true};

	return gn_model_write_random(place->out, &arch, 1, labels, NULL, NULL, err);
}

static int open_and_export(const struct place *place, struct gn_error *err)
{
	struct gn_model *model = NULL;
	struct gn_export *e = NULL;
	uint8_t *bytes = NULL;
	size_t size = 0;
	int result = -1;

	if (gn_model_open(&model, place->in, NULL, err))
		return -1;
	if (!gn_export_open(&e, model, &(struct gn_export_options){.dtype = GN_BF16}, err)) {
		size = (size_t)gn_export_bytes(e);
		bytes = malloc(size);
		assert_non_null(bytes);
		assert_int_equal(gn_export_read(e, 0, bytes, size), size);
		result = gn_file_put(place->out, bytes, size, err);
	}
	free(bytes);
	gn_export_close(e);
	gn_model_close(model);
	return result;
}

static int inspect_and_read(const struct place *place, struct gn_error *err)
{
	char *bytes;
	size_t size;

	if (gn_file_read(&bytes, &size, place->in, 1 << 20, err))
		return -1;
	free(bytes);
	return gn_file_put(place->out, "x", 1, err);
}

typedef int call(const struct place *place, struct gn_error *err);
static call *const calls[] = {import_hf, import_timm, write_random, open_and_export, inspect_and_read};
enum { CALLS = sizeof calls / sizeof *calls };

/* ---------------------------------------------------------------- the tests ------------------- */

static void set_up(struct place *place)
{
	struct gn_error err = {0};

	st_folder(place->folder);
	snprintf(place->out, sizeof place->out, "%s/out", place->folder);
	snprintf(place->in, sizeof place->in, "%s/out.source", place->folder);
	mend();
	assert_int_equal(write_random(place, &err), 0);
	assert_int_equal(rename(place->out, place->in), 0);
}

/* A call may live through a fault (a label that need not be checked twice), but what it wrote must
 * be what it always writes. */
static void check_output(const struct place *place, const char *want, size_t want_size)
{
	char *bytes;
	size_t size;

	assert_int_equal(st_folder_count(place->folder), 2);
	assert_int_equal(gn_file_read(&bytes, &size, place->out, 1 << 24, NULL), 0);
	assert_int_equal(size, want_size);
	assert_memory_equal(bytes, want, size);
	free(bytes);
	unlink(place->out);
}

/* Fails the n-th of one kind of call until there are fewer than n; each failure must be of the
 * given kind (GN_OK: any). */
static int fail_until_success(call *what, const struct gn_sys_calls *faulty, void *(*json_malloc)(size_t),
                              enum gn_code code)
{
	struct place place;
	size_t size;
	char *want;
	int n = 0;

	set_up(&place);
	assert_int_equal(what(&place, NULL), 0);
	assert_int_equal(gn_file_read(&want, &size, place.out, 1 << 24, NULL), 0);
	unlink(place.out);
	do {
		struct gn_error err = {0};

		n++;
		assert_true(n < 5000);
		left = n;
		gn_sys = *faulty;
		if (json_malloc)
			json_set_alloc_funcs(json_malloc, free);
		if (!what(&place, &err)) {
			mend();
			check_output(&place, want, size);
		} else {
			mend();
			if (code != GN_OK && err.code != code)
				fail_msg("call %d: code %d, [%s] %s", n, (int)err.code, err.where, err.text);
			assert_int_not_equal(err.code, GN_OK);
			assert_int_equal(st_folder_count(place.folder), 1);
		}
	} while (left == 0);
	free(want);
	st_folder_remove(place.folder);
	return n;
}

static void test_writes(void **state)
{
	const struct gn_sys_calls faulty = {failing_write, fsync, rename, calloc};

	(void)state;
	for (int i = 0; i < CALLS; i++)
		assert_true(fail_until_success(calls[i], &faulty, NULL, GN_NO_SPACE) > 1);
}

/* The file and then the folder. */
static void test_fsyncs(void **state)
{
	const struct gn_sys_calls faulty = {write, failing_fsync, rename, calloc};

	(void)state;
	for (int i = 0; i < CALLS; i++)
		assert_int_equal(fail_until_success(calls[i], &faulty, NULL, GN_IO), 3);
}

static void test_renames(void **state)
{
	const struct gn_sys_calls faulty = {write, fsync, failing_rename, calloc};

	(void)state;
	for (int i = 0; i < CALLS; i++)
		assert_int_equal(fail_until_success(calls[i], &faulty, NULL, GN_NO_SPACE), 2);
}

static void test_allocations(void **state)
{
	const struct gn_sys_calls faulty = {write, fsync, rename, failing_alloc};

	(void)state;
	for (int i = 0; i < CALLS; i++)
		print_message("%d allocations\n", fail_until_success(calls[i], &faulty, NULL, GN_NO_MEMORY) - 1);
}

/* Where JSON runs out of memory in the middle of text, it may call the text wrong: any kind of
 * failure will do. */
static void test_allocations_of_json(void **state)
{
	(void)state;
	for (int i = 0; i < CALLS; i++)
		print_message("%d allocations\n", fail_until_success(calls[i], &good, failing_malloc, GN_OK) - 1);
}

static void test_short_writes(void **state)
{
	const struct gn_sys_calls faulty = {short_write, fsync, rename, calloc};
	struct place place;
	struct gn_error err = {0};
	char *one, *other;
	size_t size, again;

	(void)state;
	set_up(&place);
	assert_int_equal(import_hf(&place, &err), 0);
	assert_int_equal(gn_file_read(&one, &size, place.out, 1 << 24, &err), 0);
	gn_sys = faulty;
	left = 0;
	assert_int_equal(import_hf(&place, &err), 0);
	mend();
	assert_int_equal(gn_file_read(&other, &again, place.out, 1 << 24, &err), 0);
	assert_int_equal(size, again);
	assert_memory_equal(one, other, size);
	free(one);
	free(other);
	st_folder_remove(place.folder);
}

/* A file that is replaced keeps its old content until the new one is whole. */
static void test_the_old_file_stays(void **state)
{
	struct gn_sys_calls faulty = good;
	struct place place;
	char *bytes;
	size_t size;

	(void)state;
	set_up(&place);
	assert_int_equal(gn_file_put(place.out, "old", 3, NULL), 0);
	for (int kind = 0; kind < 3; kind++) {
		faulty = good;
		faulty.write = kind == 0 ? failing_write : write;
		faulty.fsync = kind == 1 ? failing_fsync : fsync;
		faulty.rename = kind == 2 ? failing_rename : rename;
		gn_sys = faulty;
		left = 1;
		assert_int_equal(gn_file_put(place.out, "new!", 4, NULL), -1);
		mend();
		assert_int_equal(st_folder_count(place.folder), 2);
		assert_int_equal(gn_file_read(&bytes, &size, place.out, 10, NULL), 0);
		assert_string_equal(bytes, "old");
		free(bytes);
	}
	st_folder_remove(place.folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_writes),
	    cmocka_unit_test(test_fsyncs),
	    cmocka_unit_test(test_renames),
	    cmocka_unit_test(test_allocations),
	    cmocka_unit_test(test_allocations_of_json),
	    cmocka_unit_test(test_short_writes),
	    cmocka_unit_test(test_the_old_file_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
