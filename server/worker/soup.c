/*
 * The work of a soup: see worker.h. Its result: {"val_accuracy","val_loss","kept","seconds"}, and
 * model.safetensors beside it. The accuracy and the weight of each ingredient go into the job's
 * members, by the event {"ingredients":[{"model","val_accuracy","val_loss","kept", "weight"}]}. A
 * stopped or killed soup continues from the engine's soup.bin.
 */
#include <stdio.h>
#include <stdlib.h>

#include "server/formats/events.h"
#include "server/common/text.h"
#include "server/worker/work.h"

/* Every step is kept in soup.bin by now, so it counts as a checkpoint: a worker that dies later has
 * not died in vain. */
static void on_progress(void *user, const struct gn_soup_progress *progress)
{
	struct gn_worker *w = user;
	struct gn_event line = {.kind = GN_EVENT_LOG, .text = progress->text},
	                kept = {.kind = GN_EVENT_CHECKPOINT, .step = progress->done};

	if (progress->text) {
		gn_worker_say(w, "%s", progress->text);
		gn_worker_tell(w, gn_event_line(w->last_event + 1, &line));
	}
	gn_worker_tell(w, gn_event_line(w->last_event + 1, &kept));
	gn_worker_progress(w, progress->done, progress->total);
}

/* ---------------------------------------------------------------- the request ----------------- */

struct recipe {
	enum gn_soup_method method;
	const char **names; /* [model_count]: the models' ids; borrowed from the request */
	double *weights;    /* [model_count]; NULL: none */
};

static int read_weights(struct recipe *recipe, const json_t *weights, size_t count, struct gn_error *err)
{
	if (!json_is_array(weights))
		return 0;
	if (json_array_size(weights) != count)
		return gn_fail(err, GN_INVALID, GN_JOB_JSON, "request: a weight for each model");
	recipe->weights = calloc(count, sizeof *recipe->weights);
	if (!recipe->weights)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	for (size_t i = 0; i < count; i++)
		recipe->weights[i] = json_number_value(json_array_get(weights, i));
	return 0;
}

static int read_recipe(struct recipe *recipe, const struct gn_worker *w, struct gn_error *err)
{
	const json_t *request = w->order.request, *models = json_object_get(request, "models");
	const char *method = json_string_value(json_object_get(request, "method"));
	int known = method ? gn_soup_method_from_name(method) : -1;
	size_t count = (size_t)w->model_count;

	if (known < 0 || json_array_size(models) != count)
		return gn_fail(err, GN_INVALID, GN_JOB_JSON, "request: method and models must be given");
	recipe->method = (enum gn_soup_method)known;
	recipe->names = calloc(count, sizeof(char *));
	if (!recipe->names)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	for (size_t i = 0; i < count; i++)
		recipe->names[i] = json_string_value(json_array_get(models, i));
	return read_weights(recipe, json_object_get(request, "weights"), count, err);
}

/* ---------------------------------------------------------------- what came out --------------- */

static void tell_ingredients(struct gn_worker *w, const struct recipe *recipe, const struct gn_soup_result *result)
{
	json_t *items = json_array();

	for (int i = 0; i < result->count; i++) {
		const struct gn_soup_ingredient *ingredient = &result->ingredients[i];
		json_array_append_new(items, json_pack("{s:s,s:o,s:o,s:b,s:o}", "model", recipe->names[i],
		                                       "val_accuracy", gn_json_real(ingredient->val_accuracy),
		                                       "val_loss", gn_json_real(ingredient->val_loss), "kept",
		                                       ingredient->kept, "weight", gn_json_real(ingredient->weight)));
	}
	gn_worker_tell(w, gn_event_line_of(w->last_event + 1, "record", json_pack("{s:o}", "ingredients", items)));
}

static json_t *make(struct gn_worker *w, const struct recipe *recipe, struct gn_error *err)
{
	const struct gn_soup_options options = {
	    .method = recipe->method,
	    .models = (const struct gn_model *const *)w->models,
	    .count = w->model_count,
	    .names = recipe->names,
	    .weights = recipe->weights,
	    .dataset = w->dataset,
	    .device = w->device,
	    .max_pixels = w->max_pixels,
	    .folder = ".",
	    .on_progress = on_progress,
	    .user = w,
	    .stop = w->stop,
	};
	struct gn_soup_result result = {0};
	double begun = gn_clock();
	json_t *value;

	if (gn_soup_make(&result, &options, err))
		return NULL;
	tell_ingredients(w, recipe, &result);
	value =
	    json_pack("{s:o,s:o,s:i,s:o}", "val_accuracy", gn_json_real(result.val_accuracy), "val_loss",
	              gn_json_real(result.val_loss), "kept", result.kept, "seconds", gn_json_real(gn_clock() - begun));
	gn_soup_result_release(&result);
	if (!value)
		gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	if (!w->write_failed)
		return value;
	json_decref(value); /* the ingredients would be missing */
	return NULL;
}

json_t *gn_worker_soup(struct gn_worker *w, struct gn_error *err)
{
	struct recipe recipe = {0};
	json_t *result = NULL;

	if (read_recipe(&recipe, w, err) == 0)
		result = make(w, &recipe, err);
	free(recipe.names);
	free(recipe.weights);
	return result;
}
