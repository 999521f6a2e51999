/*
 * Side files: see config.h. Members that gonio does not read may have any value. Members that it
 * reads must have the right type and a sensible range, because a wrong config is worse than none.
 */
#include "checkpoint/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/json.h"

enum { DEPTH = 32, INTEGER_LIMIT = 1000000 };

/* transformers' names, of each activation first the one that exports have. timm's names are gonio's
 * own (gn_activation_names). */
static const struct {
	const char *name;
	enum gn_activation activation;
} activations[] = {
    {"gelu", GN_ACT_GELU},          {"gelu_python", GN_ACT_GELU},    {"gelu_pytorch_tanh", GN_ACT_GELU_TANH},
    {"gelu_new", GN_ACT_GELU_TANH}, {"gelu_fast", GN_ACT_GELU_TANH}, {"quick_gelu", GN_ACT_QUICK_GELU},
};

int gn_activation_from_name(const char *name)
{
	for (int i = 0; gn_activation_names[i]; i++)
		if (!strcmp(name, gn_activation_names[i]))
			return i;
	for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
		if (!strcmp(name, activations[i].name))
			return (int)activations[i].activation;
	return -1;
}

const char *gn_activation_hf_name(enum gn_activation activation)
{
	for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
		if (activations[i].activation == activation)
			return activations[i].name;
	return NULL;
}

/* ---------------------------------------------------------------- helpers --------------------- */

/* A side length: a whole number, or a list or object of equal ones ([518, 518], {"height": 224,
 * "width": 224}). */
static int read_side(int *out, const json_t *object, const char *name, struct gn_error *err)
{
	const json_t *value = json_object_get(object, name), *a = value, *b = value;

	if (!value || json_is_null(value))
		return 0;
	if (json_is_array(value)) {
		size_t n = json_array_size(value);

		a = json_array_get(value, n ? n - 1 : 0);
		b = json_array_get(value, n > 1 ? n - 2 : 0);
	} else if (json_is_object(value)) {
		a = json_object_get(value, "height");
		b = json_object_get(value, "width");
	}
	if (!json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 1 ||
	    json_integer_value(a) > INTEGER_LIMIT)
		return gn_fail(err, GN_INVALID, name, "%s must be a whole number from 1", name);
	if (json_integer_value(a) != json_integer_value(b))
		return gn_fail(err, GN_UNSUPPORTED, name, "%s is not square: only square images are supported", name);
	*out = (int)json_integer_value(a);
	return 0;
}

static int read_activation(int *out, const json_t *object, const char *name, struct gn_error *err)
{
	const char *text = NULL;

	if (gn_json_text(&text, object, name, err))
		return -1;
	if (!text)
		return 0;
	*out = gn_activation_from_name(text);
	if (*out < 0)
		return gn_fail(err, GN_UNSUPPORTED, name, "the activation \"%.60s\" is not supported", text);
	return 0;
}

void gn_side_release(struct gn_side *side)
{
	gn_text_list_free(side->labels, side->label_count);
	side->labels = NULL;
	side->label_count = 0;
}

/* Puts "config." before the field that an error names. */
static int in_file(const char *file, int result, struct gn_error *err)
{
	char where[sizeof err->where];

	if (result && err) {
		snprintf(where, sizeof where, "%s%s%.120s", file, *err->where ? "." : "", err->where);
		memcpy(err->where, where, sizeof where);
	}
	return result;
}

static int parse_object(json_t **out, const char *text, size_t size, const char *what, struct gn_error *err)
{
	if (gn_json_parse(out, text, size, GN_SIDE_FILE_LIMIT, DEPTH, what, err))
		return -1;
	if (json_is_object(*out))
		return 0;
	json_decref(*out);
	return gn_fail(err, GN_INVALID, "", "%s must be a JSON object", what);
}

/* --------------------------------------------------------------- Hugging Face's config.json --- */

/* id2label {"0": "cat", ...} in the order of the numbers; placeholders ("LABEL_3") give no
 * labels. */
static int read_id2label(struct gn_side *side, const json_t *config, struct gn_error *err)
{
	const json_t *map = json_object_get(config, "id2label");
	size_t n = json_object_size(map);
	bool placeholders = true;
	json_t *list;
	int result = 0;

	if (!map || json_is_null(map) || n == 0)
		return 0;
	if (!json_is_object(map))
		return gn_fail(err, GN_INVALID, "id2label", "id2label must be an object of strings");
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		char key[24], placeholder[32];
		json_t *label;

		snprintf(key, sizeof key, "%zu", i);
		snprintf(placeholder, sizeof placeholder, "LABEL_%zu", i);
		label = json_object_get(map, key);
		if (!json_is_string(label) || json_array_append(list, label)) {
			json_decref(list);
			return gn_fail(err, GN_INVALID, "id2label",
			               "id2label must name the classes 0 to %zu: class %zu is missing", n - 1, i);
		}
		placeholders = placeholders && !strcmp(json_string_value(label), placeholder);
	}
	if (!placeholders) {
		gn_side_release(side);
		result = gn_json_text_list(&side->labels, &side->label_count, list, "id2label", err);
	}
	json_decref(list);
	return result;
}

static int read_hf_config(struct gn_side *side, const json_t *config, struct gn_error *err)
{
	/* CLIP: the image tower's part */
	const json_t *tower = json_object_get(config, "vision_config");
	const json_t *from = json_is_object(tower) ? tower : config;
	bool swiglu = false;

	if (gn_json_int(&side->dim, from, "hidden_size", 1, INTEGER_LIMIT, err) ||
	    gn_json_int(&side->depth, from, "num_hidden_layers", 1, INTEGER_LIMIT, err) ||
	    gn_json_int(&side->heads, from, "num_attention_heads", 1, INTEGER_LIMIT, err) ||
	    gn_json_int(&side->mlp_dim, from, "intermediate_size", 1, INTEGER_LIMIT, err) ||
	    read_side(&side->image_size, from, "image_size", err) ||
	    read_side(&side->patch_size, from, "patch_size", err) ||
	    gn_json_number(&side->norm_eps, from, "layer_norm_eps", 0, 1, err) ||
	    read_activation(&side->activation, from, "hidden_act", err) ||
	    gn_json_bool(&swiglu, from, "use_swiglu_ffn", err) || read_id2label(side, config, err))
		return -1;
	if (swiglu)
		return gn_fail(err, GN_UNSUPPORTED, "use_swiglu_ffn", "a SwiGLU FFN is not supported");
	return 0;
}

/* ---------------------------------------------------------------- timm's config.json ---------- */

static int read_interpolation(struct gn_side *side, const json_t *object, struct gn_error *err)
{
	const char *text = NULL;

	if (gn_json_text(&text, object, "interpolation", err))
		return -1;
	if (text && strcmp(text, "bicubic") && strcmp(text, "bilinear"))
		return gn_fail(err, GN_UNSUPPORTED, "interpolation", "the interpolation \"%.40s\" is not supported",
		               text);
	if (text)
		side->interpolation = strcmp(text, "bicubic") ? GN_BILINEAR : GN_BICUBIC;
	return 0;
}

static int read_global_pool(struct gn_side *side, const json_t *object, struct gn_error *err)
{
	const char *text = NULL;

	if (gn_json_text(&text, object, "global_pool", err))
		return -1;
	if (!text)
		return 0;
	if (strcmp(text, "token") && strcmp(text, "avg"))
		return gn_fail(err, GN_UNSUPPORTED, "global_pool", "the pooling \"%.40s\" is not supported", text);
	side->pool = strcmp(text, "avg") ? GN_POOL_CLS : GN_POOL_MEAN;
	return 0;
}

/* Models of timm with the tensor names of a plain ViT, but with blocks that compute a different
 * function. */
static int read_architecture(struct gn_side *side, const json_t *config, struct gn_error *err)
{
	const char *name = NULL;

	if (gn_json_text(&name, config, "architecture", err))
		return -1;
	if (!name)
		return 0;
	if (strstr(name, "_rpn_"))
		return gn_fail(err, GN_UNSUPPORTED, "architecture",
		               "%.60s: blocks with a norm behind the residual branch are not supported", name);
	if (strstr(name, "siglip"))
		return gn_fail(err, GN_UNSUPPORTED, "architecture", "%.60s: SigLIP is not supported", name);
	if (strstr(name, "quickgelu"))
		side->activation = GN_ACT_QUICK_GELU;
	return 0;
}

static int read_timm_config(struct gn_side *side, const json_t *config, struct gn_error *err)
{
	const json_t *cfg = json_object_get(config, "pretrained_cfg"), *args = json_object_get(config, "model_args");
	const json_t *labels = json_object_get(config, "label_names");

	cfg = cfg ? cfg : config; /* old files have no inner object */
	if (read_architecture(side, config, err) || read_side(&side->image_size_timm, cfg, "input_size", err) ||
	    read_side(&side->image_size_timm, args, "img_size", err) ||
	    read_side(&side->patch_size, args, "patch_size", err) ||
	    gn_json_int(&side->heads, args, "num_heads", 1, INTEGER_LIMIT, err) ||
	    read_activation(&side->activation, args, "act_layer", err) || read_global_pool(side, config, err) ||
	    read_global_pool(side, args, err) || gn_json_triple(side->mean, cfg, "mean", -10, 10, err) ||
	    gn_json_triple(side->std, cfg, "std", 1e-6, 1000, err) ||
	    gn_json_number(&side->crop_pct, cfg, "crop_pct", 0.05, 1, err) || read_interpolation(side, cfg, err))
		return -1;
	if (!json_is_array(labels))
		return 0;
	gn_side_release(side);
	return gn_json_text_list(&side->labels, &side->label_count, labels, "label_names", err);
}

/* ---------------------------------------------------------------- preprocessor_config.json ---- */

/* A crop fraction with which gonio resizes to `resized` and crops `crop`: the known one if it gives
 * this result (NAN if none is known), else one with six decimals. */
static double crop_fraction(double known, int crop, int resized)
{
	double steps = floor(1e6 * crop / resized);

	if (!isnan(known) && gn_image_eval_side(crop, (float)known) == resized)
		return known;
	if (crop == resized)
		return 1;
	while (steps > 1 && gn_image_eval_side(crop, (float)(steps / 1e6)) < resized)
		steps--;
	return steps / 1e6;
}

/* Reads size and crop_size, each a number or an object, and computes the share of the shorter side
 * that the centre crop keeps. */
static int read_crop(struct gn_side *side, const json_t *config, struct gn_error *err)
{
	const json_t *size = json_object_get(config, "size");
	int resized = 0, crop = 0;
	bool crops = json_object_get(config, "crop_size") != NULL;

	if (gn_json_bool(&crops, config, "do_center_crop", err))
		return -1;
	if (json_object_get(size, "shortest_edge")) {
		if (gn_json_int(&resized, size, "shortest_edge", 1, INTEGER_LIMIT, err))
			return -1;
	} else if (read_side(&resized, config, "size", err)) {
		return -1;
	}
	if (!crops) {
		side->crop_pct = resized ? 1 : side->crop_pct;
		return 0;
	}
	if (read_side(&crop, config, "crop_size", err))
		return -1;
	if (crop > resized && resized)
		return gn_fail(err, GN_UNSUPPORTED, "crop_size",
		               "the crop of %d is larger than the resized image of %d", crop, resized);
	if (crop && resized)
		side->crop_pct = crop_fraction(side->crop_pct, crop, resized);
	return 0;
}

static int read_preprocessor(struct gn_side *side, const json_t *config, struct gn_error *err)
{
	enum { PILLOW_BILINEAR = 2, PILLOW_BICUBIC = 3 };
	bool normalise = true, rescale = true;
	double factor = 1 / 255.0;
	int resample = -1;

	if (gn_json_bool(&normalise, config, "do_normalize", err) ||
	    gn_json_bool(&rescale, config, "do_rescale", err) ||
	    gn_json_number(&factor, config, "rescale_factor", 0, 1, err) ||
	    gn_json_int(&resample, config, "resample", 0, 5, err) ||
	    gn_json_triple(side->mean, config, "image_mean", -10, 10, err) ||
	    gn_json_triple(side->std, config, "image_std", 1e-6, 1000, err) || read_crop(side, config, err))
		return -1;
	if (!rescale || fabs(factor * 255 - 1) > 1e-3)
		return gn_fail(err, GN_UNSUPPORTED, "rescale_factor", "only pixels scaled by 1/255 are supported");
	if (resample != -1 && resample != PILLOW_BILINEAR && resample != PILLOW_BICUBIC)
		return gn_fail(err, GN_UNSUPPORTED, "resample",
		               "only bilinear (2) and bicubic (3) resampling are supported");
	if (resample != -1)
		side->interpolation = resample == PILLOW_BICUBIC ? GN_BICUBIC : GN_BILINEAR;
	for (int c = 0; c < 3 && !normalise; c++) {
		side->mean[c] = 0;
		side->std[c] = 1;
	}
	return 0;
}

/* ---------------------------------------------------------------- all of them ----------------- */

static int read_config_file(struct gn_side *side, const struct gn_import_options *options, struct gn_error *err)
{
	json_t *config;
	int result;

	if (parse_object(&config, options->config_json, options->config_bytes, "config.json", err))
		return -1;
	/* Hugging Face's wrapper of timm models has the members of both. */
	result = json_object_get(config, "architecture") || json_object_get(config, "pretrained_cfg")
	             ? read_timm_config(side, config, err)
	             : read_hf_config(side, config, err);
	json_decref(config);
	return result;
}

static int read_preprocessor_file(struct gn_side *side, const struct gn_import_options *options, struct gn_error *err)
{
	json_t *config;
	int result;

	if (parse_object(&config, options->preprocessor_json, options->preprocessor_bytes, "preprocessor_config.json",
	                 err))
		return -1;
	result = read_preprocessor(side, config, err);
	json_decref(config);
	return result;
}

static int read_labels(struct gn_side *side, const struct gn_import_options *options, struct gn_error *err)
{
	json_t *list;
	int result;

	if (gn_json_parse(&list, options->labels_json, options->labels_bytes, GN_SIDE_FILE_LIMIT, 1, "labels", err))
		return in_file("labels", -1, err);
	gn_side_release(side);
	side->labels_given = true;
	result = gn_json_text_list(&side->labels, &side->label_count, list, "labels", err);
	json_decref(list);
	return result;
}

void gn_side_init(struct gn_side *side)
{
	*side = (struct gn_side){
	    .activation = -1, .pool = -1, .interpolation = -1, .pos_resample = -1, .norm_eps = NAN, .crop_pct = NAN};
	side->mean[0] = side->std[0] = NAN;
}

int gn_side_read(struct gn_side *side, const struct gn_import_options *options, struct gn_error *err)
{
	if (options->config_json && in_file("config", read_config_file(side, options, err), err))
		return -1;
	if (options->preprocessor_json && in_file("preprocessor", read_preprocessor_file(side, options, err), err))
		return -1;
	return options->labels_json ? read_labels(side, options, err) : 0;
}
