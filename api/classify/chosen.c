/* Several models for one picture: see chosen.h. */
#include "api/classify/chosen.h"

/* ---------------------------------------------------------------- the query ------------------- */

enum { NAMED_MAX = GN_TOGETHER_MAX - 1 };

struct query {
	int top, named_count;
	char named[NAMED_MAX][GN_NAME_SIZE];
};

/* "a,b,c" */
static void read_named(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct query *query = out;
	const char *at = json_string_value(value);

	query->named_count = 0;
	while (at) {
		size_t length = strcspn(at, ",");

		if (length == 0 || length >= GN_NAME_SIZE || query->named_count == NAMED_MAX) {
			gn_field_error(errors, pointer, "must be 1 to %d ids or names with commas between them",
			               NAMED_MAX);
			return;
		}
		snprintf(query->named[query->named_count++], GN_NAME_SIZE, "%.*s", (int)length, at);
		at = at[length] ? at + length + 1 : NULL;
	}
}

static const struct gn_field_special NAMED = {.read = read_named};
static const struct gn_field QUERY[] = {
    {"top", GN_FIELD_INT, 0, offsetof(struct query, top), 1, 1000, 5, .help = "Predictions of each image."},
    {"models", GN_FIELD_SPECIAL, 0, 0, .special = &NAMED, .help = "More models to ask."},
};

/* ---------------------------------------------------------------- which models ---------------- */

static bool has(const struct gn_chosen *chosen, const struct gn_open_model *opened)
{
	for (int i = 0; i < chosen->count; i++)
		if (chosen->models[i] == opened)
			return true;
	return false;
}

/* Adds a model that the query names. On a failure, replies and returns -1. */
static int add_named(struct gn_request *r, struct gn_chosen *chosen, const char *name)
{
	struct gn_open_model *opened;
	struct gn_error err = {0};

	if (gn_modelpool_hold_named(gn_api_models(r), name, &opened, &err)) {
		if (err.code == GN_NOT_FOUND)
			gn_reply_field(r, "/models", "there is no model %s", name);
		else
			gn_reply_error(r, &err);
		return -1;
	}
	bool twice = has(chosen, opened);
	chosen->models[chosen->count++] = opened;
	if (!twice && opened->model->arch.classes > 0)
		return 0;
	gn_reply_field(r, "/models", twice ? "%s is named twice" : "%s has no head, so it cannot classify", name);
	return -1;
}

static bool is_base_of(const struct gn_open_model *base, const struct gn_open_model *opened)
{
	while (opened && opened != base)
		opened = opened->base;
	return opened != NULL;
}

/* Puts {id} first, unless it is among the named models or the base of all of them. Takes ownership
 * of it. On a failure, replies and returns -1. */
static int add_own(struct gn_request *r, struct gn_chosen *chosen, struct gn_open_model *own)
{
	bool base_of_all = chosen->count > 0;

	for (int i = 0; i < chosen->count; i++)
		base_of_all = base_of_all && is_base_of(own, chosen->models[i]);
	if (base_of_all || has(chosen, own)) {
		gn_modelpool_drop(gn_api_models(r), own);
		return 0;
	}
	memmove(chosen->models + 1, chosen->models, (size_t)chosen->count * sizeof *chosen->models);
	chosen->models[0] = own;
	chosen->count++;
	if (own->model->arch.classes > 0)
		return 0;
	gn_reply_problem(r, 409, "the model has no head, so it cannot classify: tune it on a data set first");
	return -1;
}

/* Decides whether all models can use one decoded picture, and how many blocks they then share. */
static void plan(struct gn_chosen *chosen)
{
	const struct gn_model *models[GN_TOGETHER_MAX];
	bool alike = true;

	for (int i = 0; i < chosen->count; i++) {
		models[i] = chosen->models[i]->model;
		alike = alike && gn_open_models_alike(chosen->models[0], chosen->models[i]);
	}
	chosen->tickets = alike ? 1 : chosen->count;
	chosen->shared_blocks = alike ? gn_models_shared_blocks(models, chosen->count) : 0;
}

int gn_chosen_read(struct gn_request *r, struct gn_chosen *chosen)
{
	struct gn_open_model *own;
	struct query query;

	*chosen = (struct gn_chosen){0};
	if (gn_api_query(r, QUERY, sizeof QUERY / sizeof *QUERY, &query) || gn_api_hold_model(r, &own))
		return -1;
	chosen->top = query.top;
	chosen->several = query.named_count > 0;
	for (int i = 0; i < query.named_count; i++) {
		if (add_named(r, chosen, query.named[i])) {
			gn_modelpool_drop(gn_api_models(r), own);
			return -1;
		}
	}
	if (add_own(r, chosen, own))
		return -1;
	plan(chosen);
	return 0;
}

void gn_chosen_release(struct gn_request *r, struct gn_chosen *chosen)
{
	for (int i = 0; i < chosen->count; i++)
		gn_modelpool_drop(gn_api_models(r), chosen->models[i]);
	chosen->count = 0;
}

/* ---------------------------------------------------------------- a picture ------------------- */

int gn_chosen_send(struct gn_request *r, const struct gn_chosen *chosen, const void *bytes, size_t size,
                   struct gn_ticket *tickets, struct gn_error *err)
{
	struct gn_classifier *classifier = gn_request_service(r)->classifier;
	int each = chosen->tickets == 1 ? chosen->count : 1;

	for (int i = 0; i < chosen->tickets; i++) {
		tickets[i].gone = gn_request_gone;
		tickets[i].user = r;
		if (gn_classify_send(classifier, chosen->models + i, each, bytes, size, &tickets[i], err)) {
			double unused[3] = {0};

			gn_chosen_wait(r, chosen, tickets, unused, err);
			gn_chosen_clear(chosen, tickets);
			return -1;
		}
	}
	return 0;
}

int gn_chosen_wait(struct gn_request *r, const struct gn_chosen *chosen, struct gn_ticket *tickets, double seconds[3],
                   struct gn_error *err)
{
	int failed = 0;

	for (int i = 0; i < chosen->tickets; i++) {
		struct gn_ticket *ticket = &tickets[i];

		gn_classify_wait(gn_request_service(r)->classifier, ticket);
		seconds[0] += ticket->decode_seconds;
		seconds[1] += ticket->queue_seconds;
		seconds[2] += ticket->compute_seconds;
		if (ticket->error.code)
			failed = gn_fail(err, ticket->error.code, ticket->error.where, "%s", ticket->error.text);
	}
	return failed;
}

void gn_chosen_clear(const struct gn_chosen *chosen, struct gn_ticket *tickets)
{
	for (int i = 0; i < chosen->tickets; i++)
		gn_ticket_release(&tickets[i]);
	memset(tickets, 0, (size_t)chosen->tickets * sizeof *tickets);
}

/* ---------------------------------------------------------------- results --------------------- */

/* The most probable classes, most probable first; equal ones by index. */
static json_t *predictions(const struct gn_model *model, const float *probabilities, int top)
{
	int classes = model->arch.classes;
	json_t *items = json_array();
	bool *taken = calloc((size_t)classes, sizeof *taken);
	char index[16];

	for (int n = 0; taken && n < top && n < classes; n++) {
		int best = -1;
		for (int k = 0; k < classes; k++)
			if (!taken[k] && (best < 0 || probabilities[k] > probabilities[best]))
				best = k;
		taken[best] = true;
		snprintf(index, sizeof index, "%d", best);
		json_array_append_new(items, json_pack("{s:s,s:i,s:o}", "label",
		                                       model->label_count ? model->labels[best] : index, "index", best,
		                                       "probability", gn_json_real((double)probabilities[best])));
	}
	free(taken);
	return items;
}

void gn_chosen_result(const struct gn_chosen *chosen, const struct gn_ticket *tickets, json_t *result)
{
	json_t *models = json_array();

	for (int i = 0; i < chosen->count; i++) {
		const struct gn_open_model *opened = chosen->models[i];
		const float *found = chosen->tickets == 1 ? gn_ticket_probabilities(&tickets[0], i)
		                                          : gn_ticket_probabilities(&tickets[i], 0);
		json_t *items = predictions(opened->model, found, chosen->top);

		if (chosen->several)
			json_array_append_new(models,
			                      json_pack("{s:s,s:o}", "model", opened->id, "predictions", items));
		else
			json_object_set_new(result, "predictions", items);
	}
	if (chosen->several)
		json_object_set(result, "models", models);
	json_decref(models);
}

json_t *gn_chosen_reply(const struct gn_chosen *chosen, json_t *result, const double seconds[3])
{
	if (chosen->several)
		json_object_set_new(result, "shared_blocks", json_integer(chosen->shared_blocks));
	else
		json_object_set_new(result, "model", json_string(chosen->models[0]->id));
	json_object_set_new(result, "timing",
	                    json_pack("{s:f,s:f,s:f}", "decode_seconds", seconds[0], "queue_seconds", seconds[1],
	                              "compute_seconds", seconds[2]));
	return result;
}
