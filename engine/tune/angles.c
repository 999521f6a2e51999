/*
 * The fine-tuned angle (arXiv:2312.15681; METHOD 4). Angles of 1e-4 rad make the cosine round to 1, so it is never
 * formed: Kahan's form 2 atan2(|u - v|, |u + v|) on the normalised vectors, with every sum in double over fixed
 * chunks, so that the result does not depend on the number of threads.
 */
#include "tune/angles.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 16384

struct part { /* one matrix, or some of its rows */
	const float *a, *b;
	size_t n;
};

struct sums {
	double first, second;
};

/* Both sums over one chunk, in eight interleaved partial sums each: the compiler's vectors, in a fixed order. */
static struct sums chunk_sums(const float *a, const float *b, size_t n, double scale_a, double scale_b, bool difference)
{
	double first[8] = {0}, second[8] = {0};
	struct sums total = {0, 0};

	for (size_t i = 0; i < n; i += 8) {
		size_t width = n - i < 8 ? n - i : 8;

		for (size_t j = 0; j < width; j++) {
			double u = (double)a[i + j] * scale_a, v = (double)b[i + j] * scale_b;
			double x = difference ? u - v : u, y = difference ? u + v : v;

			first[j] += x * x;
			second[j] += y * y;
		}
	}
	for (int j = 0; j < 8; j++) {
		total.first += first[j];
		total.second += second[j];
	}
	return total;
}

/* difference false: (|a|^2, |b|^2). true: (|u - v|^2, |u + v|^2) with u = a scale_a, v = b scale_b. */
static int part_sums(struct sums *total, const struct part *part, double scale_a, double scale_b, bool difference,
                     int threads)
{
	size_t chunks = (part->n + CHUNK - 1) / CHUNK;
	struct sums *partial = malloc(chunks * sizeof *partial);

	if (!partial)
		return -1;
#pragma omp parallel for schedule(static) num_threads(threads)
	for (size_t c = 0; c < chunks; c++) {
		size_t at = c * CHUNK, n = part->n - at < CHUNK ? part->n - at : CHUNK;

		partial[c] = chunk_sums(part->a + at, part->b + at, n, scale_a, scale_b, difference);
	}
	for (size_t c = 0; c < chunks; c++) {
		total->first += partial[c].first;
		total->second += partial[c].second;
	}
	free(partial);
	return 0;
}

/* Degrees between the concatenations of all a and all b; NAN where one of them is zero or no memory was left. */
static double parts_angle(const struct part *parts, int count, int threads)
{
	struct sums norm = {0, 0}, form = {0, 0};
	bool frozen = true;

	for (int i = 0; i < count; i++)
		frozen &= parts[i].a == parts[i].b;
	if (frozen)
		return 0;
	for (int i = 0; i < count; i++)
		if (part_sums(&norm, &parts[i], 1, 1, false, threads))
			return NAN;
	if (!(norm.first > 0) || !(norm.second > 0))
		return NAN;
	for (int i = 0; i < count; i++)
		if (part_sums(&form, &parts[i], 1 / sqrt(norm.first), 1 / sqrt(norm.second), true, threads))
			return NAN;
	return 2 * atan2(sqrt(form.first), sqrt(form.second)) * (180 / 3.14159265358979323846);
}

double gn_angle(const float *a, const float *b, size_t n)
{
	return parts_angle(&(struct part){a, b, n}, 1, 1);
}

/* ---------------------------------------------------------------- layers ----------------------------------------- */

struct source {
	const struct gn_layout *layout;
	const float *const *tuned, *const *base;
	int threads;
};

static struct part whole(const struct source *s, int tensor)
{
	return (struct part){s->tuned[tensor], s->base[tensor], s->layout->tensors[tensor].numel};
}

static void add_tensor(struct gn_layer_angle *layer, const char *name, const char *suffix, double degrees)
{
	snprintf(layer->tensors[layer->tensor_count].name, sizeof layer->tensors[0].name, "%s%s", name, suffix);
	layer->tensors[layer->tensor_count++].degrees = degrees;
}

/* qkv is measured whole and as its q, k and v rows, so that fused and split checkpoints give the same numbers. */
static void add_qkv_rows(struct gn_layer_angle *layer, const struct source *s, int qkv)
{
	static const char *const rows[3] = {"[q]", "[k]", "[v]"};
	struct part all = whole(s, qkv);

	for (size_t r = 0; r < 3; r++) {
		struct part third = {all.a + r * (all.n / 3), all.b + r * (all.n / 3), all.n / 3};

		add_tensor(layer, s->layout->tensors[qkv].name, rows[r],
		           all.a == all.b ? 0 : parts_angle(&third, 1, s->threads));
	}
}

static void measure_layer(struct gn_layer_angle *layer, const struct source *s, int block, enum gn_group group)
{
	bool attention = group == GN_GROUP_ATTENTION;
	int first = gn_layout_find(s->layout, attention ? GN_QKV_W : GN_FC1_W, block);
	int second = gn_layout_find(s->layout, attention ? GN_PROJ_W : GN_FC2_W, block);
	struct part parts[2] = {whole(s, first), whole(s, second)};

	*layer = (struct gn_layer_angle){.block = block, .group = group};
	snprintf(layer->name, sizeof layer->name, "blocks.%d.%s", block, attention ? "attn" : "mlp");
	layer->degrees = parts_angle(parts, 2, s->threads);
	add_tensor(layer, s->layout->tensors[first].name, "", parts_angle(&parts[0], 1, s->threads));
	if (attention)
		add_qkv_rows(layer, s, first);
	add_tensor(layer, s->layout->tensors[second].name, "", parts_angle(&parts[1], 1, s->threads));
}

/* Rank 1 is the largest of its group. Ties go to the lower block; an angle that does not exist comes last. */
static void rank_layers(struct gn_angles *angles)
{
	for (int i = 0; i < angles->count; i++) {
		struct gn_layer_angle *a = &angles->layers[i];

		a->rank = 1;
		for (int j = 0; j < angles->count; j++) {
			const struct gn_layer_angle *b = &angles->layers[j];
			bool equal = b->degrees == a->degrees || (isnan(a->degrees) && isnan(b->degrees));

			if (b->group == a->group &&
			    (b->degrees > a->degrees || (isnan(a->degrees) && !isnan(b->degrees)) || (equal && j < i)))
				a->rank++;
		}
	}
}

int gn_angles_of(struct gn_angles *out, const struct gn_layout *layout, const float *const *tuned,
                 const float *const *base, int threads, void (*done)(void *user, int tensor), void *user,
                 struct gn_error *err)
{
	struct source source = {layout, tuned, base, threads};
	int depth = 0;

	for (int i = 0; i < layout->count; i++)
		if (layout->tensors[i].block >= depth)
			depth = layout->tensors[i].block + 1;
	*out = (struct gn_angles){0};
	out->layers = calloc((size_t)depth * 2 + 1, sizeof *out->layers);
	if (!out->layers)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for angles");
	for (int block = 0; block < depth; block++) {
		measure_layer(&out->layers[out->count++], &source, block, GN_GROUP_ATTENTION);
		measure_layer(&out->layers[out->count++], &source, block, GN_GROUP_FFN);
		for (int i = 0; done && i < layout->count; i++)
			if (layout->tensors[i].block == block && layout->tensors[i].matrix && tuned[i] != base[i])
				done(user, i);
	}
	rank_layers(out);
	return 0;
}

int gn_angles_compute(struct gn_angles *out, const struct gn_model *tuned, const struct gn_model *base,
                      struct gn_error *err)
{
	const struct gn_layout *t = &tuned->layout, *b = &base->layout;
	const float **base_tensors = calloc((size_t)t->count, sizeof *base_tensors);
	int result = -1;

	if (!base_tensors)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for angles");
	for (int i = 0; i < t->count; i++) {
		int j = gn_layout_find(b, t->tensors[i].role, t->tensors[i].block);

		if (t->tensors[i].matrix && (j < 0 || b->tensors[j].numel != t->tensors[i].numel)) {
			gn_fail(err, GN_INVALID, t->tensors[i].name,
			        "the two models do not have this tensor in one shape");
			goto done;
		}
		base_tensors[i] = j < 0 ? NULL : base->tensors[j];
	}
	result = gn_angles_of(out, t, tuned->tensors, base_tensors, omp_get_max_threads(), NULL, NULL, err);
done:
	free(base_tensors);
	return result;
}

void gn_angles_release(struct gn_angles *angles)
{
	free(angles->layers);
	*angles = (struct gn_angles){0};
}
