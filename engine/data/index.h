/*
 * index.bin, the table of a packed data set: the bytes of each picture in images.pack.
 *
 * Little-endian. Header, then class_count classes (u64 offset of the name in the strings), then
 * sample_count samples, then strings_bytes of strings, each followed by a NUL. Samples are in the
 * order of gn_dataset: split, class, path.
 */
#ifndef GN_INDEX_H
#define GN_INDEX_H

#include "data/arrange.h"
#include "gonio.h"

#define GN_INDEX_NAME "index.bin"
#define GN_PACK_NAME  "images.pack"

/* Writes folder/index.bin atomically. *bytes: its size. */
int gn_index_write(const char *folder, const struct gn_arrangement *arrangement, uint64_t pack_bytes, uint64_t *bytes,
                   struct gn_error *err);
/* Fills in classes, samples, counts and totals from the bytes of an index, every number checked;
 * names and paths point into the bytes. GN_MALFORMED for anything invalid. The caller frees
 * dataset->classes and dataset->samples, also after an error. */
int gn_index_parse(struct gn_dataset *dataset, const uint8_t *bytes, size_t size, uint64_t pack_bytes,
                   struct gn_error *err);

#endif
