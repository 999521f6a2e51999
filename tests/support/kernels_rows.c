/* Layer norm and layer scale. */
#include "tests/support/kernels.h"

#include <math.h>

/* M, C, and what is asked for. */
enum { DX = 1, DW = 2, DB = 4, ADD = 8, IN_PLACE = 16, OFFSET = 32, SHARED = 64, NORMED = 128 };
static const int forward_shapes[][8] = {{1, 1, 0},         {1, 8, 0},    {197, 192, 0},    {3, 30, 0},
                                        {5, 17, IN_PLACE}, {2, 8192, 0}, {9, 100, OFFSET}, {4, 4, 0}};
static const int shapes[][8] = {
    {1, 8, DX | DW | DB},
    {197, 192, DX | DW | DB | ADD},
    {13, 30, DX | DW | DB | ADD | IN_PLACE},
    {5, 17, DX},
    {6, 33, DW | DB},
    {6, 33, DB},
    {2, 1024, DX | ADD},
    {300, 5, DX | DW},
    {30, 48, DX | DW | DB | ADD | SHARED},
    {5, 8192, DX | DW | DB},
    {30, 48, DX | DW | DB | ADD | NORMED},
    {13, 30, DX | ADD | IN_PLACE | NORMED},
    {5, 8192, DX | NORMED},
};
static const int fast[][8] = {{3152, 192, DX | DW | DB | ADD}, {3152, 768, DX | DW | DB | ADD}};
static const int scale_shapes[][8] = {
    {1, 1, DX | DW}, {197, 192, DX | DW}, {13, 30, DX}, {13, 30, DW}, {40, 17, DX | DW}};

#define EPS 1e-6F

struct rows {
	double *x, *w, *b;
	int M, C;
};

static void moments(double *mean, double *rstd, const double *x, int C)
{
	*mean = 0;
	*rstd = 0;
	for (int j = 0; j < C; j++)
		*mean += x[j] / C;
	for (int j = 0; j < C; j++)
		*rstd += (x[j] - *mean) * (x[j] - *mean) / C;
	*rstd = 1 / sqrt(*rstd + (double)EPS);
}

static void forward(double *out, const struct rows *r)
{
	for (int i = 0; i < r->M; i++) {
		double mean, rstd;
		moments(&mean, &rstd, r->x + i * r->C, r->C);
		for (int j = 0; j < r->C; j++)
			out[i * r->C + j] = (r->x[i * r->C + j] - mean) * rstd * r->w[j] + r->b[j];
	}
}

static void run_layernorm(struct kt *t, const int *d)
{
	int M = d[0], C = d[1];
	size_t n = (size_t)M * (size_t)C;
	float *x = kt_input(t, n, 1), *w = kt_input(t, (size_t)C, 1), *b = kt_input(t, (size_t)C, 1);
	for (size_t i = 0; (d[2] & OFFSET) && i < n; i++) /* a mean far larger than the deviation */
		x[i] += 64;
	kt_round(t, x, n);
	double *given = kt_widen(t, x, n), *want = kt_doubles(t, n);
	float *out = d[2] & IN_PLACE ? x : kt_output(t, n);
	KT_RUN(t, 0, 8.0 * (double)n)
	t->backend->layernorm(t->ctx, out, x, w, b, EPS, M, C);
	if (t->mode == KT_PERF)
		return;
	struct rows r = {given, kt_widen(t, w, (size_t)C), kt_widen(t, b, (size_t)C), M, C};
	forward(want, &r);
	/* 16 ulps: mean, deviation, product and sum of numbers of the size of the output; inputs at
	 * 64 +- 1 lose six bits more. */
	kt_check(t, "out", out, want, NULL, n, d[2] & OFFSET ? 16 * 64 : C == 1 ? 1e4 : 16);
}

/* ---------------------------------------------------------------- backward -------------------- */

struct loss {
	struct rows rows;
	double *out;
	const double *dout;
};

static double loss(void *user)
{
	struct loss *l = user;
	double sum = 0;
	forward(l->out, &l->rows);
	for (int i = 0; i < l->rows.M * l->rows.C; i++)
		sum += l->out[i] * l->dout[i];
	return sum;
}

static void backward(double *dx, double *dw, double *db, const struct rows *r, const double *dout, const double *add)
{
	for (int i = 0; i < r->M; i++) {
		const double *x = r->x + i * r->C, *g = dout + i * r->C;
		double mean, rstd, sum = 0, dot = 0;
		moments(&mean, &rstd, x, r->C);
		for (int j = 0; j < r->C; j++) {
			double xhat = (x[j] - mean) * rstd;
			dw[j] += g[j] * xhat;
			db[j] += g[j];
			sum += g[j] * r->w[j] / r->C;
			dot += g[j] * r->w[j] * xhat / r->C;
		}
		for (int j = 0; j < r->C; j++)
			dx[i * r->C + j] =
			    (add ? add[i * r->C + j] : 0) + rstd * (g[j] * r->w[j] - sum - (x[j] - mean) * rstd * dot);
	}
}

static void run_layernorm_backward(struct kt *t, const int *d)
{
	int M = d[0], C = d[1], parts = d[2];
	size_t n = (size_t)M * (size_t)C, c = (size_t)C;
	float *x = kt_input(t, n, 1), *w = kt_input(t, c, 1), *dout = kt_input(t, n, 1),
	      *add = parts & ADD ? kt_input(t, n, 1) : NULL;
	float *dx = !(parts & DX) ? NULL : parts & IN_PLACE ? add : parts & SHARED ? dout : kt_output(t, n);
	float *dw = parts & DW ? kt_input(t, c, 1) : NULL, *db = parts & DB ? kt_input(t, c, 1) : NULL;
	float *normed = parts & NORMED ? kt_output(t, n) : NULL, *b = normed ? kt_input(t, c, 1) : NULL;
	double *want_dw = dw ? kt_widen(t, dw, c) : kt_doubles(t, c),
	       *want_db = db ? kt_widen(t, db, c) : kt_doubles(t, c);
	double *given = kt_widen(t, dout, n), *given_add = add ? kt_widen(t, add, n) : NULL, *want = kt_doubles(t, n);
	struct rows r = {kt_widen(t, x, n), kt_widen(t, w, c), b ? kt_widen(t, b, c) : kt_doubles(t, c), M, C};
	if (t->mode == KT_GRAD)
		for (int j = 0; j < C; j++) { /* sums start at 0 for the comparison */
			if (dw)
				dw[j] = 0;
			if (db)
				db[j] = 0;
		}
	KT_RUN(t, 0, 16.0 * (double)n)
	t->backend->layernorm_backward(t->ctx, dx, dw, db, normed, add, dout, x, w, b, EPS, M, C);
	if (t->mode == KT_TEST) {
		backward(want, want_dw, want_db, &r, given, given_add);
		/* some ulps of the largest; rstd magnifies what rows of few numbers lose in their
		 * deviation */
		if (dx)
			kt_check(t, "dx", dx, want, NULL, n, C < 10 ? 2000 : 64);
		if (normed) {
			forward(want, &r);
			kt_check(t, "normed", normed, want, NULL, n, C < 10 ? 1e4 : 16); /* as forward */
		}
		if (dw)
			kt_check(t, "dw", dw, want_dw, NULL, c, 64);
		if (db)
			kt_check(t, "db", db, want_db, NULL, c, 64);
	}
	if (t->mode == KT_GRAD && C > 8 && n < 20000) {
		struct loss l = {r, kt_doubles(t, n), given};
		if (dx && !add)
			kt_gradient(t, "dx", dx, l.rows.x, n, loss, &l);
		if (dw)
			kt_gradient(t, "dw", dw, l.rows.w, c, loss, &l);
		if (db)
			kt_gradient(t, "db", db, l.rows.b, c, loss, &l);
	}
}

static void run_scale_backward(struct kt *t, const int *d)
{
	int M = d[0], C = d[1], parts = d[2];
	size_t n = (size_t)M * (size_t)C, c = (size_t)C;
	float *dout = kt_input(t, n, 1), *branch = parts & DW ? kt_input(t, n, 1) : NULL, *gamma = kt_input(t, c, 1);
	float *dbranch = parts & DX ? kt_output(t, n) : NULL, *dgamma = parts & DW ? kt_input(t, c, 1) : NULL;
	double *want = kt_doubles(t, n), *sums = dgamma ? kt_widen(t, dgamma, c) : NULL, *sizes = kt_doubles(t, c);
	KT_RUN(t, 0, 12.0 * (double)n)
	t->backend->scale_backward(t->ctx, dbranch, dgamma, dout, branch, gamma, M, C);
	if (t->mode == KT_PERF)
		return;
	for (size_t i = 0; i < n; i++) {
		want[i] = (double)dout[i] * (double)gamma[i % c];
		if (!sums)
			continue;
		sums[i % c] += (double)dout[i] * (double)branch[i];
		sizes[i % c] += fabs((double)dout[i] * (double)branch[i]) + 1.0 / M;
	}
	if (dbranch)
		kt_check(t, "dbranch", dbranch, want, NULL, n, 1);
	if (dgamma)
		kt_check(t, "dgamma", dgamma, sums, sizes, c, 8 + 2 * sqrt(M));
}

const struct kt_op kt_rows[] = {
    {KT_SLOT(layernorm), .letters = "MCE", KT_SHAPES(forward_shapes), KT_FAST(fast), .run = run_layernorm},
    {KT_SLOT(layernorm_backward), .letters = "MCE", KT_SHAPES(shapes), KT_FAST(fast), .run = run_layernorm_backward,
     .gradients = true},
    {KT_SLOT(scale_backward), .letters = "MCE", KT_SHAPES(scale_shapes), KT_FAST(fast), .run = run_scale_backward},
};
const int kt_rows_count = sizeof kt_rows / sizeof kt_rows[0];
