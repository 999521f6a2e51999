/*
 * The inner loops of resample.c. Both passes are one loop, a weighted sum of rows: for the
 * horizontal pass 32 rows of the image are transposed first, so that neighbours in a row become
 * rows.
 *
 * A weight has 23 bits and a sign, one more than the 16-bit products of SIMD take. It is split as
 * high * 2^12 + low, both halves are summed by themselves, and the sum is put together at the end:
 * exact, since 32-bit arithmetic is modular and the result fits. x86-64 with AVX2 has that loop in
 * intrinsics; elsewhere the compiler vectorises the plain one.
 */
#include "data/resample.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2_KERNEL 1
#else
#define HAVE_AVX2_KERNEL 0
#endif

#define ROUND    (1 << (GN_WEIGHT_BITS - 1))
#define LOW_BITS 12

static inline uint8_t clamp_level(int32_t sum)
{
	int32_t level = sum >> GN_WEIGHT_BITS;

	return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

/* ---------------------------------------------------------------- portable -------------------- */

static void prepare_portable(int32_t *weights, int count)
{
	(void)weights;
	(void)count;
}

static void rows_portable(uint8_t *out, const uint8_t *rows, size_t stride, const int32_t *weights, int taps, size_t n)
{
	enum { CHUNK = 64 };

	for (size_t i = 0; i < n; i += CHUNK) {
		size_t m = n - i < CHUNK ? n - i : CHUNK;
		int32_t sums[CHUNK];

		for (size_t j = 0; j < m; j++)
			sums[j] = ROUND;
		for (int t = 0; t < taps; t++) {
			const uint8_t *row = rows + (size_t)t * stride + i;

			for (size_t j = 0; j < m; j++)
				sums[j] += row[j] * weights[t];
		}
		for (size_t j = 0; j < m; j++)
			out[i + j] = clamp_level(sums[j]);
	}
}

/* ---------------------------------------------------------------- AVX2 ------------------------ */

const struct gn_weigh gn_weigh_portable = {prepare_portable, rows_portable};

#if HAVE_AVX2_KERNEL
/* A pair of weights (a, b) becomes two words: their high halves, then their low halves, a in the
 * lower 16 bits. */
static void prepare_avx2(int32_t *weights, int count)
{
	for (int i = 0; i < count; i += 2) {
		int32_t a = weights[i], b = weights[i + 1], low = (1 << LOW_BITS) - 1;

		weights[i] = (int32_t)(((uint32_t)(a >> LOW_BITS) & 0xffff) | (uint32_t)(b >> LOW_BITS) << 16);
		weights[i + 1] = (a & low) | (b & low) << 16;
	}
}

struct sums {
	__m256i high[4], low[4];
};

/* Adds 32 pixels of two rows, each times its weight. Pixels stay in the order that the unpacking
 * gives them. */
__attribute__((target("avx2"))) static inline void add_pair(struct sums *s, const uint8_t *first, const uint8_t *second,
                                                            const int32_t *pair)
{
	const __m256i zero = _mm256_setzero_si256();
	const __m256i high = _mm256_set1_epi32(pair[0]), low = _mm256_set1_epi32(pair[1]);
	__m256i a = _mm256_loadu_si256((const __m256i *)first), b = _mm256_loadu_si256((const __m256i *)second);
	__m256i ab[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};

	for (int i = 0; i < 4; i++) {
		__m256i pixels = i % 2 ? _mm256_unpackhi_epi8(ab[i / 2], zero) : _mm256_unpacklo_epi8(ab[i / 2], zero);

		s->high[i] = _mm256_add_epi32(s->high[i], _mm256_madd_epi16(pixels, high));
		s->low[i] = _mm256_add_epi32(s->low[i], _mm256_madd_epi16(pixels, low));
	}
}

__attribute__((target("avx2"))) static inline void store_sums(uint8_t *out, const struct sums *s)
{
	__m256i level[4];

	for (int i = 0; i < 4; i++)
		level[i] = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(s->high[i], LOW_BITS), s->low[i]),
		                             GN_WEIGHT_BITS);
	_mm256_storeu_si256((__m256i *)out, _mm256_packus_epi16(_mm256_packs_epi32(level[0], level[1]),
	                                                        _mm256_packs_epi32(level[2], level[3])));
}

/* n >= 32: the last chunk overlaps the one before. */
__attribute__((target("avx2"))) static void weigh_avx2(uint8_t *out, const uint8_t *rows, size_t stride,
                                                       const int32_t *weights, int taps, size_t n)
{
	for (size_t next = 0; next < n; next += 32) {
		size_t i = next + 32 <= n ? next : n - 32;
		struct sums s;

		for (int v = 0; v < 4; v++) {
			s.high[v] = _mm256_setzero_si256();
			s.low[v] = _mm256_set1_epi32(ROUND);
		}
		for (int t = 0; t < taps; t += 2) {
			const uint8_t *row = rows + (size_t)t * stride + i;

			add_pair(&s, row, t + 1 < taps ? row + stride : row, weights + t);
		}
		store_sums(out + i, &s);
	}
}

/* What few pixels there are when a row is shorter than a vector. */
static void weigh_split(uint8_t *out, const uint8_t *rows, size_t stride, const int32_t *weights, int taps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t sum = ROUND;

		for (int t = 0; t < taps; t++) {
			const int32_t *pair = weights + t / 2 * 2;
			int32_t high = t % 2 ? pair[0] >> 16 : (int16_t)(pair[0] & 0xffff);
			uint32_t low = t % 2 ? (uint32_t)pair[1] >> 16 : (uint32_t)pair[1] & 0xffff;

			sum += rows[(size_t)t * stride + i] * (((uint32_t)high << LOW_BITS) + low);
		}
		out[i] = clamp_level((int32_t)sum);
	}
}

static void rows_avx2(uint8_t *out, const uint8_t *rows, size_t stride, const int32_t *weights, int taps, size_t n)
{
	(n >= 32 ? weigh_avx2 : weigh_split)(out, rows, stride, weights, taps, n);
}

static const struct gn_weigh weigh_by_avx2 = {prepare_avx2, rows_avx2};
#endif

const struct gn_weigh *gn_weigh_best(void)
{
#if HAVE_AVX2_KERNEL
	if (__builtin_cpu_supports("avx2"))
		return &weigh_by_avx2;
#endif
	return &gn_weigh_portable;
}

/* ---------------------------------------------------------------- transposing ----------------- */

#define SIDE 16 /* bytes are transposed in squares of 16 x 16 */

typedef uint8_t row16 __attribute__((vector_size(SIDE)));

static inline row16 load_row(const uint8_t *from)
{
	row16 row;

	memcpy(&row, from, sizeof row);
	return row;
}

/* Four rounds of interleaving the upper with the lower half of the rows move every byte to its
 * mirror place. */
static inline void transpose_square(row16 square[SIDE])
{
	for (int round = 0; round < 4; round++) {
		row16 next[SIDE];

		for (int i = 0; i < SIDE / 2; i++) {
			row16 a = square[i], b = square[i + SIDE / 2];

			next[2 * i] =
			    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
			next[2 * i + 1] =
			    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
		}
		memcpy(square, next, sizeof next);
	}
}

void gn_transpose_in(uint8_t *out, size_t out_stride, const uint8_t *const *rows, size_t n)
{
	for (size_t next = 0; next < n && n >= SIDE; next += SIDE) {
		size_t x = next + SIDE <= n ? next : n - SIDE;

		for (int half = 0; half < 32; half += SIDE) {
			row16 square[SIDE];

			for (int i = 0; i < SIDE; i++)
				square[i] = load_row(rows[half + i] + x);
			transpose_square(square);
			for (int i = 0; i < SIDE; i++)
				memcpy(out + (x + (size_t)i) * out_stride + half, &square[i], SIDE);
		}
	}
	for (size_t x = 0; x < n && n < SIDE; x++)
		for (int y = 0; y < 32; y++)
			out[x * out_stride + (size_t)y] = rows[y][x];
}

void gn_transpose_out(uint8_t *const *rows, int count, const uint8_t *in, size_t in_stride, size_t n)
{
	for (size_t next = 0; next < n && n >= SIDE; next += SIDE) {
		size_t x = next + SIDE <= n ? next : n - SIDE;

		for (int half = 0; half < count; half += SIDE) {
			row16 square[SIDE];

			for (int i = 0; i < SIDE; i++)
				square[i] = load_row(in + (x + (size_t)i) * in_stride + half);
			transpose_square(square);
			for (int i = 0; i < SIDE && half + i < count; i++)
				memcpy(rows[half + i] + x, &square[i], SIDE);
		}
	}
	for (size_t x = 0; x < n && n < SIDE; x++)
		for (int y = 0; y < count; y++)
			rows[y][x] = in[x * in_stride + (size_t)y];
}
