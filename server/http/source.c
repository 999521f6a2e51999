/* Copies a body, or a part of a form, to its end: into a file or into memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/http/handler.h"

enum { COPY_BYTES = 128 * 1024 };

static int copy_to(int fd, gn_source_read *read, void *user, char *buffer, uint64_t *bytes, const char *path,
                   struct gn_error *err)
{
	ssize_t n;

	while ((n = read(user, buffer, COPY_BYTES)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(fd, buffer + done, (size_t)(n - done));
			if (w < 0 && errno != EINTR)
				return gn_fail_errno(err, path, "cannot write");
			done += w > 0 ? w : 0;
		}
		*bytes += (uint64_t)n;
	}
	if (n < 0)
		return gn_fail(err, GN_CANCELLED, "", "the upload ended early");
	return fsync(fd) ? gn_fail_errno(err, path, "cannot sync") : 0;
}

int gn_source_save(gn_source_read *read, void *user, const char *path, uint64_t *bytes, struct gn_error *err)
{
	uint64_t count = 0;
	char *buffer = malloc(COPY_BYTES);
	int fd, result;

	if (!buffer)
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		free(buffer);
		return gn_fail_errno(err, path, "cannot create");
	}
	result = copy_to(fd, read, user, buffer, &count, path, err);
	close(fd);
	free(buffer);
	if (result)
		unlink(path);
	else if (bytes)
		*bytes = count;
	return result;
}

int gn_source_load(gn_source_read *read, void *user, size_t limit, void **data, size_t *size, struct gn_error *err)
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
