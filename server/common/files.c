/* Folders of the data directory: see files.h. */
#include "server/common/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The data directory nests two levels; past this something is wrong. */
enum { MAX_DEPTH = 16 };

enum visit { VISIT_BYTES, VISIT_REMOVE, VISIT_SYNC };

static int walk(int parent, const char *name, enum visit what, uint64_t *bytes, int depth, struct gn_error *err);

static int walk_folder(int parent, const char *name, enum visit what, uint64_t *bytes, int depth, struct gn_error *err)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), result = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return gn_fail_errno(err, name, "cannot open the folder");
	}
	while (result == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = walk(fd, entry->d_name, what, bytes, depth + 1, err);
	if (result == 0 && what == VISIT_SYNC)
		result = gn_file_sync(fd, name, err);
	closedir(dir);
	if (result == 0 && what == VISIT_REMOVE && unlinkat(parent, name, AT_REMOVEDIR))
		result = gn_fail_errno(err, name, "cannot remove");
	return result;
}

static int sync_file(int parent, const char *name, struct gn_error *err)
{
	int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), result;

	if (fd < 0)
		return gn_fail_errno(err, name, "cannot open");
	result = gn_file_sync(fd, name, err);
	close(fd);
	return result;
}

static int walk(int parent, const char *name, enum visit what, uint64_t *bytes, int depth, struct gn_error *err)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : gn_fail_errno(err, name, "cannot look at");
	if (S_ISDIR(st.st_mode)) {
		if (depth > MAX_DEPTH)
			return gn_fail(err, GN_IO, name, "folders nest too deep");
		return walk_folder(parent, name, what, bytes, depth, err);
	}
	if (bytes)
		*bytes += (uint64_t)st.st_size;
	if (what == VISIT_REMOVE && unlinkat(parent, name, 0))
		return gn_fail_errno(err, name, "cannot remove");
	return what == VISIT_SYNC && S_ISREG(st.st_mode) ? sync_file(parent, name, err) : 0;
}

int gn_tree_remove(const char *path, uint64_t *bytes, struct gn_error *err)
{
	return walk(AT_FDCWD, path, VISIT_REMOVE, bytes, 0, err);
}

uint64_t gn_tree_bytes(const char *path)
{
	uint64_t bytes = 0;

	walk(AT_FDCWD, path, VISIT_BYTES, &bytes, 0, NULL);
	return bytes;
}

int gn_tree_sync(const char *path, struct gn_error *err)
{
	return walk(AT_FDCWD, path, VISIT_SYNC, NULL, 0, err);
}

/* Reads up to size bytes; fewer at the end of the file. */
static ssize_t read_whole(int fd, char *data, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = read(fd, data + used, size - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

int gn_file_load(const char *path, size_t limit, char **data, size_t *size, struct gn_error *err)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char *buffer = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? gn_fail(err, GN_NOT_FOUND, path, "no such file")
		                       : gn_fail_errno(err, path, "cannot open");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > limit) {
		gn_fail(err, GN_TOO_LARGE, path, "not a file, or larger than %zu bytes", limit);
		goto failed;
	}
	buffer = malloc((size_t)st.st_size + 1);
	if (!buffer) {
		gn_fail(err, GN_NO_MEMORY, path, "out of memory");
		goto failed;
	}
	n = read_whole(fd, buffer, (size_t)st.st_size);
	if (n < 0) {
		gn_fail_errno(err, path, "cannot read");
		goto failed;
	}
	close(fd);
	buffer[n] = '\0';
	*data = buffer;
	*size = (size_t)n;
	return 0;
failed:
	free(buffer);
	close(fd);
	return -1;
}
