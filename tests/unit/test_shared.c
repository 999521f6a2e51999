/* Runs that share the frozen prefix's outputs have the same bits as alone, whichever run fills
 * which cut, and whatever is in the folder. */
#include "support/toy.h"

#include <dirent.h>
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

static struct {
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *model;
	struct gn_device *device;
	int count;
} toy;

static int set_up(void **state)
{
	(void)state;
	toy.folder = toy_folder();
	toy.dataset = toy_dataset(toy.folder, "data", 3, 24);
	toy.model = toy_model(toy.folder, "base", &toy_arch, 4);
	assert_int_equal(gn_device_open(&toy.device, "cpu", 2, GN_PRECISION_AUTO, NULL), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gn_device_close(toy.device);
	gn_model_close(toy.model);
	gn_dataset_close(toy.dataset);
	toy_remove(toy.folder);
	return 0;
}

/* ---------------------------------------------------------------- runs ------------------------ */

struct watch {
	char segments[128];  /* "0-1 1-4 ": what was computed; "found " */
	const char *stop_on; /* a log line that holds this: stop */
	volatile int stop;
};

static void on_event(void *user, const struct gn_event *e)
{
	struct watch *w = user;
	size_t used = strlen(w->segments);
	const char *stage = e->kind == GN_EVENT_LOG ? strstr(e->text, "stage ") : NULL;
	int from, to;

	if (e->kind != GN_EVENT_LOG)
		return;
	if (stage && sscanf(stage, "stage %d to %d", &from, &to) == 2)
		snprintf(w->segments + used, sizeof w->segments - used, "%d-%d ", from, to);
	if (strstr(e->text, "earlier run"))
		snprintf(w->segments + used, sizeof w->segments - used, "found ");
	if (w->stop_on && strstr(e->text, w->stop_on))
		w->stop = 1;
}

static char *new_folder(void)
{
	char *path = malloc(512);

	assert_non_null(path);
	snprintf(path, 512, "%s/%d", toy.folder, toy.count++);
	assert_int_equal(mkdir(path, 0700), 0);
	return path;
}

static int train(const char *folder, enum gn_strategy_kind kind, const struct gn_shared *shared, struct watch *watch,
                 struct gn_error *err)
{
	struct gn_run_config config = toy_config(kind);
	struct gn_train_result result;
	struct gn_train_options options = {.device = toy.device,
	                                   .model = toy.model,
	                                   .dataset = toy.dataset,
	                                   .config = &config,
	                                   .folder = folder,
	                                   .max_pixels = 1 << 20,
	                                   .on_event = on_event,
	                                   .user = watch,
	                                   .shared = shared,
	                                   .stop = &watch->stop};

	config.micro_batch_size = 8;
	return gn_train(&result, &options, err);
}

static char *load(const char *folder, size_t *size)
{
	char path[600], *bytes;
	FILE *f;

	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	f = fopen(path, "rb");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	*size = (size_t)ftell(f);
	rewind(f);
	bytes = malloc(*size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

/* Trains alone and with the folder: the same model. segments: what the run must have computed or
 * found. */
static void check_run(enum gn_strategy_kind kind, const struct gn_shared *shared, const char *segments)
{
	char *alone = new_folder(), *together = new_folder();
	struct watch watch = {0}, ignored = {0};
	struct gn_error err = {0};
	size_t na, nb;

	if (train(alone, kind, NULL, &ignored, &err) || train(together, kind, shared, &watch, &err))
		fail_msg("%s: %s", err.where, err.text);
	assert_string_equal(watch.segments, segments);
	char *a = load(alone, &na), *b = load(together, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(a, b, na);
	free(a);
	free(b);
	free(alone);
	free(together);
}

static int count_files(const char *folder, const char *suffix)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		size_t n = strlen(entry->d_name), m = strlen(suffix);

		count += entry->d_name[0] != '.' && strcmp(entry->d_name, "lock") != 0 && n >= m &&
		         !strcmp(entry->d_name + n - m, suffix);
	}
	closedir(dir);
	return count;
}

/* ---------------------------------------------------------------- tests ----------------------- */

/* In a network of 4 blocks odd starts at cut 1, last_third at 2, linear at 5: one pass serves them
 * all. */
static const int cuts[] = {5, 1, 2};

static void test_one_pass_serves_all(void **state)
{
	char *folder = new_folder();
	struct gn_shared shared = {.folder = folder, .identity = "a", .cuts = cuts, .cut_count = 3};

	(void)state;
	check_run(GN_LINEAR, &shared, "0-1 1-2 2-5 ");
	check_run(GN_LAST_THIRD, &shared, "found ");
	check_run(GN_ODD, &shared, "found ");
	check_run(GN_LINEAR, &shared, "found ");
	check_run(GN_FULL, &shared, "");
	assert_int_equal(count_files(folder, ""), 3);
	free(folder);
}

static void test_goes_on_from_what_is_there(void **state)
{
	char *folder = new_folder();
	struct gn_shared shared = {.folder = folder, .identity = "a"};

	(void)state;
	check_run(GN_ODD, &shared, "0-1 ");
	check_run(GN_LAST_THIRD, &shared, "1-2 ");
	shared.cuts = cuts;
	shared.cut_count = 3;
	check_run(GN_LINEAR, &shared, "2-5 ");
	free(folder);
}

static void test_other_content_is_not_taken(void **state)
{
	char *folder = new_folder();
	struct gn_shared shared = {.folder = folder, .identity = "a"};

	(void)state;
	check_run(GN_LINEAR, &shared, "0-5 ");
	shared.identity = "b"; /* other weights or pictures */
	check_run(GN_LINEAR, &shared, "0-5 ");
	assert_int_equal(count_files(folder, ""), 2);
	free(folder);
}

/* The path of the only file there. */
static void only_file(const char *folder, char path[1024])
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lock") != 0)
			snprintf(path, 1024, "%s/%s", folder, entry->d_name);
	closedir(dir);
}

static void test_damaged_files(void **state)
{
	char *folder = new_folder(), path[1024] = "";
	struct gn_shared shared = {.folder = folder, .identity = "a"};
	FILE *f;

	(void)state;
	check_run(GN_LINEAR, &shared, "0-5 ");
	only_file(folder, path);
	assert_int_equal(truncate(path, 5000), 0);
	check_run(GN_LINEAR, &shared, "0-5 ");
	assert_int_equal(truncate(path, 10), 0);
	check_run(GN_LINEAR, &shared, "0-5 ");
	f = fopen(path, "r+b");
	assert_non_null(f);
	fputs("something else", f);
	fclose(f);
	check_run(GN_LINEAR, &shared, "0-5 ");
	/* the files of a killed run are overwritten */
	snprintf(path + strlen(path), sizeof path - strlen(path), ".tmp");
	f = fopen(path, "wb");
	assert_non_null(f);
	fclose(f);
	check_run(GN_LINEAR, &shared, "found ");
	free(folder);
}

static void test_stopped_while_it_fills(void **state)
{
	char *folder = new_folder(), *run = new_folder();
	struct gn_shared shared = {.folder = folder, .identity = "a", .cuts = cuts, .cut_count = 3};
	struct watch watch = {.stop_on = "stage 1 to 2"};
	struct gn_error err = {0};

	(void)state;
	assert_int_equal(train(run, GN_LINEAR, &shared, &watch, &err), -1);
	assert_int_equal(err.code, GN_CANCELLED);
	assert_int_equal(count_files(folder, ""), 2);
	assert_int_equal(count_files(folder, ".tmp"), 0);
	check_run(GN_LINEAR, &shared, "2-5 ");
	free(folder);
	free(run);
}

static void test_full_disk(void **state)
{
	char *folder = new_folder();
	struct gn_shared shared = {.folder = folder, .identity = "a", .disk_reserve = (uint64_t)1 << 60};

	(void)state;
	check_run(GN_LINEAR, &shared, "0-5 "); /* into the run's own memory */
	assert_int_equal(count_files(folder, ""), 0);
	free(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_pass_serves_all),        cmocka_unit_test(test_goes_on_from_what_is_there),
	    cmocka_unit_test(test_other_content_is_not_taken), cmocka_unit_test(test_damaged_files),
	    cmocka_unit_test(test_stopped_while_it_fills),     cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
