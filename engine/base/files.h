/*
 * Files, for every room of the engine: atomic writing, read-only maps, bounded reading, SHA-256, and memory that a test
 * can make scarce.
 *
 * A file that is written here is seen under its name either whole or not at all: it grows in PATH.tmp beside it, is
 * fsynced and renamed, and then the folder is fsynced. One writer per path at a time; a PATH.tmp left by a killed
 * process is overwritten by the next writer.
 *
 * Nothing here locks. A writer, a map or a hash belongs to one thread at a time; a map's bytes may be read by any
 * number.
 */
#ifndef GN_FILEIO_H
#define GN_FILEIO_H

#include "gonio.h"

/* ---------------------------------------------------------------- calls that a test can make fail --------------- */

/* The system calls of this file. Only tests under tests/faults change the table, while nothing else runs. */
struct gn_sys_calls {
	ssize_t (*write)(int fd, const void *bytes, size_t size);
	int (*fsync)(int fd);
	int (*rename)(const char *from, const char *to);
	void *(*alloc)(size_t count, size_t size); /* zeroed, as calloc */
};
extern struct gn_sys_calls gn_sys;

/* ---------------------------------------------------------------- memory ----------------------------------------- */

/* count * size zeroed bytes (at least 1), NULL with GN_NO_MEMORY when they are not there or the product overflows.
 * free() releases. */
void *gn_alloc(size_t count, size_t size, struct gn_error *err);
/* A copy of length bytes with a NUL behind; NULL with GN_NO_MEMORY. free() releases. */
char *gn_copy_text(const char *text, size_t length, struct gn_error *err);

/* ---------------------------------------------------------------- writing --------------------------------------- */

struct gn_file_writer {
	int fd;         /* -1 when nothing is being written */
	bool replaces;  /* a file of that name was there before */
	uint64_t bytes; /* written so far */
	char *path, *temporary;
};
/* Starts a file. On success the caller must end with exactly one of commit and abort; after a failed begin, abort
 * does nothing. */
int gn_file_begin(struct gn_file_writer *writer, const char *path, struct gn_error *err);
int gn_file_write(struct gn_file_writer *writer, const void *bytes, size_t size, struct gn_error *err);
/* Makes the file durable under its name. On a failure the temporary file is gone and, unless an older file had the
 * name, so is the new one. The writer is released in both cases. */
int gn_file_commit(struct gn_file_writer *writer, struct gn_error *err);
/* Removes the temporary file. Harmless on a writer that is released already. */
void gn_file_abort(struct gn_file_writer *writer);
/* begin, write, commit in one call. */
int gn_file_put(const char *path, const void *bytes, size_t size, struct gn_error *err);
/* fsync of the folder that path lies in. */
int gn_file_sync_folder(const char *path, struct gn_error *err);

/* ---------------------------------------------------------------- reading --------------------------------------- */

struct gn_file_map {
	const uint8_t *bytes; /* NULL for an empty file */
	size_t size;
};
/* Maps a regular file read-only. GN_NOT_FOUND when there is none. */
int gn_file_map(struct gn_file_map *map, const char *path, struct gn_error *err);
void gn_file_unmap(struct gn_file_map *map);
/* Part of a read-only map that is not needed for now: its whole pages leave this process's memory, and come back from
 * the file when they are read again. */
void gn_file_forget(const void *bytes, size_t size);
/* Reads a whole file of at most limit bytes (GN_TOO_LARGE past it). *bytes is malloc'd with a NUL behind; caller
 * frees. */
int gn_file_read(char **bytes, size_t *size, const char *path, size_t limit, struct gn_error *err);

/* ---------------------------------------------------------------- hashing --------------------------------------- */

struct gn_sha256 {
	void *state; /* libcrypto's */
};
int gn_sha256_begin(struct gn_sha256 *hash, struct gn_error *err);
void gn_sha256_update(struct gn_sha256 *hash, const void *bytes, size_t size);
/* Lower-case hexadecimal with a NUL behind. Releases the hash; hex may be NULL when only that is wanted. */
void gn_sha256_end(struct gn_sha256 *hash, char hex[65]);
int gn_sha256_of(char hex[65], const void *bytes, size_t size, struct gn_error *err);
/* Of a whole map, piece by piece, forgetting it on the way. */
int gn_sha256_of_map(char hex[65], const struct gn_file_map *map, struct gn_error *err);

#endif
