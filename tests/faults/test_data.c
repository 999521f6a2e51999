/*
 * A data set is imported, opened and read while the n-th allocation, write, fsync or rename fails,
 * for n = 1, 2, 3, ... until all succeed. Each failure must be an error of the right kind, without
 * an incomplete file. AddressSanitizer finds leaks.
 */
#include "data/loader.h"
#include "base/files.h"
#include "tests/support/pictures.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct gn_sys_calls real;
static atomic_int calls_left; /* the call that makes it 0 fails */

static bool fails(void)
{
	return atomic_fetch_sub(&calls_left, 1) == 1;
}

static void *failing_alloc(size_t count, size_t size)
{
	return fails() ? NULL : real.alloc(count, size);
}

static ssize_t failing_write(int fd, const void *bytes, size_t size)
{
	if (fails()) {
		errno = ENOSPC;
		return -1;
	}
	return real.write(fd, bytes, size);
}

static int failing_fsync(int fd)
{
	if (fails()) {
		errno = EIO;
		return -1;
	}
	return real.fsync(fd);
}

static int failing_rename(const char *from, const char *to)
{
	if (fails()) {
		errno = EIO;
		return -1;
	}
	return real.rename(from, to);
}

static struct blob make_archive(void)
{
	struct maker *maker = maker_new("tar.gz");
	struct blob png = picture_png(30, 20, 1), webp = picture_webp(20, 30, 2);

	for (int i = 0; i < 12; i++) {
		char name[32];

		snprintf(name, sizeof name, "%s/%02d.jpg", i % 2 ? "cat" : "dog", i);
		maker_jpeg(maker, name, i);
	}
	maker_add(maker, "cat/a.png", png.bytes, png.size);
	maker_add(maker, "dog/a.webp", webp.bytes, webp.size);
	maker_add(maker, "dog/bad.jpg", "text", 4);
	maker_jpeg(maker, "cat/copy.jpg", 2);
	blob_release(&png);
	blob_release(&webp);
	return maker_end(maker);
}

static int read_batches(struct gn_dataset *dataset, struct gn_error *err)
{
	static const struct gn_preprocess preprocess = {{0}, {1, 1, 1}, 1.0f, GN_BICUBIC};
	struct gn_loader *loader = NULL;
	const int32_t *samples;
	int32_t order[] = {0, 1, 2, 3, 4, 5, 6, 7}, *labels;
	const uint8_t *images;
	int n, rc;

	if (gn_loader_new(&loader, dataset, &preprocess, 16, GN_AUGMENT_STANDARD, 1, 2, 4096, 1 << 20, err))
		return -1;
	rc = gn_loader_begin(loader, order, 8, 3, 0, true, err);
	while (rc == 0)
		rc = gn_loader_next(loader, &images, &labels, &samples, &n, err);
	gn_loader_free(loader);
	return rc == 1 ? 0 : -1;
}

static int whole_way(const char *folder, const struct blob *archive, struct gn_error *err)
{
	struct gn_ingest_report report = {0};
	struct gn_dataset *dataset = NULL;
	int rc = -1;

	if (ingest_bytes(folder, archive, 0, ingest_defaults(), &report, err))
		return -1;
	if (!gn_dataset_open(&dataset, folder, err))
		rc = read_batches(dataset, err);
	gn_dataset_close(dataset);
	gn_ingest_report_release(&report);
	return rc;
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

static void each_call_fails_in_turn(struct gn_sys_calls failing, enum gn_code code, const char *what)
{
	struct blob archive = make_archive();
	int n = 0, rc = -1;

	while (rc) {
		struct gn_error err = {0};
		char folder[64];

		folder_make(folder);
		atomic_store(&calls_left, ++n);
		gn_sys = failing;
		rc = whole_way(folder, &archive, &err);
		gn_sys = real;
		if (rc && err.code != code)
			fail_msg("%s %d: code %d instead of %d, \"%s\"", what, n, err.code, code, err.text);
		no_file_is_half_made(folder);
		folder_remove(folder);
		assert_true(n < 10000);
	}
	print_message("%s: %d calls\n", what, n - 1);
	assert_true(n > 1);
	blob_release(&archive);
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
	return cmocka_run_group_tests(tests, NULL, NULL);
}
