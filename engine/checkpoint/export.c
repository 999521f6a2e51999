/*
 * Exports. The header is made first, and the tensors are converted while they are read, so that an
 * export of any size needs only the memory of its header. Reading does not change the object: any
 * number of threads may read different ranges.
 */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/dtype.h"
#include "checkpoint/export_plan.h"
#include "checkpoint/metadata.h"
#include "base/files.h"

struct piece {
	const float *values;    /* NULL: zeros */
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

/* ---------------------------------------------------------------- opening --------------------- */

static json_t *make_metadata(const struct gn_model *model, const struct gn_export_options *options,
                             struct gn_error *err)
{
	struct gn_model_parts parts = gn_model_parts_of(model);
	json_t *metadata;

	parts.base = options->delta_only ? model->base_hash : NULL;
	metadata = gn_metadata_make(&parts, err);
	for (int i = 0; metadata && i < options->note_count; i++) {
		if (json_object_set_new(metadata, options->notes[i].key, json_string(options->notes[i].value))) {
			json_decref(metadata);
			gn_fail(err, GN_NO_MEMORY, "", "no memory for a file's metadata");
			return NULL;
		}
	}
	return metadata;
}

static int make_pieces(struct gn_export *e, const struct gn_export_plan *plan, struct gn_error *err)
{
	e->pieces = gn_alloc((size_t)plan->span_count, sizeof *e->pieces, err);
	if (!e->pieces)
		return -1;
	e->bytes = e->header_bytes;
	for (int i = 0; i < plan->span_count; i++) {
		uint64_t bytes = (uint64_t)plan->spans[i].numel * gn_dtype_bytes(e->dtype);

		e->pieces[e->count++] = (struct piece){plan->spans[i].values, e->bytes, bytes};
		e->bytes += bytes;
	}
	return 0;
}

int gn_export_open(struct gn_export **out, const struct gn_model *model, const struct gn_export_options *options,
                   struct gn_error *err)
{
	struct gn_export_plan plan;
	struct gn_export *e = NULL;
	json_t *metadata;

	if (gn_export_plan_make(&plan, model, options, err))
		return -1;
	metadata = make_metadata(model, options, err);
	if (metadata)
		e = gn_alloc(1, sizeof *e, err);
	if (e)
		e->dtype = options->dtype;
	if (!e ||
	    gn_st_write_entries(&e->header, &e->header_bytes, plan.entries, plan.entry_count, e->dtype, metadata,
	                        err) ||
	    make_pieces(e, &plan, err)) {
		gn_export_close(e);
		e = NULL;
	}
	json_decref(metadata);
	gn_export_plan_release(&plan);
	if (!e)
		return -1;
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

/* ---------------------------------------------------------------- reading --------------------- */

/* out[size] = bytes at .. at + size of a piece. Elements that are only partly in the range are
 * converted separately. Zero is zero in every dtype. */
static void read_piece(uint8_t *out, const struct piece *piece, enum gn_dtype dtype, uint64_t at, size_t size)
{
	size_t each = gn_dtype_bytes(dtype);

	if (!piece->values) {
		memset(out, 0, size);
		return;
	}
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

/* The piece at offset, which is after the header and before the end. */
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
