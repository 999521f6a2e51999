/* Chooses layers by the angles of a run: for the strategy angle, and for GET
 * /v1/runs/{id}/selection. */
#include "api/api.h"

/* ---------------------------------------------------------------- a run's angles -------------- */

struct last_angles {
	bool probed; /* true: the angles of the run's probe; false: of the run itself */
	json_int_t epoch;
	struct gn_angles angles;
};

/* The last angles of a run by id. GN_INVALID with `where` if it has none. Caller releases
 * last->angles. */
static int run_angles(struct last_angles *last, struct gn_request *r, const char *id, const char *where,
                      struct gn_error *err)
{
	char path[PATH_MAX];
	json_t *epochs = NULL;
	int failed;

	*last = (struct last_angles){.probed = true};
	gn_store_folder(gn_request_service(r)->store, GN_KIND_RUN, id, path);
	size_t used = strlen(path);
	snprintf(path + used, PATH_MAX - used, "/events.ndjson");
	failed = gn_api_angle_epochs(&epochs, path, "probe", 0, err);
	if (!failed && !json_array_size(epochs)) {
		json_decref(epochs);
		last->probed = false;
		failed = gn_api_angle_epochs(&epochs, path, "tuning", 0, err);
	}
	if (failed)
		return -1;
	if (json_array_size(epochs)) {
		const json_t *item = json_array_get(epochs, 0);
		last->epoch = json_integer_value(json_object_get(item, "epoch"));
		failed = gn_angles_from_layers(&last->angles, json_object_get(item, "layers"), err);
	} else {
		failed = gn_fail(err, GN_INVALID, where, "the run %s has no angles: it has not finished an epoch", id);
	}
	json_decref(epochs);
	return failed;
}

/* ---------------------------------------------------------------- for the strategy ------------ */

/* Checks that the run started from the model, because otherwise its layers are not the model's. */
static int check_model(struct gn_request *r, const char *run, const char *model, struct gn_error *err)
{
	json_t *resource = gn_supervisor_resource(gn_request_service(r)->supervisor, GN_KIND_RUN, run);
	const char *base = json_string_value(json_object_get(resource, "model"));
	int failed = 0;

	if (!base || strcmp(base, model) != 0)
		failed = gn_fail(err, GN_INVALID, "/strategy/from", "the run %s started from another model, %s", run,
		                 base ? base : "which is gone");
	json_decref(resource);
	return failed;
}

int gn_api_select(struct gn_request *r, char run[GN_NAME_SIZE], const char *model, const struct gn_guide *guide,
                  struct gn_selection *selection, struct gn_error *err)
{
	enum gn_job_status status;
	struct last_angles last;
	char id[GN_ID_SIZE];
	int failed;

	if (gn_supervisor_find(gn_request_service(r)->supervisor, GN_KIND_RUN, run, id, &status))
		return gn_fail(err, GN_INVALID, "/strategy/from", "there is no run with this id or name");
	snprintf(run, GN_NAME_SIZE, "%s", id);
	if (check_model(r, id, model, err))
		return -1;
	failed =
	    run_angles(&last, r, id, "/strategy/from", err) ||
	    gn_select_layers(selection, &last.angles, guide->order, guide->attention_layers, guide->ffn_layers, err);
	gn_angles_release(&last.angles);
	return failed ? -1 : 0;
}

/* -------------------------------------------------------------- GET /v1/runs/{id}/selection --- */

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
	enum gn_job_status status;
	struct gn_selection selection = {0};
	struct gn_error err = {0};
	struct last_angles last;
	struct wanted wanted;
	char id[GN_ID_SIZE];

	if (gn_api_query(r, WANTED, sizeof WANTED / sizeof *WANTED, &wanted))
		return;
	if (gn_supervisor_find(gn_request_service(r)->supervisor, GN_KIND_RUN, gn_path(r, "id"), id, &status)) {
		gn_reply_problem(r, 404, "there is no run with this id or name");
		return;
	}
	if (run_angles(&last, r, id, "", &err) ||
	    gn_select_layers(&selection, &last.angles, (enum gn_order)wanted.order, wanted.attention_layers,
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
	gn_angles_release(&last.angles);
}
