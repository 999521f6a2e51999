/* A folder of pictures as a tar stream for gn_dataset_ingest, made while it is read. */
#ifndef GN_CLI_FOLDER_H
#define GN_CLI_FOLDER_H

#include "gonio.h"

struct gn_folder_stream;
/* Follows symbolic links. */
int gn_folder_stream_open(struct gn_folder_stream **out, const char *path, struct gn_error *err);
/* Reads at least one byte. 0 at the end, -1 if something in the folder cannot be read. */
ssize_t gn_folder_stream_read(void *stream, void *buffer, size_t size);
/* Why a read failed; "" if none failed. */
const char *gn_folder_stream_problem(const struct gn_folder_stream *stream);
void gn_folder_stream_close(struct gn_folder_stream *stream);

#endif
