/*
 * Our own metadata: safetensors allows strings only, so the architecture, the preprocessing and the labels are JSON
 * texts inside of strings. Reading trusts nothing: the same file can be uploaded by anybody.
 */
#include "checkpoint/metadata.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/json.h"

#define FORMAT "1"

enum { DEPTH = 2, TEXT_LIMIT = 4 << 20 };

/* ---------------------------------------------------------------- enums as words -------------------------------- */

struct words {
	const char *const *names;
	int count;
};
static const char *const pool_names[] = {"cls", "mean"};
static const char *const activation_names[] = {"gelu", "gelu_tanh", "quick_gelu"};
static const char *const interpolation_names[] = {"bicubic", "bilinear"};
static const char *const resample_names[] = {"timm", "hf", "dinov2", "torchvision"};
static const char *const scheme_names[] = {"timm", "huggingface", "torchvision", "dinov2", "gonio"};

#define WORDS(array) ((struct words){array, sizeof(array) / sizeof *(array)})

const char *gn_pos_resample_name(enum gn_pos_resample how)
{
	return resample_names[how];
}

const char *gn_scheme_name(enum gn_scheme scheme)
{
	return scheme_names[scheme];
}

/* The index of a word that a file must have. */
static int find_word(int *out, const char *text, struct words words, const char *where, struct gn_error *err)
{
	for (int i = 0; text && i < words.count; i++) {
		if (!strcmp(text, words.names[i])) {
			*out = i;
			return 0;
		}
	}
	return gn_fail(err, GN_INVALID, where, "%s: \"%.60s\" is unknown", where, text ? text : "");
}

static int read_word(int *out, const json_t *object, const char *name, struct words words, struct gn_error *err)
{
	return find_word(out, json_string_value(json_object_get(object, name)), words, name, err);
}

/* ---------------------------------------------------------------- the architecture, member by member ------------ */

static const struct {
	const char *name;
	size_t at;
} arch_ints[] =
    {
#define INT(member)                                                                                                    \
	{                                                                                                              \
#member, offsetof(struct gn_arch, member)                                                              \
	}
        INT(image_size), INT(patch_size), INT(dim), INT(depth), INT(heads), INT(mlp_dim), INT(classes), INT(registers),
#undef INT
},
  arch_bools[] = {
#define BOOL(member)                                                                                                   \
	{                                                                                                              \
#member, offsetof(struct gn_arch, member)                                                              \
	}
      BOOL(class_token), BOOL(distilled),       BOOL(dist_head), BOOL(pos_on_prefix), BOOL(layer_scale),
      BOOL(norm_pre),    BOOL(norm_after_pool), BOOL(qkv_bias),  BOOL(patch_bias),
#undef BOOL
};
enum { INTS = sizeof arch_ints / sizeof *arch_ints, BOOLS = sizeof arch_bools / sizeof *arch_bools };

static json_t *arch_object(const struct gn_arch *arch)
{
	json_t *object = json_object();
	int failed = 0;

	for (int i = 0; i < INTS; i++) {
		int value;

		memcpy(&value, (const char *)arch + arch_ints[i].at, sizeof value);
		failed |= json_object_set_new(object, arch_ints[i].name, json_integer(value));
	}
	for (int i = 0; i < BOOLS; i++) {
		bool value;

		memcpy(&value, (const char *)arch + arch_bools[i].at, sizeof value);
		failed |= json_object_set_new(object, arch_bools[i].name, json_boolean(value));
	}
	failed |= json_object_set_new(object, "pool", json_string(pool_names[arch->pool]));
	failed |= json_object_set_new(object, "activation", json_string(activation_names[arch->activation]));
	failed |= json_object_set_new(object, "norm_eps", json_real((double)arch->norm_eps));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static int arch_read(struct gn_arch *arch, const json_t *object, struct gn_error *err)
{
	int pool = 0, activation = 0;
	double eps = 0;

	*arch = (struct gn_arch){0};
	for (int i = 0; i < INTS; i++) {
		int value = -1;

		if (gn_json_int(&value, object, arch_ints[i].name, 0, INT32_MAX, err))
			return -1;
		memcpy((char *)arch + arch_ints[i].at, &value, sizeof value);
	}
	for (int i = 0; i < BOOLS; i++) {
		bool value = false;

		if (gn_json_bool(&value, object, arch_bools[i].name, err))
			return -1;
		memcpy((char *)arch + arch_bools[i].at, &value, sizeof value);
	}
	if (read_word(&pool, object, "pool", WORDS(pool_names), err) ||
	    read_word(&activation, object, "activation", WORDS(activation_names), err) ||
	    gn_json_number(&eps, object, "norm_eps", 0, 1, err))
		return -1;
	arch->pool = (enum gn_pool)pool;
	arch->activation = (enum gn_activation)activation;
	arch->norm_eps = (float)eps;
	return gn_arch_check(arch, err);
}

/* ---------------------------------------------------------------- preprocessing ---------------------------------- */

static json_t *triple(const float *values)
{
	json_t *array = json_array();
	int failed = 0;

	for (int i = 0; i < 3; i++)
		failed |= json_array_append_new(array, json_real((double)values[i]));
	if (failed) {
		json_decref(array);
		return NULL;
	}
	return array;
}

static json_t *preprocess_object(const struct gn_preprocess *p)
{
	json_t *object = json_object();

	if (json_object_set_new(object, "mean", triple(p->mean)) ||
	    json_object_set_new(object, "std", triple(p->std)) ||
	    json_object_set_new(object, "crop_pct", json_real((double)p->crop_pct)) ||
	    json_object_set_new(object, "interpolation", json_string(interpolation_names[p->interpolation]))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static int preprocess_read(struct gn_preprocess *p, const json_t *object, struct gn_error *err)
{
	double crop_pct = 1;
	int interpolation = 0;

	*p = (struct gn_preprocess){.std = {1, 1, 1}};
	if (gn_json_triple(p->mean, object, "mean", -10, 10, err) ||
	    gn_json_triple(p->std, object, "std", 1e-6, 1000, err) ||
	    gn_json_number(&crop_pct, object, "crop_pct", 0.05, 1, err) ||
	    read_word(&interpolation, object, "interpolation", WORDS(interpolation_names), err))
		return -1;
	p->crop_pct = (float)crop_pct;
	p->interpolation = (enum gn_interpolation)interpolation;
	return 0;
}

/* ---------------------------------------------------------------- the whole -------------------------------------- */

static json_t *label_array(const struct gn_model_parts *parts)
{
	json_t *array = json_array();
	int failed = 0;

	for (int i = 0; i < parts->label_count; i++)
		failed |= json_array_append_new(array, json_string(parts->labels[i]));
	if (failed) {
		json_decref(array);
		return NULL;
	}
	return array;
}

static int check_labels(const struct gn_model_parts *parts, struct gn_error *err)
{
	for (int i = 0; i < parts->label_count; i++) {
		json_error_t problem;
		json_t *label = json_pack_ex(&problem, 0, "s", parts->labels[i]);

		if (!label && json_error_code(&problem) == json_error_invalid_utf8)
			return gn_fail(err, GN_INVALID, "labels", "the name of class %d is not UTF-8", i);
		json_decref(label);
	}
	return 0;
}

/* Sets key to the JSON text of value; takes the value. */
static int set_text(json_t *metadata, const char *key, json_t *value)
{
	char *text = gn_json_dump(value, NULL);
	int failed = !text || json_object_set_new(metadata, key, json_string(text));

	free(text);
	json_decref(value);
	return failed;
}

json_t *gn_metadata_make(const struct gn_model_parts *parts, struct gn_error *err)
{
	json_t *metadata;

	if (check_labels(parts, err))
		return NULL;
	metadata = json_object();
	/* "format" is what transformers and timm look for. */
	if (json_object_set_new(metadata, "format", json_string("pt")) ||
	    json_object_set_new(metadata, "gonio.format", json_string(FORMAT)) ||
	    json_object_set_new(metadata, "gonio.scheme", json_string(scheme_names[parts->scheme])) ||
	    json_object_set_new(metadata, "gonio.pos_resample", json_string(resample_names[parts->pos_resample])) ||
	    set_text(metadata, "gonio.architecture", arch_object(parts->arch)) ||
	    set_text(metadata, "gonio.preprocessing", preprocess_object(parts->preprocess)) ||
	    (parts->base && parts->base[0] && json_object_set_new(metadata, "gonio.base", json_string(parts->base))) ||
	    (parts->label_count > 0 && set_text(metadata, "gonio.labels", label_array(parts)))) {
		json_decref(metadata);
		gn_fail(err, GN_NO_MEMORY, "", "no memory for a file's metadata");
		return NULL;
	}
	return metadata;
}

bool gn_metadata_there(const struct gn_st_file *file)
{
	return gn_st_metadata(file, "gonio.format") != NULL;
}

/* The JSON inside of one string. */
static int read_text(json_t **out, const struct gn_st_file *file, const char *key, struct gn_error *err)
{
	const char *text = gn_st_metadata(file, key);

	if (!text)
		return gn_fail(err, GN_INVALID, key, "the file's metadata has no %s", key);
	return gn_json_parse(out, text, strlen(text), TEXT_LIMIT, DEPTH, key, err);
}

static int read_object(json_t **out, const struct gn_st_file *file, const char *key, struct gn_error *err)
{
	if (read_text(out, file, key, err))
		return -1;
	if (json_is_object(*out))
		return 0;
	json_decref(*out);
	*out = NULL;
	return gn_fail(err, GN_INVALID, key, "%s is not an object", key);
}

static int read_labels(struct gn_metadata *out, const struct gn_st_file *file, struct gn_error *err)
{
	json_t *list;
	int result;

	if (!gn_st_metadata(file, "gonio.labels"))
		return 0;
	if (read_text(&list, file, "gonio.labels", err))
		return -1;
	result = gn_json_text_list(&out->labels, &out->label_count, list, "gonio.labels", err);
	json_decref(list);
	if (!result && out->label_count != out->arch.classes)
		return gn_fail(err, GN_INVALID, "gonio.labels", "gonio.labels has %d names, the head %d classes",
		               out->label_count, out->arch.classes);
	return result;
}

/* Files of former versions do not name their base. */
static int read_base(struct gn_metadata *out, const struct gn_st_file *file, struct gn_error *err)
{
	const char *hash = gn_st_metadata(file, "gonio.base");

	if (!hash)
		return 0;
	if (strlen(hash) != sizeof out->base - 1 || strspn(hash, "0123456789abcdef") != sizeof out->base - 1)
		return gn_fail(err, GN_INVALID, "gonio.base", "gonio.base is not a SHA-256");
	memcpy(out->base, hash, sizeof out->base);
	return 0;
}

int gn_metadata_read(struct gn_metadata *out, const struct gn_st_file *file, struct gn_error *err)
{
	const char *format = gn_st_metadata(file, "gonio.format");
	json_t *arch = NULL, *preprocess = NULL;
	int scheme = 0, resample = 0, result = -1;

	*out = (struct gn_metadata){0};
	if (!format || strcmp(format, FORMAT))
		return gn_fail(err, GN_INVALID, "gonio.format", "not a model file of this version of gonio");
	if (find_word(&scheme, gn_st_metadata(file, "gonio.scheme"), WORDS(scheme_names), "gonio.scheme", err) ||
	    find_word(&resample, gn_st_metadata(file, "gonio.pos_resample"), WORDS(resample_names),
	              "gonio.pos_resample", err))
		return -1;
	out->scheme = (enum gn_scheme)scheme;
	out->pos_resample = (enum gn_pos_resample)resample;
	if (!read_object(&arch, file, "gonio.architecture", err) &&
	    !read_object(&preprocess, file, "gonio.preprocessing", err) && !arch_read(&out->arch, arch, err) &&
	    !preprocess_read(&out->preprocess, preprocess, err) && !read_base(out, file, err) &&
	    !read_labels(out, file, err))
		result = 0;
	json_decref(arch);
	json_decref(preprocess);
	if (result)
		gn_metadata_release(out);
	return result;
}

void gn_metadata_release(struct gn_metadata *metadata)
{
	gn_text_list_free(metadata->labels, metadata->label_count);
	metadata->labels = NULL;
	metadata->label_count = 0;
}
