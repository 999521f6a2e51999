/* Checks whether models can be averaged, before any weight is read. */
#include "gonio.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const method_names[GN_SOUP_METHOD_COUNT] = {
    [GN_SOUP_UNIFORM] = "uniform", [GN_SOUP_GREEDY] = "greedy", [GN_SOUP_WEIGHTED] = "weighted"};

const char *gn_soup_method_name(enum gn_soup_method method)
{
	return method_names[method];
}

int gn_soup_method_from_name(const char *name)
{
	for (int i = 0; i < GN_SOUP_METHOD_COUNT; i++)
		if (!strcmp(method_names[i], name))
			return i;
	return -1;
}

/* ---------------------------------------------------------------- two models ------------------ */

struct pair {
	const struct gn_model *a, *b;
	char where[32]; /* of b, for errors */
	char a_name[96], b_name[96];
};

static void name_model(char out[96], const struct gn_soup_options *o, int i)
{
	if (o->names)
		snprintf(out, 96, "%s", o->names[i]);
	else
		snprintf(out, 96, "models/%d", i);
}

static int differ(const struct pair *p, const char *what, long a, long b, struct gn_error *err)
{
	return gn_fail(err, GN_INVALID, p->where, "%s has %s %ld, %s has %ld", p->b_name, what, b, p->a_name, a);
}

static int check_arch(const struct pair *p, struct gn_error *err)
{
	const struct gn_arch_field *field = gn_arch_difference(&p->a->arch, &p->b->arch);
	double a, b;

	if (!field)
		return 0;
	a = gn_arch_value(&p->a->arch, field);
	b = gn_arch_value(&p->b->arch, field);
	switch (field->type) {
	case GN_ARCH_INT:
		return differ(p, field->noun, (long)a, (long)b, err);
	case GN_ARCH_CHOICE:
		return gn_fail(err, GN_INVALID, p->where, "%s has %s %s, %s has %s", p->b_name, field->noun,
		               field->words[(int)b], p->a_name, field->words[(int)a]);
	case GN_ARCH_BOOL:
	case GN_ARCH_REAL:
		break;
	}
	return gn_fail(err, GN_INVALID, p->where, "%s and %s differ in %s", p->b_name, p->a_name, field->noun);
}

/* Compares the tensors, because the fields above do not cover tokens and biases. */
static int check_tensors(const struct pair *p, struct gn_error *err)
{
	const struct gn_layout *a = &p->a->layout, *b = &p->b->layout;

	for (int i = 0; i < a->count || i < b->count; i++) {
		const struct gn_tensor *s = &a->tensors[i], *t = &b->tensors[i];

		if (i >= a->count || i >= b->count || strcmp(s->name, t->name) || s->numel != t->numel)
			return gn_fail(err, GN_INVALID, p->where, "%s and %s differ in tensor %s", p->b_name, p->a_name,
			               i < a->count ? s->name : t->name);
	}
	return 0;
}

static int check_labels(const struct pair *p, struct gn_error *err)
{
	if (p->a->label_count != p->b->label_count)
		return differ(p, "class names:", p->a->label_count, p->b->label_count, err);
	for (int k = 0; k < p->a->label_count; k++)
		if (strcmp(p->a->labels[k], p->b->labels[k]))
			return gn_fail(err, GN_INVALID, p->where, "class %d of %s is \"%.60s\", of %s \"%.60s\"", k,
			               p->b_name, p->b->labels[k], p->a_name, p->a->labels[k]);
	return 0;
}

static int check_preprocess(const struct pair *p, struct gn_error *err)
{
	const struct gn_preprocess *a = &p->a->preprocess, *b = &p->b->preprocess;
	bool same = a->crop_pct == b->crop_pct && a->interpolation == b->interpolation;

	for (int c = 0; c < 3; c++)
		same = same && a->mean[c] == b->mean[c] && a->std[c] == b->std[c];
	return same ? 0
	            : gn_fail(err, GN_INVALID, p->where,
	                      "%s and %s differ in their preprocessing (mean, std, crop or interpolation)", p->b_name,
	                      p->a_name);
}

static int check_model(const struct gn_soup_options *o, int i, struct gn_error *err)
{
	struct pair p = {.a = o->models[0], .b = o->models[i]};

	snprintf(p.where, sizeof p.where, "/models/%d", i);
	name_model(p.a_name, o, 0);
	name_model(p.b_name, o, i);
	if (!p.b->base)
		return gn_fail(err, GN_INVALID, p.where, "%s is a base model: only models tuned from one base mix",
		               p.b_name);
	if (p.a->base != p.b->base)
		return gn_fail(err, GN_INVALID, p.where, "%s and %s were not tuned from the same base", p.b_name,
		               p.a_name);
	return check_arch(&p, err) || check_tensors(&p, err) || check_labels(&p, err) || check_preprocess(&p, err) ? -1
	                                                                                                           : 0;
}

/* ---------------------------------------------------------------- the whole ------------------- */

static int check_weights(const struct gn_soup_options *o, struct gn_error *err)
{
	double sum = 0;
	char where[32];

	if ((o->method == GN_SOUP_WEIGHTED) != (o->weights != NULL))
		return gn_fail(err, GN_INVALID, "/weights",
		               o->weights ? "only the method weighted takes weights"
		                          : "the method weighted needs a weight for every model");
	for (int i = 0; o->weights && i < o->count; i++) {
		snprintf(where, sizeof where, "/weights/%d", i);
		if (!(o->weights[i] >= 0 && o->weights[i] <= 1e9))
			return gn_fail(err, GN_INVALID, where, "must be between 0 and 1e9");
		if (o->weights[i] > 0 && o->weights[i] < 1e-9)
			return gn_fail(err, GN_INVALID, where, "must be 0 or at least 1e-9");
		sum += o->weights[i];
	}
	return !o->weights || sum > 0 ? 0 : gn_fail(err, GN_INVALID, "/weights", "are all 0");
}

int gn_soup_check(const struct gn_soup_options *options, struct gn_error *err)
{
	if (options->count < 1 || options->count > GN_SOUP_MODELS_MAX)
		return gn_fail(err, GN_INVALID, "/models", "must name 1 to %d models", GN_SOUP_MODELS_MAX);
	for (int i = 0; i < options->count; i++)
		if (check_model(options, i, err))
			return -1;
	if (options->models[0]->arch.classes == 0)
		return gn_fail(err, GN_INVALID, "/models/0", "has no classification head");
	if (check_weights(options, err))
		return -1;
	if (options->method == GN_SOUP_GREEDY && !options->dataset)
		return gn_fail(err, GN_INVALID, "/dataset", "is required: greedy measures on its validation split");
	return 0;
}
