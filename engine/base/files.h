/*
 * Files, for every room of the engine: read-only maps, bounded reading, SHA-256, and memory that a
 * test can make scarce. How a file is written: gonio/files.h.
 *
 * Nothing here locks. A map or a hash belongs to one thread at a time; a map's bytes may be read by
 * any number.
 */
#ifndef GN_FILEIO_H
#define GN_FILEIO_H

#include "gonio.h"

/* ---------------------------------------------------------- calls that a test can make fail --- */

/* The system calls of this file. Only tests under tests/faults change the table, while nothing else
 * runs. */
struct gn_sys_calls {
	ssize_t (*write)(int fd, const void *bytes, size_t size);
	int (*fsync)(int fd);
	int (*rename)(const char *from, const char *to);
	void *(*alloc)(size_t count, size_t size); /* zeroed, as calloc */
};
extern struct gn_sys_calls gn_sys;

/* ---------------------------------------------------------------- memory ---------------------- */

/* Allocates count * size zeroed bytes (at least 1). NULL with GN_NO_MEMORY if memory is out or the
 * product overflows. free() releases. */
void *gn_alloc(size_t count, size_t size, struct gn_error *err);
/* A copy of length bytes, followed by a NUL; NULL with GN_NO_MEMORY. free() releases. */
char *gn_copy_text(const char *text, size_t length, struct gn_error *err);

/* ---------------------------------------------------------------- reading --------------------- */

struct gn_file_map {
	const uint8_t *bytes; /* NULL for an empty file */
	size_t size;
};
/* Maps a regular file read-only. GN_NOT_FOUND if it does not exist. */
int gn_file_map(struct gn_file_map *map, const char *path, struct gn_error *err);
void gn_file_unmap(struct gn_file_map *map);
/* Drops the whole pages of a part of a read-only map from this process's memory. They are read from
 * the file again when they are needed. */
void gn_file_forget(const void *bytes, size_t size);
/* Reads a whole file of at most limit bytes; a larger one is GN_TOO_LARGE. *bytes is malloc'd and
 * followed by a NUL; caller frees. */
int gn_file_read(char **bytes, size_t *size, const char *path, size_t limit, struct gn_error *err);

/* ---------------------------------------------------------------- hashing --------------------- */

struct gn_sha256 {
	void *state; /* libcrypto's */
};
int gn_sha256_begin(struct gn_sha256 *hash, struct gn_error *err);
void gn_sha256_update(struct gn_sha256 *hash, const void *bytes, size_t size);
/* Writes lower-case hexadecimal, followed by a NUL, and releases the hash. hex may be NULL to
 * release only. */
void gn_sha256_end(struct gn_sha256 *hash, char hex[65]);
int gn_sha256_of(char hex[65], const void *bytes, size_t size, struct gn_error *err);
/* Hashes a whole map, piece by piece, and drops the pages that were read. */
int gn_sha256_of_map(char hex[65], const struct gn_file_map *map, struct gn_error *err);

#endif
