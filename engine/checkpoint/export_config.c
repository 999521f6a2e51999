/*
 * The files beside an export's weights: config.json for timm or transformers, and
 * preprocessor_config.json. They have all facts that decide the function and the preprocessing, so
 * that the folder works without gonio.
 */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/config.h"
#include "checkpoint/export_plan.h"
#include "checkpoint/json.h"

/* ---------------------------------------------------------------- values ---------------------- */

static json_t *json_floats(const float values[3])
{
	return json_pack("[o,o,o]", json_real(gn_decimal(values[0])), json_real(gn_decimal(values[1])),
	                 json_real(gn_decimal(values[2])));
}

/* The name of a class, or transformers' placeholder if the model has no names. */
static void label(char *text, size_t size, const struct gn_model *model, int index)
{
	if (model->label_count)
		snprintf(text, size, "%s", model->labels[index]);
	else
		snprintf(text, size, "LABEL_%d", index);
}

enum { LABEL_ROOM = 4096 };

/* {"0": "cat", ...} */
static json_t *id2label(const struct gn_model *model)
{
	json_t *map = json_object();
	char key[16], text[LABEL_ROOM];
	int failed = 0;

	for (int i = 0; i < model->arch.classes && !failed; i++) {
		snprintf(key, sizeof key, "%d", i);
		label(text, sizeof text, model, i);
		failed = json_object_set_new(map, key, json_string(text));
	}
	if (failed) {
		json_decref(map);
		return NULL;
	}
	return map;
}

/* {"cat": 0, ...}; of classes with the same name, the first. */
static json_t *label2id(const struct gn_model *model)
{
	json_t *map = json_object();
	char text[LABEL_ROOM];
	int failed = 0;

	for (int i = model->arch.classes - 1; i >= 0 && !failed; i--) {
		label(text, sizeof text, model, i);
		failed = json_object_set_new(map, text, json_integer(i));
	}
	if (failed) {
		json_decref(map);
		return NULL;
	}
	return map;
}

/* Adds the members of `more`, which is stolen. Returns the object, or NULL. */
static json_t *with(json_t *object, json_t *more)
{
	int failed = !object || !more || json_object_update(object, more);

	json_decref(more);
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* *out = the text of config, which is stolen. */
static int finish(char **out, json_t *config, struct gn_error *err)
{
	char *text = gn_json_dump_pretty(config, err);

	json_decref(config);
	if (!text)
		return -1;
	*out = text;
	return 0;
}

/* ---------------------------------------------------------------- transformers ---------------- */

static const char *const dtype_names[] = {[GN_F32] = "float32", [GN_F16] = "float16", [GN_BF16] = "bfloat16"};

static json_t *hf_config(const struct gn_model *model, const struct gn_hf_class *hf, enum gn_dtype dtype)
{
	const struct gn_arch *a = &model->arch;
	json_t *config = json_pack(
	    "{s:[s],s:s,s:i,s:i,s:i,s:s,s:f,s:f,s:o,s:i,s:i,s:i,s:b,s:o,s:o,s:s}", "architectures", hf->name,
	    "model_type", hf->model_type, "hidden_size", a->dim, "num_hidden_layers", a->depth, "num_attention_heads",
	    a->heads, "hidden_act", gn_activation_hf_name(a->activation), "hidden_dropout_prob", 0.0,
	    "attention_probs_dropout_prob", 0.0, "layer_norm_eps", json_real(gn_decimal(a->norm_eps)), "image_size",
	    a->image_size, "patch_size", a->patch_size, "num_channels", 3, "qkv_bias", a->qkv_bias, "id2label",
	    id2label(model), "label2id", label2id(model), "torch_dtype", dtype_names[dtype]);

	if (hf->spelling != GN_SPELL_HF_DINOV2)
		return with(config, json_pack("{s:i}", "intermediate_size", a->mlp_dim));
	config = with(config, json_pack("{s:i,s:b}", "mlp_ratio", a->mlp_dim / a->dim, "use_swiglu_ffn", 0));
	return a->registers ? with(config, json_pack("{s:i}", "num_register_tokens", a->registers)) : config;
}

int gn_export_preprocessor(char **out, const struct gn_model *model, struct gn_error *err)
{
	enum { PILLOW_BILINEAR = 2, PILLOW_BICUBIC = 3 };
	const struct gn_preprocess *p = &model->preprocess;
	int side = model->arch.image_size,
	    resample = p->interpolation == GN_BILINEAR ? PILLOW_BILINEAR : PILLOW_BICUBIC;

	/* the processor of transformers that resizes the shorter side and then crops, as gonio and
	 * timm do */
	return finish(out,
	              json_pack("{s:s,s:b,s:{s:i},s:i,s:b,s:{s:i,s:i},s:b,s:f,s:b,s:o,s:o,s:b}", "image_processor_type",
	                        "BitImageProcessor", "do_resize", 1, "size", "shortest_edge",
	                        gn_image_eval_side(side, p->crop_pct), "resample", resample, "do_center_crop", 1,
	                        "crop_size", "height", side, "width", side, "do_rescale", 1, "rescale_factor",
	                        1 / 255.0, "do_normalize", 1, "image_mean", json_floats(p->mean), "image_std",
	                        json_floats(p->std), "do_convert_rgb", 1),
	              err);
}

/* ---------------------------------------------------------------- timm ------------------------ */

/* The ratio of hidden width to width. timm's int(width * ratio) is the hidden width for any
 * rounding of the ratio. */
static double mlp_ratio(const struct gn_arch *a)
{
	return a->mlp_dim % a->dim ? (a->mlp_dim + 0.25) / a->dim : a->mlp_dim / a->dim;
}

static json_t *timm_model_args(const struct gn_arch *a)
{
	json_t *args =
	    json_pack("{s:i,s:i,s:i,s:i,s:i,s:f,s:b,s:s}", "img_size", a->image_size, "patch_size", a->patch_size,
	              "embed_dim", a->dim, "depth", a->depth, "num_heads", a->heads, "mlp_ratio", mlp_ratio(a),
	              "qkv_bias", a->qkv_bias, "act_layer", gn_activation_names[a->activation]);

	if (a->layer_scale) /* the weights overwrite the value; it only has to be there */
		args = with(args, json_pack("{s:f}", "init_values", 1.0));
	if (a->distilled)
		return args;
	return with(args,
	            json_pack("{s:b,s:s,s:b,s:i,s:b,s:b}", "class_token", a->class_token, "global_pool",
	                      a->pool == GN_POOL_MEAN ? "avg" : "token", "fc_norm", a->norm_after_pool, "reg_tokens",
	                      a->registers, "no_embed_class", !a->pos_on_prefix, "pre_norm", a->norm_pre));
}

static json_t *timm_pretrained_cfg(const struct gn_model *model)
{
	const struct gn_arch *a = &model->arch;
	const struct gn_preprocess *p = &model->preprocess;
	json_t *cfg = json_pack(
	    "{s:[i,i,i],s:b,s:s,s:o,s:s,s:o,s:o,s:i,s:s}", "input_size", 3, a->image_size, a->image_size,
	    "fixed_input_size", 1, "interpolation", p->interpolation == GN_BILINEAR ? "bilinear" : "bicubic",
	    "crop_pct", json_real(gn_decimal(p->crop_pct)), "crop_mode", "center", "mean", json_floats(p->mean), "std",
	    json_floats(p->std), "num_classes", a->classes, "first_conv", "patch_embed.proj");

	return with(cfg, a->dist_head ? json_pack("{s:[s,s]}", "classifier", "head", "head_dist")
	                              : json_pack("{s:s}", "classifier", "head"));
}

static json_t *label_names(const struct gn_model *model)
{
	json_t *names = json_array();

	for (int i = 0; i < model->label_count; i++) {
		if (json_array_append_new(names, json_string(model->labels[i]))) {
			json_decref(names);
			return NULL;
		}
	}
	return names;
}

static json_t *timm_config(const struct gn_model *model, const char *name)
{
	const struct gn_arch *a = &model->arch;
	json_t *config = json_pack("{s:s,s:i,s:i,s:s,s:o,s:o}", "architecture", name, "num_classes", a->classes,
	                           "num_features", a->dim, "global_pool", a->pool == GN_POOL_MEAN ? "avg" : "token",
	                           "model_args", timm_model_args(a), "pretrained_cfg", timm_pretrained_cfg(model));

	return model->label_count ? with(config, json_pack("{s:o}", "label_names", label_names(model))) : config;
}

/* ---------------------------------------------------------------- the whole ------------------- */

int gn_export_config(char **out, const struct gn_model *model, enum gn_export_format format, enum gn_dtype dtype,
                     struct gn_error *err)
{
	const struct gn_hf_class *hf = NULL;
	const char *timm = NULL;

	if (format == GN_EXPORT_HUGGINGFACE)
		hf = gn_hf_class_of(&model->arch, err);
	else
		timm = gn_timm_model_of(&model->arch, err);
	if (!hf && !timm)
		return -1;
	return finish(out, hf ? hf_config(model, hf, dtype) : timm_config(model, timm), err);
}
