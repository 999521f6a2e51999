/*
 * The safetensors format: 8 bytes of little-endian header length, a JSON object {name: {dtype,
 * shape, data_offsets}}, the raw tensors. The reader gets (buffer, size) and trusts nothing.
 * Lengths, offsets, shapes and names are all checked before a pointer is formed, and the tensors
 * must cover the data without a gap or an overlap.
 */
#ifndef GN_CHECKPOINT_SAFETENSORS_H
#define GN_CHECKPOINT_SAFETENSORS_H

#include <jansson.h>

#include "gonio.h"

/* bytes of JSON; a ViT-H with a thousand class names needs 80 KB */
#define GN_ST_HEADER_LIMIT ((size_t)4 << 20)
#define GN_ST_RANK_LIMIT   8
#define GN_ST_ALIGN        128 /* the data of our own files starts at a multiple of this */

enum gn_st_dtype {
	GN_ST_F32,
	GN_ST_F16,
	GN_ST_BF16, /* the first three are enum gn_dtype's values, in its order */
	GN_ST_F64,
	GN_ST_F8_E4M3,
	GN_ST_F8_E5M2,
	GN_ST_I64,
	GN_ST_I32,
	GN_ST_I16,
	GN_ST_I8,
	GN_ST_U64,
	GN_ST_U32,
	GN_ST_U16,
	GN_ST_U8,
	GN_ST_BOOL,
	GN_ST_DTYPE_COUNT
};
const char *gn_st_dtype_name(enum gn_st_dtype dtype); /* "F32", ... */

struct gn_st_tensor {
	const char *name;    /* borrowed from the file's header */
	const uint8_t *data; /* in the buffer; any alignment */
	uint64_t bytes, numel;
	int64_t shape[GN_ST_RANK_LIMIT];
	int rank;
	enum gn_st_dtype dtype;
};

struct gn_st_file {
	struct gn_st_tensor *tensors; /* [count] in the order of their data */
	int count;
	json_t *header; /* private: owns the names */
};
/* Reads the header of a whole file in memory, which must outlive it. Errors: GN_MALFORMED, with
 * where = the name of the wrong tensor, if there is one; GN_TOO_LARGE for a header larger than
 * GN_ST_HEADER_LIMIT. */
int gn_st_parse(struct gn_st_file *file, const void *buffer, size_t size, struct gn_error *err);
void gn_st_release(struct gn_st_file *file);
/* A value of __metadata__, or NULL; borrowed from the file. */
const char *gn_st_metadata(const struct gn_st_file *file, const char *key);
/* Writes "[768, 3, 16, 16]" into text; returns text. */
const char *gn_st_shape_text(char *text, size_t size, const int64_t *shape, int rank);

/* A tensor of a new file. */
struct gn_st_entry {
	char name[96];
	int rank;
	int64_t shape[4];
};
/* The bytes before the data of a new file: the entries in their order, all of one dtype, and
 * __metadata__ from an object of strings. Padded with spaces so that the data starts at a multiple
 * of GN_ST_ALIGN. *bytes is malloc'd. */
int gn_st_write_entries(uint8_t **bytes, size_t *size, const struct gn_st_entry *entries, int count,
                        enum gn_dtype dtype, json_t *metadata, struct gn_error *err);
/* The same for the tensors of the layout for which has[i], under their own names. */
int gn_st_write_header(uint8_t **bytes, size_t *size, const struct gn_layout *layout, const bool *has,
                       enum gn_dtype dtype, json_t *metadata, struct gn_error *err);

#endif
