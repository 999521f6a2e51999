/* 16-bit floats: every value converted and back, and rounding compared with a referee that computes
 * exactly. */
#include "checkpoint/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static float widen(uint16_t half, enum gn_dtype dtype)
{
	float value;

	gn_dtype_widen(&value, (const uint8_t *)&half, dtype, 1);
	return value;
}

static uint16_t narrow(float value, enum gn_dtype dtype)
{
	uint16_t half;

	gn_dtype_narrow((uint8_t *)&half, &value, dtype, 1);
	return half;
}

static void test_known_values(void **state)
{
	(void)state;
	assert_true(widen(0x3c00, GN_F16) == 1.0f && widen(0xc000, GN_F16) == -2.0f &&
	            widen(0x7bff, GN_F16) == 65504.0f);
	assert_true(widen(0x0001, GN_F16) == 0x1p-24f && widen(0x0400, GN_F16) == 0x1p-14f &&
	            isinf(widen(0x7c00, GN_F16)));
	assert_true(isnan(widen(0x7e00, GN_F16)) && signbit(widen(0x8000, GN_F16)));
	assert_true(widen(0x3f80, GN_BF16) == 1.0f && widen(0xc000, GN_BF16) == -2.0f && isinf(widen(0xff80, GN_BF16)));
	assert_int_equal(narrow(65519.99f, GN_F16), 0x7bff);
	assert_int_equal(narrow(GN_F16_LIMIT, GN_F16), 0x7c00);
	assert_int_equal(narrow(-0.0f, GN_F16), 0x8000);
	assert_int_equal(narrow(INFINITY, GN_BF16), 0x7f80);
	assert_int_equal(gn_dtype_bytes(GN_F32) + gn_dtype_bytes(GN_F16) + gn_dtype_bytes(GN_BF16), 8);
}

static void test_every_value_returns(void **state)
{
	(void)state;
	for (int d = GN_F16; d <= GN_BF16; d++) {
		for (uint32_t bits = 0; bits < 65536; bits++) {
			float value = widen((uint16_t)bits, (enum gn_dtype)d);

			if (isnan(value))
				assert_true(isnan(widen(narrow(value, (enum gn_dtype)d), (enum gn_dtype)d)));
			else
				assert_int_equal(narrow(value, (enum gn_dtype)d), bits);
		}
	}
}

/* Between two neighbours: below the middle goes down, above it up, the middle itself to the even
 * one. */
static void test_rounds_to_nearest_even(void **state)
{
	(void)state;
	for (int d = GN_F16; d <= GN_BF16; d++) {
		uint32_t infinity = d == GN_F16 ? 0x7c00 : 0x7f80;

		for (uint32_t low = 0; low + 1 < infinity; low++) {
			double a = (double)widen((uint16_t)low, (enum gn_dtype)d),
			       b = (double)widen((uint16_t)(low + 1), (enum gn_dtype)d);
			float middle = (float)((a + b) / 2);

			/* the lowest bfloat16 subnormals have middles that float32 holds, too */
			assert_true((double)middle == (a + b) / 2);
			assert_int_equal(narrow(middle, (enum gn_dtype)d), low % 2 ? low + 1 : low);
			assert_int_equal(narrow(nextafterf(middle, 0), (enum gn_dtype)d), low);
			assert_int_equal(narrow(nextafterf(middle, INFINITY), (enum gn_dtype)d), low + 1);
			assert_int_equal(narrow(-middle, (enum gn_dtype)d), (low % 2 ? low + 1 : low) | 0x8000);
		}
	}
}

static void test_f32_is_a_copy(void **state)
{
	float in[3] = {1.5f, -0.0f, NAN}, out[3];
	uint8_t bytes[13];

	(void)state;
	gn_dtype_narrow(bytes + 1, in, GN_F32, 3);
	gn_dtype_widen(out, bytes + 1, GN_F32, 3);
	assert_memory_equal(in, out, sizeof in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_values), cmocka_unit_test(test_every_value_returns),
	    cmocka_unit_test(test_rounds_to_nearest_even), cmocka_unit_test(test_f32_is_a_copy)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
