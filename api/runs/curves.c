/*
 * A run's curves and angles, read from its event file. A resumed run repeats the events after its
 * last checkpoint; then the later event counts. A run with a probe has curves for each of its
 * phases. An event without a phase belongs to the tuning.
 */
#include "api/api.h"

static const char TUNING[] = "tuning";
static const char *const STEP_MEMBERS[] = {"step", "epoch", "loss", "lr", "images_per_second", "grad_norm", NULL};
const char *const gn_api_epoch_members[] = {"epoch",        "train_loss", "val_loss", "val_accuracy",
                                            "val_macro_f1", "seconds",    NULL};

static json_int_t integer(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static const char *phase_of(const json_t *data)
{
	const char *phase = json_string_value(json_object_get(data, "phase"));

	return phase ? phase : TUNING;
}

/* Drops all items from the one whose `member` is `value`. */
static void rewind_items(json_t *items, const char *member, json_int_t value)
{
	size_t count = json_array_size(items);

	while (count && integer(json_array_get(items, count - 1), member) >= value)
		json_array_remove(items, --count);
}

/* A copy of some members; a missing one is null. */
static json_t *pick(const json_t *data, const char *const *members)
{
	json_t *item = json_object();

	for (; *members; members++) {
		json_t *value = json_object_get(data, *members);
		json_object_set_new(item, *members, value ? json_incref(value) : json_null());
	}
	return item;
}

/* ---------------------------------------------------------------- curves ---------------------- */

static json_t *curves_of(json_t *phases, const char *phase)
{
	json_t *curves = json_object_get(phases, phase);

	if (!curves) {
		curves = json_pack("{s:[],s:[]}", "steps", "epochs");
		json_object_set_new(phases, phase, curves);
	}
	return curves;
}

static void add_item(json_t *items, const char *member, const json_t *data, const char *const *members)
{
	rewind_items(items, member, integer(data, member));
	json_array_append_new(items, pick(data, members));
}

static bool add_metrics(void *user, const struct gn_event_record *record)
{
	json_t *phases = user;

	if (!strcmp(record->kind, "step"))
		add_item(json_object_get(curves_of(phases, phase_of(record->data)), "steps"), "step", record->data,
		         STEP_MEMBERS);
	else if (!strcmp(record->kind, "epoch"))
		add_item(json_object_get(curves_of(phases, phase_of(record->data)), "epochs"), "epoch", record->data,
		         gn_api_epoch_members);
	return true;
}

int gn_api_curves(struct gn_curves *out, const char *path, struct gn_error *err)
{
	json_t *phases = json_object(), *tuning;

	if (gn_events_read(path, add_metrics, phases, err)) {
		json_decref(phases);
		return -1;
	}
	tuning = curves_of(phases, TUNING);
	*out = (struct gn_curves){.steps = json_incref(json_object_get(tuning, "steps")),
	                          .epochs = json_incref(json_object_get(tuning, "epochs"))};
	json_object_del(phases, TUNING);
	if (json_object_size(phases))
		out->phases = json_incref(phases);
	json_decref(phases);
	return 0;
}

void gn_api_curves_release(struct gn_curves *curves)
{
	json_decref(curves->steps);
	json_decref(curves->epochs);
	json_decref(curves->phases);
}

/* ---------------------------------------------------------------- angles ---------------------- */

struct wanted {
	const char *phase;
	int epoch; /* 0: the last, -1: all */
	json_t *epochs;
};

static bool add_angles(void *user, const struct gn_event_record *record)
{
	static const char *const MEMBERS[] = {"epoch", "layers", NULL};
	struct wanted *wanted = user;
	json_int_t epoch = integer(record->data, "epoch");

	if (strcmp(record->kind, "angles") != 0 || strcmp(phase_of(record->data), wanted->phase) != 0 ||
	    (wanted->epoch > 0 && epoch != wanted->epoch))
		return true;
	rewind_items(wanted->epochs, "epoch", epoch);
	if (wanted->epoch >= 0)
		json_array_clear(wanted->epochs);
	json_array_append_new(wanted->epochs, pick(record->data, MEMBERS));
	return true;
}

int gn_api_angle_epochs(json_t **out, const char *path, const char *phase, int epoch, struct gn_error *err)
{
	struct wanted wanted = {phase, epoch, json_array()};

	if (gn_events_read(path, add_angles, &wanted, err)) {
		json_decref(wanted.epochs);
		return -1;
	}
	*out = wanted.epochs;
	return 0;
}
