/*
 * The safetensors reader and the writer of its header: see safetensors.h. One pass over the header
 * makes a table entry for each tensor and checks it. Then the entries are sorted by their place in
 * the file, and each must begin where the one before ends.
 */
#include "checkpoint/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/dtype.h"
#include "checkpoint/json.h"
#include "base/files.h"

static const struct {
	const char *name;
	unsigned bytes;
} dtypes[GN_ST_DTYPE_COUNT] = {
    [GN_ST_F32] = {"F32", 4}, [GN_ST_F16] = {"F16", 2},         [GN_ST_BF16] = {"BF16", 2},
    [GN_ST_F64] = {"F64", 8}, [GN_ST_F8_E4M3] = {"F8_E4M3", 1}, [GN_ST_F8_E5M2] = {"F8_E5M2", 1},
    [GN_ST_I64] = {"I64", 8}, [GN_ST_I32] = {"I32", 4},         [GN_ST_I16] = {"I16", 2},
    [GN_ST_I8] = {"I8", 1},   [GN_ST_U64] = {"U64", 8},         [GN_ST_U32] = {"U32", 4},
    [GN_ST_U16] = {"U16", 2}, [GN_ST_U8] = {"U8", 1},           [GN_ST_BOOL] = {"BOOL", 1},
};

const char *gn_st_dtype_name(enum gn_st_dtype dtype)
{
	return dtypes[dtype].name;
}

const char *gn_st_shape_text(char *text, size_t size, const int64_t *shape, int rank)
{
	size_t used = 0;

	used += (size_t)snprintf(text, size, "[");
	for (int i = 0; i < rank && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, i ? ", %lld" : "%lld", (long long)shape[i]);
	if (used < size)
		snprintf(text + used, size - used, "]");
	return text;
}

/* ---------------------------------------------------------------- reading --------------------- */

static int read_dtype(struct gn_st_tensor *t, const json_t *info, struct gn_error *err)
{
	const char *name = json_string_value(json_object_get(info, "dtype"));

	for (int i = 0; name && i < GN_ST_DTYPE_COUNT; i++) {
		if (!strcmp(name, dtypes[i].name)) {
			t->dtype = (enum gn_st_dtype)i;
			return 0;
		}
	}
	return gn_fail(err, GN_MALFORMED, t->name, "tensor %.150s: unknown dtype %.40s", t->name,
	               name ? name : "(none)");
}

/* Shape, and from it the number of elements and bytes. */
static int read_shape(struct gn_st_tensor *t, const json_t *info, struct gn_error *err)
{
	const json_t *shape = json_object_get(info, "shape");
	size_t rank = json_array_size(shape);

	if (!json_is_array(shape))
		return gn_fail(err, GN_MALFORMED, t->name, "tensor %.150s: shape is missing", t->name);
	if (rank > GN_ST_RANK_LIMIT)
		return gn_fail(err, GN_MALFORMED, t->name, "tensor %.150s: %zu dimensions, at most %d are taken",
		               t->name, rank, GN_ST_RANK_LIMIT);
	t->rank = (int)rank;
	t->numel = 1;
	for (size_t i = 0; i < rank; i++) {
		const json_t *side = json_array_get(shape, i);

		if (!json_is_integer(side) || json_integer_value(side) < 0)
			return gn_fail(err, GN_MALFORMED, t->name,
			               "tensor %.150s: dimension %zu of the shape is not a whole number from 0",
			               t->name, i);
		t->shape[i] = json_integer_value(side);
		if (__builtin_mul_overflow(t->numel, (uint64_t)t->shape[i], &t->numel))
			return gn_fail(err, GN_MALFORMED, t->name, "tensor %.150s: the shape's product overflows",
			               t->name);
	}
	if (__builtin_mul_overflow(t->numel, dtypes[t->dtype].bytes, &t->bytes))
		return gn_fail(err, GN_MALFORMED, t->name, "tensor %.150s: the shape's product overflows", t->name);
	return 0;
}

static int read_offsets(struct gn_st_tensor *t, const json_t *info, const uint8_t *data, uint64_t data_bytes,
                        struct gn_error *err)
{
	const json_t *offsets = json_object_get(info, "data_offsets");
	const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
	uint64_t begin, end;

	if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
	    json_integer_value(first) < 0 || json_integer_value(last) < json_integer_value(first))
		return gn_fail(err, GN_MALFORMED, t->name,
		               "tensor %.150s: data_offsets must be two whole numbers in order", t->name);
	begin = (uint64_t)json_integer_value(first);
	end = (uint64_t)json_integer_value(last);
	if (end > data_bytes)
		return gn_fail(err, GN_MALFORMED, t->name,
		               "tensor %.150s: data_offsets end at %llu, but the file has %llu bytes of data: the "
		               "file is cut or the header is wrong",
		               t->name, (unsigned long long)end, (unsigned long long)data_bytes);
	if (end - begin != t->bytes) {
		char shape[80];

		return gn_fail(err, GN_MALFORMED, t->name,
		               "tensor %.150s: shape %s of %s needs %llu bytes, data_offsets give %llu", t->name,
		               gn_st_shape_text(shape, sizeof shape, t->shape, t->rank), dtypes[t->dtype].name,
		               (unsigned long long)t->bytes, (unsigned long long)(end - begin));
	}
	t->data = data + begin;
	return 0;
}

static int check_metadata(const json_t *metadata, struct gn_error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(metadata))
		return gn_fail(err, GN_MALFORMED, "__metadata__", "__metadata__ must be an object of strings");
	json_object_foreach((json_t *)(uintptr_t)metadata, key, value) if (!json_is_string(value)) return gn_fail(
	    err, GN_MALFORMED, "__metadata__", "__metadata__ must be an object of strings: %.100s is not a string",
	    key);
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct gn_st_tensor *x = a, *y = b;

	if (x->data != y->data)
		return x->data < y->data ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorted tensors must tile the data. */
static int check_tiling(const struct gn_st_file *file, const uint8_t *data, uint64_t data_bytes, struct gn_error *err)
{
	const uint8_t *end = data;

	for (int i = 0; i < file->count; i++) {
		const struct gn_st_tensor *t = &file->tensors[i];

		if (t->data < end)
			return gn_fail(err, GN_MALFORMED, t->name, "tensor %.150s overlaps tensor %.150s in the file",
			               t->name, file->tensors[i - 1].name);
		if (t->data > end)
			return gn_fail(err, GN_MALFORMED, t->name,
			               "a gap of %llu bytes lies before tensor %.150s in the file",
			               (unsigned long long)(t->data - end), t->name);
		end = t->data + t->bytes;
	}
	if (end != data + data_bytes)
		return gn_fail(err, GN_MALFORMED, "", "%llu bytes at the end of the file belong to no tensor",
		               (unsigned long long)(data + data_bytes - end));
	return 0;
}

static int read_tensors(struct gn_st_file *file, const uint8_t *data, uint64_t data_bytes, struct gn_error *err)
{
	const char *name;
	json_t *info;

	json_object_foreach(file->header, name, info)
	{
		struct gn_st_tensor *t = &file->tensors[file->count];

		if (!strcmp(name, "__metadata__")) {
			if (check_metadata(info, err))
				return -1;
			continue;
		}
		t->name = name;
		if (!*name || !json_is_object(info))
			return gn_fail(err, GN_MALFORMED, name,
			               "tensor \"%.150s\": an entry needs a name, dtype, shape and data_offsets", name);
		if (read_dtype(t, info, err) || read_shape(t, info, err) ||
		    read_offsets(t, info, data, data_bytes, err))
			return -1;
		file->count++;
	}
	qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_place);
	return check_tiling(file, data, data_bytes, err);
}

/* The header's length, checked against the file; the JSON starts at byte 8. */
static int read_length(size_t *length, const uint8_t *bytes, size_t size, struct gn_error *err)
{
	uint64_t value = 0;

	if (size < 8)
		return gn_fail(err, GN_MALFORMED, "", "the file has %zu bytes: too short for safetensors", size);
	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	if (value > size - 8)
		return gn_fail(err, GN_MALFORMED, "",
		               "not safetensors, or cut: the header's length is %llu bytes, %zu are left in the file",
		               (unsigned long long)value, size - 8);
	if (value > GN_ST_HEADER_LIMIT)
		return gn_fail(err, GN_TOO_LARGE, "", "the header has %llu bytes, at most %zu are taken",
		               (unsigned long long)value, GN_ST_HEADER_LIMIT);
	*length = (size_t)value;
	return 0;
}

int gn_st_parse(struct gn_st_file *file, const void *buffer, size_t size, struct gn_error *err)
{
	enum { DEPTH = 3 }; /* object, tensor, its shape */
	const uint8_t *bytes = buffer;
	size_t length = 0;

	*file = (struct gn_st_file){0};
	if (read_length(&length, bytes, size, err) ||
	    gn_json_parse(&file->header, (const char *)bytes + 8, length, GN_ST_HEADER_LIMIT, DEPTH,
	                  "the safetensors header", err))
		return -1;
	if (!json_is_object(file->header)) {
		gn_fail(err, GN_MALFORMED, "", "the safetensors header is not an object");
		goto failed;
	}
	file->tensors = gn_alloc(json_object_size(file->header), sizeof *file->tensors, err);
	if (!file->tensors || read_tensors(file, bytes + 8 + length, size - 8 - length, err))
		goto failed;
	return 0;
failed:
	gn_st_release(file);
	return -1;
}

void gn_st_release(struct gn_st_file *file)
{
	free(file->tensors);
	json_decref(file->header);
	*file = (struct gn_st_file){0};
}

const char *gn_st_metadata(const struct gn_st_file *file, const char *key)
{
	return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

/* ---------------------------------------------------------------- writing --------------------- */

/* Appends count whole numbers. jansson's functions accept NULL and pass on failures. */
static json_t *integers(const int64_t *values, int count)
{
	json_t *array = json_array();
	int failed = 0;

	for (int i = 0; i < count; i++)
		failed |= json_array_append_new(array, json_integer(values[i]));
	if (failed) {
		json_decref(array);
		return NULL;
	}
	return array;
}

static json_t *entry_object(const struct gn_st_entry *e, enum gn_dtype dtype, int64_t begin, int64_t end)
{
	json_t *object = json_object();

	if (json_object_set_new(object, "dtype", json_string(dtypes[dtype].name)) ||
	    json_object_set_new(object, "shape", integers(e->shape, e->rank)) ||
	    json_object_set_new(object, "data_offsets", integers((int64_t[]){begin, end}, 2))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *header_object(const struct gn_st_entry *entries, int count, enum gn_dtype dtype, json_t *metadata)
{
	json_t *header = json_object();
	int64_t end = 0;
	int failed = json_object_set(header, "__metadata__", metadata);

	for (int i = 0; i < count && !failed; i++) {
		int64_t begin = end, bytes = (int64_t)gn_dtype_bytes(dtype);

		for (int d = 0; d < entries[i].rank; d++)
			bytes *= entries[i].shape[d];
		end += bytes;
		failed = json_object_set_new(header, entries[i].name, entry_object(&entries[i], dtype, begin, end));
	}
	if (failed) {
		json_decref(header);
		return NULL;
	}
	return header;
}

int gn_st_write_header(uint8_t **bytes, size_t *size, const struct gn_layout *layout, const bool *has,
                       enum gn_dtype dtype, json_t *metadata, struct gn_error *err)
{
	struct gn_st_entry *entries = gn_alloc((size_t)layout->count, sizeof *entries, err);
	int count = 0, result;

	if (!entries)
		return -1;
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *t = &layout->tensors[i];

		if (!has[i])
			continue;
		snprintf(entries[count].name, sizeof entries[count].name, "%s", t->name);
		entries[count].rank = t->rank;
		memcpy(entries[count++].shape, t->shape, sizeof t->shape);
	}
	result = gn_st_write_entries(bytes, size, entries, count, dtype, metadata, err);
	free(entries);
	return result;
}

int gn_st_write_entries(uint8_t **bytes, size_t *size, const struct gn_st_entry *entries, int count,
                        enum gn_dtype dtype, json_t *metadata, struct gn_error *err)
{
	json_t *header = header_object(entries, count, dtype, metadata);
	char *text = gn_json_dump(header, err);
	size_t length = text ? strlen(text) : 0, padded = (8 + length + GN_ST_ALIGN - 1) / GN_ST_ALIGN * GN_ST_ALIGN;
	uint8_t *out = NULL;

	json_decref(header);
	if (!text)
		return -1;
	if (padded - 8 > GN_ST_HEADER_LIMIT)
		gn_fail(err, GN_TOO_LARGE, "", "the file's header would have %zu bytes, at most %zu are taken",
		        padded - 8, GN_ST_HEADER_LIMIT);
	else
		out = gn_alloc(padded, 1, err);
	if (out) {
		for (size_t i = 0; i < 8; i++)
			out[i] = (uint8_t)((uint64_t)(padded - 8) >> (8 * i));
		memcpy(out + 8, text, length);
		memset(out + 8 + length, ' ', padded - 8 - length);
		*bytes = out;
		*size = padded;
	}
	free(text);
	return out ? 0 : -1;
}
