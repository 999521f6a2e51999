/* The strategy of a run as JSON: see strategy.h. */
#include "server/formats/strategy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERNS = 256, MAX_PATTERN_LENGTH = 128, MAX_LAYERS = 100000, MAX_PROBE_EPOCHS = 1000 };

/* ---------------------------------------------------------------- kinds ----------------------- */

static void kind_error(json_t *errors, const char *pointer)
{
	char list[256];
	size_t used = 0;

	for (int i = 0; i < GN_STRATEGY_COUNT && used < sizeof list; i++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", gn_strategy_name(i));
	gn_field_error(errors, pointer, "must be one of %s", list);
}

static bool read_kind(struct gn_run_request *request, const json_t *value, const char *pointer, json_t *errors)
{
	int kind = json_is_string(value) ? gn_strategy_kind_from_name(json_string_value(value)) : -1;

	if (kind < 0) {
		kind_error(errors, pointer);
		return false;
	}
	request->config.strategy.kind = (enum gn_strategy_kind)kind;
	return true;
}

/* ---------------------------------------------------------------- custom ---------------------- */

static void read_patterns(struct gn_run_request *request, const json_t *tune, const char *prefix, json_t *errors)
{
	char pointer[128], item[160];
	size_t count = json_array_size(tune);

	snprintf(pointer, sizeof pointer, "%s/tune", prefix);
	if (!json_is_array(tune) || count < 1 || count > MAX_PATTERNS) {
		gn_field_error(errors, pointer, "must be an array of 1 to %d patterns over tensor names", MAX_PATTERNS);
		return;
	}
	request->patterns = calloc(count + 1, sizeof *request->patterns);
	if (!request->patterns) {
		gn_field_error(errors, pointer, "no memory for the patterns");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(tune, i));
		size_t length = text ? strlen(text) : 0;
		if (length < 1 || length > MAX_PATTERN_LENGTH) {
			snprintf(item, sizeof item, "%s/%zu", pointer, i);
			gn_field_error(errors, item, "must be a string of 1 to %d bytes", MAX_PATTERN_LENGTH);
			text = "";
		}
		request->patterns[i] = strdup(text);
		if (!request->patterns[i]) {
			gn_field_error(errors, pointer, "no memory for the patterns");
			break;
		}
	}
	request->config.strategy.patterns = (const char *const *)request->patterns;
	request->config.strategy.pattern_count = (int)count;
}

/* ---------------------------------------------------------------- angle ----------------------- */

static const char *const ORDERS[] = {
    [GN_LARGEST] = "largest", [GN_SMALLEST] = "smallest", [GN_SMALLEST + 1] = "auto", NULL};
enum { ORDER_AUTO = GN_SMALLEST + 1 };

struct probe_members {
	int epochs, trial_epochs;
	double lr;
};
#define PROBE(member) offsetof(struct probe_members, member)
static const struct gn_field PROBE_FIELDS[] = {
    {"epochs", GN_FIELD_INT, 0, PROBE(epochs), 1, MAX_PROBE_EPOCHS, 2,
     .help = "Epochs of full fine-tuning before the layers are chosen."},
    {"lr", GN_FIELD_NUMBER, GN_FIELD_NULLABLE, PROBE(lr), 0, 100, -1,
     .help = "The probe's peak learning rate; null: that of the strategy full."},
    {"trial_epochs", GN_FIELD_INT, GN_FIELD_NULLABLE, PROBE(trial_epochs), 1, MAX_PROBE_EPOCHS, 0,
     .help = "Epochs of each trial of the order auto; null: as many as the probe's."},
};
enum { PROBE_FIELD_COUNT = sizeof PROBE_FIELDS / sizeof *PROBE_FIELDS };

struct angle_members {
	char from[GN_NAME_SIZE];
	bool probed;
	struct probe_members probe;
	int order, attention_layers, ffn_layers;
};

static void read_probe(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct angle_members *angle = out;

	angle->probed = value && !json_is_null(value);
	if (angle->probed)
		gn_fields_read(PROBE_FIELDS, PROBE_FIELD_COUNT, value, &angle->probe, pointer, errors);
}

static json_t *schema_probe(void)
{
	json_t *schema = gn_fields_schema(PROBE_FIELDS, PROBE_FIELD_COUNT);

	json_object_del(schema, "$schema");
	json_object_del(schema, "required");
	json_object_set_new(schema, "type", json_pack("[s,s]", "object", "null"));
	return schema;
}

static const struct gn_field_special PROBE_FIELD = {.read = read_probe, .schema = schema_probe};

#define ANGLE(member) offsetof(struct angle_members, member)
static const struct gn_field ANGLE_FIELDS[] = {
    {"from", GN_FIELD_REF, GN_FIELD_NULLABLE, ANGLE(from),
     .help = "The run whose angles decide: its id or name. Either this or probe."},
    {"probe", GN_FIELD_SPECIAL, GN_FIELD_NULLABLE, 0, .special = &PROBE_FIELD,
     .help = "A full fine-tuning that the run performs itself first, to measure the angles; then the chosen layers are "
             "tuned from the "
             "pre-trained weights."},
    {"order", GN_FIELD_CHOICE, 0, ANGLE(order), .fallback = GN_LARGEST, .choices = ORDERS,
     .help =
         "The layers with the largest or with the smallest angles of their group; auto, with a probe: both are tried."},
    {"attention_layers", GN_FIELD_INT, GN_FIELD_REQUIRED, ANGLE(attention_layers), 0, MAX_LAYERS, 0,
     .help = "How many attention layers."},
    {"ffn_layers", GN_FIELD_INT, GN_FIELD_REQUIRED, ANGLE(ffn_layers), 0, MAX_LAYERS, 0,
     .help = "How many FFN layers."},
};
enum { ANGLE_FIELD_COUNT = sizeof ANGLE_FIELDS / sizeof *ANGLE_FIELDS };

static void member_error(json_t *errors, const char *prefix, const char *member, const char *detail)
{
	char pointer[160];

	gn_field_pointer(pointer, sizeof pointer, prefix, member);
	gn_field_error(errors, pointer, "%s", detail);
}

static void read_angle(struct gn_run_request *request, const json_t *object, const char *pointer, json_t *errors)
{
	struct angle_members angle = {.probed = false};
	struct gn_guide *guide = &request->guide;
	json_t *members = json_copy((json_t *)(uintptr_t)object);
	char probe[160];

	gn_field_pointer(probe, sizeof probe, pointer, "probe");
	json_object_del(members, "kind");
	gn_fields_read(ANGLE_FIELDS, ANGLE_FIELD_COUNT, members, &angle, pointer, errors);
	json_decref(members);
	snprintf(request->from, sizeof request->from, "%s", angle.from);
	*guide = (struct gn_guide){.order = angle.order == ORDER_AUTO ? GN_LARGEST : (enum gn_order)angle.order,
	                           .try_both_orders = angle.order == ORDER_AUTO,
	                           .attention_layers = angle.attention_layers,
	                           .ffn_layers = angle.ffn_layers};
	if (angle.probed) {
		guide->probe_epochs = angle.probe.epochs;
		guide->probe_lr = angle.probe.lr < 0 ? gn_strategy_lr(GN_FULL) : angle.probe.lr;
		guide->trial_epochs = angle.probe.trial_epochs ? angle.probe.trial_epochs : angle.probe.epochs;
	}
	if (angle.probed == (angle.from[0] != '\0'))
		gn_field_error(errors, pointer, "the kind angle needs either from, a run, or probe");
	if (angle.order == ORDER_AUTO && !angle.probed)
		member_error(errors, pointer, "order",
		             "auto needs a probe: the angles of a run leave largest and smallest");
	if (angle.probed && angle.order != ORDER_AUTO && angle.probe.trial_epochs)
		member_error(errors, probe, "trial_epochs", "only the order auto makes trials");
}

static json_t *write_angle(const struct gn_run_request *request)
{
	const struct gn_guide *guide = &request->guide;
	json_t *object = json_pack("{s:s}", "kind", gn_strategy_name(GN_ANGLE));

	if (guide->probe_epochs)
		json_object_set_new(
		    object, "probe",
		    json_pack("{s:i,s:f,s:o}", "epochs", guide->probe_epochs, "lr", guide->probe_lr, "trial_epochs",
		              guide->try_both_orders ? json_integer(guide->trial_epochs) : json_null()));
	else
		json_object_set_new(object, "from", json_string(request->from));
	json_object_set_new(object, "order",
	                    json_string(ORDERS[guide->try_both_orders ? ORDER_AUTO : (int)guide->order]));
	json_object_set_new(object, "attention_layers", json_integer(guide->attention_layers));
	json_object_set_new(object, "ffn_layers", json_integer(guide->ffn_layers));
	return object;
}

static json_t *schema_angle(void)
{
	json_t *schema = gn_fields_schema(ANGLE_FIELDS, ANGLE_FIELD_COUNT),
	       *required = json_object_get(schema, "required");

	json_object_del(schema, "$schema");
	json_object_set_new(json_object_get(schema, "properties"), "kind",
	                    json_pack("{s:s}", "const", gn_strategy_name(GN_ANGLE)));
	json_array_append_new(required, json_string("kind"));
	return schema;
}

int gn_strategy_take_selection(struct gn_run_request *request, const json_t *selection)
{
	const json_t *layers = json_object_get(selection, "layers");
	size_t count = json_array_size(layers);
	struct gn_strategy *strategy = &request->config.strategy;

	gn_assert(!request->layers);
	request->layers = calloc(count + 1, sizeof *request->layers);
	if (!request->layers)
		return -1;
	strategy->layers = (const char *const *)request->layers;
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_object_get(json_array_get(layers, i), "name"));
		request->layers[i] = name ? strdup(name) : NULL;
		if (!request->layers[i])
			return -1;
		strategy->layer_count++;
	}
	return count ? 0 : -1;
}

/* ---------------------------------------------------------------- all kinds ------------------- */

/* The kinds that are no more than their name. */
static void refuse_members(const json_t *object, bool known, const char *pointer, json_t *errors)
{
	char member[160];
	const char *key;
	json_t *item;

	json_object_foreach((json_t *)(uintptr_t)object, key, item)
	{
		if (!strcmp(key, "kind") || (!strcmp(key, "tune") && !known))
			continue;
		gn_field_pointer(member, sizeof member, pointer, key);
		gn_field_error(errors, member,
		               strcmp(key, "tune") ? "no such field" : "only the kind custom takes patterns");
	}
}

static void read_custom(struct gn_run_request *request, const json_t *object, const char *pointer, json_t *errors)
{
	json_t *rest = json_copy((json_t *)(uintptr_t)object);

	json_object_del(rest, "tune");
	refuse_members(rest, true, pointer, errors);
	json_decref(rest);
	read_patterns(request, json_object_get(object, "tune"), pointer, errors);
}

static void read_object(struct gn_run_request *request, const json_t *value, const char *pointer, json_t *errors)
{
	char member[160];

	gn_field_pointer(member, sizeof member, pointer, "kind");
	bool known = read_kind(request, json_object_get(value, "kind"), member, errors);
	if (known && request->config.strategy.kind == GN_CUSTOM)
		read_custom(request, value, pointer, errors);
	else if (known && request->config.strategy.kind == GN_ANGLE)
		read_angle(request, value, pointer, errors);
	else
		refuse_members(value, known, pointer, errors);
}

static void read_strategy(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct gn_run_request *request = out;

	if (!value)
		gn_field_error(errors, pointer, "is required");
	else if (json_is_object(value))
		read_object(request, value, pointer, errors);
	else if (read_kind(request, value, pointer, errors) && request->config.strategy.kind == GN_CUSTOM)
		gn_field_error(errors, pointer, "custom needs patterns: {\"kind\":\"custom\",\"tune\":[...]}");
	else if (request->config.strategy.kind == GN_ANGLE && json_is_string(value))
		gn_field_error(errors, pointer,
		               "angle needs a run or a probe: "
		               "{\"kind\":\"angle\",\"from\":RUN,\"order\":\"largest\",\"attention_layers\":4,"
		               "\"ffn_layers\":4}");
}

json_t *gn_strategy_write(const struct gn_run_request *request)
{
	const struct gn_strategy *strategy = &request->config.strategy;

	if (strategy->kind == GN_ANGLE)
		return write_angle(request);
	if (strategy->kind != GN_CUSTOM)
		return json_string(gn_strategy_name(strategy->kind));

	json_t *tune = json_array();
	for (int i = 0; i < strategy->pattern_count; i++)
		json_array_append_new(tune, json_string(strategy->patterns[i]));
	return json_pack("{s:s,s:o}", "kind", gn_strategy_name(GN_CUSTOM), "tune", tune);
}

static json_t *write_strategy(const void *in)
{
	return gn_strategy_write(in);
}

static json_t *schema_custom(void)
{
	json_t *names = json_array();

	for (int i = 0; i < GN_STRATEGY_COUNT; i++)
		if (i != GN_ANGLE)
			json_array_append_new(names, json_string(gn_strategy_name(i)));
	return json_pack(
	    "{s:s,s:b,s:[s],s:{s:{s:s,s:o},s:{s:s,s:{s:s,s:i,s:i},s:i,s:i,s:s}}}", "type", "object",
	    "additionalProperties", 0, "required", "kind", "properties", "kind", "type", "string", "enum", names,
	    "tune", "type", "array", "items", "type", "string", "minLength", 1, "maxLength", MAX_PATTERN_LENGTH,
	    "minItems", 1, "maxItems", MAX_PATTERNS, "description",
	    "Patterns over timm's tensor names, for the kind custom only. * stands for any text, {a..b} for a range of "
	    "numbers; \"head\" is the whole head. Each must match a tensor.");
}

static json_t *schema_strategy(void)
{
	json_t *simple = json_array();

	for (int i = 0; i < GN_STRATEGY_COUNT; i++)
		if (i != GN_CUSTOM && i != GN_ANGLE)
			json_array_append_new(simple, json_string(gn_strategy_name(i)));
	return json_pack("{s:[{s:s,s:o},o,o]}", "oneOf", "type", "string", "enum", simple, schema_custom(),
	                 schema_angle());
}

const struct gn_field_special gn_strategy_field = {read_strategy, write_strategy, schema_strategy};

static void free_texts(char **texts, int count)
{
	for (int i = 0; texts && i < count; i++)
		free(texts[i]);
	free(texts);
}

void gn_strategy_clear(struct gn_run_request *request)
{
	struct gn_strategy *strategy = &request->config.strategy;

	free_texts(request->patterns, strategy->pattern_count);
	free_texts(request->layers, strategy->layer_count);
	request->patterns = request->layers = NULL;
	strategy->patterns = strategy->layers = NULL;
	strategy->pattern_count = strategy->layer_count = 0;
}

/* ---------------------------------------------------------------- labels ---------------------- */

void gn_strategy_label(char *label, size_t size, const json_t *strategy)
{
	const char *kind = json_string_value(json_object_get(strategy, "kind"));
	const json_t *tune = json_object_get(strategy, "tune");

	if (!kind)
		snprintf(label, size, "%s", json_string_value(strategy));
	else if (tune)
		snprintf(label, size, "%s %s%s", kind, json_string_value(json_array_get(tune, 0)),
		         json_array_size(tune) > 1 ? " ..." : "");
	else
		snprintf(label, size, "%s %s %d+%d", kind, json_string_value(json_object_get(strategy, "order")),
		         (int)json_integer_value(json_object_get(strategy, "attention_layers")),
		         (int)json_integer_value(json_object_get(strategy, "ffn_layers")));
}
