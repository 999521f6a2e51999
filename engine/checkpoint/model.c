/*
 * Opens gonio's own model files (alone, or as a delta on a base) and writes them. The file stays
 * mapped as long as the model is open. Only names and labels are copied.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/json.h"
#include "checkpoint/metadata.h"
#include "checkpoint/model.h"
#include "checkpoint/safetensors.h"
#include "base/files.h"
#include "gonio.h"

struct gn_model_map {
	struct gn_file_map file;
	pthread_mutex_t lock; /* of hash; held while it is computed */
	char hash[65];        /* "": not computed yet */
};

/* ---------------------------------------------------------------- hashing --------------------- */

/* Hashes tensor by tensor, and then drops its pages, so that a large model need not fit in
 * memory. */
static int compute_hash(char hash[65], const struct gn_model *model, struct gn_error *err)
{
	struct gn_sha256 state;

	if (gn_sha256_begin(&state, err))
		return -1;
	for (int i = 0; i < model->layout.count; i++) {
		size_t size = model->layout.tensors[i].numel * sizeof(float);

		gn_sha256_update(&state, model->tensors[i], size);
		if (model->map)
			gn_file_forget(model->tensors[i], size);
	}
	gn_sha256_end(&state, hash);
	return 0;
}

int gn_model_hash(char hash[65], const struct gn_model *model, struct gn_error *err)
{
	struct gn_model_map *map = model->map;
	int result = 0;

	if (!map) /* of no file */
		return compute_hash(hash, model, err);
	pthread_mutex_lock(&map->lock);
	if (!map->hash[0])
		result = compute_hash(map->hash, model, err);
	if (result == 0)
		memcpy(hash, map->hash, sizeof map->hash);
	pthread_mutex_unlock(&map->lock);
	return result;
}

/* ---------------------------------------------------------------- opening --------------------- */

static int take_own(struct gn_model *model, const struct gn_st_tensor *s, struct gn_error *err)
{
	int index = gn_layout_find_name(&model->layout, s->name);
	const struct gn_tensor *t = index < 0 ? NULL : &model->layout.tensors[index];
	char found[80], wanted[80];

	if (!t)
		return gn_fail(err, GN_INVALID, s->name, "tensor %.150s is not part of the model", s->name);
	if (s->dtype != GN_ST_F32 || (uintptr_t)s->data % sizeof(float))
		return gn_fail(err, GN_INVALID, s->name, "tensor %.150s must be of dtype F32 at a multiple of 4 bytes",
		               s->name);
	if (s->rank != t->rank || memcmp(s->shape, t->shape, (size_t)t->rank * sizeof *t->shape))
		return gn_fail(err, GN_INVALID, s->name, "tensor %.150s has shape %s; %s is wanted", s->name,
		               gn_st_shape_text(found, sizeof found, s->shape, s->rank),
		               gn_st_shape_text(wanted, sizeof wanted, t->shape, t->rank));
	model->tensors[index] = (const float *)(const void *)s->data;
	model->own[index] = true;
	return 0;
}

/* A tensor that is not in the file is the base's, if the base has it in the same shape. */
static int take_from_base(struct gn_model *model, int index, struct gn_error *err)
{
	const struct gn_tensor *t = &model->layout.tensors[index];
	int there = model->base ? gn_layout_find_name(&model->base->layout, t->name) : -1;
	const struct gn_tensor *b = there < 0 ? NULL : &model->base->layout.tensors[there];
	char found[80], wanted[80];

	if (!b)
		return gn_fail(err, GN_INVALID, t->name, "tensor %s is missing%s", t->name,
		               model->base ? ", here and in the base" : "");
	if (b->rank != t->rank || memcmp(b->shape, t->shape, (size_t)t->rank * sizeof *t->shape))
		return gn_fail(err, GN_INVALID, t->name, "tensor %s has shape %s in the base; %s is wanted", t->name,
		               gn_st_shape_text(found, sizeof found, b->shape, b->rank),
		               gn_st_shape_text(wanted, sizeof wanted, t->shape, t->rank));
	model->tensors[index] = model->base->tensors[there];
	return 0;
}

static int take_tensors(struct gn_model *model, const struct gn_st_file *file, struct gn_error *err)
{
	size_t count = (size_t)model->layout.count;

	model->tensors = gn_alloc(count, sizeof *model->tensors, err);
	model->own = gn_alloc(count, sizeof *model->own, err);
	if (!model->tensors || !model->own)
		return -1;
	for (int i = 0; i < file->count; i++)
		if (take_own(model, &file->tensors[i], err))
			return -1;
	for (int i = 0; i < model->layout.count; i++)
		if (!model->own[i] && take_from_base(model, i, err))
			return -1;
	return 0;
}

static int take_metadata(struct gn_model *model, const struct gn_st_file *file, struct gn_error *err)
{
	struct gn_metadata metadata;

	if (gn_metadata_read(&metadata, file, err))
		return -1;
	model->arch = metadata.arch;
	model->preprocess = metadata.preprocess;
	model->scheme = metadata.scheme;
	model->pos_resample = metadata.pos_resample;
	model->labels = metadata.labels;
	model->label_count = metadata.label_count;
	memcpy(model->base_hash, metadata.base, sizeof model->base_hash);
	return gn_layout_init(&model->layout, &model->arch, err);
}

static int check_base(const struct gn_model *model, const char *path, struct gn_error *err)
{
	char hash[65];

	if (!model->base || !model->base_hash[0])
		return 0;
	if (gn_model_hash(hash, model->base, err))
		return -1;
	return strcmp(hash, model->base_hash) == 0
	           ? 0
	           : gn_fail(err, GN_INVALID, path, "was tuned from another base: %.12s, and this one is %.12s",
	                     model->base_hash, hash);
}

static int open_file(struct gn_model *model, const char *path, struct gn_error *err)
{
	struct gn_st_file file = {0};
	int result = -1;

	model->map = gn_alloc(1, sizeof *model->map, err);
	if (!model->map)
		return -1;
	pthread_mutex_init(&model->map->lock, NULL);
	if (!gn_file_map(&model->map->file, path, err) &&
	    !gn_st_parse(&file, model->map->file.bytes, model->map->file.size, err) &&
	    !take_metadata(model, &file, err) && !take_tensors(model, &file, err))
		result = 0;
	gn_st_release(&file);
	return result;
}

static int open_model(struct gn_model **out, const char *path, const struct gn_model *base, bool known,
                      struct gn_error *err)
{
	struct gn_model *model = gn_alloc(1, sizeof *model, err);

	if (!model)
		return -1;
	model->base = base;
	if (open_file(model, path, err) || (!known && check_base(model, path, err))) {
		gn_model_close(model);
		return -1;
	}
	*out = model;
	return 0;
}

int gn_model_open(struct gn_model **out, const char *path, const struct gn_model *base, struct gn_error *err)
{
	return open_model(out, path, base, false, err);
}

int gn_model_open_known(struct gn_model **out, const char *path, const struct gn_model *base, struct gn_error *err)
{
	return open_model(out, path, base, true, err);
}

void gn_model_close(struct gn_model *model)
{
	if (!model)
		return;
	if (model->map) {
		gn_file_unmap(&model->map->file);
		pthread_mutex_destroy(&model->map->lock);
	}
	free(model->map);
	gn_layout_release(&model->layout);
	free(model->tensors);
	free(model->own);
	gn_text_list_free(model->labels, model->label_count);
	free(model);
}

int gn_model_is_own(bool *own, const char *path, struct gn_error *err)
{
	struct gn_st_file file = {0};
	struct gn_file_map map;
	int result;

	if (gn_file_map(&map, path, err))
		return -1;
	result = gn_st_parse(&file, map.bytes, map.size, err);
	if (result == 0) {
		*own = gn_metadata_there(&file);
		for (int i = 0; i < file.count; i++)
			*own = *own && file.tensors[i].dtype == GN_ST_F32;
	}
	gn_st_release(&file);
	gn_file_unmap(&map);
	return result;
}

/* ---------------------------------------------------------------- writing --------------------- */

static int make_header(uint8_t **header, size_t *size, const struct gn_model_parts *parts, const bool *has,
                       struct gn_error *err)
{
	json_t *metadata = gn_metadata_make(parts, err);
	int result = -1;

	if (metadata)
		result = gn_st_write_header(header, size, parts->layout, has, GN_F32, metadata, err);
	json_decref(metadata);
	return result;
}

static int write_pieces(struct gn_file_writer *writer, const struct gn_layout *layout, const bool *has,
                        const struct gn_model_source *source, struct gn_error *err)
{
	for (int i = 0; i < layout->count; i++) {
		size_t numel = layout->tensors[i].numel, n;

		for (size_t at = 0; has[i] && at < numel; at += n) {
			const float *values;

			n = numel - at < GN_MODEL_PIECE ? numel - at : GN_MODEL_PIECE;
			values = source->piece(source->user, i, at, n, err);
			if (!values || gn_file_write(writer, values, n * sizeof *values, err))
				return -1;
		}
	}
	return 0;
}

struct gn_model_parts gn_model_parts_of(const struct gn_model *model)
{
	return (struct gn_model_parts){
	    .arch = &model->arch,
	    .preprocess = &model->preprocess,
	    .scheme = model->scheme,
	    .pos_resample = model->pos_resample,
	    .layout = &model->layout,
	    .labels = (const char *const *)model->labels,
	    .label_count = model->label_count,
	};
}

int gn_model_write_pieces(const char *path, const struct gn_model_parts *parts, const bool *has,
                          const struct gn_model_source *source, struct gn_error *err)
{
	struct gn_file_writer writer;
	uint8_t *header;
	size_t size;
	int result = -1;

	if (make_header(&header, &size, parts, has, err))
		return -1;
	if (gn_file_begin(&writer, path, err) == 0) {
		result = gn_file_write(&writer, header, size, err);
		if (result == 0)
			result = write_pieces(&writer, parts->layout, has, source, err);
		if (result == 0)
			result = gn_file_commit(&writer, err);
		gn_file_abort(&writer);
	}
	free(header);
	return result;
}

static const float *piece_in_memory(void *user, int tensor, size_t at, size_t n, struct gn_error *err)
{
	const struct gn_model_parts *parts = user;

	(void)n;
	(void)err;
	return parts->tensors[tensor] + at;
}

int gn_model_write(const char *path, const struct gn_model_parts *parts, struct gn_error *err)
{
	struct gn_model_parts copy = *parts;
	bool *has = gn_alloc((size_t)parts->layout->count, sizeof *has, err);
	int result;

	if (!has)
		return -1;
	for (int i = 0; i < parts->layout->count; i++)
		has[i] = parts->tensors[i] != NULL;
	result = gn_model_write_pieces(path, parts, has, &(struct gn_model_source){piece_in_memory, &copy}, err);
	free(has);
	return result;
}

/* ---------------------------------------------------------------- memory ---------------------- */

void gn_model_forget(const struct gn_model *model, int tensor, size_t at, size_t n)
{
	if (model->map && model->own[tensor])
		gn_file_forget(model->tensors[tensor] + at, n * sizeof(float));
}
