/*
 * Every operation of the CPU's backend table, with every set of kernels that this machine can run,
 * on one thread and on three.
 *
 *   unit_kernels                         values and gradients
 *   unit_kernels test|grad|perf [OPERATION [SHAPE]]
 *                                        one mode; operations and shapes that contain these texts ("linear_dx", "M=197")
 */
#include "tests/support/kernels.h"

#include "backend/cpu/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* The kernels that run here: best first. */
static int kernel_sets(const struct gn_kernels *sets[3])
{
	int n = 0;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		sets[n++] = &gn_kernels_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		sets[n++] = &gn_kernels_avx2;
#endif
	sets[n++] = &gn_kernels_plain;
	return n;
}

static struct gn_ctx *open_cpu(const struct gn_kernels *kernels, int threads)
{
	struct gn_ctx *ctx = NULL;
	struct gn_error err = {0};
	assert_int_equal(gn_backend_cpu.open(&ctx, 0, threads, &err), 0);
	ctx->kernels = kernels;
	return ctx;
}

static int run_groups(const struct gn_kernels *kernels, int threads, enum kt_mode mode, const char *op,
                      const char *shape, bool quiet)
{
	struct gn_ctx *ctx = open_cpu(kernels, threads);
	int failures = kt_run_groups(ctx, &gn_backend_cpu, mode, op, shape, quiet);
	gn_backend_cpu.close(ctx);
	return failures;
}

static int run_all(enum kt_mode mode, const char *op, const char *shape)
{
	const struct gn_kernels *sets[3];
	int failures = 0;
	for (int i = 0, n = kernel_sets(sets); i < n; i++) {
		printf("%s:\n", sets[i]->name);
		failures += run_groups(sets[i], mode == KT_PERF ? 0 : 1, mode, op, shape, false);
		if (mode == KT_TEST)
			failures += run_groups(sets[i], 3, mode, op, shape, true);
	}
	return failures;
}

static void values(void **state)
{
	(void)state;
	assert_int_equal(run_all(KT_TEST, NULL, NULL), 0);
}

static void gradients(void **state)
{
	(void)state;
	assert_int_equal(run_all(KT_GRAD, NULL, NULL), 0);
}

/* Every function of the table is an operation with a case, except for those that every case
 * calls. */
static void nothing_untested(void **state)
{
	static const size_t used_by_all[] = {
	    offsetof(struct gn_backend, open),  offsetof(struct gn_backend, close),
	    offsetof(struct gn_backend, sync),  offsetof(struct gn_backend, describe),
	    offsetof(struct gn_backend, enter), offsetof(struct gn_backend, piece), /* tests/device/test_context.c */
	    offsetof(struct gn_backend, mark) /* tests/device/test_faults.c */};
	int missing = 0;
	(void)state;
	for (size_t slot = offsetof(struct gn_backend, open); slot < sizeof(struct gn_backend);
	     slot += sizeof(void (*)(void))) {
		bool found = false;
		for (size_t i = 0; i < sizeof used_by_all / sizeof used_by_all[0]; i++)
			found = found || used_by_all[i] == slot;
		for (int g = 0; g < KT_GROUPS; g++)
			for (int i = 0; i < *kt_groups[g].count; i++)
				found = found || kt_groups[g].ops[i].slot == slot;
		if (!found)
			printf("no test for the operation in slot %zu of the table\n",
			       (slot - offsetof(struct gn_backend, open)) / sizeof(void (*)(void)));
		missing += !found;
	}
	assert_int_equal(missing, 0);
}

/* ---------------------------------------------------------------- beside the harness ----------------------------- */

static void fill(float *x, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525U + 1013904223U;
		x[i] = (float)(seed >> 8) * 0x1p-23F - 1.0F;
	}
}

/* The threads share outputs, never a sum over them: a product's bits are those of one thread. */
static void products_do_not_depend_on_threads(void **state)
{
	enum { M = 197, N = 100, K = 300 };
	static float x[M * K], w[N * K], out[2][M * N], dw[2][N * K];
	const struct gn_kernels *sets[3];
	(void)state;
	fill(x, M * K, 1);
	fill(w, N * K, 2);
	for (int i = 0, n = kernel_sets(sets); i < n; i++) {
		for (int threads = 1; threads <= 5; threads++) {
			struct gn_ctx *ctx = open_cpu(sets[i], threads);
			struct gn_epilogue e = {0};
			int at = threads > 1;
			memset(dw[at], 0, sizeof dw[at]);
			gn_backend_cpu.linear(ctx, out[at], x, w, &e, M, N, K);
			gn_backend_cpu.linear_dw(ctx, dw[at], NULL, out[at], x, true, M, N, K);
			gn_backend_cpu.close(ctx);
			assert_memory_equal(out[0], out[at], sizeof out[0]);
			assert_memory_equal(dw[0], dw[at], sizeof dw[0]);
		}
	}
}

/*
 * GELU over its whole range against erf in double: 2e-7 absolute, the error of erf itself in
 * float32.
 */
static void gelu_is_the_exact_one(void **state)
{
	enum { N = 20001 };
	static float x[N], one[1] = {1}, out[N];
	const struct gn_kernels *sets[3];
	(void)state;
	for (int i = 0; i < N; i++)
		x[i] = (float)(i - N / 2) * 1.5e-3F;
	for (int s = 0, n = kernel_sets(sets); s < n; s++) {
		struct gn_ctx *ctx = open_cpu(sets[s], 1);
		struct gn_epilogue e = {.activate = true, .activation = GN_ACT_GELU};
		double worst = 0;
		gn_backend_cpu.linear(ctx, out, x, one, &e, N, 1, 1);
		for (int i = 0; i < N; i++) {
			double off = fabs((double)out[i] - kt_act(GN_ACT_GELU, (double)x[i])),
			       size = fmax(1, fabs((double)x[i]));
			assert_true(off <= 2e-7 * size);
			worst = fmax(worst, off / size);
		}
		printf("%s: GELU within %.2g of erf's\n", sets[s]->name, worst);
		gn_backend_cpu.close(ctx);
	}
}

/* NaN and infinity in an input come out as NaN or infinity, not as numbers. */
static void what_is_not_a_number_stays_visible(void **state)
{
	enum { B = 1, T = 40, H = 1, D = 16, C = H * D };
	static float qkv[B * T * 3 * C], out[B * T * C], row[64], w[64], b[64], norm[64];
	const struct gn_kernels *sets[3];
	(void)state;
	for (int s = 0, n = kernel_sets(sets); s < n; s++) {
		struct gn_ctx *ctx = open_cpu(sets[s], 1);
		fill(qkv, B * T * 3 * C, 3);
		qkv[C + 5] = NAN; /* the key of token 0 */
		gn_backend_cpu.attention(ctx, out, NULL, qkv, B, T, T, H, D);
		for (int i = 0; i < B * T * C; i++)
			assert_true(isnan(out[i]));
		fill(row, 64, 4);
		row[50] = INFINITY;
		gn_backend_cpu.layernorm(ctx, norm, row, w, b, 1e-6F, 1, 64);
		assert_false(isfinite(norm[50]));
		for (int a = GN_ACT_GELU; a <= GN_ACT_QUICK_GELU; a++) {
			struct gn_epilogue e = {.activate = true, .activation = (enum gn_activation)a};
			float one = 1, bad = NAN, result = 0;
			gn_backend_cpu.linear(ctx, &result, &bad, &one, &e, 1, 1, 1);
			assert_true(isnan(result));
		}
		gn_backend_cpu.close(ctx);
	}
}

/*
 * Memory that cannot be had is an error of the caller's, and one of sync() where an operation
 * wanted it.
 */
static void memory_runs_out_politely(void **state)
{
	struct gn_ctx *ctx = open_cpu(&gn_kernels_plain, 2);
	struct gn_error err = {0};
	(void)state;
	assert_null(gn_backend_cpu.alloc(ctx, (size_t)1 << 60, &err));
	assert_int_equal(err.code, GN_NO_MEMORY);
	assert_non_null(strstr(err.text, "1152921504606846976"));
	assert_null(gn_cpu_work(ctx, GN_SLOT_PRODUCT, (size_t)1 << 58));
	memset(&err, 0, sizeof err);
	assert_int_equal(gn_backend_cpu.sync(ctx, &err), -1);
	assert_int_equal(err.code, GN_NO_MEMORY);
	assert_int_equal(gn_backend_cpu.sync(ctx, &err), 0);
	gn_backend_cpu.close(ctx);
}

static void threads_are_bounded(void **state)
{
	struct gn_ctx *ctx = NULL;
	struct gn_error err = {0};
	struct gn_device_info info;
	(void)state;
	assert_int_equal(gn_backend_cpu.open(&ctx, 0, -1, &err), -1);
	assert_string_equal(err.where, "threads");
	ctx = open_cpu(&gn_kernels_plain, 2);
	gn_backend_cpu.describe(ctx, &info);
	assert_string_equal(info.backend, "cpu");
	assert_int_equal(info.threads, 2);
	assert_true(info.memory_bytes > 0);
	gn_backend_cpu.close(ctx);
}

static int by_hand(int argc, char **argv)
{
	static const char *const modes[] = {"test", "grad", "perf"};
	for (int m = KT_TEST; m <= KT_PERF; m++)
		if (!strcmp(argv[1], modes[m]))
			return run_all((enum kt_mode)m, argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL) ? 1 : 0;
	fprintf(stderr, "usage: %s [test|grad|perf [OPERATION [SHAPE]]]\n", argv[0]);
	return 2;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values),
	    cmocka_unit_test(gradients),
	    cmocka_unit_test(nothing_untested),
	    cmocka_unit_test(products_do_not_depend_on_threads),
	    cmocka_unit_test(gelu_is_the_exact_one),
	    cmocka_unit_test(what_is_not_a_number_stays_visible),
	    cmocka_unit_test(memory_runs_out_politely),
	    cmocka_unit_test(threads_are_bounded),
	};
	return argc > 1 ? by_hand(argc, argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
