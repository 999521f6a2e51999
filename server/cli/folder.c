/* libarchive reads the files and writes tar into a buffer of at most a block and a header. */
#include "server/cli/folder.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64 << 10, ROOM = 2 * BLOCK };

struct gn_folder_stream {
	struct archive *disk, *tar;
	size_t root; /* length of the folder's own path */
	bool in_file, ended;
	uint8_t *ready; /* [size of ROOM], given out from `at` on */
	size_t at, size;
	uint8_t block[BLOCK];
	char problem[256];
};

static la_ssize_t on_write(struct archive *tar, void *user, const void *bytes, size_t size)
{
	struct gn_folder_stream *s = user;

	if (size > ROOM - s->size) {
		archive_set_error(tar, -1, "a name in the folder is too long");
		return -1;
	}
	memcpy(s->ready + s->size, bytes, size);
	s->size += size;
	return (la_ssize_t)size;
}

static int broken(struct gn_folder_stream *s, struct archive *at)
{
	const char *text = archive_error_string(at);

	snprintf(s->problem, sizeof s->problem, "%s", text ? text : "cannot be read");
	return -1;
}

/* Name below the folder, size and nothing else: what a tar needs. */
static int write_header(struct gn_folder_stream *s, struct archive_entry *found)
{
	const char *name = archive_entry_pathname(found);
	struct archive_entry *entry = name ? archive_entry_new() : NULL;
	int result = -1;

	if (!entry)
		return broken(s, s->tar);
	name += strlen(name) > s->root ? s->root : 0;
	archive_entry_set_pathname(entry, name + strspn(name, "/"));
	archive_entry_set_size(entry, archive_entry_size(found));
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	result = archive_write_header(s->tar, entry) == ARCHIVE_OK ? 0 : broken(s, s->tar);
	archive_entry_free(entry);
	return result;
}

/* The next file's header, or the end of the archive. Folders need no entry. */
static int next_entry(struct gn_folder_stream *s)
{
	struct archive_entry *entry;
	int result = archive_read_next_header(s->disk, &entry);

	if (result == ARCHIVE_EOF) {
		s->ended = true;
		return archive_write_close(s->tar) == ARCHIVE_OK ? 0 : broken(s, s->tar);
	}
	if (result != ARCHIVE_OK)
		return broken(s, s->disk);
	archive_read_disk_descend(s->disk);
	if (archive_entry_filetype(entry) != AE_IFREG)
		return 0;
	s->in_file = true;
	return write_header(s, entry);
}

static int next_block(struct gn_folder_stream *s)
{
	la_ssize_t n = archive_read_data(s->disk, s->block, BLOCK);

	if (n < 0)
		return broken(s, s->disk);
	if (n == 0) {
		s->in_file = false;
		return archive_write_finish_entry(s->tar) == ARCHIVE_OK ? 0 : broken(s, s->tar);
	}
	if (archive_write_data(s->tar, s->block, (size_t)n) == n)
		return 0;
	snprintf(s->problem, sizeof s->problem, "a file grew while it was read");
	return -1;
}

ssize_t gn_folder_stream_read(void *stream, void *buffer, size_t size)
{
	struct gn_folder_stream *s = stream;
	size_t n;

	if (s->problem[0])
		return -1;
	while (s->at == s->size && !s->ended) {
		s->at = s->size = 0;
		if (s->in_file ? next_block(s) : next_entry(s))
			return -1;
	}
	n = s->size - s->at < size ? s->size - s->at : size;
	memcpy(buffer, s->ready + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

const char *gn_folder_stream_problem(const struct gn_folder_stream *stream)
{
	return stream->problem;
}

int gn_folder_stream_open(struct gn_folder_stream **out, const char *path, struct gn_error *err)
{
	struct gn_folder_stream *s = calloc(1, sizeof *s);

	if (s) {
		s->ready = malloc(ROOM);
		s->disk = archive_read_disk_new();
		s->tar = archive_write_new();
	}
	if (!s || !s->ready || !s->disk || !s->tar) {
		gn_folder_stream_close(s);
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	}
	s->root = strlen(path);
	archive_read_disk_set_symlink_logical(s->disk);
	archive_write_set_format_pax_restricted(s->tar);
	archive_write_set_bytes_per_block(s->tar, 0); /* every write comes at once */
	if (archive_read_disk_open(s->disk, path) != ARCHIVE_OK) {
		gn_fail(err, GN_IO, path, "%s", archive_error_string(s->disk));
		gn_folder_stream_close(s);
		return -1;
	}
	if (archive_write_open(s->tar, s, NULL, on_write, NULL) != ARCHIVE_OK) {
		gn_fail(err, GN_IO, path, "%s", archive_error_string(s->tar));
		gn_folder_stream_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

void gn_folder_stream_close(struct gn_folder_stream *s)
{
	if (!s)
		return;
	if (s->disk)
		archive_read_free(s->disk);
	if (s->tar)
		archive_write_free(s->tar); /* may write once more, into ready */
	free(s->ready);
	free(s);
}
