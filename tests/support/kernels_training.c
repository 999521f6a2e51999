/* Loss, optimisers, gradient norm; sums of angles and soups; memory. */
#include "tests/support/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- loss ------------------------------------------- */

/* B, K, class weights, smoothing in tenths. */
static const int loss_shapes[][8] = {{1, 2, 0, 0},  {5, 10, 0, 0},   {7, 10, 1, 0}, {3, 10, 0, 1},
                                     {4, 33, 1, 2}, {2, 1000, 1, 1}, {3, 1, 0, 1}};
static const int loss_fast[][8] = {{64, 1000, 0, 1}};

struct loss {
	double *z, *losses;
	const int32_t *labels;
	const float *cw;
	double smoothing;
	int B, K;
};

/* As PyTorch defines it: losses[B]; returns their sum. */
static double referee_loss(void *user)
{
	struct loss *l = user;
	double total = 0;
	for (int b = 0; b < l->B; b++) {
		const double *z = l->z + b * l->K;
		double max = z[0], sum = 0, smooth = 0;
		for (int k = 1; k < l->K; k++)
			max = fmax(max, z[k]);
		for (int k = 0; k < l->K; k++)
			sum += exp(z[k] - max);
		double lse = max + log(sum);
		for (int k = 0; k < l->K; k++)
			smooth += (l->cw ? (double)l->cw[k] : 1) * (lse - z[k]);
		int y = l->labels[b];
		l->losses[b] =
		    (1 - l->smoothing) * (l->cw ? (double)l->cw[y] : 1) * (lse - z[y]) + l->smoothing / l->K * smooth;
		total += l->losses[b];
	}
	return total;
}

static void run_cross_entropy(struct kt *t, const int *d)
{
	int B = d[0], K = d[1];
	size_t n = (size_t)B * (size_t)K;
	float *logits = kt_input(t, n, 8), *cw = d[2] ? kt_input(t, (size_t)K, 0.5) : NULL;
	float *losses = kt_output(t, (size_t)B), *dlogits = kt_output(t, n), *again = kt_output(t, (size_t)B),
	      scale = 0.25F;
	struct gn_step_numbers step = {.loss_scale = scale, .loss = 3};
	int32_t *labels = malloc((size_t)B * sizeof *labels);
	gn_assert(labels);
	for (int b = 0; b < B; b++)
		labels[b] = kt_below(t, K);
	for (int k = 0; cw && k < K; k++)
		cw[k] += 1;
	float smoothing = (float)d[3] / 10;
	KT_RUN(t, 0, 8.0 * (double)n)
	{
		step.loss = 3;
		t->backend->cross_entropy(t->ctx, losses, dlogits, &step, logits, labels, cw, smoothing, B, K);
	}
	struct loss l = {kt_widen(t, logits, n), kt_doubles(t, (size_t)B), labels, cw, (double)smoothing, B, K};
	referee_loss(&l);
	kt_check(t, "losses", losses, l.losses, NULL, (size_t)B, 2); /* one rounding, from double */
	double sum = 3;
	float off = 0;
	for (int b = 0; b < B; b++)
		sum += (double)losses[b];
	off = (float)(step.loss - sum);
	kt_check(t, "sum of losses", &off, (double[]){0}, &sum, 1, 1e-12 * 0x1p24);
	if (t->mode == KT_GRAD && K > 1) {
		for (size_t i = 0; i < n; i++)
			dlogits[i] /= scale;
		kt_gradient(t, "dlogits", dlogits, l.z, n, referee_loss, &l);
	}
	t->backend->cross_entropy(t->ctx, again, NULL, &step, logits, labels, cw, smoothing, B, K);
	kt_check_same(t, "losses without gradient", again, losses, (size_t)B);
	free(labels);
}

/* ---------------------------------------------------------------- optimisers ------------------------------------- */

/* Sizes of three tensors, steps taken, decay in hundredths. */
static const int opt_shapes[][8] = {
    {1, 2, 3, 1, 0}, {1, 100003, 17, 3, 5}, {70000, 65536, 131072, 2, 5}, {5, 8, 64, 10, 0}};
static const int opt_fast[][8] = {{2359296, 7077888, 100, 1, 5}};
enum { TENSORS = 3 };

struct opt {
	struct gn_opt_tensor list[TENSORS];
	double *w[TENSORS], *m[TENSORS], *v[TENSORS];
};

/* Tensors with gradients of very different sizes; moments start at 0. */
static void opt_init(struct kt *t, struct opt *o, const int *d, bool adam)
{
	for (int i = 0; i < TENSORS; i++) {
		size_t n = (size_t)d[i];
		o->list[i] = (struct gn_opt_tensor){.weight = kt_input(t, n, 1),
		                                    .grad = kt_input(t, n, pow(10, -2 * i)),
		                                    .m = kt_input(t, n, 0),
		                                    .v = adam ? kt_input(t, n, 0) : NULL,
		                                    .n = n,
		                                    .lr_scale = i + 1,
		                                    .decay = (float)d[4] / 100};
		o->w[i] = kt_widen(t, o->list[i].weight, n);
		o->m[i] = kt_doubles(t, n);
		o->v[i] = kt_doubles(t, n);
	}
}

static void opt_check(struct kt *t, const struct opt *o, bool adam)
{
	for (int i = 0; i < TENSORS; i++) { /* each step adds some ulps */
		kt_check(t, "weight", o->list[i].weight, o->w[i], NULL, o->list[i].n, 40);
		kt_check(t, "m", o->list[i].m, o->m[i], NULL, o->list[i].n, 40);
		if (adam)
			kt_check(t, "v", o->list[i].v, o->v[i], NULL, o->list[i].n, 40);
	}
}

static double opt_floats(const int *d)
{
	return (double)d[0] + d[1] + d[2];
}

static struct gn_opt_list *opt_list(struct kt *t, const struct opt *o)
{
	struct gn_opt_list *list = t->backend->opt_list_new(t->ctx, o->list, TENSORS, NULL);
	gn_assert(list);
	return list;
}

static void run_adamw(struct kt *t, const int *d)
{
	struct opt o;
	const struct gn_adamw how = {.beta1 = 0.9F, .beta2 = 0.999F, .eps = 1e-8F};
	double b1 = (double)how.beta1, b2 = (double)how.beta2;
	opt_init(t, &o, d, true);
	struct gn_opt_list *list = opt_list(t, &o);
	for (int step = 1; step <= d[3]; step++) {
		const struct gn_step_numbers numbers = {.lr = 1e-3,
		                                        .correct1 = 1 - pow(b1, step),
		                                        .correct2 = 1 - pow(b2, step),
		                                        .step = step,
		                                        .grad_scale = 0.5F};
		KT_RUN(t, 0, 28 * opt_floats(d))
		t->backend->adamw(t->ctx, list, &how, &numbers);
		for (int i = 0; i < TENSORS; i++)
			for (size_t j = 0; j < o.list[i].n; j++) {
				double g = (double)o.list[i].grad[j] * 0.5, lr = (double)(float)(1e-3 * (i + 1));
				o.w[i][j] *= 1 - lr * (double)o.list[i].decay;
				o.m[i][j] = b1 * o.m[i][j] + (1 - b1) * g;
				o.v[i][j] = b2 * o.v[i][j] + (1 - b2) * g * g;
				o.w[i][j] -= lr * o.m[i][j] / numbers.correct1 /
				             (sqrt(o.v[i][j] / numbers.correct2) + (double)how.eps);
			}
	}
	t->backend->opt_list_free(t->ctx, list);
	if (t->mode == KT_TEST)
		opt_check(t, &o, true);
}

static void run_sgd(struct kt *t, const int *d)
{
	struct opt o;
	double momentum = (double)0.9F;
	opt_init(t, &o, d, false);
	struct gn_opt_list *list = opt_list(t, &o);
	for (int step = 1; step <= d[3]; step++) {
		const struct gn_step_numbers numbers = {.lr = 1e-3, .step = step, .grad_scale = 0.5F};
		KT_RUN(t, 0, 20 * opt_floats(d))
		t->backend->sgd(t->ctx, list, 0.9F, &numbers);
		for (int i = 0; i < TENSORS; i++)
			for (size_t j = 0; j < o.list[i].n; j++) {
				double g = (double)o.list[i].grad[j] * 0.5 + (double)o.list[i].decay * o.w[i][j];
				o.m[i][j] = step == 1 ? g : momentum * o.m[i][j] + g;
				o.w[i][j] -= (double)(float)(1e-3 * (i + 1)) * o.m[i][j];
			}
	}
	t->backend->opt_list_free(t->ctx, list);
	if (t->mode == KT_TEST)
		opt_check(t, &o, false);
}

/* With clipping at a norm above, at one below, and without. */
static void run_grad_norm(struct kt *t, const int *d)
{
	struct opt o;
	double sum = 0, zero = 0, allowed = 1e-12 * 0x1p24; /* in double throughout: 1e-12 relative */
	opt_init(t, &o, d, false);
	struct gn_opt_list *list = opt_list(t, &o);
	for (int i = 0; i < TENSORS; i++)
		for (size_t j = 0; j < o.list[i].n; j++)
			sum += (double)o.list[i].grad[j] * (double)o.list[i].grad[j];
	double norm = sqrt(sum), clips[] = {2 * norm, norm / 3, 0};
	for (int i = 0; i < 3; i++) {
		struct gn_step_numbers step = {.clip_norm = clips[i]}, again = step;
		KT_RUN(t, 0, 4 * opt_floats(d))
		t->backend->grad_norm(t->ctx, &step, list);
		t->backend->grad_norm(t->ctx, &again, list);
		float error = (float)((step.grad_norm - norm) / norm),
		      change = (float)(again.grad_norm - step.grad_norm);
		double scale = i == 1 ? clips[i] / (norm + 1e-6) : 1;
		kt_check(t, "relative error", &error, &zero, &allowed, 1, 1);
		kt_check(t, "difference of a second norm", &change, &zero, NULL, 1, 0x1p-24);
		kt_check(t, "grad_scale", &step.grad_scale, &scale, NULL, 1, 1);
	}
	t->backend->opt_list_free(t->ctx, list);
}

/* ---------------------------------------------------------------- angles ----------------------------------------- */

static const int pair_shapes[][8] = {{1}, {7}, {1000}, {16384}, {100003}};
static const int pair_fast[][8] = {{7077888}};

static void run_pair_sums(struct kt *t, const int *d)
{
	size_t n = (size_t)d[0];
	float *a = kt_input(t, n, 1), *b = kt_input(t, n, 1);
	double sums[2] = {0}, scale_a = 0.37, scale_b = 0.29;
	for (int difference = 0; difference < 2; difference++) {
		double want[2] = {0}, zeros[2] = {0}, allowed[2] = {1e-13 * 0x1p24, 1e-13 * 0x1p24};
		float error[2];
		KT_RUN(t, 0, 8.0 * (double)n)
		t->backend->pair_sums(t->ctx, sums, a, b, n, scale_a, scale_b, difference);
		for (size_t i = 0; i < n; i++) {
			double u = (double)a[i] * scale_a, v = (double)b[i] * scale_b;
			want[0] += difference ? (u - v) * (u - v) : u * u;
			want[1] += difference ? (u + v) * (u + v) : v * v;
		}
		for (int i = 0; i < 2; i++)
			error[i] = (float)((sums[i] - want[i]) / want[i]);
		kt_check(t, difference ? "difference and sum" : "squares", error, zeros, allowed, 2, 1);
	}
}

/* ---------------------------------------------------------------- soups ------------------------------------------ */

/* Values and models; kernels_device.c lets values stand off 16 bytes where their number is odd. */
static const int soup_shapes[][8] = {{1, 1}, {3, 2}, {8, 1}, {1000, 3}, {1002, 2}, {1003, 5}, {16384, 2}, {100003, 3}};
static const int soup_fast[][8] = {{262144, 4}, {7077888, 4}};

/* Doubles between bands, as outputs are: NaN. */
static double *double_output(struct kt *t, size_t n)
{
	return (double *)(void *)(kt_output(t, 2 * n + 1) + 1); /* one float off 64 bytes, and one more */
}

static void check_same_doubles(struct kt *t, const char *what, const double *got, const double *want, size_t n)
{
	kt_check_same(t, what, (const float *)(const void *)got, (const float *)(const void *)want, 2 * n);
}

/* Zeros of both signs, the largest floats, those without a full mantissa, and what lies between. */
static float *soup_values(struct kt *t, size_t n)
{
	static const float factors[] = {1, -0.0F, 3e38F, 1e-42F, 1, 1e-20F, 1};
	float *x = kt_input(t, n, 1);
	for (size_t i = 0; i < n; i++)
		x[i] *= factors[(i + (size_t)kt_below(t, 2)) % (sizeof factors / sizeof factors[0])];
	return x;
}

/* volatile: no compiler joins a product and a sum, or keeps more bits than a double has. */
static double referee_term(double weight, float x)
{
	volatile double term = weight * (double)x;
	return term;
}

/* Every bit is the referee's. */
static void run_soup_add(struct kt *t, const int *d)
{
	size_t n = (size_t)d[0];
	double *sum = double_output(t, n), *want = kt_doubles(t, n);
	for (int m = 0; m < d[1]; m++) {
		double weight = d[1] == 1 ? 1 : m == 1 ? 1e9 / 7 : 0.37 + m;
		float *x = soup_values(t, n);
		for (size_t i = 0; i < n; i++) {
			double term = referee_term(weight, x[i]);
			want[i] = m == 0 ? term : want[i] + term;
		}
		KT_RUN(t, 0, (m == 0 ? 12.0 : 20.0) * (double)n)
		t->backend->soup_add(t->ctx, sum, x, weight, n, m == 0);
		if (t->mode == KT_TEST)
			check_same_doubles(t, "sum", sum, want, n);
	}
}

/*
 * Of one model the mean is that model, signs of zeros included; of several, the float next to the
 * quotient.
 */
static void run_soup_mean(struct kt *t, const int *d)
{
	size_t n = (size_t)d[0];
	double *sum = double_output(t, n), total = d[1] == 1 ? 0.3 : 1.7 * d[1];
	float *x = soup_values(t, n), *out = kt_output(t, n), *want = kt_copy(t, x, n);
	for (size_t i = 0; i < n; i++) {
		volatile double quotient;
		sum[i] = d[1] == 1 ? referee_term(total, x[i]) : referee_term(1.1 * d[1], x[i]);
		quotient = sum[i] / total;
		if (d[1] > 1)
			want[i] = (float)quotient;
	}
	KT_RUN(t, 0, 12.0 * (double)n)
	t->backend->soup_mean(t->ctx, out, sum, total, n);
	kt_check_same(t, "out", out, want, n);
}

/* ---------------------------------------------------------------- memory ----------------------------------------- */

/* Bytes. */
static const int sizes[][8] = {{1}, {127}, {4096}, {1048576}, {3000001}};
static const int sizes_fast[][8] = {{64 << 20}};

/* Through device memory and back: alloc, upload, copy, download, zero. */
static void run_memory(struct kt *t, const int *d)
{
	struct gn_error err = {0};
	size_t bytes = (size_t)d[0], n = bytes / 4 + 1;
	float *from = kt_input(t, n, 1), *to = kt_output(t, n), *zeros = kt_input(t, n, 0);
	char *a = t->backend->alloc(t->ctx, bytes, &err), *b = t->backend->alloc(t->ctx, bytes, &err);
	gn_assert(a && b);
	t->backend->download(t->ctx, to, a, bytes);
	kt_check_same(t, "new memory", to, zeros, bytes / 4);
	t->backend->upload(t->ctx, a, from, bytes);
	KT_RUN(t, 0, 2.0 * (double)bytes)
	t->backend->copy(t->ctx, b, a, bytes);
	t->backend->download(t->ctx, to, b, bytes);
	if (memcmp(to, from, bytes))
		kt_check_same(t, "copied bytes", to, zeros, 1);
	t->backend->zero(t->ctx, b, bytes);
	t->backend->download(t->ctx, to, b, bytes);
	kt_check_same(t, "cleared memory", to, zeros, bytes / 4);
	if (((uintptr_t)a | (uintptr_t)b) % 128)
		kt_check_same(t, "alignment", from, zeros, 1);
	t->backend->free(t->ctx, a, bytes);
	t->backend->free(t->ctx, b, bytes);
}

/*
 * n pictures of S x S pixels, odd areas among them, and more bytes than one piece of a GPU's pinned
 * ring has.
 */
static const int picture_shapes[][8] = {{1, 1}, {3, 5}, {2, 16}, {3, 30}, {2, 2049}};

static void run_upload_pixels(struct kt *t, const int *d)
{
	struct gn_error err = {0};
	size_t N = (size_t)d[0], area = (size_t)d[1] * (size_t)d[1], n = N * 3 * area;
	float *levels = kt_input(t, (size_t)3 * 256, 1), *noise = kt_input(t, n, 128), *got = kt_output(t, n),
	      *want = kt_output(t, n), *device = t->backend->alloc(t->ctx, n * sizeof *device, &err);
	uint8_t *pixels = calloc(n, 1);

	gn_assert(device && pixels);
	for (size_t i = 0; i < n; i++)
		pixels[i] = (uint8_t)(int)(noise[i] + 128);
	for (size_t i = 0; i < n; i++) {
		size_t picture = i / (3 * area), c = i / area % 3, place = i % area;

		want[i] = levels[256 * c + pixels[(picture * area + place) * 3 + c]];
	}
	t->backend->upload_pixels(t->ctx, device, pixels, levels, d[0], d[1]);
	memset(pixels, 0, n); /* the host's memory is its own again */
	t->backend->download(t->ctx, got, device, n * sizeof *got);
	kt_check_same(t, "images", got, want, n);
	t->backend->free(t->ctx, device, n * sizeof *device);
	free(pixels);
}

/* Rows by index, some twice. */
static void run_upload_rows(struct kt *t, const int *d)
{
	enum { ROWS = 9, TAKEN = 5 };
	struct gn_error err = {0};
	static const int32_t indices[TAKEN] = {8, 0, 3, 3, 7};
	size_t n = (size_t)d[0] / 64 + 1;
	float *rows = kt_input(t, ROWS * n, 1), *to = kt_output(t, TAKEN * n);
	float *device = t->backend->alloc(t->ctx, TAKEN * n * sizeof *device, &err);
	gn_assert(device);
	t->backend->upload_rows(t->ctx, device, rows, n * sizeof *rows, indices, TAKEN);
	t->backend->download(t->ctx, to, device, TAKEN * n * sizeof *device);
	for (int i = 0; i < TAKEN; i++)
		kt_check_same(t, "row", to + (size_t)i * n, rows + (size_t)indices[i] * n, n);
	t->backend->free(t->ctx, device, TAKEN * n * sizeof *device);
}

/* Bytes that travel while later work writes where they were; also more than two pinned pieces. */
static void run_download_beside(struct kt *t, const int *d)
{
	struct gn_error err = {0};
	size_t n = 2 * (size_t)d[0], bytes = n * sizeof(float);
	float *from = kt_input(t, n, 1), *to = kt_output(t, n);
	char *device = t->backend->alloc(t->ctx, bytes, &err), *spare = t->backend->alloc(t->ctx, bytes, &err);
	gn_assert(device && spare);
	for (int round = 0; round < 2; round++) {
		t->backend->upload(t->ctx, device, from, bytes);
		t->backend->download_begin(t->ctx, to, spare, device, bytes);
		t->backend->zero(t->ctx, device, bytes);
		if (t->backend->download_end(t->ctx, &err))
			t->failures++;
		kt_check_same(t, "downloaded", to, from, n);
	}
	t->backend->free(t->ctx, device, bytes);
	t->backend->free(t->ctx, spare, bytes);
}

/* Results asked for behind later work. */
static void run_fetch(struct kt *t, const int *d)
{
	struct gn_error err = {0};
	size_t n = (size_t)(d[0] < GN_FETCH_BYTES ? d[0] : GN_FETCH_BYTES) / 4 + (d[0] < 4);
	float *from = kt_input(t, n, 1), *to = kt_output(t, n);
	float *device = t->backend->alloc(t->ctx, n * sizeof *device, &err);
	gn_assert(device);
	t->backend->upload(t->ctx, device, from, n * sizeof *device);
	for (int slot = 0; slot < GN_FETCH_SLOTS; slot++)
		t->backend->fetch(t->ctx, slot, device, n * sizeof *device);
	t->backend->zero(t->ctx, device, n * sizeof *device);
	for (int slot = GN_FETCH_SLOTS - 1; slot >= 0; slot--) {
		if (t->backend->fetched(t->ctx, slot, to, n * sizeof *device, &err))
			t->failures++;
		kt_check_same(t, "fetched", to, from, n);
	}
	t->backend->free(t->ctx, device, n * sizeof *device);
}

/* Work under two keys, queued again and again: a replay reads what lies in its memory then. */
static void run_record(struct kt *t, const int *d)
{
	struct gn_error err = {0};
	size_t n = (size_t)d[0] / 4 + 1, bytes = n * sizeof(float);
	float *a = t->backend->alloc(t->ctx, bytes, &err), *b = t->backend->alloc(t->ctx, bytes, &err);
	float *to = kt_output(t, n);
	gn_assert(a && b);
	for (int round = 0; round < 5; round++) {
		float *from = kt_input(t, n, 1), *zeros = kt_input(t, n, 0);
		t->backend->upload(t->ctx, a, from, bytes);
		if (t->backend->record_begin(t->ctx, 1)) {
			t->backend->copy(t->ctx, b, a, bytes);
			t->backend->record_end(t->ctx);
		}
		t->backend->download(t->ctx, to, b, bytes);
		kt_check_same(t, "copied", to, from, n);
		if (t->backend->record_begin(t->ctx, 2)) {
			t->backend->zero(t->ctx, b, bytes);
			t->backend->record_end(t->ctx);
		}
		t->backend->download(t->ctx, to, b, bytes);
		kt_check_same(t, "cleared", to, zeros, n);
	}
	t->backend->record_forget(t->ctx);
	t->backend->free(t->ctx, a, bytes);
	t->backend->free(t->ctx, b, bytes);
}

static void run_clock(struct kt *t, const int *d)
{
	struct gn_error err = {0};
	char *a = t->backend->alloc(t->ctx, (size_t)d[0], &err);
	float seconds, one[] = {1}, zero[] = {0};
	gn_assert(a);
	t->backend->clock_start(t->ctx);
	t->backend->zero(t->ctx, a, (size_t)d[0]);
	seconds = (float)t->backend->clock_stop(t->ctx);
	kt_check_same(t, "a time", seconds >= 0 && seconds < 60 ? one : zero, one, 1);
	t->backend->free(t->ctx, a, (size_t)d[0]);
}

/* Values with more bits than a bfloat16 has, ties among them. */
static float *odd_values(struct kt *t, size_t n)
{
	float *x = kt_input(t, n, 1);
	for (size_t i = 0; i < n; i++)
		x[i] *= i % 3 ? 1.00390625F : 1.0013F;
	return x;
}

static void run_cast_mat(struct kt *t, const int *d)
{
	size_t n = (size_t)d[0] / 4 + 1;
	float *in = odd_values(t, n), *out = kt_output(t, n);
	KT_RUN(t, 0, 8.0 * (double)n)
	t->backend->cast_mat(t->ctx, out, in, n);
	kt_round(t, in, n);
	kt_check_same(t, "out", out, in, n);
}

static void run_upload_mat(struct kt *t, const int *d)
{
	size_t n = (size_t)d[0] / 4 + 1;
	float *in = odd_values(t, n), *out = kt_output(t, n);
	t->backend->upload_mat(t->ctx, out, in, n);
	kt_round(t, in, n);
	kt_check_same(t, "out", out, in, n);
}

const struct kt_op kt_training[] = {
    {KT_SLOT(cross_entropy), .letters = "BKWS", KT_SHAPES(loss_shapes), KT_FAST(loss_fast), .run = run_cross_entropy,
     .gradients = true},
    {KT_SLOT(adamw), .letters = "xyzSD", KT_SHAPES(opt_shapes), KT_FAST(opt_fast), .run = run_adamw},
    {KT_SLOT(sgd), .letters = "xyzSD", KT_SHAPES(opt_shapes), KT_FAST(opt_fast), .run = run_sgd},
    {KT_SLOT(grad_norm), .letters = "xyz", KT_SHAPES(opt_shapes), KT_FAST(opt_fast), .run = run_grad_norm},
    {KT_SLOT(opt_list_new), .letters = "xyz", KT_SHAPES(opt_shapes), .run = run_grad_norm},
    {KT_SLOT(opt_list_free), .letters = "xyz", KT_SHAPES(opt_shapes), .run = run_grad_norm},
    {KT_SLOT(pair_sums), .letters = "n", KT_SHAPES(pair_shapes), KT_FAST(pair_fast), .run = run_pair_sums},
    {KT_SLOT(soup_add), .letters = "nm", KT_SHAPES(soup_shapes), KT_FAST(soup_fast), .run = run_soup_add},
    {KT_SLOT(soup_mean), .letters = "nm", KT_SHAPES(soup_shapes), KT_FAST(soup_fast), .run = run_soup_mean},
};
const int kt_training_count = sizeof kt_training / sizeof kt_training[0];

const struct kt_op kt_memory[] = {
    {KT_SLOT(alloc), .letters = "n", KT_SHAPES(sizes), .run = run_memory},
    {KT_SLOT(free), .letters = "n", KT_SHAPES(sizes), .run = run_memory},
    {KT_SLOT(upload), .letters = "n", KT_SHAPES(sizes), .run = run_memory},
    {KT_SLOT(download), .letters = "n", KT_SHAPES(sizes), .run = run_memory},
    {KT_SLOT(download_begin), .letters = "n", KT_SHAPES(sizes), .run = run_download_beside},
    {KT_SLOT(download_end), .letters = "n", KT_SHAPES(sizes), .run = run_download_beside},
    {KT_SLOT(zero), .letters = "n", KT_SHAPES(sizes), .run = run_memory},
    {KT_SLOT(copy), .letters = "n", KT_SHAPES(sizes), KT_FAST(sizes_fast), .run = run_memory},
    {KT_SLOT(upload_rows), .letters = "n", KT_SHAPES(sizes), .run = run_upload_rows},
    {KT_SLOT(upload_pixels), .letters = "BS", KT_SHAPES(picture_shapes), .run = run_upload_pixels},
    {KT_SLOT(fetch), .letters = "n", KT_SHAPES(sizes), .run = run_fetch},
    {KT_SLOT(fetched), .letters = "n", KT_SHAPES(sizes), .run = run_fetch},
    {KT_SLOT(record_begin), .letters = "n", KT_SHAPES(sizes), .run = run_record},
    {KT_SLOT(record_end), .letters = "n", KT_SHAPES(sizes), .run = run_record},
    {KT_SLOT(record_forget), .letters = "n", KT_SHAPES(sizes), .run = run_record},
    {KT_SLOT(clock_start), .letters = "n", KT_SHAPES(sizes), .run = run_clock},
    {KT_SLOT(clock_stop), .letters = "n", KT_SHAPES(sizes), .run = run_clock},
    {KT_SLOT(upload_mat), .letters = "n", KT_SHAPES(sizes), .run = run_upload_mat},
    {KT_SLOT(cast_mat), .letters = "n", KT_SHAPES(sizes), KT_FAST(sizes_fast), .run = run_cast_mat},
};
const int kt_memory_count = sizeof kt_memory / sizeof kt_memory[0];
