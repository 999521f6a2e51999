/*
 * The products that rates are compared with, by a library or by plain loops, against a referee in
 * double; and the rate of the device's own products.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bench/reference.h"
#include "gonio.h"

enum { MOST = 40 * 40 };

static float value_at(int i)
{
	return (float)((i * 7919) % 201 - 100) / 64;
}

static void products_are_right(void **state)
{
	static const int shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {17, 33, 2}, {40, 10, 40}, {2, 40, 31}};
	static float a[MOST], b[MOST], out[MOST];

	(void)state;
	for (int i = 0; i < MOST; i++) {
		a[i] = value_at(i);
		b[i] = value_at(i + 13);
	}
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		int M = shapes[s][0], N = shapes[s][1], K = shapes[s][2];

		for (int transposed = 0; transposed < 2; transposed++) {
			gn_reference_product(2, out, a, b, transposed, M, N, K);
			for (int m = 0; m < M; m++)
				for (int n = 0; n < N; n++) {
					double sum = 0, size = 0;

					for (int k = 0; k < K; k++) {
						double term = (double)a[m * K + k] *
						              (double)b[transposed ? n * K + k : k * N + n];
						sum += term;
						size += fabs(term);
					}
					/* float32 sums of K terms, each rounded once */
					assert_true(fabs((double)out[m * N + n] - sum) <= K * 0x1p-23 * size);
				}
		}
	}
}

static void own_rate_is_measured(void **state)
{
	struct gn_device *device;
	struct gn_error err = {0};
	double rate = NAN;

	(void)state;
	assert_int_equal(gn_device_open(&device, "cpu", 1, GN_PRECISION_AUTO, &err), 0);
	assert_int_equal(gn_bench_product_rate(&rate, device, 0.01, &err), 0);
	print_message("one thread: %.3g GFLOP/s; library: %s\n", rate * 1e-9,
	              gn_bench_reference() ? gn_bench_reference() : "none");
	/* 1 MFLOP/s is a thousandth of any machine that this runs on, 1 EFLOP/s beyond all */
	assert_true(rate > 1e6 && rate < 1e18);
	gn_device_close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(products_are_right),
	    cmocka_unit_test(own_rate_is_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
