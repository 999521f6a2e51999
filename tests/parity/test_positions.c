/*
 * Position embeddings resized to another grid, against the libraries' own functions
 * (golden/positions; see README.md).
 *
 * Tolerance: PyTorch finds the sample points in float32, where a coordinate near 14 is 5e-7 off;
 * times the slope of random values of up to 4, that makes some 2e-6. 5e-6 leaves room; another
 * kernel, scale or alignment is off by 1e-2 and more.
 */
#include "tests/support/golden.h"

#include "checkpoint/position.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TOLERANCE 5e-6
#define DIM       3

static void resizes_as_each_library(void **state)
{
	static const struct {
		const char *name;
		enum gn_pos_resample how;
	} methods[] = {{"timm", GN_POS_TIMM},
	               {"hf", GN_POS_HF},
	               {"torchvision", GN_POS_TORCHVISION},
	               {"dinov2", GN_POS_DINOV2},
	               {"dinov2_reg", GN_POS_TIMM}};
	static const int grids[][2] = {{14, 10}, {8, 12}, {37, 8}};
	struct golden ref = golden_open("positions");
	int wrong = 0;

	(void)state;
	for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
		for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
			int from = grids[i][0], to = grids[i][1];
			size_t count = (size_t)(to * to * DIM);
			const float *in = golden_get(&ref, (size_t)(from * from * DIM), "in.%d", from);
			float *out = calloc(count, sizeof *out);
			struct gn_error err = {0};
			double off;

			assert_non_null(out);
			if (gn_position_resample(out, in, to, from, DIM, methods[m].how, &err))
				fail_msg("%s: %s", methods[m].name, err.text);
			off = golden_difference(out, golden_get(&ref, count, "%s.%d_%d", methods[m].name, from, to),
			                        count);
			print_message("%-12s %2d -> %2d: off by %.1e\n", methods[m].name, from, to, off);
			wrong += !(off <= TOLERANCE);
			free(out);
		}
	golden_release(&ref);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(resizes_as_each_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
