/* Position resampling: properties of every method. tests/parity/test_positions.c compares the
 * values with the libraries. */
#include "checkpoint/position.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { DIM = 3 };

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
	    cmocka_unit_test(test_equal_grid_is_a_copy),
	    cmocka_unit_test(test_constants_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
