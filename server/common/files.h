/* Folders of the data directory: removal, size, sync, whole-file writes. Symbolic links are never
 * followed. */
#ifndef GN_SERVER_FILES_H
#define GN_SERVER_FILES_H

#include <stddef.h>
#include <stdint.h>
#include "gonio.h"

/* Removes path and everything in it. A missing path is not an error. bytes (may be NULL) += the
 * sizes of the removed files. */
int gn_tree_remove(const char *path, uint64_t *bytes, struct gn_error *err);
/* Sum of the sizes of the files below path. */
uint64_t gn_tree_bytes(const char *path);
/* fsyncs every file and folder below path, and path itself. */
int gn_tree_sync(const char *path, struct gn_error *err);
/* Reads a whole file of at most limit bytes. *data is malloc'd with a NUL behind it; caller frees.
 * GN_NOT_FOUND, GN_TOO_LARGE. */
int gn_file_load(const char *path, size_t limit, char **data, size_t *size, struct gn_error *err);

#endif
