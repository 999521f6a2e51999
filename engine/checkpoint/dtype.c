/*
 * 16-bit floats: binary16 (1 sign, 5 exponent, 10 mantissa bits) and bfloat16 (the upper half of a
 * float32), by their bits. Byte order is the machine's, which is little-endian on every machine
 * that gonio is built for, as in safetensors.
 */
#include "checkpoint/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is read as it lies");

size_t gn_dtype_bytes(enum gn_dtype dtype)
{
	return dtype == GN_F32 ? 4 : 2;
}

static float from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

static uint32_t to_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	return bits;
}

static float widen_f16(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;

	if (exponent == 31)
		return from_bits(sign | 0x7f800000 | mantissa << 13);
	/* a subnormal is mantissa * 2^-24, which float32 holds as a normal number */
	if (exponent == 0)
		return from_bits(sign | to_bits((float)mantissa * 0x1p-24f));
	return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static uint16_t narrow_f16(float value)
{
	uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;

	if (rest > 0x7f800000)
		return (uint16_t)(sign | 0x7e00);
	if (rest >= 0x477ff000) /* 65520 and above */
		return (uint16_t)(sign | 0x7c00);
	if (rest < 0x38800000) { /* below 2^-14: let the float adder round to multiples of 2^-24 */
		float shifted = from_bits(rest) + 0.5f;

		return (uint16_t)(sign | (to_bits(shifted) - 0x3f000000));
	}
	rest += 0xfff + (rest >> 13 & 1);
	return (uint16_t)(sign | (rest - 0x38000000) >> 13);
}

static uint16_t narrow_bf16(float value)
{
	uint32_t bits = to_bits(value);

	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void gn_dtype_widen(float *out, const uint8_t *in, enum gn_dtype dtype, size_t n)
{
	if (dtype == GN_F32) {
		memcpy(out, in, n * sizeof *out);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint16_t half;

		memcpy(&half, in + 2 * i, sizeof half);
		out[i] = dtype == GN_F16 ? widen_f16(half) : from_bits((uint32_t)half << 16);
	}
}

void gn_dtype_narrow(uint8_t *out, const float *in, enum gn_dtype dtype, size_t n)
{
	if (dtype == GN_F32) {
		memcpy(out, in, n * sizeof *in);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint16_t half = dtype == GN_F16 ? narrow_f16(in[i]) : narrow_bf16(in[i]);

		memcpy(out + 2 * i, &half, sizeof half);
	}
}

double gn_decimal(float value)
{
	char text[32];

	for (int digits = 6; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)value);
		if (strtof(text, NULL) == value)
			break;
	}
	return strtod(text, NULL);
}
