/*
 * Imports a foreign checkpoint in two steps. First it makes a plan: every tensor of the model gets
 * its source tensors (one, or the three thirds of qkv), and their shapes and types are checked. A
 * tensor that is missing, duplicate, left over or of the wrong shape is an error before a byte is
 * written. Then the model file is written tensor by tensor from the mapped source, so that only one
 * tensor is in memory.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/config.h"
#include "checkpoint/detect.h"
#include "checkpoint/dtype.h"
#include "checkpoint/json.h"
#include "checkpoint/metadata.h"
#include "checkpoint/position.h"
#include "checkpoint/safetensors.h"
#include "base/files.h"
#include "gonio.h"

/* The source of a tensor of ours: only part[0], or the rows of q, k and v. All NULL: a bias of
 * zeros. */
struct slot {
	const struct gn_source_tensor *part[3];
};

struct import {
	const struct gn_import_options *options;
	struct gn_import_report *report;
	struct gn_file_map map;
	struct gn_st_file file;
	struct gn_source source;
	struct gn_side side;
	struct gn_recipe recipe;
	struct gn_layout layout;
	struct slot *slots; /* [layout.count] */
};

/* ---------------------------------------------------------------- reading the source ---------- */

/* Recognises formats that are often uploaded by mistake, by their first bytes. */
static int refuse_other_formats(const struct gn_file_map *map, struct gn_error *err)
{
	static const struct {
		const char *magic, *text;
		size_t length;
	} formats[] = {
	    {"PK\003\004", "a zip archive (PyTorch's .pth and .bin, or .npz): save the weights as safetensors first",
	     4},
	    {"\200\002", "a Python pickle (an old .pth): save the weights as safetensors first", 2},
	    {"GGUF", "a GGUF file: save the weights as safetensors first", 4},
	    {"\211HDF", "an HDF5 file: save the weights as safetensors first", 4},
	};

	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
		if (map->size >= formats[i].length && !memcmp(map->bytes, formats[i].magic, formats[i].length))
			return gn_fail(err, GN_UNSUPPORTED, "", "this is %s", formats[i].text);
	return 0;
}

/* A file that gonio wrote has in its metadata what other files have in side files. */
static int side_from_metadata(struct gn_side *side, const struct gn_st_file *file, struct gn_error *err)
{
	struct gn_metadata m;

	if (gn_metadata_read(&m, file, err))
		return -1;
	side->heads = m.arch.heads;
	side->image_size = m.arch.image_size;
	side->activation = (int)m.arch.activation;
	side->pool = (int)m.arch.pool;
	side->norm_eps = (double)m.arch.norm_eps;
	memcpy(side->mean, m.preprocess.mean, sizeof side->mean);
	memcpy(side->std, m.preprocess.std, sizeof side->std);
	side->crop_pct = (double)m.preprocess.crop_pct;
	side->interpolation = (int)m.preprocess.interpolation;
	side->pos_resample = (int)m.pos_resample;
	side->labels = m.labels;
	side->label_count = m.label_count;
	return 0;
}

static int read_source(struct import *in, const char *path, struct gn_error *err)
{
	bool from_gonio;

	if (gn_file_map(&in->map, path, err) || refuse_other_formats(&in->map, err) ||
	    gn_st_parse(&in->file, in->map.bytes, in->map.size, err) || gn_source_read(&in->source, &in->file, err))
		return -1;
	from_gonio = gn_metadata_there(&in->file);
	if (from_gonio && side_from_metadata(&in->side, &in->file, err))
		return -1;
	if (gn_side_read(&in->side, in->options, err))
		return -1;
	return gn_recipe_make(&in->recipe, &in->source, &in->side, from_gonio, in->options, err);
}

/* ---------------------------------------------------------------- the plan: who goes where ---- */

static int wanted_shape(int64_t shape[4], const struct import *in, const struct gn_tensor *t, enum gn_part part)
{
	const struct gn_arch *arch = &in->recipe.arch;
	int64_t dim = arch->dim;

	memcpy(shape, t->shape, sizeof t->shape);
	if (part == GN_PART_Q || part == GN_PART_K || part == GN_PART_V) {
		shape[0] = dim;
	} else if (part == GN_PART_PROJECTION_TRANSPOSED) {
		shape[0] = dim;
		shape[1] = arch->classes;
	} else if (t->role == GN_POS_EMBED) {
		int64_t prefix = arch->pos_on_prefix ? arch->class_token + arch->distilled : 0;

		shape[1] = (int64_t)in->recipe.grid * in->recipe.grid + prefix + in->recipe.pos_registers;
	} else if (t->role == GN_HEAD_W && in->recipe.head != GN_HEAD_FROM_WHOLE) {
		shape[1] = 2 * dim;
	}
	return t->rank;
}

/* Leading dimensions of 1 do not count: a class token may be (1, 1, D) or (D). */
static bool same_shape(const int64_t *a, int rank_a, const int64_t *b, int rank_b)
{
	while (rank_a > 0 && *a == 1) {
		a++;
		rank_a--;
	}
	while (rank_b > 0 && *b == 1) {
		b++;
		rank_b--;
	}
	return rank_a == rank_b && !memcmp(a, b, (size_t)rank_a * sizeof *a);
}

static int check_tensor(const struct import *in, const struct gn_tensor *t, const struct gn_source_tensor *source,
                        struct gn_error *err)
{
	const struct gn_st_tensor *s = source->tensor;
	int64_t shape[4];
	int rank = wanted_shape(shape, in, t, source->match.part);
	char found[80], wanted[80];

	if (s->dtype > GN_ST_BF16)
		return gn_fail(err, GN_INVALID, s->name, "tensor %.150s is of dtype %s; F32, F16 and BF16 are read",
		               s->name, gn_st_dtype_name(s->dtype));
	if (!same_shape(s->shape, s->rank, shape, rank))
		return gn_fail(err, GN_INVALID, s->name, "tensor %.150s has shape %s; %s is wanted", s->name,
		               gn_st_shape_text(found, sizeof found, s->shape, s->rank),
		               gn_st_shape_text(wanted, sizeof wanted, shape, rank));
	return 0;
}

/* A Dinov2 classifier that gonio cannot use is treated as an unknown tensor. */
static bool is_dropped(const struct import *in, const struct gn_source_tensor *source)
{
	return in->recipe.head == GN_HEAD_FROM_NONE &&
	       (source->match.role == GN_HEAD_W || source->match.role == GN_HEAD_B);
}

static int place(struct import *in, const struct gn_source_tensor *source, struct gn_error *err)
{
	const char *name = source->tensor->name;
	int index = gn_layout_find(&in->layout, source->match.role, source->match.block);
	int part = source->match.part == GN_PART_K ? 1 : source->match.part == GN_PART_V ? 2 : 0;

	if (index < 0)
		return gn_fail(err, GN_INVALID, name, "tensor %.150s has no place in an architecture of %d blocks",
		               name, in->recipe.arch.depth);
	if (in->slots[index].part[part])
		return gn_fail(err, GN_INVALID, name, "tensors %.150s and %.150s both are %s",
		               in->slots[index].part[part]->tensor->name, name, in->layout.tensors[index].name);
	if (check_tensor(in, &in->layout.tensors[index], source, err))
		return -1;
	in->slots[index].part[part] = source;
	in->report->mapped++;
	return 0;
}

/* Checks that all sources of a tensor of ours are there: one tensor, or the thirds of a split
 * qkv. */
static int check_filled(const struct import *in, int index, struct gn_error *err)
{
	static const enum gn_part thirds[3] = {GN_PART_Q, GN_PART_K, GN_PART_V};
	const struct gn_tensor *t = &in->layout.tensors[index];
	bool split = (t->role == GN_QKV_W || t->role == GN_QKV_B) && gn_spelling_splits_qkv(in->source.spelling);
	char name[96];

	if (t->role == GN_HEAD_B) {
		const struct gn_source_tensor *head = gn_source_find(&in->source, GN_HEAD_W);

		if (head && head->match.part != GN_PART_WHOLE)
			return 0; /* CLIP's projection has no bias: zeros */
	}
	for (int p = 0; p < (split ? 3 : 1); p++) {
		if (in->slots[index].part[p])
			continue;
		gn_name_write(name, sizeof name, in->source.spelling, t->role, split ? thirds[p] : GN_PART_WHOLE,
		              t->block);
		return gn_fail(err, GN_INVALID, *name ? name : t->name, "tensor %s is missing", *name ? name : t->name);
	}
	return 0;
}

static int ignore(struct import *in, const struct gn_source_tensor *source, struct gn_error *err)
{
	const char *name = source->tensor->name;
	struct gn_import_report *report = in->report;

	if (!in->options->allow_unused && !gn_name_is_silent(source->name))
		return gn_fail(err, GN_INVALID, name,
		               "tensor %.150s is not part of the model; allow_unused leaves such tensors out", name);
	report->ignored[report->ignored_count] = gn_copy_text(name, strlen(name), err);
	if (!report->ignored[report->ignored_count])
		return -1;
	report->ignored_count++;
	return 0;
}

static int make_plan(struct import *in, struct gn_error *err)
{
	if (gn_layout_init(&in->layout, &in->recipe.arch, err))
		return -1;
	in->slots = gn_alloc((size_t)in->layout.count, sizeof *in->slots, err);
	in->report->ignored = gn_alloc((size_t)in->source.count, sizeof *in->report->ignored, err);
	if (!in->slots || !in->report->ignored)
		return -1;
	for (int i = 0; i < in->source.count; i++) {
		const struct gn_source_tensor *source = &in->source.tensors[i];

		if (source->known && !is_dropped(in, source) && place(in, source, err))
			return -1;
	}
	for (int i = 0; i < in->layout.count; i++)
		if (check_filled(in, i, err))
			return -1;
	for (int i = 0; i < in->source.count; i++) {
		const struct gn_source_tensor *source = &in->source.tensors[i];

		if ((!source->known || is_dropped(in, source)) && ignore(in, source, err))
			return -1;
	}
	return 0;
}

static int check_labels(const struct import *in, struct gn_error *err)
{
	const struct gn_side *side = &in->side;
	int classes = in->recipe.arch.classes;

	if (!side->labels || side->label_count == classes || (classes == 0 && !side->labels_given))
		return 0;
	return gn_fail(err, GN_INVALID, side->labels_given ? "labels" : "config.labels",
	               "%d class names for a head of %d classes", side->label_count, classes);
}

/* ---------------------------------------------------------------- values ---------------------- */

/* out[numel] = the tensor as float32; every value must be finite. */
static int load(float *out, const struct gn_source_tensor *source, struct gn_error *err)
{
	const struct gn_st_tensor *t = source->tensor;

	gn_dtype_widen(out, t->data, (enum gn_dtype)t->dtype, (size_t)t->numel);
	for (size_t i = 0; i < (size_t)t->numel; i++)
		if (!isfinite(out[i]))
			return gn_fail(err, GN_INVALID, t->name, "tensor %.150s: value %zu is not finite", t->name, i);
	return 0;
}

/* A temporary copy of a tensor; caller frees. */
static float *load_copy(const struct gn_source_tensor *source, struct gn_error *err)
{
	float *values = gn_alloc((size_t)source->tensor->numel, sizeof *values, err);

	if (values && load(values, source, err)) {
		free(values);
		return NULL;
	}
	return values;
}

static int fill_positions(float *out, const struct import *in, const struct gn_source_tensor *pos, struct gn_error *err)
{
	const struct gn_arch *arch = &in->recipe.arch;
	size_t dim = (size_t)arch->dim;
	size_t prefix = arch->pos_on_prefix ? (size_t)arch->class_token + (size_t)arch->distilled : 0;
	float *values = load_copy(pos, err);
	int result;

	if (!values)
		return -1;
	memcpy(out, values, prefix * dim * sizeof *out);
	result = gn_position_resample(out + prefix * dim, values + (prefix + (size_t)in->recipe.pos_registers) * dim,
	                              arch->image_size / arch->patch_size, in->recipe.grid, arch->dim,
	                              in->recipe.pos_resample, err);
	free(values);
	return result;
}

/* Fills the registers. If the file has rows of positions for them, adds these rows. */
static int fill_registers(float *out, const struct import *in, const struct gn_source_tensor *registers,
                          struct gn_error *err)
{
	const struct gn_arch *arch = &in->recipe.arch;
	size_t first = (size_t)(arch->class_token + arch->distilled) * (size_t)arch->dim;
	float *pos;

	if (load(out, registers, err))
		return -1;
	if (in->recipe.pos_registers == 0)
		return 0;
	pos = load_copy(gn_source_find(&in->source, GN_POS_EMBED), err);
	if (!pos)
		return -1;
	for (size_t i = 0; i < (size_t)registers->tensor->numel; i++)
		out[i] += pos[first * arch->pos_on_prefix + i];
	free(pos);
	return 0;
}

/* out [K, D] from (D, K), or from one half of the columns of (K, 2D). */
static int fill_head(float *out, const struct import *in, const struct gn_source_tensor *head, struct gn_error *err)
{
	size_t classes = (size_t)in->recipe.arch.classes, dim = (size_t)in->recipe.arch.dim;
	bool transposed = head->match.part == GN_PART_PROJECTION_TRANSPOSED;
	size_t row = transposed ? 1 : 2 * dim, column = transposed ? classes : 1;
	size_t first = in->recipe.head == GN_HEAD_FROM_MEAN_HALF ? dim : 0;
	float *values;

	if (!transposed && in->recipe.head == GN_HEAD_FROM_WHOLE)
		return load(out, head, err);
	values = load_copy(head, err);
	if (!values)
		return -1;
	for (size_t k = 0; k < classes; k++)
		for (size_t c = 0; c < dim; c++)
			out[k * dim + c] = values[first + k * row + c * column];
	free(values);
	return 0;
}

static int fill(float *out, const struct import *in, int index, struct gn_error *err)
{
	const struct gn_tensor *t = &in->layout.tensors[index];
	const struct slot *slot = &in->slots[index];

	if (t->role == GN_POS_EMBED)
		return fill_positions(out, in, slot->part[0], err);
	if (t->role == GN_REG_TOKEN)
		return fill_registers(out, in, slot->part[0], err);
	if (t->role == GN_HEAD_W)
		return fill_head(out, in, slot->part[0], err);
	memset(out, 0, t->numel * sizeof *out);
	for (int p = 0; p < 3 && slot->part[p]; p++) {
		if (load(out, slot->part[p], err))
			return -1;
		out += slot->part[p]->tensor->numel;
	}
	return 0;
}

/* ---------------------------------------------------------------- writing --------------------- */

static int write_tensors(struct gn_file_writer *writer, const struct import *in, struct gn_error *err)
{
	for (int i = 0; i < in->layout.count; i++) {
		size_t numel = in->layout.tensors[i].numel;
		float *values = gn_alloc(numel, sizeof *values, err);
		int result = values ? fill(values, in, i, err) : -1;

		if (!result)
			result = gn_file_write(writer, values, numel * sizeof *values, err);
		free(values);
		gn_file_forget(in->map.bytes, in->map.size);
		if (result)
			return -1;
	}
	return 0;
}

static int make_header(uint8_t **header, size_t *size, const struct import *in, struct gn_error *err)
{
	struct gn_model_parts parts = {
	    .arch = &in->recipe.arch,
	    .preprocess = &in->recipe.preprocess,
	    .scheme = in->recipe.scheme,
	    .pos_resample = in->recipe.pos_resample,
	    .layout = &in->layout,
	    .labels = (const char *const *)in->side.labels,
	    .label_count = in->recipe.arch.classes > 0 ? in->side.label_count : 0,
	};
	bool *all = gn_alloc((size_t)in->layout.count, sizeof *all, err);
	json_t *metadata = all ? gn_metadata_make(&parts, err) : NULL;
	int result = -1;

	for (int i = 0; all && i < in->layout.count; i++)
		all[i] = true;
	if (metadata)
		result = gn_st_write_header(header, size, &in->layout, all, GN_F32, metadata, err);
	json_decref(metadata);
	free(all);
	return result;
}

static int write_model(const char *path, const struct import *in, struct gn_error *err)
{
	struct gn_file_writer writer;
	uint8_t *header;
	size_t size;
	int result;

	if (make_header(&header, &size, in, err))
		return -1;
	result = gn_file_begin(&writer, path, err);
	if (!result) {
		result = gn_file_write(&writer, header, size, err) || write_tensors(&writer, in, err);
		if (result)
			gn_file_abort(&writer);
		else
			result = gn_file_commit(&writer, err);
	}
	free(header);
	return result ? -1 : 0;
}

/* ---------------------------------------------------------------- the whole ------------------- */

/* Adds the members of the report that are not in the plan. */
static int finish_report(const struct import *in, struct gn_error *err)
{
	struct gn_import_report *report = in->report;
	const char *pos = gn_source_find(&in->source, GN_POS_EMBED)->tensor->name;

	if (in->recipe.arch.image_size != in->recipe.grid * in->recipe.arch.patch_size) {
		report->resized = gn_alloc(1, sizeof *report->resized, err);
		if (!report->resized || !(report->resized[0] = gn_copy_text(pos, strlen(pos), err)))
			return -1;
		report->resized_count = 1;
	}
	return gn_sha256_of_map(report->sha256, &in->map, err);
}

static void release(struct import *in)
{
	free(in->slots);
	gn_layout_release(&in->layout);
	gn_side_release(&in->side);
	gn_source_release(&in->source);
	gn_st_release(&in->file);
	gn_file_unmap(&in->map);
}

int gn_model_import(const char *out_path, const char *source_path, const struct gn_import_options *options,
                    struct gn_import_report *report, struct gn_error *err)
{
	struct gn_import_report made = {0};
	struct import in = {.options = options, .report = &made};
	int result = -1;

	gn_side_init(&in.side);
	if (!read_source(&in, source_path, err) && !make_plan(&in, err) && !check_labels(&in, err) &&
	    !finish_report(&in, err))
		result = write_model(out_path, &in, err);
	release(&in);
	if (result || !report)
		gn_import_report_release(&made);
	else
		*report = made;
	return result;
}

void gn_import_report_release(struct gn_import_report *report)
{
	gn_text_list_free(report->ignored, report->ignored_count);
	gn_text_list_free(report->resized, report->resized_count);
	*report = (struct gn_import_report){0};
}
