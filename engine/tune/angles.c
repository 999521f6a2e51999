/*
 * The fine-tuned angle (arXiv:2312.15681; docs/method.md, "Angles"). The cosine of an angle of 1e-4
 * rad rounds to 1, so the cosine is not computed. Kahan's formula 2 atan2(|u - v|, |u + v|) is used
 * on the normalised vectors. A backend computes every sum, in double and in a fixed order.
 */
#include "tune/angles.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct part { /* one matrix, or some of its rows */
	const float *a, *b;
	size_t n;
};

/* Adds a part's sums to total[2]: see the backend's pair_sums. */
static void add_sums(double total[2], const struct gn_angle_weights *w, const struct part *part, double scale_a,
                     double scale_b, bool difference)
{
	double sums[2];

	w->backend->pair_sums(w->ctx, sums, part->a, part->b, part->n, scale_a, scale_b, difference);
	total[0] += sums[0];
	total[1] += sums[1];
}

/* Degrees between the concatenations of all a and all b; NAN if one of them is zero. */
static double parts_angle(const struct part *parts, int count, const struct gn_angle_weights *w)
{
	double norm[2] = {0, 0}, form[2] = {0, 0};
	bool frozen = true;

	for (int i = 0; i < count; i++)
		frozen &= parts[i].a == parts[i].b;
	if (frozen)
		return 0;
	for (int i = 0; i < count; i++)
		add_sums(norm, w, &parts[i], 1, 1, false);
	if (!(norm[0] > 0) || !(norm[1] > 0))
		return NAN;
	for (int i = 0; i < count; i++)
		add_sums(form, w, &parts[i], 1 / sqrt(norm[0]), 1 / sqrt(norm[1]), true);
	return 2 * atan2(sqrt(form[0]), sqrt(form[1])) * (180 / 3.14159265358979323846);
}

double gn_angle(const float *a, const float *b, size_t n)
{
	struct gn_angle_weights w = {.backend = &gn_backend_cpu};
	double degrees;

	if (w.backend->open(&w.ctx, 0, 1, NULL))
		return NAN;
	degrees = parts_angle(&(struct part){a, b, n}, 1, &w);
	w.backend->close(w.ctx);
	return degrees;
}

/* ---------------------------------------------------------------- layers ---------------------- */

/* Both versions of a tensor, in memory that the backend can read. place: which of a layer's two
 * tensors it is. */
static struct part whole(const struct gn_angle_weights *w, int tensor, int place)
{
	struct part part = {w->tuned[tensor], w->base[tensor], w->layout->tensors[tensor].numel};

	if (w->bring && part.a != part.b)
		part.b = w->bring(w->user, tensor, place);
	return part;
}

static void add_tensor(struct gn_layer_angle *layer, const char *name, const char *suffix, double degrees)
{
	snprintf(layer->tensors[layer->tensor_count].name, sizeof layer->tensors[0].name, "%s%s", name, suffix);
	layer->tensors[layer->tensor_count++].degrees = degrees;
}

/* qkv is measured as a whole and separately by its q, k and v rows, so that fused and split
 * checkpoints give the same numbers. */
static void add_qkv_rows(struct gn_layer_angle *layer, const struct gn_angle_weights *w, const char *name,
                         const struct part *all)
{
	static const char *const rows[3] = {"[q]", "[k]", "[v]"};

	for (size_t r = 0; r < 3; r++) {
		struct part third = {all->a + r * (all->n / 3), all->b + r * (all->n / 3), all->n / 3};

		add_tensor(layer, name, rows[r], all->a == all->b ? 0 : parts_angle(&third, 1, w));
	}
}

static void measure_layer(struct gn_layer_angle *layer, const struct gn_angle_weights *w, int block,
                          enum gn_group group)
{
	bool attention = group == GN_GROUP_ATTENTION;
	int first = gn_layout_find(w->layout, attention ? GN_QKV_W : GN_FC1_W, block);
	int second = gn_layout_find(w->layout, attention ? GN_PROJ_W : GN_FC2_W, block);
	const char *names[2] = {w->layout->tensors[first].name, w->layout->tensors[second].name};
	struct part parts[2] = {whole(w, first, 0), whole(w, second, 1)};

	*layer = (struct gn_layer_angle){.block = block, .group = group};
	gn_layer_name(layer->name, group, block);
	layer->degrees = parts_angle(parts, 2, w);
	add_tensor(layer, names[0], "", parts_angle(&parts[0], 1, w));
	if (attention)
		add_qkv_rows(layer, w, names[0], &parts[0]);
	add_tensor(layer, names[1], "", parts_angle(&parts[1], 1, w));
}

/* Rank 1 is the largest of its group. Of equal angles the lower block comes first; NAN comes
 * last. */
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

int gn_angles_of(struct gn_angles *out, const struct gn_angle_weights *w, struct gn_error *err)
{
	const struct gn_layout *layout = w->layout;
	struct gn_angles angles = {0};
	int depth = 0;

	for (int i = 0; i < layout->count; i++)
		if (layout->tensors[i].block >= depth)
			depth = layout->tensors[i].block + 1;
	angles.layers = calloc((size_t)depth * 2 + 1, sizeof *angles.layers);
	if (!angles.layers)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for angles");
	for (int block = 0; block < depth; block++) {
		measure_layer(&angles.layers[angles.count++], w, block, GN_GROUP_ATTENTION);
		measure_layer(&angles.layers[angles.count++], w, block, GN_GROUP_FFN);
		for (int i = 0; w->done && i < layout->count; i++)
			if (layout->tensors[i].block == block && layout->tensors[i].matrix && w->tuned[i] != w->base[i])
				w->done(w->user, i);
	}
	if (w->backend->sync(w->ctx, err)) {
		gn_angles_release(&angles);
		return -1;
	}
	rank_layers(&angles);
	*out = angles;
	return 0;
}

int gn_angles_compute(struct gn_angles *out, const struct gn_model *tuned, const struct gn_model *base,
                      struct gn_error *err)
{
	const struct gn_layout *t = &tuned->layout, *b = &base->layout;
	const float **base_tensors = calloc((size_t)t->count, sizeof *base_tensors);
	struct gn_angle_weights w = {
	    .layout = t, .tuned = tuned->tensors, .base = base_tensors, .backend = &gn_backend_cpu};
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
	if (w.backend->open(&w.ctx, 0, 0, err))
		goto done;
	result = gn_angles_of(out, &w, err);
	w.backend->close(w.ctx);
done:
	free(base_tensors);
	return result;
}

void gn_angles_release(struct gn_angles *angles)
{
	free(angles->layers);
	*angles = (struct gn_angles){0};
}
