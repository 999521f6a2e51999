/*
 * Model soups (Wortsman et al., arXiv:2203.05482; docs/method.md, "Soups"). What costs time is
 * measuring, so each measurement is written down at once; averages are made again from the models
 * whenever they are needed.
 */
#include "train/soup_state.h"

#include "base/files.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANDIDATE "candidate.safetensors"
#define RESULT    "model.safetensors"

static bool is_greedy(const struct gn_soup *s)
{
	return s->options->method == GN_SOUP_GREEDY;
}

static const char *name_of(char text[32], const struct gn_soup *s, int i)
{
	if (s->options->names)
		return s->options->names[i];
	snprintf(text, 32, "models/%d", i);
	return text;
}

/* A step is done. */
__attribute__((format(printf, 5, 6))) static void tell(struct gn_soup *s, int ingredient, double accuracy, bool kept,
                                                       const char *format, ...)
{
	char text[512];
	va_list args;

	s->done++;
	if (!s->options->on_progress)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	s->options->on_progress(s->options->user, &(struct gn_soup_progress){.ingredient = ingredient,
	                                                                     .done = s->done,
	                                                                     .total = s->total,
	                                                                     .val_accuracy = accuracy,
	                                                                     .kept = kept,
	                                                                     .text = text});
}

/* ---------------------------------------------------------------- measuring -------------------------------------- */

static int measure(double *accuracy, double *loss, struct gn_soup *s, const struct gn_model *model,
                   struct gn_error *err)
{
	struct gn_evaluation_report report;

	if (gn_evaluator_run(&report, s->evaluator, model, err))
		return -1;
	*accuracy = report.accuracy;
	*loss = report.loss;
	gn_evaluation_report_release(&report);
	return 0;
}

static int measure_ingredients(struct gn_soup *s, struct gn_error *err)
{
	char text[32];

	for (int i = 0; i < s->options->count; i++) {
		struct gn_soup_measure *m = &s->measures[i];

		if (!m->measured) {
			if (measure(&m->accuracy, &m->loss, s, s->options->models[i], err))
				return -1;
			gn_blend_forget(s->options->models[i]);
			m->measured = 1;
			if (gn_soup_state_save(s, err))
				return -1;
		}
		tell(s, i, m->accuracy, false, "%s: validation accuracy %.4f", name_of(text, s, i), m->accuracy);
	}
	return 0;
}

/* The average with the weights at hand, as folder/NAME. */
static int write_average(const struct gn_soup *s, const char *name, struct gn_error *err)
{
	char path[4096];

	if (gn_soup_path(path, s, name, err))
		return -1;
	return gn_blend_write(path, s->inputs, s->weights, s->options->count, s->options->device, s->options->stop,
	                      err);
}

/* NAN without a data set. */
static int measure_file(double *accuracy, double *loss, struct gn_soup *s, const char *name, struct gn_error *err)
{
	struct gn_model *model;
	char path[4096];
	int result;

	*accuracy = *loss = NAN;
	if (!s->evaluator)
		return 0;
	if (gn_soup_path(path, s, name, err) || gn_model_open(&model, path, s->options->models[0]->base, err))
		return -1;
	result = measure(accuracy, loss, s, model, err);
	gn_model_close(model);
	return result;
}

/* ---------------------------------------------------------------- greedy ----------------------------------------- */

static bool goes_before(const struct gn_soup *s, int a, int b)
{
	const struct gn_soup_measure *x = &s->measures[a], *y = &s->measures[b];
	int order;

	if (x->accuracy != y->accuracy)
		return x->accuracy > y->accuracy;
	if (x->loss != y->loss)
		return x->loss < y->loss;
	order = strcmp(s->inputs[a].hash, s->inputs[b].hash);
	return order ? order < 0 : a < b;
}

/* Insertion sort of at most GN_SOUP_MODELS_MAX models, best first. */
static void sort_by_accuracy(struct gn_soup *s)
{
	for (int i = 0; i < s->options->count; i++) {
		int at = i;

		for (; at > 0 && goes_before(s, i, s->order[at - 1]); at--)
			s->order[at] = s->order[at - 1];
		s->order[at] = i;
	}
}

static void weigh_kept(struct gn_soup *s)
{
	for (int i = 0; i < s->options->count; i++)
		s->weights[i] = s->measures[i].kept ? 1 : 0;
}

/* Decides on the model at place s->tried of the order, which is not the first. */
static int try_next(struct gn_soup *s, struct gn_error *err)
{
	int i = s->order[s->tried];
	struct gn_soup_measure *m = &s->measures[i];
	double accuracy, loss;
	char text[32];

	weigh_kept(s);
	s->weights[i] = 1;
	if (write_average(s, CANDIDATE, err) || measure_file(&accuracy, &loss, s, CANDIDATE, err))
		return -1;
	m->kept = accuracy >= s->accuracy;
	if (m->kept) {
		s->accuracy = accuracy;
		s->loss = loss;
	}
	s->tried++;
	if (gn_soup_state_save(s, err))
		return -1;
	tell(s, i, accuracy, m->kept, "with %s: %.4f, %s", name_of(text, s, i), accuracy,
	     m->kept ? "kept" : "left out");
	return 0;
}

static int choose_greedily(struct gn_soup *s, struct gn_error *err)
{
	char path[4096];

	sort_by_accuracy(s);
	if (s->tried == 0) {
		struct gn_soup_measure *best = &s->measures[s->order[0]];

		best->kept = 1;
		s->accuracy = best->accuracy;
		s->loss = best->loss;
		s->tried = 1;
	}
	s->done += (int)s->tried - 1;
	while (s->tried < s->options->count)
		if (try_next(s, err))
			return -1;
	if (gn_soup_path(path, s, CANDIDATE, err))
		return -1;
	unlink(path);
	weigh_kept(s);
	return 0;
}

/* ---------------------------------------------------------------- the soup --------------------------------------- */

static int open_evaluator(struct gn_soup *s, struct gn_error *err)
{
	const struct gn_soup_options *o = s->options;

	if (!o->dataset)
		return 0;
	gn_assert(o->device);
	s->evaluate = (struct gn_evaluate_options){.device = o->device,
	                                           .model = o->models[0],
	                                           .dataset = o->dataset,
	                                           .split = GN_VAL,
	                                           .max_pixels = o->max_pixels,
	                                           .loader_threads = o->loader_threads,
	                                           .stop = o->stop};
	return gn_evaluator_new(&s->evaluator, &s->evaluate, true, err);
}

static int prepare(struct gn_soup *s, struct gn_error *err)
{
	const struct gn_soup_options *o = s->options;
	size_t count = (size_t)o->count;

	s->inputs = gn_alloc(count, sizeof *s->inputs, err);
	s->measures = gn_alloc(count, sizeof *s->measures, err);
	s->order = gn_alloc(count, sizeof *s->order, err);
	s->weights = gn_alloc(count, sizeof *s->weights, err);
	if (!s->inputs || !s->measures || !s->order || !s->weights || open_evaluator(s, err))
		return -1;
	for (int i = 0; i < o->count; i++) {
		s->inputs[i].model = o->models[i];
		s->weights[i] = o->weights ? o->weights[i] : 1;
		s->measures[i] = (struct gn_soup_measure){.accuracy = NAN, .loss = NAN};
		if (gn_blend_hash(&s->inputs[i], o->stop, err))
			return -1;
	}
	s->total = 1 + (o->dataset ? o->count : 0) + (is_greedy(s) ? o->count - 1 : 0);
	return o->dataset ? gn_soup_state_load(s, err) : 0;
}

static int make(struct gn_soup *s, struct gn_error *err)
{
	if (prepare(s, err))
		return -1;
	if (s->evaluator && measure_ingredients(s, err))
		return -1;
	if (is_greedy(s) && choose_greedily(s, err))
		return -1;
	if (write_average(s, RESULT, err))
		return -1;
	/* greedy has measured this very average, or the one model that is left of it */
	if (!is_greedy(s) && measure_file(&s->accuracy, &s->loss, s, RESULT, err))
		return -1;
	if (s->evaluator)
		tell(s, -1, s->accuracy, true, "the soup: validation accuracy %.4f", s->accuracy);
	else
		tell(s, -1, NAN, true, "the soup is written");
	return 0;
}

static int report(struct gn_soup_result *result, const struct gn_soup *s, struct gn_error *err)
{
	struct gn_soup_result r = {.count = s->options->count, .val_accuracy = s->accuracy, .val_loss = s->loss};
	double sum = 0;

	r.ingredients = gn_alloc((size_t)r.count, sizeof *r.ingredients, err);
	if (!r.ingredients)
		return -1;
	for (int i = 0; i < r.count; i++)
		sum += s->weights[i];
	for (int i = 0; i < r.count; i++) {
		r.ingredients[i] = (struct gn_soup_ingredient){.val_accuracy = s->measures[i].accuracy,
		                                               .val_loss = s->measures[i].loss,
		                                               .kept = s->weights[i] > 0,
		                                               .weight = s->weights[i] / sum};
		r.kept += s->weights[i] > 0;
	}
	*result = r;
	return 0;
}

int gn_soup_make(struct gn_soup_result *result, const struct gn_soup_options *options, struct gn_error *err)
{
	struct gn_soup soup = {.options = options};
	int failed;

	if (gn_soup_check(options, err))
		return -1;
	failed = make(&soup, err) || report(result, &soup, err);
	gn_evaluator_free(soup.evaluator);
	free(soup.inputs);
	free(soup.measures);
	free(soup.order);
	free(soup.weights);
	return failed ? -1 : 0;
}

void gn_soup_result_release(struct gn_soup_result *result)
{
	free(result->ingredients);
	*result = (struct gn_soup_result){0};
}
