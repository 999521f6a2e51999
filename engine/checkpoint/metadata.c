/*
 * Our own metadata: safetensors allows strings only, so the architecture, the preprocessing and the
 * labels are JSON texts inside of strings. The reader trusts nothing, because anyone can upload
 * such a file.
 */
#include "checkpoint/metadata.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/json.h"

#define FORMAT "1"

enum { DEPTH = 2, TEXT_LIMIT = 4 << 20 };

/* ---------------------------------------------------------------- enums as words -------------- */

struct words {
	const char *const *names;
	int count;
};
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

/* ------------------------------------------------------- the architecture, member by member --- */

static json_t *field_value(const struct gn_arch *arch, const struct gn_arch_field *field)
{
	double value = gn_arch_value(arch, field);

	switch (field->type) {
	case GN_ARCH_BOOL:
		return json_boolean(value != 0);
	case GN_ARCH_CHOICE:
		return json_string(field->words[(int)value]);
	case GN_ARCH_REAL:
		return json_real(value);
	case GN_ARCH_INT:
		break;
	}
	return json_integer((json_int_t)value);
}

/* By type: so their order is that of the files that are there, and a model's hash stays. */
static json_t *arch_object(const struct gn_arch *arch)
{
	json_t *object = json_object();
	int failed = 0;

	for (int type = GN_ARCH_INT; type <= GN_ARCH_REAL; type++)
		for (int i = 0; i < gn_arch_field_count; i++)
			if ((int)gn_arch_fields[i].type == type)
				failed |= json_object_set_new(object, gn_arch_fields[i].name,
				                              field_value(arch, &gn_arch_fields[i]));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static int read_field(struct gn_arch *arch, const json_t *object, const struct gn_arch_field *field,
                      struct gn_error *err)
{
	int number = field->type == GN_ARCH_INT ? -1 : 0, failed = 0; /* -1: a missing size is refused */
	double real = 0;
	bool flag = false;

	switch (field->type) {
	case GN_ARCH_INT:
		failed = gn_json_int(&number, object, field->name, 0, INT32_MAX, err);
		real = number;
		break;
	case GN_ARCH_BOOL:
		failed = gn_json_bool(&flag, object, field->name, err);
		real = flag;
		break;
	case GN_ARCH_CHOICE:
		failed =
		    read_word(&number, object, field->name, (struct words){field->words, (int)field->high + 1}, err);
		real = number;
		break;
	case GN_ARCH_REAL:
		failed = gn_json_number(&real, object, field->name, field->low, field->high, err);
		break;
	}
	gn_arch_set(arch, field, real);
	return failed;
}

static int arch_read(struct gn_arch *arch, const json_t *object, struct gn_error *err)
{
	*arch = (struct gn_arch){0};
	for (int i = 0; i < gn_arch_field_count; i++)
		if (read_field(arch, object, &gn_arch_fields[i], err))
			return -1;
	return gn_arch_check(arch, err);
}

/* ---------------------------------------------------------------- preprocessing --------------- */

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

/* ---------------------------------------------------------------- the whole ------------------- */

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

/* Files of older versions do not state their base. */
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
