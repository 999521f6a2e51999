/* Products: linear with every epilogue, linear_dx with every activation, linear_dw. */
#include "tests/support/kernels.h"

#include <math.h>

/* The sizes' letter E is the epilogue's kind: bits below, activation in the upper ones. */
enum {
	BIAS = 1,
	ACTIVATE = 2,
	PRE = 4,
	SCALE = 8,
	BRANCH = 16,
	RESIDUAL = 32,
	IN_PLACE = 64,
	ACT_OUT = 128,
	FLOAT_OUT = 1024
};
#define ACT(a)       ((a) << 8)
#define ACT_OF(kind) ((enum gn_activation)((kind) >> 8 & 3))

static const int linear_shapes[][8] = {
    {1, 1, 1, 0},
    {1, 10, 192, BIAS},
    {14, 32, 16, 0},
    {13, 33, 17, BIAS | RESIDUAL},
    {61, 77, 53, BIAS | ACTIVATE | PRE},
    {61, 77, 53, BIAS | ACTIVATE},
    {197, 96, 65, BIAS | ACTIVATE | PRE | ACT(GN_ACT_GELU_TANH)},
    {29, 64, 40, BIAS | ACTIVATE | PRE | ACT(GN_ACT_QUICK_GELU)},
    {197, 100, 64, BIAS | SCALE | BRANCH | RESIDUAL},
    {50, 70, 31, SCALE | RESIDUAL | IN_PLACE},
    {50, 64, 31, BIAS | RESIDUAL | IN_PLACE},
    {33, 48, 24, ACTIVATE | RESIDUAL},
    {7, 1000, 19, BIAS},
    {230, 24, 1024, BIAS},
    {3, 3, 4099, 0},
    {2051, 9, 17, BIAS},
    {9, 2051, 17, BIAS | RESIDUAL},
    {40, 96, 64, BIAS | ACTIVATE | PRE | ACT(GN_ACT_GELU_TANH)},
    {40, 96, 64, ACTIVATE | ACT(GN_ACT_GELU_TANH)},
    {40, 96, 64, BIAS | ACTIVATE | PRE},
    {30, 33, 65, ACTIVATE},
    {30, 33, 65, ACTIVATE | ACT(GN_ACT_GELU_TANH)},
    {30, 33, 65, ACTIVATE | ACT(GN_ACT_QUICK_GELU)},
    {64, 10, 72, BIAS | FLOAT_OUT},
    {33, 37, 48, BIAS | SCALE | FLOAT_OUT},
    {33, 40, 48, BIAS | SCALE | RESIDUAL | IN_PLACE | FLOAT_OUT},
};
static const int linear_fast[][8] = {
    {3152, 2304, 768, BIAS}, {3152, 3072, 768, BIAS | ACTIVATE | PRE}, {3152, 768, 3072, BIAS | RESIDUAL},
    {3152, 576, 192, BIAS},  {197, 3072, 768, BIAS | ACTIVATE},        {197, 192, 768, BIAS | RESIDUAL},
};

/* z[M,N] = x w^T + bias, and the sums of absolute values behind each. */
static void linear_referee(double *z, double *sizes, const float *x, const float *w, const float *bias, const int *d)
{
	int M = d[0], N = d[1], K = d[2];
	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++) {
			double sum = bias ? (double)bias[j] : 0, size = fabs(sum);
			for (int k = 0; k < K; k++) {
				double term = (double)x[i * K + k] * (double)w[j * K + k];
				sum += term;
				size += fabs(term);
			}
			z[i * N + j] = sum;
			sizes[i * N + j] = size;
		}
}

/* Rounding errors of a sum of K products grow like sqrt(K) in units of its terms' absolute sum, K
 * at worst; 8 for what follows. */
static double sum_ulps(int K)
{
	return 8 + 2 * sqrt(K);
}

static void run_linear(struct kt *t, const int *d)
{
	int M = d[0], N = d[1], K = d[2], kind = d[3];
	size_t n = (size_t)M * (size_t)N;
	enum gn_activation activation = ACT_OF(kind);
	float *x = kt_input(t, (size_t)M * (size_t)K, 1), *w = kt_input(t, (size_t)N * (size_t)K, 1);
	float *bias = kind & BIAS ? kt_input(t, (size_t)N, 1) : NULL,
	      *scale = kind & SCALE ? kt_input(t, (size_t)N, 1) : NULL;
	float *residual = kind & RESIDUAL ? kt_input(t, n, 1) : NULL,
	      *given = residual ? kt_copy(t, residual, n) : NULL;
	float *pre = kind & PRE ? kt_output(t, n) : NULL, *branch = kind & BRANCH ? kt_output(t, n) : NULL;
	float *out = kind & IN_PLACE ? residual : kt_output(t, n);
	struct gn_epilogue e = {.bias = bias,
	                        .activation = activation,
	                        .activate = kind & ACTIVATE,
	                        .pre = pre,
	                        .scale = scale,
	                        .branch = branch,
	                        .residual = residual,
	                        .float_out = kind & FLOAT_OUT};
	KT_RUN(t, 2.0 * M * N * K, 4.0 * ((double)M * K + (double)N * K + (double)n))
	t->backend->linear(t->ctx, out, x, w, &e, M, N, K);
	if (t->mode == KT_PERF)
		return;
	double *z = kt_doubles(t, n), *sizes = kt_doubles(t, n);
	linear_referee(z, sizes, x, w, bias, d);
	if (pre)
		kt_check(t, "pre", pre, z, sizes, n, sum_ulps(K));
	for (size_t i = 0; i < n; i++)
		z[i] = kind & ACTIVATE ? kt_act(activation, z[i]) : z[i];
	if (branch)
		kt_check(t, "branch", branch, z, sizes, n, sum_ulps(K));
	for (size_t i = 0; i < n; i++) {
		z[i] = z[i] * (scale ? (double)scale[i % (size_t)N] : 1) + (given ? (double)given[i] : 0);
		sizes[i] += given ? fabs((double)given[i]) : 0;
	}
	kt_check(t, "out", out, z, sizes, n, sum_ulps(K));
}

/* ---------------------------------------------------------------- input gradient -------------- */

static const int dx_shapes[][8] = {
    {1, 1, 1, 0},
    {2, 10, 192, 0},
    {61, 53, 77, 0},
    {61, 53, 77, ACTIVATE},
    {61, 53, 77, ACTIVATE | ACT_OUT},
    {197, 48, 96, ACTIVATE | ACT_OUT | ACT(GN_ACT_GELU_TANH)},
    {30, 33, 65, ACTIVATE | ACT_OUT | ACT(GN_ACT_QUICK_GELU)},
    {30, 33, 64, ACTIVATE | IN_PLACE},
    {30, 33, 64, ACTIVATE | IN_PLACE | ACT(GN_ACT_GELU_TANH)},
    {30, 33, 61, ACTIVATE | ACT(GN_ACT_GELU_TANH)},
    {30, 33, 61, ACTIVATE | ACT_OUT | IN_PLACE},
    {40, 2048, 20, 0},
    {6, 37, 2051, 0},
};
static const int dx_fast[][8] = {{3152, 3072, 768, 0}, {3152, 768, 3072, ACTIVATE}, {3152, 192, 768, ACTIVATE}};

struct dx_loss {
	double *pre;
	const double *product;
	enum gn_activation activation;
	size_t n;
};

static double dx_loss(void *user)
{
	struct dx_loss *l = user;
	double sum = 0;
	for (size_t i = 0; i < l->n; i++)
		sum += l->product[i] * kt_act(l->activation, l->pre[i]);
	return sum;
}

static void run_linear_dx(struct kt *t, const int *d)
{
	int M = d[0], N = d[1], K = d[2], kind = d[3];
	size_t n = (size_t)M * (size_t)K;
	enum gn_activation activation = ACT_OF(kind);
	float *dout = kt_input(t, (size_t)M * (size_t)N, 1), *w = kt_input(t, (size_t)N * (size_t)K, 1);
	float *pre = kind & ACTIVATE ? kt_input(t, n, 6) : NULL, *given = pre ? kt_copy(t, pre, n) : NULL;
	float *act_out = !(kind & ACT_OUT) ? NULL : kind & IN_PLACE ? pre : kt_output(t, n);
	float *dx = (kind & IN_PLACE) && !act_out ? pre : kt_output(t, n);
	KT_RUN(t, 2.0 * M * N * K, 4.0 * ((double)M * N + (double)N * K + (double)n))
	t->backend->linear_dx(t->ctx, dx, dout, w, pre, activation, act_out, M, N, K);
	if (t->mode == KT_PERF)
		return;
	double *want = kt_doubles(t, n), *sizes = kt_doubles(t, n), *acts = kt_doubles(t, n);
	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++)
			for (int k = 0; k < K; k++) {
				double term = (double)dout[i * N + j] * (double)w[j * K + k];
				want[i * K + k] += term;
				sizes[i * K + k] += fabs(term);
			}
	if (t->mode == KT_GRAD) {
		if (!given)
			return;
		struct dx_loss l = {kt_widen(t, given, n), want, activation, n};
		kt_gradient(t, "dx", dx, l.pre, n, dx_loss, &l);
		return;
	}
	for (size_t i = 0; given && i < n; i++) {
		want[i] *= kt_act_slope(activation, (double)given[i]);
		acts[i] = kt_act(activation, (double)given[i]);
	}
	kt_check(t, "dx", dx, want, sizes, n, sum_ulps(N));
	if (act_out) /* the largest value is 6: 2e-7 * 6 at most beside its own rounding */
		kt_check(t, "act_out", act_out, acts, NULL, n, 4);
}

/* ---------------------------------------------------------------- weight gradient ------------- */

/* M, N, K, and what is asked for: 1 dw, 2 db, 4 dw is set and not added to */
static const int dw_shapes[][8] = {{61, 53, 77, 7},   {4100, 7, 9, 5},  {512, 256, 320, 7}, {1, 1, 1, 3},
                                   {61, 53, 77, 3},   {61, 53, 77, 1},  {61, 53, 77, 2},    {1100, 30, 40, 3},
                                   {197, 10, 192, 3}, {513, 96, 64, 3}, {4100, 7, 9, 3}};
static const int dw_fast[][8] = {{3152, 3072, 768, 3}, {3152, 768, 768, 3}, {3152, 576, 192, 3}};

static void run_linear_dw(struct kt *t, const int *d)
{
	int M = d[0], N = d[1], K = d[2], parts = d[3];
	size_t n = (size_t)N * (size_t)K;
	float *dout = kt_input(t, (size_t)M * (size_t)N, 1), *x = kt_input(t, (size_t)M * (size_t)K, 1);
	float *dw = parts & 1 ? kt_input(t, n, 1) : NULL, *db = parts & 2 ? kt_input(t, (size_t)N, 1) : NULL;
	double *want = dw && !(parts & 4) ? kt_widen(t, dw, n) : kt_doubles(t, n), *sizes = kt_doubles(t, n);
	double *sums = db ? kt_widen(t, db, (size_t)N) : kt_doubles(t, (size_t)N),
	       *sum_sizes = kt_doubles(t, (size_t)N);
	KT_RUN(t, 2.0 * M * N * K, 4.0 * ((double)M * N + (double)M * K + 2 * (double)n))
	t->backend->linear_dw(t->ctx, dw, db, dout, x, !(parts & 4), M, N, K);
	if (t->mode == KT_PERF)
		return;
	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++) {
			double g = (double)dout[i * N + j];
			sums[j] += g;
			sum_sizes[j] += fabs(g) + 1.0 / M;
			for (int k = 0; k < K; k++) {
				want[j * K + k] += g * (double)x[i * K + k];
				sizes[j * K + k] += fabs(g * (double)x[i * K + k]) + 1.0 / M;
			}
		}
	if (dw)
		kt_check(t, "dw", dw, want, sizes, n, sum_ulps(M));
	if (db)
		kt_check(t, "db", db, sums, sum_sizes, (size_t)N, sum_ulps(M));
}

const struct kt_op kt_products[] = {
    {KT_SLOT(linear), .letters = "MNKE", KT_SHAPES(linear_shapes), KT_FAST(linear_fast), .run = run_linear},
    {KT_SLOT(linear_dx), .letters = "MNKE", KT_SHAPES(dx_shapes), KT_FAST(dx_fast), .run = run_linear_dx,
     .gradients = true},
    {KT_SLOT(linear_dw), .letters = "MNKE", KT_SHAPES(dw_shapes), KT_FAST(dw_fast), .run = run_linear_dw},
};
const int kt_products_count = sizeof kt_products / sizeof kt_products[0];
