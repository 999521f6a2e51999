/* See kernels.h. */
#include "tests/support/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
static const size_t band = 0;
#else
static const size_t band = 64; /* floats on each side */
#endif
#define PATTERN 0x7fc0babeU /* a NaN: whatever reads it gives NaN */

struct kt_buffer {
	struct kt_buffer *next;
	void *block;   /* what free() takes */
	float *floats; /* NULL: doubles, without bands */
	size_t n;
};

/* ---------------------------------------------------------------- buffers --------------------- */

static void *block_new(struct kt *t, float *floats, void *block, size_t n)
{
	struct kt_buffer *b = malloc(sizeof *b);
	gn_assert(b);
	*b = (struct kt_buffer){t->buffers, block, floats, n};
	t->buffers = b;
	return floats ? (void *)floats : block;
}

/* One float off a 64-byte boundary, bands around it; without bands, exact at its end. */
static float *floats_new(struct kt *t, size_t n)
{
	size_t lead = band + 1;
	uint32_t *block = band ? aligned_alloc(64, ((lead + n + band) * 4 + 63) / 64 * 64) : malloc((lead + n) * 4);
	gn_assert(block);
	for (size_t i = 0; i < lead; i++)
		block[i] = PATTERN;
	for (size_t i = 0; i < band; i++)
		block[lead + n + i] = PATTERN;
	return block_new(t, (float *)(void *)block + lead, block, n);
}

static void bands_check(struct kt *t, const struct kt_buffer *b)
{
	for (size_t i = 0; b->floats && i < band; i++) {
		uint32_t before, after;
		memcpy(&before, b->floats - band + i, 4);
		memcpy(&after, b->floats + b->n + i, 4);
		if (before != PATTERN || after != PATTERN) {
			printf("FAIL %s %s: wrote outside a buffer of %zu, at %zd\n", t->op, t->shape, b->n,
			       after != PATTERN ? (ssize_t)(b->n + i) : (ssize_t)i - (ssize_t)band);
			t->failures++;
			return;
		}
	}
}

static void buffers_end(struct kt *t)
{
	while (t->buffers) {
		struct kt_buffer *b = t->buffers;
		bands_check(t, b);
		t->buffers = b->next;
		free(b->block);
		free(b);
	}
}

uint16_t kt_bf16(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	if (isnan(x))
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float kt_float(uint16_t bf16)
{
	uint32_t bits = (uint32_t)bf16 << 16;
	float x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

void kt_round(const struct kt *t, float *x, size_t n)
{
	for (size_t i = 0; t->backend->act_bytes == 2 && i < n; i++)
		x[i] = kt_float(kt_bf16(x[i]));
}

int kt_below(struct kt *t, int n)
{
	t->random = t->random * 1664525U + 1013904223U;
	return (int)((t->random >> 8) % (uint32_t)n);
}

float *kt_input(struct kt *t, size_t n, double size)
{
	float *x = floats_new(t, n);
	/* size 0 gives +0 */
	for (size_t i = 0; i < n; i++)
		x[i] = (float)(size * (kt_below(t, 1 << 22) * 0x1p-21 - 1.0) + 0.0);
	kt_round(t, x, n);
	return x;
}

float *kt_output(struct kt *t, size_t n)
{
	float *x = floats_new(t, n);
	for (size_t i = 0; i < n; i++)
		x[i] = NAN;
	return x;
}

float *kt_copy(struct kt *t, const float *from, size_t n)
{
	float *x = floats_new(t, n);
	memcpy(x, from, n * sizeof *x);
	return x;
}

double *kt_doubles(struct kt *t, size_t n)
{
	double *x = calloc(n, sizeof *x);
	gn_assert(x);
	return block_new(t, NULL, x, n);
}

double *kt_widen(struct kt *t, const float *from, size_t n)
{
	double *x = kt_doubles(t, n);
	for (size_t i = 0; i < n; i++)
		x[i] = (double)from[i];
	return x;
}

/* ---------------------------------------------------------------- checks ---------------------- */

static void fail(struct kt *t, const char *what, size_t at, double got, double want, double allowed)
{
	printf("FAIL %s %s: %s[%zu] is %.9g, should be %.9g (differs by %.3g, allowed %.3g)\n", t->op, t->shape, what,
	       at, got, want, got - want, allowed);
	t->failures++;
}

/* Outputs that are float32 in every precision. */
static bool is_float(const char *what)
{
	static const char *const names[] = {"dw",  "db",     "dgamma", "dpos", "dbias", "dprefix",
	                                    "lse", "losses", "weight", "m",    "v"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (!strcmp(what, names[i]))
			return true;
	return false;
}

/*
 * tf32: each operand of a product keeps 11 bits, so that a term is off by 2^-10 at most, twice that
 * where the hardware cuts off instead of rounding; column sums (db) and attention are float32.
 * bf16: operands are exact here. An output is rounded once, by 2^-9. Products round what they read
 * and pass on around an epilogue (bias, pre-activation, residual): up to three times more.
 * Attention rounds probabilities, and backward the gradients of scores, the outputs that it reads
 * again and a sum over them.
 */
double kt_slack(const struct kt *t, const char *what)
{
	bool product = strstr(t->op, "linear") || strstr(t->op, "embed");
	if (t->backend->precision == GN_PRECISION_TF32)
		return product && strcmp(what, "db") ? 0x1p-9 : 0;
	if (t->backend->precision != GN_PRECISION_BF16)
		return 0;
	if (!strcmp(t->op, "attention_backward"))
		return 0x1p-6;
	if (!strcmp(t->op, "attention"))
		return strcmp(what, "lse") ? 0x1p-7 : 0;
	return is_float(what) ? 0 : product ? 0x1p-7 : 0x1p-8;
}

void kt_check(struct kt *t, const char *what, const float *got, const double *want, const double *sizes, size_t n,
              double ulps)
{
	double largest = 1e-30, relative = ulps * 0x1p-24 + kt_slack(t, what);
	for (size_t i = 0; i < n; i++)
		if (!isfinite(got[i])) {
			fail(t, what, i, (double)got[i], want[i], 0);
			return;
		}
	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs(want[i]));
	for (size_t i = 0; i < n; i++) {
		double allowed = relative * (sizes ? fmax(sizes[i], 1e-30) : largest),
		       off = fabs((double)got[i] - want[i]);
		t->worst = fmax(t->worst, off / allowed);
		if (!(off <= allowed)) {
			fail(t, what, i, (double)got[i], want[i], allowed);
			return;
		}
	}
}

void kt_check_same(struct kt *t, const char *what, const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(got + i, want + i, 4)) {
			fail(t, what, i, (double)got[i], (double)want[i], 0);
			return;
		}
}

void kt_gradient(struct kt *t, const char *what, const float *got, double *x, size_t n, double (*loss)(void *user),
                 void *user)
{
	enum { SAMPLE = 24 };
	double slope[SAMPLE], largest = 1e-12, allowed = 2e-4 + kt_slack(t, what);
	size_t at[SAMPLE];
	for (int s = 0; s < SAMPLE; s++) {
		size_t i = at[s] = n <= SAMPLE ? (size_t)s % n : (size_t)kt_below(t, (int)n);
		double keep = x[i], step = 1e-4;
		x[i] = keep + step;
		double up = loss(user);
		x[i] = keep - step;
		double down = loss(user);
		x[i] = keep;
		slope[s] = (up - down) / (2 * step);
		largest = fmax(largest, fabs(slope[s]));
	}
	for (int s = 0; s < SAMPLE; s++) {
		double off = fabs((double)got[at[s]] - slope[s]);
		t->worst = fmax(t->worst, off / (allowed * largest));
		if (!(off <= allowed * largest)) {
			fail(t, what, at[s], (double)got[at[s]], slope[s], allowed * largest);
			return;
		}
	}
}

/* ---------------------------------------------------------------- running --------------------- */

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void kt_begin(struct kt *t, double flops, double bytes)
{
	t->clock = (struct kt_clock){.flops = flops, .bytes = bytes, .seconds = INFINITY};
}

bool kt_more(struct kt *t)
{
	double now = seconds_now();
	if (t->mode != KT_PERF)
		return t->clock.runs++ == 0;
	if (t->clock.runs > 0)
		t->clock.seconds = fmin(t->clock.seconds, now - t->clock.start);
	if (t->clock.runs++ >= 20) {
		printf("perf %-20s %-40s %9.1f us %8.1f GFLOP/s %7.1f GB/s\n", t->op, t->shape, t->clock.seconds * 1e6,
		       t->clock.flops / t->clock.seconds * 1e-9, t->clock.bytes / t->clock.seconds * 1e-9);
		return false;
	}
	t->clock.start = seconds_now();
	return true;
}

static void shape_text(char *text, size_t size, const char *letters, const int *d)
{
	size_t at = 0;
	text[0] = 0;
	for (int i = 0; letters[i] && at < size; i++)
		at += (size_t)snprintf(text + at, size - at, "%s%c=%d", i ? " " : "", letters[i], d[i]);
}

static int run_one(const struct kt_op *o, const int *d, struct gn_ctx *ctx, const struct gn_backend *backend,
                   enum kt_mode mode, const char *shape, double *worst)
{
	struct kt t = {.backend = backend, .ctx = ctx, .mode = mode, .op = o->name, .random = 12345};
	struct gn_error err = {0};
	shape_text(t.shape, sizeof t.shape, o->letters, d);
	if (shape && !strstr(t.shape, shape))
		return 0;
	o->run(&t, d);
	if (backend->sync(ctx, &err)) {
		printf("FAIL %s %s: %s\n", t.op, t.shape, err.text);
		t.failures++;
	}
	buffers_end(&t);
	*worst = fmax(*worst, t.worst);
	return t.failures;
}

int kt_run_all(const struct kt_op *ops, int count, struct gn_ctx *ctx, const struct gn_backend *backend,
               enum kt_mode mode, const char *op, const char *shape, bool quiet)
{
	int failures = 0;
	for (int i = 0; i < count; i++) {
		const struct kt_op *o = ops + i;
		int shapes = mode == KT_PERF ? o->fast_count : o->shape_count, failed = 0;
		double worst = 0;
		if ((op && !strstr(o->name, op)) || (mode == KT_GRAD && !o->gradients))
			continue;
		for (int s = 0; s < shapes; s++)
			failed +=
			    run_one(o, (mode == KT_PERF ? o->fast : o->shapes)[s], ctx, backend, mode, shape, &worst);
		if (mode != KT_PERF && !quiet)
			printf("%s %-20s %2d shapes, largest error %.3f of its tolerance\n",
			       mode == KT_TEST ? "test" : "grad", o->name, shapes, worst);
		failures += failed;
	}
	return failures;
}

const struct kt_group kt_groups[KT_GROUPS] = {{kt_products, &kt_products_count}, {kt_attention, &kt_attention_count},
                                              {kt_rows, &kt_rows_count},         {kt_tokens, &kt_tokens_count},
                                              {kt_training, &kt_training_count}, {kt_memory, &kt_memory_count}};

int kt_run_groups(struct gn_ctx *ctx, const struct gn_backend *backend, enum kt_mode mode, const char *op,
                  const char *shape, bool quiet)
{
	int failures = 0;
	for (int g = 0; g < KT_GROUPS; g++)
		failures += kt_run_all(kt_groups[g].ops, *kt_groups[g].count, ctx, backend, mode, op, shape, quiet);
	return failures;
}

/* ---------------------------------------------------------------- activations ----------------- */

double kt_act(enum gn_activation activation, double x)
{
	if (activation == GN_ACT_GELU)
		return 0.5 * x * erfc(-x / sqrt(2.0));
	if (activation == GN_ACT_QUICK_GELU)
		return x / (1 + exp(-1.702 * x));
	return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

double kt_act_slope(enum gn_activation activation, double x)
{
	if (activation == GN_ACT_GELU)
		return 0.5 * erfc(-x / sqrt(2.0)) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
	if (activation == GN_ACT_QUICK_GELU) {
		double s = 1 / (1 + exp(-1.702 * x));
		return s + 1.702 * x * s * (1 - s);
	}
	double u = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x), th = tanh(u);
	return 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}
