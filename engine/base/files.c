/*
 * Files: see files.h and gonio/files.h. SHA-256 comes from libcrypto (EVP), which uses the
 * processor's instructions where it has them.
 */
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct gn_sys_calls gn_sys = {write, fsync, rename, calloc};

/* ---------------------------------------------------------------- memory ---------------------- */

void *gn_alloc(size_t count, size_t size, struct gn_error *err)
{
	void *memory = gn_sys.alloc(count ? count : 1, size ? size : 1);

	if (!memory)
		gn_fail(err, GN_NO_MEMORY, "", "no memory for %zu x %zu bytes", count, size);
	return memory;
}

char *gn_copy_text(const char *text, size_t length, struct gn_error *err)
{
	char *copy = gn_alloc(length + 1, 1, err);

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

/* ---------------------------------------------------------------- writing --------------------- */

static void release(struct gn_file_writer *writer)
{
	if (writer->fd >= 0)
		close(writer->fd);
	free(writer->path);
	free(writer->temporary);
	*writer = (struct gn_file_writer){.fd = -1};
}

static int begin(struct gn_file_writer *writer, const char *path, mode_t mode, struct gn_error *err)
{
	static const char suffix[] = ".tmp";
	size_t length = strlen(path);
	struct stat st;

	*writer = (struct gn_file_writer){.fd = -1};
	writer->path = gn_copy_text(path, length, err);
	writer->temporary = writer->path ? gn_alloc(length + sizeof suffix, 1, err) : NULL;
	if (!writer->temporary) {
		release(writer);
		return -1;
	}
	memcpy(writer->temporary, path, length);
	memcpy(writer->temporary + length, suffix, sizeof suffix);
	writer->replaces = lstat(path, &st) == 0;
	writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (writer->fd < 0) {
		gn_fail_errno(err, path, "cannot create the file");
		release(writer);
		return -1;
	}
	return 0;
}

int gn_file_begin(struct gn_file_writer *writer, const char *path, struct gn_error *err)
{
	return begin(writer, path, 0644, err);
}

int gn_file_begin_private(struct gn_file_writer *writer, const char *path, struct gn_error *err)
{
	return begin(writer, path, 0600, err);
}

int gn_file_write(struct gn_file_writer *writer, const void *bytes, size_t size, struct gn_error *err)
{
	const uint8_t *from = bytes;

	gn_assert(writer->fd >= 0);
	while (size > 0) {
		ssize_t done = gn_sys.write(writer->fd, from, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			errno = done == 0 ? EIO : errno;
			return gn_fail_errno(err, writer->path, "cannot write the file");
		}
		from += done;
		size -= (size_t)done;
		writer->bytes += (uint64_t)done;
	}
	return 0;
}

int gn_file_sync(int fd, const char *path, struct gn_error *err)
{
	return gn_sys.fsync(fd) ? gn_fail_errno(err, path, "cannot make it durable") : 0;
}

int gn_file_sync_folder(const char *path, struct gn_error *err)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? gn_copy_text(path, (size_t)(slash - path) + 1, err) : gn_copy_text(".", 1, err);
	int result = -1;

	if (!folder)
		return -1;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || gn_sys.fsync(fd) != 0)
		gn_fail_errno(err, path, "cannot make the folder's entry durable");
	else
		result = 0;
	if (fd >= 0)
		close(fd);
	free(folder);
	return result;
}

int gn_file_commit(struct gn_file_writer *writer, struct gn_error *err)
{
	int result = -1;

	gn_assert(writer->fd >= 0);
	if (gn_sys.fsync(writer->fd) != 0) {
		gn_fail_errno(err, writer->path, "cannot make the file durable");
	} else if (gn_sys.rename(writer->temporary, writer->path) != 0) {
		gn_fail_errno(err, writer->path, "cannot rename the file into place");
	} else {
		result = gn_file_sync_folder(writer->path, err);
		if (result != 0 && !writer->replaces)
			unlink(writer->path);
		release(writer);
		return result;
	}
	gn_file_abort(writer);
	return result;
}

void gn_file_abort(struct gn_file_writer *writer)
{
	if (writer->fd < 0)
		return;
	unlink(writer->temporary);
	release(writer);
}

static int put(const char *path, mode_t mode, const void *bytes, size_t size, struct gn_error *err)
{
	struct gn_file_writer writer;

	if (begin(&writer, path, mode, err) != 0)
		return -1;
	if (gn_file_write(&writer, bytes, size, err) != 0) {
		gn_file_abort(&writer);
		return -1;
	}
	return gn_file_commit(&writer, err);
}

int gn_file_put(const char *path, const void *bytes, size_t size, struct gn_error *err)
{
	return put(path, 0644, bytes, size, err);
}

int gn_file_replace(const char *path, const void *bytes, size_t size, struct gn_error *err)
{
	return put(path, 0600, bytes, size, err);
}

int gn_file_move(const char *from, const char *to, struct gn_error *err)
{
	if (gn_sys.rename(from, to) != 0)
		return gn_fail_errno(err, to, "cannot rename it into place");
	return gn_file_sync_folder(to, err) || gn_file_sync_folder(from, err) ? -1 : 0;
}

/* ---------------------------------------------------------------- reading --------------------- */

/* Opens a regular file; returns the descriptor or -1. */
static int open_regular(const char *path, uint64_t *size, struct gn_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		if (errno == ENOENT)
			return gn_fail(err, GN_NOT_FOUND, path, "there is no such file");
		return gn_fail_errno(err, path, "cannot open the file");
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return gn_fail(err, GN_IO, path, "not a regular file");
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

int gn_file_map(struct gn_file_map *map, const char *path, struct gn_error *err)
{
	uint64_t size;
	int fd = open_regular(path, &size, err);

	*map = (struct gn_file_map){0};
	if (fd < 0)
		return -1;
	if (size > 0) {
		void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

		if (bytes == MAP_FAILED) {
			gn_fail_errno(err, path, "cannot map the file");
			close(fd);
			return -1;
		}
		*map = (struct gn_file_map){bytes, size};
	}
	close(fd);
	return 0;
}

void gn_file_unmap(struct gn_file_map *map)
{
	if (map->bytes)
		munmap((void *)(uintptr_t)map->bytes, map->size);
	*map = (struct gn_file_map){0};
}

void gn_file_forget(const void *bytes, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)bytes + page - 1) / page * page,
	          to = ((uintptr_t)bytes + size) / page * page;

	if (from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

int gn_file_read(char **bytes, size_t *size, const char *path, size_t limit, struct gn_error *err)
{
	uint64_t length;
	int fd = open_regular(path, &length, err);
	char *buffer = NULL;
	size_t done = 0;

	if (fd < 0)
		return -1;
	if (length > limit)
		gn_fail(err, GN_TOO_LARGE, path, "the file has %llu bytes, at most %zu are taken",
		        (unsigned long long)length, limit);
	else
		buffer = gn_alloc((size_t)length + 1, 1, err);
	while (buffer && done < length) {
		ssize_t n = read(fd, buffer + done, (size_t)length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			gn_fail_errno(err, path, "cannot read the file");
			free(buffer);
			buffer = NULL;
		} else if (n == 0) {
			break; /* it was truncated meanwhile: return what was read */
		} else {
			done += (size_t)n;
		}
	}
	close(fd);
	if (!buffer)
		return -1;
	*bytes = buffer;
	*size = done;
	return 0;
}

/* ---------------------------------------------------------------- hashing --------------------- */

int gn_sha256_begin(struct gn_sha256 *hash, struct gn_error *err)
{
	EVP_MD_CTX *state = EVP_MD_CTX_new();

	hash->state = NULL;
	if (!state || EVP_DigestInit_ex(state, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(state);
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a SHA-256");
	}
	hash->state = state;
	return 0;
}

void gn_sha256_update(struct gn_sha256 *hash, const void *bytes, size_t size)
{
	/* With a valid state and software digests an update cannot fail. */
	gn_assert(EVP_DigestUpdate(hash->state, bytes, size) == 1);
}

void gn_sha256_end(struct gn_sha256 *hash, char hex[65])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[32];
	unsigned length = 0;

	if (hex) {
		gn_assert(EVP_DigestFinal_ex(hash->state, digest, &length) == 1 && length == sizeof digest);
		for (size_t i = 0; i < sizeof digest; i++) {
			hex[2 * i] = digits[digest[i] >> 4];
			hex[2 * i + 1] = digits[digest[i] & 15];
		}
		hex[64] = 0;
	}
	EVP_MD_CTX_free(hash->state);
	hash->state = NULL;
}

int gn_sha256_of(char hex[65], const void *bytes, size_t size, struct gn_error *err)
{
	struct gn_sha256 hash;

	if (gn_sha256_begin(&hash, err) != 0)
		return -1;
	gn_sha256_update(&hash, bytes, size);
	gn_sha256_end(&hash, hex);
	return 0;
}

int gn_sha256_of_map(char hex[65], const struct gn_file_map *map, struct gn_error *err)
{
	const size_t step = (size_t)16 << 20;
	struct gn_sha256 hash;

	if (gn_sha256_begin(&hash, err) != 0)
		return -1;
	for (size_t at = 0; at < map->size; at += step) {
		gn_sha256_update(&hash, map->bytes + at, map->size - at < step ? map->size - at : step);
		gn_file_forget(map->bytes, map->size);
	}
	gn_sha256_end(&hash, hex);
	return 0;
}

int gn_file_sha256(char hex[65], const char *path, struct gn_error *err)
{
	struct gn_file_map map;
	int result;

	if (gn_file_map(&map, path, err))
		return -1;
	result = gn_sha256_of_map(hex, &map, err);
	gn_file_unmap(&map);
	return result;
}
