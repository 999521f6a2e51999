/* gn_angle against mpmath with 60 digits: 1e-6 relative for angles from 1e-6 rad to pi, as
 * docs/method.md, "Angles", requires; see README.md. */
#include "tests/support/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void agrees_with_sixty_digits(void **state)
{
	struct golden ref = golden_open("angles");
	const double degrees = 180 / acos(-1);
	const float *angles;
	size_t count, n;
	int wrong = 0;

	(void)state;
	angles = golden_find(&ref, "angles", &count);
	assert_non_null(angles);
	assert_true(count >= 20);
	for (size_t i = 0; i < count; i++) {
		char name[32];
		const float *u, *v;
		double found, wanted = (double)angles[i] * degrees, off;

		snprintf(name, sizeof name, "u.%zu", i);
		u = golden_find(&ref, name, &n);
		assert_non_null(u);
		v = golden_get(&ref, n, "v.%zu", i);
		found = gn_angle(u, v, n);
		off = wanted > 0 ? fabs(found / wanted - 1) : found;
		print_message("%2zu: %.9g degrees, off by %.1e\n", i, found, off);
		/* the wanted value is itself rounded to float32, 6e-8 */
		wrong += wanted > 0 ? !(off <= 1e-6) : found != 0;
	}
	assert_int_equal(wrong, 0);
	golden_release(&ref);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(agrees_with_sixty_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
