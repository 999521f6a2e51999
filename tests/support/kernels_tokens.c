/* Patch embedding, pooling, and picking tokens. */
#include "tests/support/kernels.h"

#include <math.h>
#include <string.h>

/* B, G, P, C, prefix tokens, prefix tokens with a position, and whether there is a bias. */
static const int embed_shapes[][8] = {{1, 1, 1, 1, 0, 0, 1},
                                      {2, 3, 4, 30, 1, 1, 1},
                                      {1, 14, 16, 24, 1, 0, 1},
                                      {3, 2, 5, 17, 2, 2, 0},
                                      {2, 4, 2, 8, 5, 1, 1}};
static const int embed_fast[][8] = {{16, 14, 16, 192, 1, 1, 1}, {16, 14, 16, 768, 1, 1, 1}, {1, 14, 16, 192, 1, 1, 1}};
enum { MOST_PREFIX = 8 };

/* Pixel (channel and place q in 0 .. 3PP-1) of patch p. */
static size_t pixel(const int *d, int b, int p, int q)
{
	int G = d[1], P = d[2], S = G * P;
	int y = p / G * P + q / P % P, x = p % G * P + q % P;
	return ((size_t)(b * 3 + q / (P * P)) * (size_t)S + (size_t)y) * (size_t)S + (size_t)x;
}

static void run_embed(struct kt *t, const int *d)
{
	int B = d[0], G = d[1], P = d[2], C = d[3], prefix = d[4], placed = d[5], T = prefix + G * G, width = 3 * P * P;
	size_t n = (size_t)B * (size_t)T * (size_t)C;
	float *images = kt_input(t, (size_t)B * (size_t)(G * G * width), 1),
	      *w = kt_input(t, (size_t)C * (size_t)width, 1);
	float *bias = d[6] ? kt_input(t, (size_t)C, 1) : NULL,
	      *pos = kt_input(t, (size_t)(placed + G * G) * (size_t)C, 1);
	float *hidden = kt_output(t, n);
	const float *tokens[MOST_PREFIX];
	double *want = kt_doubles(t, n), *sizes = kt_doubles(t, n);
	for (int i = 0; i < prefix; i++)
		tokens[i] = kt_input(t, (size_t)C, 1);
	KT_RUN(t, 2.0 * B * G * G * width * C, 4.0 * (double)n)
	t->backend->embed(t->ctx, hidden, images, w, bias, pos, placed, tokens, prefix, B, G, P, C);
	if (t->mode == KT_PERF)
		return;
	for (size_t i = 0; i < n; i++) {
		int c = (int)(i % (size_t)C), at = (int)(i / (size_t)C % (size_t)T),
		    b = (int)(i / (size_t)C / (size_t)T);
		double sum = at < prefix ? (double)tokens[at][c] : bias ? (double)bias[c] : 0;
		if (at >= prefix)
			sum += (double)pos[(placed + at - prefix) * C + c];
		else if (at < placed)
			sum += (double)pos[at * C + c];
		sizes[i] = 2;
		for (int q = 0; at >= prefix && q < width; q++) {
			double term = (double)w[c * width + q] * (double)images[pixel(d, b, at - prefix, q)];
			sum += term;
			sizes[i] += fabs(term);
		}
		want[i] = sum;
	}
	kt_check(t, "hidden", hidden, want, sizes, n, 8 + 2 * sqrt(width));
}

static void run_embed_backward(struct kt *t, const int *d)
{
	int B = d[0], G = d[1], P = d[2], C = d[3], prefix = d[4], placed = d[5], T = prefix + G * G, width = 3 * P * P;
	size_t n = (size_t)B * (size_t)T * (size_t)C, weights = (size_t)C * (size_t)width, c = (size_t)C;
	size_t places = (size_t)(placed + G * G) * c;
	float *images = kt_input(t, (size_t)B * (size_t)(G * G * width), 1), *dhidden = kt_input(t, n, 1);
	float *dw = kt_input(t, weights, 1), *dbias = d[6] ? kt_input(t, c, 1) : NULL, *dpos = kt_input(t, places, 1);
	float *dprefix[MOST_PREFIX];
	double *want_prefix[MOST_PREFIX], *want_w = kt_widen(t, dw, weights), *want_pos = kt_widen(t, dpos, places);
	double *want_bias = dbias ? kt_widen(t, dbias, c) : kt_doubles(t, c);
	for (int i = 0; i < prefix; i++) { /* of several tokens, the second is frozen */
		dprefix[i] = i == 1 ? NULL : kt_input(t, c, 1);
		want_prefix[i] = i == 1 ? kt_doubles(t, c) : kt_widen(t, dprefix[i], c);
	}
	KT_RUN(t, 2.0 * B * G * G * width * C, 4.0 * (double)n)
	t->backend->embed_backward(t->ctx, dw, dbias, dpos, placed, dprefix, prefix, dhidden, images, B, G, P, C);
	if (t->mode == KT_PERF)
		return;
	for (size_t i = 0; i < n; i++) {
		int j = (int)(i % c), at = (int)(i / c % (size_t)T), b = (int)(i / c / (size_t)T);
		double g = (double)dhidden[i];
		if (at < prefix) {
			want_prefix[at][j] += g;
			if (at < placed)
				want_pos[at * C + j] += g;
			continue;
		}
		want_pos[(placed + at - prefix) * C + j] += g;
		want_bias[j] += g;
		for (int q = 0; q < width; q++)
			want_w[j * width + q] += g * (double)images[pixel(d, b, at - prefix, q)];
	}
	/* sums over patches of numbers below 1, against the largest sum */
	double ulps = 32 + 4 * sqrt(B * G * G);
	kt_check(t, "dw", dw, want_w, NULL, weights, ulps);
	kt_check(t, "dpos", dpos, want_pos, NULL, places, ulps);
	if (dbias)
		kt_check(t, "dbias", dbias, want_bias, NULL, c, ulps);
	for (int i = 0; i < prefix; i++)
		if (dprefix[i])
			kt_check(t, "dprefix", dprefix[i], want_prefix[i], NULL, c, ulps);
}

/* ---------------------------------------------------------------- tokens ---------------------- */

/* B, T, C, first, count, accumulate. */
static const int shapes[][8] = {{1, 1, 1, 0, 1, 0}, {2, 197, 30, 1, 196, 1}, {3, 5, 17, 0, 1, 0}, {1, 9, 40, 3, 4, 1}};
static const int fast[][8] = {{16, 197, 768, 1, 196, 1}};

static void run_pool(struct kt *t, const int *d)
{
	int B = d[0], T = d[1], C = d[2], first = d[3], count = d[4];
	size_t n = (size_t)B * (size_t)C;
	float *hidden = kt_input(t, n * (size_t)T, 1), *out = kt_output(t, n);
	double *want = kt_doubles(t, n);
	KT_RUN(t, 0, 4.0 * (double)n * count)
	t->backend->pool(t->ctx, out, hidden, first, count, B, T, C);
	for (size_t i = 0; i < n * (size_t)count; i++) {
		size_t b = i / ((size_t)count * (size_t)C), rest = i % ((size_t)count * (size_t)C);
		want[b * (size_t)C + rest % (size_t)C] +=
		    (double)hidden[(b * (size_t)T + (size_t)first) * (size_t)C + rest] / count;
	}
	kt_check(t, "out", out, want, NULL, n, 16 + count);
}

/* Both directions that spread rows of dout over tokens: dhidden = (or +=) factor * dout[row of the
 * token]. */
static void check_spread(struct kt *t, const int *d, const float *dhidden, const float *before, const float *dout,
                         bool pooled)
{
	int B = d[0], T = d[1], C = d[2], first = d[3], count = d[4];
	size_t n = (size_t)B * (size_t)T * (size_t)C;
	double *want = before ? kt_widen(t, before, n) : kt_doubles(t, n);
	for (int b = 0; b < B; b++)
		for (int i = 0; i < count; i++)
			for (int c = 0; c < C; c++)
				want[(b * T + first + i) * C + c] +=
				    pooled ? (double)dout[b * C + c] / count : (double)dout[(b * count + i) * C + c];
	kt_check(t, "dhidden", dhidden, want, NULL, n, 4);
}

static void run_pool_backward(struct kt *t, const int *d)
{
	int B = d[0], T = d[1], C = d[2];
	size_t n = (size_t)B * (size_t)T * (size_t)C;
	float *dhidden = kt_output(t, n), *dout = kt_input(t, (size_t)B * (size_t)C, 1);
	KT_RUN(t, 0, 4.0 * (double)n)
	t->backend->pool_backward(t->ctx, dhidden, dout, d[3], d[4], B, T, C);
	if (t->mode != KT_PERF)
		check_spread(t, d, dhidden, NULL, dout, true);
}

static void run_take(struct kt *t, const int *d)
{
	int B = d[0], T = d[1], C = d[2], first = d[3], count = d[4];
	size_t row = (size_t)count * (size_t)C;
	float *hidden = kt_input(t, (size_t)B * (size_t)T * (size_t)C, 1), *out = kt_output(t, (size_t)B * row);
	KT_RUN(t, 0, 8.0 * (double)row * B)
	t->backend->take(t->ctx, out, hidden, first, count, B, T, C);
	for (int b = 0; b < B; b++)
		kt_check_same(t, "out", out + (size_t)b * row, hidden + (size_t)(b * T + first) * (size_t)C, row);
}

static void run_take_backward(struct kt *t, const int *d)
{
	int B = d[0], T = d[1], C = d[2];
	size_t n = (size_t)B * (size_t)T * (size_t)C;
	float *before = d[5] ? kt_input(t, n, 1) : NULL, *dhidden = before ? kt_copy(t, before, n) : kt_output(t, n);
	float *dout = kt_input(t, (size_t)B * (size_t)d[4] * (size_t)C, 1);
	KT_RUN(t, 0, 4.0 * (double)n)
	t->backend->take_backward(t->ctx, dhidden, dout, d[3], d[4], d[5], B, T, C);
	if (t->mode != KT_PERF)
		check_spread(t, d, dhidden, before, dout, false);
}

const struct kt_op kt_tokens[] = {
    {KT_SLOT(embed), .letters = "BGPCNLE", KT_SHAPES(embed_shapes), KT_FAST(embed_fast), .run = run_embed},
    {KT_SLOT(embed_backward), .letters = "BGPCNLE", KT_SHAPES(embed_shapes), KT_FAST(embed_fast),
     .run = run_embed_backward},
    {KT_SLOT(pool), .letters = "BTCFN", KT_SHAPES(shapes), KT_FAST(fast), .run = run_pool},
    {KT_SLOT(pool_backward), .letters = "BTCFN", KT_SHAPES(shapes), KT_FAST(fast), .run = run_pool_backward},
    {KT_SLOT(take), .letters = "BTCFN", KT_SHAPES(shapes), KT_FAST(fast), .run = run_take},
    {KT_SLOT(take_backward), .letters = "BTCFNE", KT_SHAPES(shapes), KT_FAST(fast), .run = run_take_backward},
};
const int kt_tokens_count = sizeof kt_tokens / sizeof kt_tokens[0];
