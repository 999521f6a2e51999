/* See index.h. */
#include "data/index.h"

#include "base/files.h"

#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "index.bin is read and written in place: little-endian machines only"
#endif

#define VERSION 1

struct header {
	char magic[8];
	uint32_t version, class_count;
	uint64_t sample_count, strings_bytes, pack_bytes;
};

struct record {
	uint64_t offset, bytes; /* in the pack */
	uint64_t path;          /* in the strings */
	uint32_t width, height;
	uint32_t label, split;
};

static const char magic[8] = {'G', 'N', 'I', 'N', 'D', 'E', 'X', '\n'};

/* ---------------------------------------------------------------- writing --------------------- */

/* Gathers the many small writes. */
struct gatherer {
	struct gn_file_writer file;
	size_t used;
	uint8_t bytes[64 << 10];
};

static int flush(struct gatherer *g, struct gn_error *err)
{
	int rc = gn_file_write(&g->file, g->bytes, g->used, err);

	g->used = 0;
	return rc;
}

static int put(struct gatherer *g, const void *bytes, size_t size, struct gn_error *err)
{
	if (size > sizeof g->bytes - g->used && flush(g, err))
		return -1;
	gn_assert(size <= sizeof g->bytes);
	memcpy(g->bytes + g->used, bytes, size);
	g->used += size;
	return 0;
}

static int write_tables(struct gatherer *g, const struct gn_arrangement *a, struct gn_error *err)
{
	uint64_t at = 0;

	for (int i = 0; i < a->class_count; i++) {
		if (put(g, &at, sizeof at, err))
			return -1;
		at += strlen(a->classes[i]) + 1;
	}
	for (int i = 0; i < a->count; i++) {
		const struct gn_item *item = a->samples[i];
		struct record record = {
		    .offset = item->offset,
		    .bytes = item->bytes,
		    .path = at,
		    .width = (uint32_t)item->width,
		    .height = (uint32_t)item->height,
		    .label = (uint32_t)item->label,
		    .split = (uint32_t)item->split,
		};

		if (put(g, &record, sizeof record, err))
			return -1;
		at += strlen(item->path) + 1;
	}
	return 0;
}

static int write_strings(struct gatherer *g, const struct gn_arrangement *a, struct gn_error *err)
{
	for (int i = 0; i < a->class_count; i++)
		if (put(g, a->classes[i], strlen(a->classes[i]) + 1, err))
			return -1;
	for (int i = 0; i < a->count; i++)
		if (put(g, a->samples[i]->path, strlen(a->samples[i]->path) + 1, err))
			return -1;
	return flush(g, err);
}

static uint64_t strings_bytes(const struct gn_arrangement *a)
{
	uint64_t bytes = 0;

	for (int i = 0; i < a->class_count; i++)
		bytes += strlen(a->classes[i]) + 1;
	for (int i = 0; i < a->count; i++)
		bytes += strlen(a->samples[i]->path) + 1;
	return bytes;
}

int gn_index_write(const char *folder, const struct gn_arrangement *arrangement, uint64_t pack_bytes, uint64_t *bytes,
                   struct gn_error *err)
{
	struct header header = {
	    .version = VERSION,
	    .class_count = (uint32_t)arrangement->class_count,
	    .sample_count = (uint64_t)arrangement->count,
	    .strings_bytes = strings_bytes(arrangement),
	    .pack_bytes = pack_bytes,
	};
	struct gatherer *g;
	char path[4096];
	int rc;

	memcpy(header.magic, magic, sizeof magic);
	if (snprintf(path, sizeof path, "%s/" GN_INDEX_NAME, folder) >= (int)sizeof path)
		return gn_fail(err, GN_INVALID, "", "the folder's path is too long");
	g = gn_alloc(1, sizeof *g, err);
	if (!g || gn_file_begin(&g->file, path, err)) {
		free(g);
		return -1;
	}
	rc = put(g, &header, sizeof header, err) || write_tables(g, arrangement, err) ||
	             write_strings(g, arrangement, err)
	         ? -1
	         : 0;
	*bytes = g->file.bytes;
	if (rc)
		gn_file_abort(&g->file);
	else
		rc = gn_file_commit(&g->file, err);
	free(g);
	return rc;
}

/* ---------------------------------------------------------------- reading --------------------- */

struct parser {
	const uint8_t *classes, *records;
	const char *strings;
	struct header header;
};

static int malformed(struct gn_error *err, const char *what)
{
	gn_fail(err, GN_MALFORMED, GN_INDEX_NAME, "the data set's index is damaged: %s", what);
	return -1;
}

/* Checks that the three tables fill the file exactly. */
static int parse_header(struct parser *p, const uint8_t *bytes, size_t size, uint64_t pack_bytes, struct gn_error *err)
{
	const struct header *h = &p->header;
	uint64_t left = size;

	if (size < sizeof p->header)
		return malformed(err, "it is cut");
	memcpy(&p->header, bytes, sizeof p->header);
	left -= sizeof *h;
	if (memcmp(h->magic, magic, sizeof magic) != 0)
		return malformed(err, "it is not an index");
	if (h->version != VERSION) {
		gn_fail(err, GN_UNSUPPORTED, GN_INDEX_NAME, "version %u of the index is not known", h->version);
		return -1;
	}
	if (h->pack_bytes != pack_bytes)
		return malformed(err, "the pack has another size");
	if (h->class_count < 1 || h->class_count > INT32_MAX || h->class_count > left / sizeof(uint64_t))
		return malformed(err, "wrong number of classes");
	left -= h->class_count * sizeof(uint64_t);
	if (h->sample_count < 1 || h->sample_count > INT32_MAX || h->sample_count > left / sizeof(struct record))
		return malformed(err, "wrong number of images");
	left -= h->sample_count * sizeof(struct record);
	p->classes = bytes + sizeof *h;
	p->records = p->classes + h->class_count * sizeof(uint64_t);
	p->strings = (const char *)p->records + h->sample_count * sizeof(struct record);
	if (h->strings_bytes != left || left < 1 || p->strings[left - 1] != '\0')
		return malformed(err, "wrong length of the names");
	return 0;
}

static int parse_classes(struct gn_dataset *dataset, const struct parser *p, struct gn_error *err)
{
	dataset->class_count = (int)p->header.class_count;
	dataset->classes = gn_alloc(p->header.class_count, sizeof *dataset->classes, err);
	if (!dataset->classes)
		return -1;
	for (int c = 0; c < dataset->class_count; c++) {
		uint64_t at;

		memcpy(&at, p->classes + (size_t)c * sizeof at, sizeof at);
		if (at >= p->header.strings_bytes)
			return malformed(err, "a class name lies outside");
		dataset->classes[c].name = p->strings + at;
		if (c > 0 && strcmp(dataset->classes[c - 1].name, dataset->classes[c].name) >= 0)
			return malformed(err, "the classes are not in order");
	}
	return 0;
}

static int parse_sample(struct gn_sample *sample, const struct parser *p, const struct record *r, struct gn_error *err)
{
	if (r->offset > p->header.pack_bytes || r->bytes < 1 || r->bytes > p->header.pack_bytes - r->offset)
		return malformed(err, "an image is outside of the pack");
	if (r->path >= p->header.strings_bytes)
		return malformed(err, "a path lies outside");
	if (r->label >= p->header.class_count || r->split >= GN_SPLIT_COUNT)
		return malformed(err, "an image of no class or split");
	if (r->width < 1 || r->width > INT32_MAX || r->height < 1 || r->height > INT32_MAX)
		return malformed(err, "an image without pixels");
	*sample = (struct gn_sample){
	    .offset = r->offset,
	    .bytes = r->bytes,
	    .path = p->strings + r->path,
	    .width = (int)r->width,
	    .height = (int)r->height,
	    .label = (int32_t)r->label,
	    .split = (enum gn_split)r->split,
	};
	return 0;
}

static int parse_samples(struct gn_dataset *dataset, const struct parser *p, struct gn_error *err)
{
	dataset->sample_count = (int)p->header.sample_count;
	dataset->samples = gn_alloc(p->header.sample_count, sizeof *dataset->samples, err);
	if (!dataset->samples)
		return -1;
	for (int i = 0; i < dataset->sample_count; i++) {
		struct gn_sample *sample = &dataset->samples[i];
		struct record r;

		memcpy(&r, p->records + (size_t)i * sizeof r, sizeof r);
		if (parse_sample(sample, p, &r, err))
			return -1;
		if (i > 0 && sample[-1].split * (int64_t)INT32_MAX + sample[-1].label >
		                 sample->split * (int64_t)INT32_MAX + sample->label)
			return malformed(err, "the images are not in order");
		dataset->totals[sample->split]++;
		dataset->classes[sample->label].counts[sample->split]++;
	}
	return 0;
}

int gn_index_parse(struct gn_dataset *dataset, const uint8_t *bytes, size_t size, uint64_t pack_bytes,
                   struct gn_error *err)
{
	struct parser parser;

	if (parse_header(&parser, bytes, size, pack_bytes, err) || parse_classes(dataset, &parser, err) ||
	    parse_samples(dataset, &parser, err))
		return -1;
	return 0;
}
