/*
 * Calls of CUDA and cuBLASLt that fail, in the middle of training: the run ends with an error that
 * names the call, the file and the line, leaves what its finished epochs made and nothing else, and
 * nothing falls back; the device stays failed; all that was taken is given back; and the run goes
 * on, on a device that works, to the bits that it would have had.
 *
 * And what helps to find such a call: GONIO_CUDA_SYNC and GONIO_CUDA_NVTX.
 *
 *   device_faults DEVICE PRECISION [TEST]
 *
 * Only the host runner can be made to fail (GONIO_CUDA_HOST_FAULT); its own look for leaks at the
 * end of the process is part of this.
 */
#include "tests/support/device.h"
#include "tests/support/toy.h"

#include "backend/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define FAULT "GONIO_CUDA_HOST_FAULT"

enum { EPOCHS = 2 };

static struct {
	const char *spec;
	enum gn_precision precision;
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *model;
	char *want[EPOCHS]; /* the undisturbed run's result, so far, when an epoch was done; NULL: none */
	size_t size;
	int runs;
} rig;

static char *new_run_folder(void)
{
	char *path = malloc(512);

	assert_non_null(path);
	snprintf(path, 512, "%s/run-%d", rig.folder, rig.runs++);
	assert_int_equal(mkdir(path, 0700), 0);
	return path;
}

/* The bytes of a run's model; NULL: it has none. Caller frees. */
static char *read_result(const char *folder, size_t *size)
{
	char path[600], *bytes;
	struct stat about;
	FILE *f;

	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	f = fopen(path, "rb");
	if (!f)
		return NULL;
	assert_int_equal(fstat(fileno(f), &about), 0);
	*size = (size_t)about.st_size;
	bytes = malloc(*size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

/* Keeps the first run's results. */
static void on_event(void *user, const struct gn_event *e)
{
	if (e->kind == GN_EVENT_EPOCH && !rig.want[e->epoch - 1])
		rig.want[e->epoch - 1] = read_result(user, &rig.size);
}

static int train(struct gn_device *device, char *folder, struct gn_error *err)
{
	struct gn_run_config config = toy_config(GN_LAST_THIRD);
	struct gn_train_result result;
	struct gn_train_options options = {.device = device,
	                                   .model = rig.model,
	                                   .dataset = rig.dataset,
	                                   .config = &config,
	                                   .folder = folder,
	                                   .max_pixels = 1 << 20,
	                                   .on_event = on_event,
	                                   .user = folder};

	config.epochs = EPOCHS;
	return gn_train(&result, &options, err);
}

/*
 * What lies there is what lay there in the undisturbed run when one of its epochs, or the last, was
 * done.
 */
static void expect_result(const char *folder, const char *fault, bool finished)
{
	size_t size = 0;
	char *got = read_result(folder, &size);
	bool good = !got && !finished;

	for (int i = finished ? EPOCHS - 1 : 0; i < EPOCHS && got; i++)
		good |= size == rig.size && rig.want[i] && !memcmp(got, rig.want[i], size);
	free(got);
	if (!good)
		fail_msg("%s: not the undisturbed run's result", fault);
}

static void must_finish(char *folder)
{
	struct gn_device *device;
	struct gn_error err = {0};

	assert_int_equal(gn_device_open(&device, rig.spec, 2, rig.precision, &err), 0);
	if (train(device, folder, &err))
		fail_msg("%s: %s", err.where, err.text);
	gn_device_close(device);
}

/* "CALL at FILE.cu:LINE: ...", or how much memory is missing. */
static void expect_error(const char *fault, const struct gn_error *err)
{
	const char *at = strstr(err->text, " at "), *file = at ? strstr(at, ".cu:") : NULL;
	bool memory = err->code == GN_NO_MEMORY && strstr(err->text, "needs ") && strstr(err->text, " free on ");

	if (!memory && !(err->code == (strstr(fault, "pinned") ? GN_NO_MEMORY : GN_DEVICE) && at > err->text && file))
		fail_msg("%s: code %d, \"%s\"", fault, (int)err->code, err->text);
	assert_string_equal(err->where, "device");
}

/* A device that has failed computes nothing any more: not this run, and no other. */
static void expect_failed_device(struct gn_device *device, const struct gn_error *first)
{
	char *folder = new_run_folder();
	struct gn_error again = {0};

	assert_int_equal(train(device, folder, &again), -1);
	assert_int_equal(again.code, first->code);
	assert_string_equal(again.text, first->text);
	free(folder);
}

/* False: there are fewer such calls than that, and the run came out as ever. */
static bool fails_well(const char *call, int number)
{
	char fault[64], *folder = new_run_folder();
	struct gn_device *device = NULL;
	struct gn_error err = {0};
	bool failed;

	snprintf(fault, sizeof fault, "%s:%d", call, number);
	setenv(FAULT, fault, 1);
	failed = gn_device_open(&device, rig.spec, 2, rig.precision, &err) != 0;
	if (!failed && train(device, folder, &err)) {
		failed = true;
		if (err.code == GN_DEVICE)
			expect_failed_device(device, &err);
	}
	gn_device_close(device);
	unsetenv(FAULT);
	if (failed) {
		expect_error(fault, &err);
		expect_result(folder, fault, false);
		must_finish(folder);
	}
	expect_result(folder, fault, true);
	free(folder);
	return failed;
}

/* The first, second, fourth, ... call of a kind, up to one that the run does not make. */
static int fail_in_turn(const char *call)
{
	int failures = 0;

	for (int number = 1; fails_well(call, number); number *= 2)
		failures++;
	print_message("%s: %d calls made to fail\n", call, failures);
	return failures;
}

#define FAILS(call)                                                                                                    \
	static void a_##call##_that_fails(void **state)                                                                \
	{                                                                                                              \
		(void)state;                                                                                           \
		assert_true(fail_in_turn(#call) > 0);                                                                  \
	}
FAILS(alloc)
FAILS(pinned)
FAILS(copy)
FAILS(launch)
FAILS(kernel)
FAILS(product)
FAILS(graph)
FAILS(event)
FAILS(wait)

/* The second of three kernels fails: what sync() then says. */
static void fail_in_the_middle(struct gn_error *err)
{
	enum { B = 2, T = 3, C = 8 };
	struct gn_device *device;
	const struct gn_backend *be;
	char *memory;

	if (gn_device_open(&device, rig.spec, 2, rig.precision, err))
		fail_msg("%s", err->text);
	be = device->backend;
	memory = be->alloc(device->ctx, 4096, err);
	assert_non_null(memory);
	assert_int_equal(be->sync(device->ctx, err), 0);
	setenv(FAULT, "kernel:2", 1);
	be->take(device->ctx, memory, memory + 2048, 0, 1, B, T, C);
	be->pool(device->ctx, memory + 1024, memory + 2048, 0, T, B, T, C);
	be->soup_mean(device->ctx, (float *)(void *)memory, (double *)(void *)(memory + 2048), 2, C);
	assert_int_equal(be->sync(device->ctx, err), -1);
	be->free(device->ctx, memory, 4096);
	gn_device_close(device);
	unsetenv(FAULT);
}

/* GONIO_CUDA_SYNC=1: a kernel that fails is named. Without it only the call is known that
 * noticed. Results are the same. */
static void a_fault_names_its_kernel(void **state)
{
	struct gn_error err = {0};
	char *folder = new_run_folder();

	(void)state;
	fail_in_the_middle(&err);
	assert_int_equal(err.code, GN_DEVICE);
	assert_null(strstr(err.text, "_kernel"));
	err = (struct gn_error){0};
	setenv("GONIO_CUDA_SYNC", "1", 1);
	fail_in_the_middle(&err);
	print_message("%s\n", err.text);
	assert_int_equal(err.code, GN_DEVICE);
	assert_non_null(strstr(err.text, "launch of "));
	assert_non_null(strstr(err.text, "pool_kernel"));
	assert_non_null(strstr(err.text, " at pool.cu:"));
	must_finish(folder);
	unsetenv("GONIO_CUDA_SYNC");
	expect_result(folder, "GONIO_CUDA_SYNC", true);
	free(folder);
}

/* GONIO_CUDA_NVTX=1: every step has its phases, one after another, and gives the same bits. */
static void a_steps_phases_are_marked(void **state)
{
	static const char *const phases[] = {"upload", "forward", "loss", "backward", "optimiser"};
	char path[600], line[64], want[64], *folder = new_run_folder();
	int lines = 0;
	FILE *f;

	(void)state;
	snprintf(path, sizeof path, "%s/ranges", folder);
	setenv("GONIO_CUDA_HOST_RANGES", path, 1);
	must_finish(folder);
	assert_int_equal(access(path, F_OK), -1);
	free(folder);
	folder = new_run_folder();
	setenv("GONIO_CUDA_NVTX", "1", 1);
	must_finish(folder);
	unsetenv("GONIO_CUDA_NVTX");
	unsetenv("GONIO_CUDA_HOST_RANGES");
	expect_result(folder, "GONIO_CUDA_NVTX", true);
	f = fopen(path, "r");
	assert_non_null(f);
	for (; fgets(line, sizeof line, f); lines++) {
		snprintf(want, sizeof want, "%c%s\n", lines % 2 ? '-' : '+', phases[lines / 2 % 5]);
		assert_string_equal(line, want);
	}
	fclose(f);
	assert_true(lines > 0 && lines % 10 == 0);
	print_message("%d steps\n", lines / 10);
	free(folder);
}

static int set_up(void **state)
{
	char *folder;

	(void)state;
	rig.folder = toy_folder();
	rig.dataset = toy_dataset(rig.folder, "data", 2, 12);
	rig.model = toy_model(rig.folder, "base", &toy_arch, 4);
	folder = new_run_folder();
	must_finish(folder);
	free(folder);
	return rig.want[EPOCHS - 1] ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < EPOCHS; i++)
		free(rig.want[i]);
	gn_model_close(rig.model);
	gn_dataset_close(rig.dataset);
	toy_remove(rig.folder);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_alloc_that_fails),        cmocka_unit_test(a_pinned_that_fails),
	    cmocka_unit_test(a_copy_that_fails),         cmocka_unit_test(a_launch_that_fails),
	    cmocka_unit_test(a_kernel_that_fails),       cmocka_unit_test(a_product_that_fails),
	    cmocka_unit_test(a_graph_that_fails),        cmocka_unit_test(a_event_that_fails),
	    cmocka_unit_test(a_wait_that_fails),         cmocka_unit_test(a_fault_names_its_kernel),
	    cmocka_unit_test(a_steps_phases_are_marked),
	};
	struct gn_device *device = device_for_test(argc, argv);
	struct gn_device_info info;

	gn_device_describe(device, &info);
	rig.precision = info.precision;
	rig.spec = argv[1];
	gn_device_close(device);
	if (strcmp(info.name, "host runner")) {
		printf("SKIPPED: only the host runner can be made to fail\n");
		return 77;
	}
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
