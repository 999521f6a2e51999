/*
 * How every file is written, the service's too. Part of gonio.h, whose conventions hold here.
 *
 * A file that is written here is seen under its name either whole or not at all: it grows in
 * PATH.tmp beside it, is fsynced and renamed, and then the folder is fsynced. One writer per path
 * at a time; a PATH.tmp left by a killed process is overwritten by the next writer. A writer
 * belongs to one thread at a time.
 */
#ifndef GONIO_FILES_H
#define GONIO_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/gonio/error.h"

/* Where bytes come from: fills buffer with at least one byte and returns the number; 0 at the end,
 * -1 when it broke. May block. */
typedef ssize_t gn_bytes_read(void *user, void *buffer, size_t size);

struct gn_file_writer {
	int fd;         /* -1 when nothing is being written */
	bool replaces;  /* a file of that name was there before */
	uint64_t bytes; /* written so far */
	char *path, *temporary;
};
/* Starts a file (0644, less the umask). On success the caller must end with exactly one of commit
 * and abort; after a failed begin, abort does nothing. */
int gn_file_begin(struct gn_file_writer *writer, const char *path, struct gn_error *err);
/* The same for a file of the owner alone (0600). */
int gn_file_begin_private(struct gn_file_writer *writer, const char *path, struct gn_error *err);
int gn_file_write(struct gn_file_writer *writer, const void *bytes, size_t size, struct gn_error *err);
/* Makes the file durable under its name. On a failure the temporary file is gone and, unless an
 * older file had the name, so is the new one. The writer is released in both cases. */
int gn_file_commit(struct gn_file_writer *writer, struct gn_error *err);
/* Removes the temporary file. Harmless on a writer that is released already. */
void gn_file_abort(struct gn_file_writer *writer);
/* begin, write, commit in one call. */
int gn_file_put(const char *path, const void *bytes, size_t size, struct gn_error *err);
/* The same for a file of the owner alone (0600). */
int gn_file_replace(const char *path, const void *bytes, size_t size, struct gn_error *err);

/* fsync of an open file or folder, of which path tells in errors. */
int gn_file_sync(int fd, const char *path, struct gn_error *err);
/* fsync of the folder that path lies in. */
int gn_file_sync_folder(const char *path, struct gn_error *err);
/* Renames a file or folder and fsyncs the folders that both paths lie in. On a failure it may have
 * moved. */
int gn_file_move(const char *from, const char *to, struct gn_error *err);

/* SHA-256 of a file, in hexadecimal with a NUL after it. */
int gn_file_sha256(char hex[65], const char *path, struct gn_error *err);

#endif
