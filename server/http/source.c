/* Copies a body, or a part of a form, to its end: into a file or into memory. */
#include <stdlib.h>

#include "server/http/handler.h"

enum { COPY_BYTES = 128 * 1024 };

static int copy(struct gn_file_writer *writer, gn_bytes_read *read, void *user, char *buffer, struct gn_error *err)
{
	ssize_t n;

	while ((n = read(user, buffer, COPY_BYTES)) > 0)
		if (gn_file_write(writer, buffer, (size_t)n, err))
			return -1;
	return n < 0 ? gn_fail(err, GN_CANCELLED, "", "the upload ended early") : 0;
}

int gn_source_save(gn_bytes_read *read, void *user, const char *path, struct gn_error *err)
{
	struct gn_file_writer writer;
	char *buffer = malloc(COPY_BYTES);
	int result;

	if (!buffer)
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	result = gn_file_begin_private(&writer, path, err);
	if (result == 0 && copy(&writer, read, user, buffer, err) == 0) {
		result = gn_file_commit(&writer, err);
	} else {
		gn_file_abort(&writer);
		result = -1;
	}
	free(buffer);
	return result;
}

int gn_source_load(gn_bytes_read *read, void *user, size_t limit, void **data, size_t *size, struct gn_error *err)
{
	size_t used = 0, capacity = 0;
	char *buffer = NULL;
	ssize_t n = 0;

	do {
		used += (size_t)n;
		if (used > limit) {
			gn_fail(err, GN_TOO_LARGE, "", "more than %zu bytes", limit);
			goto failed;
		}
		if (capacity - used < 4096) {
			char *grown = realloc(buffer, capacity ? 2 * capacity : 16384);
			if (!grown) {
				gn_fail(err, GN_NO_MEMORY, "", "out of memory");
				goto failed;
			}
			buffer = grown;
			capacity = capacity ? 2 * capacity : 16384;
		}
	} while ((n = read(user, buffer + used, capacity - used - 1)) > 0);
	if (n < 0) {
		gn_fail(err, GN_CANCELLED, "", "the upload ended early");
		goto failed;
	}
	buffer[used] = '\0';
	*data = buffer;
	*size = used;
	return 0;
failed:
	free(buffer);
	return -1;
}
