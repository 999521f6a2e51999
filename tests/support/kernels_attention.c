/* Attention, forward and backward. */
#include "tests/support/kernels.h"

#include <math.h>

/*
 * B, T, Q, H, D. Head widths 1 to 128: those that CUDA has code for (32, 64, 80, 96, 128), others
 * that are rounded up to one of them, and some that are no multiple of 8; all queries or the first
 * few; one token; just under and over a block's or a tile's rows (16, 32, 64).
 */
static const int shapes[][8] = {
    {1, 1, 1, 1, 8},      {2, 5, 5, 3, 8},    {1, 17, 17, 2, 11},   {1, 197, 197, 2, 64}, {2, 50, 1, 2, 32},
    {1, 197, 2, 1, 128},  {1, 33, 33, 1, 1},  {1, 65, 40, 2, 37},   {3, 16, 16, 1, 16},   {1, 300, 300, 1, 13},
    {1, 1, 1, 2, 64},     {1, 17, 17, 2, 96}, {1, 50, 50, 2, 72},   {1, 65, 65, 1, 128},  {1, 63, 63, 1, 80},
    {1, 129, 129, 1, 80}, {1, 97, 97, 1, 96}, {1, 257, 257, 1, 32}, {1, 1025, 3, 1, 32},  {2, 5, 1, 2, 128},
    {1, 50, 2, 3, 104},   {1, 257, 1, 1, 96}, {1, 4096, 9, 1, 32},
};
static const int fast[][8] = {
    {16, 197, 197, 3, 64}, {16, 197, 197, 12, 64}, {1, 197, 197, 3, 64}, {4, 1025, 1025, 6, 64}};

struct head {                    /* of one image */
	const double *q, *k, *v; /* tokens 3 H D apart */
	int T, stride, D;
};

static struct head take(const double *qkv, int b, int h, const int *d)
{
	int T = d[1], C = d[3] * d[4];
	const double *q = qkv + (size_t)b * (size_t)T * 3 * (size_t)C + h * d[4];
	return (struct head){q, q + C, q + 2 * C, T, 3 * C, d[4]};
}

/* p[T] = softmax of query i's scores; returns log sum exp. */
static double probabilities(double *p, const struct head *h, int i)
{
	double max = -INFINITY, sum = 0;
	for (int j = 0; j < h->T; j++) {
		p[j] = 0;
		for (int c = 0; c < h->D; c++)
			p[j] += h->q[i * h->stride + c] * h->k[j * h->stride + c];
		p[j] /= sqrt(h->D);
		max = fmax(max, p[j]);
	}
	for (int j = 0; j < h->T; j++)
		sum += p[j] = exp(p[j] - max);
	for (int j = 0; j < h->T; j++)
		p[j] /= sum;
	return max + log(sum);
}

/* out[B,Q,H,D], lse[B,H,Q] (may be NULL), p[T] for work. */
static void forward(double *out, double *lse, double *p, const double *qkv, const int *d)
{
	int B = d[0], Q = d[2], H = d[3], D = d[4];
	for (int b = 0; b < B; b++)
		for (int h = 0; h < H; h++)
			for (int i = 0; i < Q; i++) {
				struct head head = take(qkv, b, h, d);
				double l = probabilities(p, &head, i), *to = out + ((b * Q + i) * H + h) * D;
				if (lse)
					lse[(b * H + h) * Q + i] = l;
				for (int c = 0; c < D; c++) {
					to[c] = 0;
					for (int j = 0; j < d[1]; j++)
						to[c] += p[j] * head.v[j * head.stride + c];
				}
			}
}

static double flops(const int *d)
{
	return 4.0 * d[0] * d[1] * d[2] * d[3] * d[4];
}

/*
 * Scores of magnitude 2 or so with errors of a few ulps move a probability by as much, relative; an
 * output is a mean of values in -1 .. 1. 64 ulps of the largest value leave room for sqrt(T) and
 * sqrt(D).
 */
enum { ULPS = 64 };

static void run_attention(struct kt *t, const int *d)
{
	int B = d[0], T = d[1], Q = d[2], H = d[3], D = d[4];
	size_t n = (size_t)B * (size_t)Q * (size_t)H * (size_t)D, rows = (size_t)B * (size_t)H * (size_t)Q;
	size_t inputs = (size_t)B * (size_t)T * 3 * (size_t)H * (size_t)D;
	float *qkv = kt_input(t, inputs, 1.5), *out = kt_output(t, n), *lse = kt_output(t, rows),
	      *again = kt_output(t, n);
	KT_RUN(t, flops(d), 4.0 * (double)(inputs + n))
	t->backend->attention(t->ctx, out, t->mode == KT_PERF ? NULL : lse, qkv, B, T, Q, H, D);
	if (t->mode == KT_PERF)
		return;
	double *want = kt_doubles(t, n), *want_lse = kt_doubles(t, rows);
	forward(want, want_lse, kt_doubles(t, (size_t)T), kt_widen(t, qkv, inputs), d);
	kt_check(t, "out", out, want, NULL, n, ULPS);
	kt_check(t, "lse", lse, want_lse, NULL, rows, ULPS);
	t->backend->attention(t->ctx, again, NULL, qkv, B, T, Q, H, D);
	kt_check_same(t, "out without lse", again, out, n);
	/* scores of thousands: exponentials must not overflow */
	for (size_t i = 0; i < inputs; i++)
		qkv[i] *= 60;
	kt_round(t, qkv, inputs);
	t->backend->attention(t->ctx, out, NULL, qkv, B, T, Q, H, D);
	forward(want, NULL, kt_doubles(t, (size_t)T), kt_widen(t, qkv, inputs), d);
	kt_check(t, "out of large scores", out, want, NULL, n,
	         3600.0 * ULPS); /* errors of scores grow with their size */
}

/* ---------------------------------------------------------------- backward -------------------- */

static void backward(double *dqkv, double *p, const double *qkv, const double *dout, const int *d)
{
	int B = d[0], T = d[1], Q = d[2], H = d[3], D = d[4];
	for (int at = 0; at < B * H * Q; at++) {
		int b = at / (H * Q), h = at / Q % H, i = at % Q;
		struct head head = take(qkv, b, h, d);
		double *dq = dqkv + (head.q - qkv), *dk = dqkv + (head.k - qkv), *dv = dqkv + (head.v - qkv), dot = 0;
		double *dp = p + T;
		const double *g = dout + ((b * Q + i) * H + h) * D;
		probabilities(p, &head, i);
		for (int j = 0; j < T; j++) {
			dp[j] = 0;
			for (int c = 0; c < D; c++) {
				dp[j] += g[c] * head.v[j * head.stride + c];
				dv[j * head.stride + c] += p[j] * g[c];
			}
			dot += p[j] * dp[j];
		}
		for (int j = 0; j < T; j++)
			for (int c = 0; c < D; c++) {
				double ds = p[j] * (dp[j] - dot) / sqrt(D);
				dq[i * head.stride + c] += ds * head.k[j * head.stride + c];
				dk[j * head.stride + c] += ds * head.q[i * head.stride + c];
			}
	}
}

struct loss {
	const int *d;
	double *qkv, *out, *p;
	const float *dout;
	size_t n;
};

static double loss(void *user)
{
	struct loss *l = user;
	double sum = 0;
	forward(l->out, NULL, l->p, l->qkv, l->d);
	for (size_t i = 0; i < l->n; i++)
		sum += l->out[i] * (double)l->dout[i];
	return sum;
}

static void run_attention_backward(struct kt *t, const int *d)
{
	int B = d[0], T = d[1], Q = d[2], H = d[3], D = d[4];
	size_t n = (size_t)B * (size_t)Q * (size_t)H * (size_t)D, rows = (size_t)B * (size_t)H * (size_t)Q;
	size_t inputs = (size_t)B * (size_t)T * 3 * (size_t)H * (size_t)D;
	float *qkv = kt_input(t, inputs, 1.5), *dout = kt_input(t, n, 1), *dqkv = kt_output(t, inputs);
	float *out = t->backend->attention_needs_out ? kt_output(t, n) : NULL;
	float *lse = t->backend->attention_needs_lse ? kt_output(t, rows) : NULL;
	if (out || lse)
		t->backend->attention(t->ctx, out ? out : kt_output(t, n), lse, qkv, B, T, Q, H, D);
	KT_RUN(t, 2.5 * flops(d), 4.0 * (double)(2 * inputs + n))
	t->backend->attention_backward(t->ctx, dqkv, dout, qkv, out, lse, B, T, Q, H, D);
	if (t->mode == KT_TEST) {
		double *want = kt_doubles(t, inputs);
		backward(want, kt_doubles(t, 2 * (size_t)T), kt_widen(t, qkv, inputs), kt_widen(t, dout, n), d);
		kt_check(t, "dqkv", dqkv, want, NULL, inputs, 2 * ULPS);
	}
	if (t->mode == KT_GRAD && inputs < 20000) {
		struct loss l = {d, kt_widen(t, qkv, inputs), kt_doubles(t, n), kt_doubles(t, (size_t)T), dout, n};
		kt_gradient(t, "dqkv", dqkv, l.qkv, inputs, loss, &l);
	}
}

const struct kt_op kt_attention[] = {
    {KT_SLOT(attention), .letters = "BTQHD", KT_SHAPES(shapes), KT_FAST(fast), .run = run_attention},
    {KT_SLOT(attention_backward), .letters = "BTQHD", KT_SHAPES(shapes), KT_FAST(fast), .run = run_attention_backward,
     .gradients = true},
};
const int kt_attention_count = sizeof kt_attention / sizeof kt_attention[0];
