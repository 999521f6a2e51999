/*
 * Exports: the header is made at once, the tensors are converted while they are read, so that an export of any size
 * costs the memory of its header. Reading changes nothing in the object: any number of threads may read different
 * ranges.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/dtype.h"
#include "checkpoint/metadata.h"
#include "checkpoint/safetensors.h"
#include "fileio.h"
#include "gonio.h"

struct piece {
	const float *values;
	uint64_t offset, bytes; /* in the export */
};

struct gn_export {
	uint8_t *header;
	size_t header_bytes;
	struct piece *pieces; /* [count] by offset */
	int count;
	enum gn_dtype dtype;
	uint64_t bytes;
};

/* ---------------------------------------------------------------- what goes in ---------------------------------- */

static bool differs_from_base(const struct gn_model *model, int index)
{
	const struct gn_tensor *t = &model->layout.tensors[index];
	int there = gn_layout_find_name(&model->base->layout, t->name);
	const struct gn_tensor *b = there < 0 ? NULL : &model->base->layout.tensors[there];

	if (!b || b->rank != t->rank || memcmp(b->shape, t->shape, (size_t)t->rank * sizeof *t->shape))
		return true;
	return model->own[index] &&
	       memcmp(model->tensors[index], model->base->tensors[there], t->numel * sizeof(float)) != 0;
}

static int check_range(const struct gn_model *model, int index, enum gn_dtype dtype, struct gn_error *err)
{
	const struct gn_tensor *t = &model->layout.tensors[index];

	for (size_t i = 0; dtype == GN_F16 && i < t->numel; i++)
		if (!(fabsf(model->tensors[index][i]) < GN_F16_LIMIT))
			return gn_fail(err, GN_INVALID, "dtype",
			               "tensor %s has values that f16 cannot hold: take bf16 or f32", t->name);
	return 0;
}

static int choose(bool *has, const struct gn_model *model, bool delta_only, enum gn_dtype dtype, struct gn_error *err)
{
	for (int i = 0; i < model->layout.count; i++) {
		has[i] = !delta_only || differs_from_base(model, i);
		if (has[i] && check_range(model, i, dtype, err))
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- opening --------------------------------------- */

static int make_header(struct gn_export *e, const struct gn_model *model, const bool *has, struct gn_error *err)
{
	struct gn_model_parts parts = {
	    .arch = &model->arch,
	    .preprocess = &model->preprocess,
	    .scheme = model->scheme,
	    .pos_resample = model->pos_resample,
	    .layout = &model->layout,
	    .labels = (const char *const *)model->labels,
	    .label_count = model->label_count,
	};
	json_t *metadata = gn_metadata_make(&parts, err);
	int result;

	if (!metadata)
		return -1;
	result = gn_st_write_header(&e->header, &e->header_bytes, &model->layout, has, e->dtype, metadata, err);
	json_decref(metadata);
	return result;
}

static int make_pieces(struct gn_export *e, const struct gn_model *model, const bool *has, struct gn_error *err)
{
	e->pieces = gn_alloc((size_t)model->layout.count, sizeof *e->pieces, err);
	if (!e->pieces)
		return -1;
	e->bytes = e->header_bytes;
	for (int i = 0; i < model->layout.count; i++) {
		uint64_t bytes = (uint64_t)model->layout.tensors[i].numel * gn_dtype_bytes(e->dtype);

		if (!has[i])
			continue;
		e->pieces[e->count++] = (struct piece){model->tensors[i], e->bytes, bytes};
		e->bytes += bytes;
	}
	return 0;
}

int gn_export_open(struct gn_export **out, const struct gn_model *model, bool delta_only, enum gn_dtype dtype,
                   struct gn_error *err)
{
	struct gn_export *e;
	bool *has;

	if (delta_only && !model->base)
		return gn_fail(err, GN_INVALID, "content", "a base model has no delta: take content=full");
	e = gn_alloc(1, sizeof *e, err);
	has = gn_alloc((size_t)model->layout.count, sizeof *has, err);
	if (e)
		e->dtype = dtype;
	if (!e || !has || choose(has, model, delta_only, dtype, err) || make_header(e, model, has, err) ||
	    make_pieces(e, model, has, err)) {
		free(has);
		gn_export_close(e);
		return -1;
	}
	free(has);
	*out = e;
	return 0;
}

void gn_export_close(struct gn_export *e)
{
	if (!e)
		return;
	free(e->header);
	free(e->pieces);
	free(e);
}

uint64_t gn_export_bytes(const struct gn_export *e)
{
	return e->bytes;
}

/* ---------------------------------------------------------------- reading --------------------------------------- */

/* out[size] = bytes at .. at + size of a piece. Elements that the range cuts are converted aside. */
static void read_piece(uint8_t *out, const struct piece *piece, enum gn_dtype dtype, uint64_t at, size_t size)
{
	size_t each = gn_dtype_bytes(dtype);

	while (size > 0) {
		size_t index = (size_t)(at / each), inside = (size_t)(at % each), n;

		if (inside == 0 && size >= each) {
			n = size / each * each;
			gn_dtype_narrow(out, piece->values + index, dtype, n / each);
		} else {
			uint8_t element[4];

			n = each - inside < size ? each - inside : size;
			gn_dtype_narrow(element, piece->values + index, dtype, 1);
			memcpy(out, element + inside, n);
		}
		out += n;
		at += n;
		size -= n;
	}
}

/* The piece that holds offset, which lies past the header and before the end. */
static const struct piece *find_piece(const struct gn_export *e, uint64_t offset)
{
	int low = 0, high = e->count - 1;

	while (low < high) {
		int middle = (low + high + 1) / 2;

		if (e->pieces[middle].offset <= offset)
			low = middle;
		else
			high = middle - 1;
	}
	return &e->pieces[low];
}

size_t gn_export_read(struct gn_export *e, uint64_t offset, void *buffer, size_t size)
{
	uint8_t *out = buffer;
	size_t done = 0;

	if (offset >= e->bytes)
		return 0;
	if (size > e->bytes - offset)
		size = (size_t)(e->bytes - offset);
	if (offset < e->header_bytes) {
		done = e->header_bytes - (size_t)offset < size ? e->header_bytes - (size_t)offset : size;
		memcpy(out, e->header + offset, done);
	}
	while (done < size) {
		const struct piece *piece = find_piece(e, offset + done);
		uint64_t at = offset + done - piece->offset;
		size_t n = piece->bytes - at < size - done ? (size_t)(piece->bytes - at) : size - done;

		read_piece(out + done, piece, e->dtype, at, n);
		done += n;
	}
	return size;
}
