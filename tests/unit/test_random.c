/* Philox against the known-answer vectors of Random123 (Salmon et al., SC 2011), and the
 * distributions' bounds. */
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* kat_vectors of Random123 1.09 for philox4x32-10: counter, key -> output */
static void test_known_answers(void **state)
{
	struct gn_random zeros = {{0, 0}, {0, 0, 0, 0}, {0}, 0}, ones = {{~0u, ~0u}, {~0u, ~0u, ~0u, ~0u}, {0}, 0};
	struct gn_random pi = {{0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0}, 0};
	static const uint32_t want[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
	                                    {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
	                                    {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
	struct gn_random *cases[3] = {&zeros, &ones, &pi};

	(void)state;
	for (int c = 0; c < 3; c++)
		for (int i = 0; i < 4; i++)
			assert_int_equal(gn_random_u32(cases[c]), want[c][i]);
}

static void test_streams_differ_and_repeat(void **state)
{
	struct gn_random a, b, c;

	(void)state;
	gn_random_init(&a, 7, GN_RANDOM_ORDER, 1, 0);
	gn_random_init(&b, 7, GN_RANDOM_ORDER, 1, 0);
	gn_random_init(&c, 7, GN_RANDOM_ORDER, 2, 0);
	uint32_t first = gn_random_u32(&a);
	assert_int_equal(first, gn_random_u32(&b));
	assert_int_not_equal(first, gn_random_u32(&c));
}

static void test_distributions(void **state)
{
	struct gn_random r;
	double sum = 0, squares = 0;
	float values[4096];
	int counts[7] = {0};

	(void)state;
	gn_random_init(&r, 1, GN_RANDOM_INIT, 0, 0);
	gn_random_truncated_normal(&r, values, 4096, 0.02);
	for (int i = 0; i < 4096; i++) {
		assert_true(fabs((double)values[i]) <= 0.04 + 1e-9);
		sum += (double)values[i];
		squares += (double)values[i] * (double)values[i];
	}
	/* 4096 draws: the mean's deviation is 0.02 / 64; a normal cut at two deviations keeps
	 * 0.8796 of its deviation */
	assert_true(fabs(sum / 4096) < 5 * 0.02 / 64);
	assert_true(fabs(sqrt(squares / 4096) / (0.02 * 0.8796) - 1) < 0.05);
	for (int i = 0; i < 7000; i++)
		counts[gn_random_below(&r, 7)]++;
	/* five deviations of a binomial of 1/7 */
	for (int i = 0; i < 7; i++)
		assert_true(counts[i] > 850 && counts[i] < 1150);
	for (int i = 0; i < 1000; i++) {
		double u = gn_random_uniform(&r);

		assert_true(u >= 0 && u < 1);
	}
}

static void test_shuffle_is_a_permutation(void **state)
{
	struct gn_random r;
	int32_t items[100], seen[100] = {0}, moved = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		items[i] = i;
	gn_random_init(&r, 3, GN_RANDOM_ORDER, 0, 0);
	gn_random_shuffle(&r, items, 100);
	for (int i = 0; i < 100; i++) {
		seen[items[i]]++;
		moved += items[i] != i;
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(seen[i], 1);
	assert_true(moved > 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_answers),
	    cmocka_unit_test(test_streams_differ_and_repeat),
	    cmocka_unit_test(test_distributions),
	    cmocka_unit_test(test_shuffle_is_a_permutation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
