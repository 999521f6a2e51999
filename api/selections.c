/* Choosing layers by the angles of a run: for the strategy angle, and to look at (GET /v1/runs/{id}/selection). */
#include "api/api.h"

/* ---------------------------------------------------------------- a run's angles -------------------------------- */

struct last_angles {
	json_t *layers; /* of the probe where there is one, else of the run */
	json_int_t epoch;
	bool probed;
};

static bool take_angles(void *user, const struct gn_event_record *record)
{
	struct last_angles *last = user;
	const char *phase = json_string_value(json_object_get(record->data, "phase"));
	bool probe = phase && !strcmp(phase, "probe");

	if (strcmp(record->kind, "angles") != 0 || (phase && !probe))
		return true;
	json_decref(last->layers);
	last->layers = json_incref(json_object_get(record->data, "layers"));
	last->epoch = json_integer_value(json_object_get(record->data, "epoch"));
	last->probed = probe;
	return true;
}

/* The last angles of a run by id; GN_INVALID at where when it has none. Caller decrefs last->layers and releases angles. */
static int run_angles(struct gn_request *r, const char *id, const char *where, struct last_angles *last,
                      struct gn_angles *angles, struct gn_error *err)
{
	char path[PATH_MAX];

	*last = (struct last_angles){0};
	gn_store_folder(gn_request_service(r)->store, GN_KIND_RUN, id, path);
	size_t used = strlen(path);
	snprintf(path + used, PATH_MAX - used, "/events.ndjson");
	if (gn_events_read(path, take_angles, last, err))
		return -1;
	if (!last->layers)
		return gn_fail(err, GN_INVALID, where, "the run %s has no angles: it has not finished an epoch", id);
	return gn_angles_from_layers(angles, last->layers, err);
}

/* ---------------------------------------------------------------- for the strategy ------------------------------ */

/* The run must have started from the model, or its layers are not the model's. */
static int check_model(struct gn_request *r, const char *run, const char *model, struct gn_error *err)
{
	struct gn_text *text = gn_supervisor_get(gn_request_service(r)->supervisor, run);
	json_t *resource = text ? json_loadb(text->data, text->bytes, 0, NULL) : NULL;
	const char *base = json_string_value(json_object_get(resource, "model"));
	int failed = 0;

	if (!base || strcmp(base, model) != 0)
		failed = gn_fail(err, GN_INVALID, "/strategy/from", "the run %s started from another model, %s", run,
		                 base ? base : "which is gone");
	json_decref(resource);
	gn_text_unref(text);
	return failed;
}

int gn_api_select(struct gn_request *r, char run[GN_NAME_SIZE], const char *model, const struct gn_guide *guide,
                  struct gn_selection *selection, struct gn_error *err)
{
	enum gn_run_status status;
	struct last_angles last;
	struct gn_angles angles = {0};
	char id[GN_ID_SIZE];
	int failed;

	if (gn_supervisor_find(gn_request_service(r)->supervisor, run, id, &status))
		return gn_fail(err, GN_INVALID, "/strategy/from", "there is no run with this id or name");
	snprintf(run, GN_NAME_SIZE, "%s", id);
	if (check_model(r, id, model, err))
		return -1;
	failed = run_angles(r, id, "/strategy/from", &last, &angles, err) ||
	         gn_select_layers(selection, &angles, guide->order, guide->attention_layers, guide->ffn_layers, err);
	gn_angles_release(&angles);
	json_decref(last.layers);
	return failed ? -1 : 0;
}

/* ---------------------------------------------------------------- GET /v1/runs/{id}/selection ------------------- */

struct wanted {
	int order, attention_layers, ffn_layers;
};
static const char *const ORDERS[] = {[GN_LARGEST] = "largest", [GN_SMALLEST] = "smallest", NULL};
static const struct gn_field WANTED[] = {
    {"order", GN_FIELD_CHOICE, 0, offsetof(struct wanted, order), .fallback = GN_LARGEST, .choices = ORDERS,
     .help = "The layers with the largest or the smallest angles."},
    {"attention_layers", GN_FIELD_INT, GN_FIELD_REQUIRED, offsetof(struct wanted, attention_layers), 0, 100000, 0,
     .help = "How many attention layers."},
    {"ffn_layers", GN_FIELD_INT, GN_FIELD_REQUIRED, offsetof(struct wanted, ffn_layers), 0, 100000, 0,
     .help = "How many FFN layers."},
};

/* The fields of a selection are members of a strategy, or parameters of the query. */
static void reply_parameter(struct gn_request *r, struct gn_error *err)
{
	static const char prefix[] = "/strategy";

	if (!strncmp(err->where, prefix, sizeof prefix - 1))
		memmove(err->where, err->where + sizeof prefix - 1, strlen(err->where + sizeof prefix - 1) + 1);
	gn_api_reply_member(r, err);
}

void gn_api_run_selection(struct gn_request *r)
{
	enum gn_run_status status;
	struct gn_selection selection = {0};
	struct gn_angles angles = {0};
	struct gn_error err = {0};
	struct last_angles last;
	struct wanted wanted;
	char id[GN_ID_SIZE];

	if (gn_api_query(r, WANTED, sizeof WANTED / sizeof *WANTED, &wanted))
		return;
	if (gn_supervisor_find(gn_request_service(r)->supervisor, gn_path(r, "id"), id, &status)) {
		gn_reply_problem(r, 404, "there is no run with this id or name");
		return;
	}
	if (run_angles(r, id, "", &last, &angles, &err) ||
	    gn_select_layers(&selection, &angles, (enum gn_order)wanted.order, wanted.attention_layers,
	                     wanted.ffn_layers, &err)) {
		reply_parameter(r, &err);
	} else {
		json_t *reply = gn_selection_json(&selection, (enum gn_order)wanted.order);
		json_object_set_new(reply, "run", json_string(id));
		json_object_set_new(reply, "phase", last.probed ? json_string("probe") : json_null());
		json_object_set_new(reply, "epoch", json_integer(last.epoch));
		gn_reply_json(r, 200, reply);
	}
	gn_selection_release(&selection);
	gn_angles_release(&angles);
	json_decref(last.layers);
}
