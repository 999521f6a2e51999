/*
 * What a GPU's context does beside its operations: uploads that go on while work is queued, results
 * that are fetched late, recorded work, running out of memory, what it refuses to open, and that
 * the same work gives the same bits.
 *
 *   device_context DEVICE PRECISION
 */
#include "tests/support/device.h"

#include "backend/arena.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

static struct gn_device *device;
static const struct gn_backend *be;
static struct gn_ctx *ctx;
static const char *program;

static void *device_memory(size_t bytes)
{
	struct gn_error err = {0};
	void *memory = be->alloc(ctx, bytes, &err);

	assert_non_null(memory);
	return memory;
}

static void *host_memory(size_t bytes)
{
	void *memory = malloc(bytes);

	assert_non_null(memory);
	return memory;
}

static void no_failure(void)
{
	struct gn_error err = {0};

	if (be->sync(ctx, &err))
		fail_msg("%s", err.text);
}

static uint32_t pattern(uint32_t i, uint32_t round)
{
	return (i + 1) * 2654435761U ^ round * 40503U;
}

/*
 * More bytes than all pinned pieces hold, and the host's memory is written over as soon as each
 * upload returns.
 */
static void uploads_take_what_the_host_had(void **state)
{
	enum { WORDS = 17 << 20, ROUNDS = 2 };
	uint32_t *host = host_memory(WORDS * sizeof *host);
	void *blocks[ROUNDS];

	(void)state;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		blocks[round] = device_memory(WORDS * sizeof *host);
		for (uint32_t i = 0; i < WORDS; i++)
			host[i] = pattern(i, round);
		be->upload(ctx, blocks[round], host, WORDS * sizeof *host);
	}
	for (uint32_t round = 0; round < ROUNDS; round++) {
		be->download(ctx, host, blocks[round], WORDS * sizeof *host);
		for (uint32_t i = 0; i < WORDS; i++)
			if (host[i] != pattern(i, round))
				fail_msg("word %u of upload %u is %08x", i, round, host[i]);
		be->free(ctx, blocks[round], WORDS * sizeof *host);
	}
	free(host);
	no_failure();
}

/*
 * Small uploads to one address, each read by work queued behind it, more of them than the ring has
 * pieces.
 */
static void uploads_keep_their_order(void **state)
{
	enum { COUNT = 100, BYTES = 64 };
	char *target = device_memory(BYTES), *log = device_memory(COUNT * BYTES), host[BYTES], got[COUNT * BYTES];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		memset(host, i, BYTES);
		be->upload(ctx, target, host, BYTES);
		be->copy(ctx, log + i * BYTES, target, BYTES);
	}
	be->download(ctx, got, log, COUNT * BYTES);
	for (int i = 0; i < COUNT * BYTES; i++)
		assert_int_equal(got[i], i / BYTES);
	be->free(ctx, log, COUNT * BYTES);
	be->free(ctx, target, BYTES);
	no_failure();
}

/* A slot has what the memory held when it was fetched, whatever came later. */
static void fetched_is_what_was_queued(void **state)
{
	char *memory = device_memory(GN_FETCH_BYTES), host[GN_FETCH_BYTES];
	struct gn_error err = {0};

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int slot = 0; slot < GN_FETCH_SLOTS; slot++) {
			memset(host, 10 * round + slot, sizeof host);
			be->upload(ctx, memory, host, sizeof host);
			be->fetch(ctx, slot, memory, sizeof host);
		}
		for (int slot = GN_FETCH_SLOTS - 1; slot >= 0; slot--) {
			assert_int_equal(be->fetched(ctx, slot, host, sizeof host, &err), 0);
			for (size_t i = 0; i < sizeof host; i++)
				assert_int_equal(host[i], 10 * round + slot);
		}
	}
	be->free(ctx, memory, GN_FETCH_BYTES);
}

/* ---------------------------------------------------------------- recorded work ---------------------------------- */

/* b += a by way of an operation that adds: the gradient of one bias. */
struct adding {
	void *dout; /* gn_act [ROWS, COLS] */
	float *sum; /* [COLS] */
};
enum { ROWS = 5, COLS = 16 };

static void add_once(const struct adding *a)
{
	be->linear_dw(ctx, NULL, a->sum, a->dout, NULL, true, ROWS, COLS, 8);
}

/* How often the caller had to queue it itself. */
static int add_recorded(const struct adding *a, uint64_t key, int times)
{
	int queued = 0;

	for (int i = 0; i < times; i++)
		if (be->record_begin(ctx, key)) {
			add_once(a);
			be->record_end(ctx);
			queued++;
		}
	return queued;
}

static struct adding adding_new(void)
{
	struct adding a = {device_memory(ROWS * COLS * be->act_bytes), device_memory(COLS * sizeof(float))};
	float ones[ROWS * COLS];

	for (int i = 0; i < ROWS * COLS; i++)
		ones[i] = 1;
	be->upload_mat(ctx, a.dout, ones, ROWS * COLS); /* activations and matrices have one type on a GPU */
	return a;
}

static void adding_free(struct adding *a)
{
	be->free(ctx, a->sum, COLS * sizeof(float));
	be->free(ctx, a->dout, ROWS * COLS * be->act_bytes);
}

static void expect_sum(const struct adding *a, float want)
{
	float got[COLS];

	be->download(ctx, got, a->sum, sizeof got);
	for (int i = 0; i < COLS; i++)
		assert_true(got[i] == want);
}

static void recorded_work_is_queued_again(void **state)
{
	struct adding a = adding_new();

	(void)state;
	assert_int_equal(add_recorded(&a, 1, 7), 2); /* plainly, and to record it */
	expect_sum(&a, 7 * ROWS);
	be->record_forget(ctx);
	assert_int_equal(add_recorded(&a, 1, 3), 2);
	expect_sum(&a, 10 * ROWS);
	be->record_forget(ctx);
	adding_free(&a);
	no_failure();
}

static void records_of_many_keys(void **state)
{
	struct adding a = adding_new();

	(void)state;
	for (uint64_t key = 0; key < 40; key++)
		add_recorded(&a, key, 3);
	expect_sum(&a, 120 * ROWS);
	be->record_forget(ctx);
	adding_free(&a);
	no_failure();
}

/* ---------------------------------------------------------------- memory ----------------------------------------- */

static void running_out_is_an_error_of_that_call(void **state)
{
	struct gn_error err = {0};
	char *memory;

	(void)state;
	assert_null(be->alloc(ctx, (size_t)1 << 50, &err));
	assert_int_equal(err.code, GN_NO_MEMORY);
	assert_non_null(strstr(err.text, "needs 1125899906842624 bytes, "));
	assert_non_null(strstr(err.text, " free on "));
	memory = device_memory(4096);
	be->zero(ctx, memory, 4096);
	be->free(ctx, memory, 4096);
	no_failure();
}

/* The device's own account of what it lost to this process. */
static void what_is_taken_is_told(void **state)
{
	enum { BYTES = 64 << 20, GRANULE = 2 << 20 };
	const char *known =
	    getenv("GONIO_TEST_MEMORY_TAKEN"); /* by a driver that plays a part: tests/cuda_host/nvml.c */
	struct gn_device_info before, during, after;
	void *memory;

	(void)state;
	gn_device_describe(device, &before);
	if (known) {
		assert_int_equal(before.memory_taken, strtoull(known, NULL, 10));
		return;
	}
	memory = device_memory(BYTES);
	gn_device_describe(device, &during);
	be->free(ctx, memory, BYTES);
	gn_device_describe(device, &after);
	print_message("%llu bytes taken by the opened device, %llu planned\n", (unsigned long long)before.memory_taken,
	              (unsigned long long)before.overhead_bytes);
	assert_in_range(before.memory_taken, 1, before.overhead_bytes);
	assert_in_range(during.memory_taken - before.memory_taken, BYTES, BYTES + GRANULE);
	assert_int_equal(after.memory_taken, before.memory_taken);
}

/*
 * Two pieces of one arena, and an operation that runs over the end of the first. In a process of
 * its own, which the finding ends.
 */
static int run_over(void)
{
	struct gn_arena arena;
	struct gn_error err = {0};
	void *first;

	gn_arena_begin(&arena, be, ctx);
	gn_arena_take(&arena, 5, sizeof(float));
	gn_arena_take(&arena, 5, sizeof(float));
	if (gn_arena_open(&arena, &err))
		return 2;
	first = gn_arena_take(&arena, 5, sizeof(float));
	gn_arena_take(&arena, 5, sizeof(float));
	be->zero(ctx, first, 6 * sizeof(float));
	return be->sync(ctx, &err) ? 1 : 0;
}

static void neighbours_are_left_alone(void)
{
	const float ones[5] = {1, 1, 1, 1, 1};
	struct gn_arena arena;
	struct gn_error err = {0};
	float *pieces[3], read[5];

	gn_arena_begin(&arena, be, ctx);
	for (int i = 0; i < 3; i++)
		gn_arena_take(&arena, 5, sizeof(float));
	assert_int_equal(gn_arena_open(&arena, &err), 0);
	for (int i = 0; i < 3; i++) {
		pieces[i] = gn_arena_take(&arena, 5, sizeof(float));
		be->upload(ctx, pieces[i], ones, sizeof ones);
	}
	be->zero(ctx, pieces[1], sizeof ones);
	for (int i = 0; i < 3; i++) {
		be->download(ctx, read, pieces[i], sizeof read);
		for (int j = 0; j < 5; j++)
			assert_true(read[j] == (i == 1 ? 0.0f : 1.0f));
	}
	gn_arena_release(&arena);
	no_failure();
}

static void pieces_of_an_arena_are_apart(void **state)
{
	char command[512], line[512] = "";
	FILE *other;
	int status;

	(void)state;
	if (be->guard == 0) { /* nobody looks: what can be seen is that neighbours are left alone */
		neighbours_are_left_alone();
		return;
	}
	snprintf(command, sizeof command, "%s cuda:0 %s run_over 2>&1 >/dev/null", program,
	         gn_precision_name(be->precision));
	other = popen(command, "r");
	assert_non_null(other);
	assert_non_null(fgets(line, sizeof line, other));
	while (fgetc(other) != EOF)
		;
	status = pclose(other);
	if (!strstr(line, "out of bounds: cudaMemset writes"))
		fail_msg("%s", line);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 86); /* the runner's own */
}

/* ---------------------------------------------------------------- numbers ---------------------------------------- */

static float *random_floats(size_t n, uint32_t seed)
{
	float *x = host_memory(n * sizeof *x);

	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525U + 1013904223U;
		x[i] = (float)(seed >> 8) * 0x1p-23F - 1.0F;
	}
	return x;
}

static void *random_mat(size_t n, uint32_t seed)
{
	void *mat = device_memory(n * be->mat_bytes);
	float *x = random_floats(n, seed);

	be->upload_mat(ctx, mat, x, n);
	free(x);
	return mat;
}

/*
 * Weight and norm gradients are sums over rows that many threads share: their bits are alike all
 * the same.
 */
static void sums_repeat_to_the_bit(void **state)
{
	enum { M = 700, C = 72, FLOATS = C * C + 3 * C };
	void *x = random_mat(M * C, 1), *dout = random_mat(M * C, 2);
	float *w = device_memory(C * sizeof *w), *ones = host_memory(C * sizeof *ones), got[2][FLOATS];

	(void)state;
	for (int i = 0; i < C; i++)
		ones[i] = 1;
	be->upload(ctx, w, ones, C * sizeof *ones);
	for (int round = 0; round < 2; round++) {
		float *sums = device_memory(FLOATS * sizeof *sums), *db = sums + (ptrdiff_t)C * C;

		be->linear_dw(ctx, sums, db, dout, x, true, M, C, C);
		be->layernorm_backward(ctx, NULL, db + C, db + 2 * C, NULL, NULL, dout, x, w, NULL, 1e-6F, M, C);
		be->download(ctx, got[round], sums, sizeof got[round]);
		be->free(ctx, sums, FLOATS * sizeof *sums);
	}
	assert_memory_equal(got[0], got[1], sizeof got[0]);
	free(ones);
	be->free(ctx, w, C * sizeof *w);
	be->free(ctx, dout, M * C * be->mat_bytes);
	be->free(ctx, x, M * C * be->mat_bytes);
	no_failure();
}

/* One value through the layer act(x w), by way of the logits' type. */
static float through(enum gn_activation activation, float value)
{
	void *x = device_memory(be->mat_bytes), *w = device_memory(be->mat_bytes);
	float *out = device_memory(sizeof *out), one = 1, got;
	struct gn_epilogue e = {.activate = true, .activation = activation, .float_out = true};

	be->upload_mat(ctx, x, &value, 1);
	be->upload_mat(ctx, w, &one, 1);
	be->linear(ctx, out, x, w, &e, 1, 1, 1);
	be->download(ctx, &got, out, sizeof got);
	be->free(ctx, out, sizeof *out);
	be->free(ctx, w, be->mat_bytes);
	be->free(ctx, x, be->mat_bytes);
	return got;
}

/*
 * The exact GELU and its tanh form differ by 4.7e-4 at 2.25: which one it is shows. What is not a
 * number stays visible.
 */
static void activations_are_what_they_are_called(void **state)
{
	double x = 2.25, exact = x * 0.5 * erfc(-x / sqrt(2.0)),
	       inner = 0.79788456080286536 * (x + 0.044715 * x * x * x), tanh_form = 0.5 * x * (1 + tanh(inner));

	(void)state;
	assert_true(fabs((double)through(GN_ACT_GELU, 2.25F) - exact) < 1e-6);
	assert_true(fabs((double)through(GN_ACT_GELU_TANH, 2.25F) - tanh_form) < 1e-6);
	assert_true(fabs((double)through(GN_ACT_QUICK_GELU, 2.25F) - x / (1 + exp(-1.702 * x))) < 1e-6);
	for (int a = GN_ACT_GELU; a <= GN_ACT_QUICK_GELU; a++)
		assert_true(isnan(through((enum gn_activation)a, NAN)));
	no_failure();
}

/* What is left of a float in the context's activations. */
static float activation_at(const char *memory, size_t i)
{
	float value;

	if (be->act_bytes == sizeof value) {
		memcpy(&value, memory + i * sizeof value, sizeof value);
	} else { /* bfloat16: the upper half */
		uint16_t half;
		memcpy(&half, memory + i * sizeof half, sizeof half);
		uint32_t bits = (uint32_t)half << 16;
		memcpy(&value, &bits, sizeof value);
	}
	return value;
}

/*
 * So many patches of so wide a model that they go in groups: each image comes out as it does alone,
 * but for the rounding of sums of three products, which a library may order by the size of the
 * whole.
 */
static void patches_in_groups(void **state)
{
	enum { B = 3, G = 20, P = 1, C = 4096, T = G * G, PIXELS = 3 * G * G };
	size_t image = (size_t)T * C * be->act_bytes;
	char *together = device_memory(B * image), *alone = device_memory(image), *got[2];
	float *images = device_memory(B * PIXELS * sizeof *images), *pos = device_memory((size_t)T * C * sizeof *pos),
	      *host = random_floats(B * PIXELS, 8);
	void *w = random_mat((size_t)C * 3, 7);
	/*
	 * cancellation loses up to a thousandth; tf32 rounds alike whatever the order, bf16 keeps 8
	 * bits of the result
	 */
	const float unit = be->act_bytes == sizeof(float) ? 1e-4F : 0x1p-7F;

	(void)state;
	be->upload(ctx, images, host, B * PIXELS * sizeof *images);
	be->embed(ctx, together, images, w, NULL, pos, 0, NULL, 0, B, G, P, C);
	got[0] = host_memory(B * image);
	got[1] = host_memory(image);
	be->download(ctx, got[0], together, B * image);
	for (int b = 0; b < B; b++) {
		be->embed(ctx, alone, images + (ptrdiff_t)b * PIXELS, w, NULL, pos, 0, NULL, 0, 1, G, P, C);
		be->download(ctx, got[1], alone, image);
		for (size_t i = 0; i < (size_t)T * C; i++) {
			float grouped = activation_at(got[0] + (size_t)b * image, i), single = activation_at(got[1], i);

			if (!(fabsf(grouped - single) <= unit * (fabsf(single) + 1e-3F)))
				fail_msg("image %d, value %zu: %.9g in a group, %.9g alone", b, i, (double)grouped,
				         (double)single);
		}
	}
	free(got[1]);
	free(got[0]);
	free(host);
	be->free(ctx, w, (size_t)C * 3 * be->mat_bytes);
	be->free(ctx, pos, (size_t)T * C * sizeof *pos);
	be->free(ctx, images, B * PIXELS * sizeof *images);
	be->free(ctx, alone, image);
	be->free(ctx, together, B * image);
	no_failure();
}

/* More shapes than the backend remembers choices for. */
static void many_shapes(void **state)
{
	enum { MOST = 530 };
	void *x = random_mat(MOST * 8, 5), *w = random_mat(8 * 8, 6), *out = device_memory(MOST * 8 * be->act_bytes);

	(void)state;
	for (int rows = 1; rows <= MOST; rows++)
		be->linear(ctx, out, x, w, &(struct gn_epilogue){0}, rows, 8, 8);
	no_failure();
	be->free(ctx, out, MOST * 8 * be->act_bytes);
	be->free(ctx, w, 8 * 8 * be->mat_bytes);
	be->free(ctx, x, MOST * 8 * be->mat_bytes);
}

/* ---------------------------------------------------------------- failures --------------------------------------- */

/*
 * A launch that cannot be: rows of no columns. The context keeps the call, the file and the line,
 * and queues no records any more.
 */
static void a_failure_says_where_and_stays(void **state)
{
	struct gn_device *other;
	struct gn_error err[2] = {{0}};

	(void)state;
	assert_int_equal(gn_device_open(&other, "cuda:0", 0, be->precision, err), 0);
	other->backend->take(other->ctx, NULL, NULL, 0, 1, 1, 1, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(other->backend->sync(other->ctx, &err[i]), -1);
		assert_int_equal(err[i].code, GN_DEVICE);
		assert_non_null(strstr(err[i].text, "take_kernel"));
		assert_non_null(strstr(err[i].text, " at pool.cu:"));
	}
	assert_false(other->backend->record_begin(other->ctx, 1));
	gn_device_close(other);
}

/* ---------------------------------------------------------------- opening ---------------------------------------- */

/* What the host runner's device is made to be, and what opening it says. */
static void refused(const char *variable, const char *value, const char *spec, enum gn_code code, const char *text)
{
	struct gn_device *other = NULL;
	struct gn_error err = {0};

	setenv(variable, value, 1);
	assert_int_equal(gn_device_open(&other, spec, 0, be->precision, &err), -1);
	unsetenv(variable);
	assert_int_equal(err.code, code);
	assert_string_equal(err.where, "device");
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void what_cannot_be_used_is_not_opened(void **state)
{
	struct gn_device_info info;

	(void)state;
	gn_device_describe(device, &info);
	refused("GONIO_CUDA_HOST_DEVICES", "1", "cuda:999", GN_INVALID, "there is no GPU 999: the machine has ");
	if (strcmp(info.name, "host runner")) /* nothing else can be made of a GPU */
		return;
	refused("GONIO_CUDA_HOST_DEVICES", "0", "cuda", GN_UNSUPPORTED, "there is no NVIDIA GPU");
	refused("GONIO_CUDA_HOST_DEVICES", "2", "cuda:2", GN_INVALID, "there is no GPU 2: the machine has 2");
	refused("GONIO_CUDA_HOST_DRIVER", "12080", "cuda", GN_UNSUPPORTED,
	        "the NVIDIA driver is for CUDA 12.8, this build needs 13.0");
	refused("GONIO_CUDA_HOST_CAPABILITY", "7.0", "cuda", GN_UNSUPPORTED,
	        "host runner has compute capability 7.0: 7.5 or later is needed");
}

/*
 * Opens the device in a process of its own, because the host runner asks once how much memory it
 * has, and looks for leaks at the end.
 */
static void expect_too_little(const char *bytes)
{
	char command[512], line[512] = "";
	FILE *other;
	int status;

	snprintf(command, sizeof command, "env -u GONIO_DEVICE_REQUIRED GONIO_CUDA_HOST_MEMORY=%s %s cuda:0 %s", bytes,
	         program, gn_precision_name(be->precision));
	other = popen(command, "r");
	assert_non_null(other);
	assert_non_null(fgets(line, sizeof line, other));
	status = pclose(other);
	if (!strstr(line, "needs ") || !strstr(line, " free on host runner"))
		fail_msg("%s", line);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 77); /* skipped, and nothing left behind */
}

static void too_little_memory_for_the_context(void **state)
{
	struct gn_device *other = NULL;
	struct gn_device_info info;
	struct gn_error err = {0};
	struct device_hog hog;

	(void)state;
	gn_device_describe(device, &info);
	device_hog_take(&hog, device);
	assert_int_equal(gn_device_open(&other, "cuda:0", 0, be->precision, &err), -1);
	device_hog_free(&hog);
	print_message("%s\n", err.text);
	assert_int_equal(err.code, GN_NO_MEMORY);
	no_failure();
	if (strcmp(info.name, "host runner")) /* a GPU's memory has the size that it has */
		return;
	expect_too_little("100000000"); /* for the scratch memory */
	expect_too_little("150000000"); /* for the transfers' */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(uploads_take_what_the_host_had),
	    cmocka_unit_test(uploads_keep_their_order),
	    cmocka_unit_test(fetched_is_what_was_queued),
	    cmocka_unit_test(recorded_work_is_queued_again),
	    cmocka_unit_test(records_of_many_keys),
	    cmocka_unit_test(running_out_is_an_error_of_that_call),
	    cmocka_unit_test(what_is_taken_is_told),
	    cmocka_unit_test(pieces_of_an_arena_are_apart),
	    cmocka_unit_test(sums_repeat_to_the_bit),
	    cmocka_unit_test(activations_are_what_they_are_called),
	    cmocka_unit_test(patches_in_groups),
	    cmocka_unit_test(many_shapes),
	    cmocka_unit_test(a_failure_says_where_and_stays),
	    cmocka_unit_test(what_cannot_be_used_is_not_opened),
	    cmocka_unit_test(too_little_memory_for_the_context),
	};
	int failures;

	device = device_for_test(argc, argv);
	program = argv[0];
	be = device->backend;
	ctx = device->ctx;
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	failures = argc > 3 && !strcmp(argv[3], "run_over") ? run_over() : cmocka_run_group_tests(tests, NULL, NULL);
	gn_device_close(device);
	return failures;
}
