/* Position resampling against what timm, transformers, torchvision and DINOv2 computed (tests/parity/make_golden.py). */
#include "checkpoint/position.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/golden.h"

enum { DIM = 3 };

static const struct {
	int from, to;
} sizes[] = {{14, 10}, {8, 12}, {37, 8}};

static void check(const char *method, enum gn_pos_resample how)
{
	struct golden g = golden_open("positions");

	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		int from = sizes[s].from, to = sizes[s].to;
		size_t n = (size_t)(to * to * DIM);
		const float *in = golden_get(&g, (size_t)(from * from * DIM), "in.%d", from);
		const float *want = golden_get(&g, n, "%s.%d_%d", method, from, to);
		float *out = calloc(n, sizeof *out);
		struct gn_error err = {0};
		double worst;

		assert_non_null(out);
		assert_int_equal(gn_position_resample(out, in, to, from, DIM, how, &err), 0);
		worst = golden_difference(out, want, n);
		print_message("%s %d -> %d: largest difference %.2g\n", method, from, to, worst);
		/* values are of size 1 to 3 and weights are float32: PyTorch's own float32 differs from its float64 by 3e-6 */
		assert_true(worst <= 4e-6);
		free(out);
	}
	golden_release(&g);
}

static void test_timm(void **state)
{
	(void)state;
	check("timm", GN_POS_TIMM);
}

static void test_hf(void **state)
{
	(void)state;
	check("hf", GN_POS_HF);
}

static void test_torchvision(void **state)
{
	(void)state;
	check("torchvision", GN_POS_TORCHVISION);
}

static void test_dinov2(void **state)
{
	(void)state;
	check("dinov2", GN_POS_DINOV2);
	check("dinov2_reg", GN_POS_TIMM);
}

static void test_equal_grid_is_a_copy(void **state)
{
	float in[9 * DIM], out[9 * DIM];

	(void)state;
	for (int i = 0; i < 9 * DIM; i++)
		in[i] = (float)i * 0.1f;
	for (int how = GN_POS_TIMM; how <= GN_POS_TORCHVISION; how++) {
		memset(out, 0, sizeof out);
		assert_int_equal(gn_position_resample(out, in, 3, 3, DIM, (enum gn_pos_resample)how, NULL), 0);
		assert_memory_equal(in, out, sizeof in);
	}
}

/* The weights of each sample sum to 1, as nearly as float32 weights do, whatever the sizes. */
static void test_constants_stay(void **state)
{
	float in[25 * DIM], out[49 * DIM];

	(void)state;
	for (int i = 0; i < 25 * DIM; i++)
		in[i] = 0.75f;
	for (int how = GN_POS_TIMM; how <= GN_POS_TORCHVISION; how++) {
		for (int to = 1; to <= 7; to++) {
			assert_int_equal(gn_position_resample(out, in, to, 5, DIM, (enum gn_pos_resample)how, NULL), 0);
			for (int i = 0; i < to * to * DIM; i++)
				assert_true(fabsf(out[i] - 0.75f) <= 4e-6f);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_timm),
	    cmocka_unit_test(test_hf),
	    cmocka_unit_test(test_torchvision),
	    cmocka_unit_test(test_dinov2),
	    cmocka_unit_test(test_equal_grid_is_a_copy),
	    cmocka_unit_test(test_constants_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
