/*
 * Pictures and archives made in memory, for tests of images, data sets and the loader. Failures
 * fail the running cmocka test.
 */
#ifndef PICTURES_H
#define PICTURES_H

#include "gonio.h"

struct blob {
	uint8_t *bytes; /* malloc'd */
	size_t size;
};
void blob_release(struct blob *blob);
/* All bytes of a file under the source tree. */
struct blob blob_read(const char *path);

/* A picture of smooth colours that depend on the seed; RGB, rows packed. */
struct gn_image picture_make(int width, int height, int seed);
struct blob picture_jpeg(int width, int height, int seed);
struct blob picture_png_of(const struct gn_image *image);
struct blob picture_png(int width, int height, int seed);
struct blob picture_webp(int width, int height, int seed);
/* The same JPEG with an EXIF block of this orientation in front. */
struct blob jpeg_with_orientation(const struct blob *jpeg, int orientation);

/* An archive in the making. kind: "zip", "tar", "tar.gz", "tar.xz", "tar.zst", "cpio", "zip
 * encrypted". */
struct maker;
struct maker *maker_new(const char *kind);
void maker_add(struct maker *maker, const char *name, const void *bytes, size_t size);
/* Adds a JPEG of 12 x 10 pixels that the seed alone decides. */
void maker_jpeg(struct maker *maker, const char *name, int seed);
/* what: 'l' symbolic link, 'h' hard link, 'c' character device, 'b' block device, 'p' pipe, 'd'
 * folder. */
void maker_special(struct maker *maker, const char *name, char what, const char *target);
/* A file of so many zero bytes, never held in memory. */
void maker_zeros(struct maker *maker, const char *name, uint64_t size);
/* Finishes and frees the maker. */
struct blob maker_end(struct maker *maker);

/* Options with limits that suit tests. */
struct gn_ingest_options ingest_defaults(void);
/* An empty folder under the test's own; removed with everything in it by folder_remove. */
void folder_make(char path[64]);
void folder_remove(const char *path);
int folder_count(const char *path); /* files in it */
/* Ingests the bytes, chunk bytes at a time (0: as many as fit). */
int ingest_bytes(const char *folder, const struct blob *archive, size_t chunk, struct gn_ingest_options options,
                 struct gn_ingest_report *report, struct gn_error *err);

#endif
