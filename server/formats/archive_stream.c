/* libarchive pushes bytes, but the reader pulls them. A buffer connects the two: see
 * archive_stream.h. */
#include "server/formats/archive_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

enum { BLOCK = 64 << 10 };

struct gn_pack {
	struct archive *writer;
	struct gn_pack_file *files; /* [count] */
	/* the file being packed; count: all are, and the archive is closed */
	int count, at;
	uint64_t done; /* bytes of it */
	int64_t time;
	bool open, broken, dropped;
	/* [ready_size of ready_room]: bytes of the archive, given out from ready_at on */
	uint8_t *ready;
	size_t ready_at, ready_size, ready_room;
	uint8_t block[BLOCK];
};

/* ---------------------------------------------------------------- libarchive's side ----------- */

static la_ssize_t on_write(struct archive *writer, void *user, const void *bytes, size_t size)
{
	struct gn_pack *pack = user;
	size_t wanted = pack->ready_size + size;

	if (pack->dropped) /* libarchive would fill up what is not packed yet; nobody reads that */
		return -1;
	if (wanted > pack->ready_room) {
		uint8_t *grown = realloc(pack->ready, 2 * wanted);

		if (!grown) {
			archive_set_error(writer, ENOMEM, "out of memory");
			return -1;
		}
		pack->ready = grown;
		pack->ready_room = 2 * wanted;
	}
	memcpy(pack->ready + pack->ready_size, bytes, size);
	pack->ready_size = wanted;
	return (la_ssize_t)size;
}

static int begin_file(struct gn_pack *pack)
{
	const struct gn_pack_file *file = &pack->files[pack->at];
	struct archive_entry *entry = archive_entry_new();
	int result;

	if (!entry)
		return -1;
	archive_entry_set_pathname(entry, file->name);
	archive_entry_set_size(entry, (la_int64_t)file->bytes);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_mtime(entry, (time_t)pack->time, 0);
	result = archive_write_header(pack->writer, entry);
	archive_entry_free(entry);
	pack->open = true;
	pack->done = 0;
	return result == ARCHIVE_OK ? 0 : -1;
}

static int write_block(struct gn_pack *pack)
{
	const struct gn_pack_file *file = &pack->files[pack->at];
	uint64_t left = file->bytes - pack->done;
	size_t size = left < BLOCK ? (size_t)left : BLOCK;

	if (file->read(file->user, pack->done, pack->block, size) != size ||
	    archive_write_data(pack->writer, pack->block, size) != (la_ssize_t)size)
		return -1;
	pack->done += size;
	return 0;
}

/* One step further: a header, a block, the end of a file, the end of the archive. */
static int step(struct gn_pack *pack)
{
	if (!pack->open && pack->at < pack->count)
		return begin_file(pack);
	if (pack->open && pack->done < pack->files[pack->at].bytes)
		return write_block(pack);
	if (pack->open) {
		pack->open = false;
		pack->at++;
		return archive_write_finish_entry(pack->writer) == ARCHIVE_OK ? 0 : -1;
	}
	if (archive_write_close(pack->writer) != ARCHIVE_OK)
		return -1;
	pack->at++;
	return 0;
}

/* ---------------------------------------------------------------- the reader's side ----------- */

static int open_writer(struct gn_pack *pack, enum gn_pack_kind kind)
{
	struct archive *writer = pack->writer = archive_write_new();
	int failed = !writer;

	if (!failed && kind == GN_PACK_ZIP)
		failed = archive_write_set_format_zip(writer) || archive_write_zip_set_compression_store(writer);
	else if (!failed)
		failed = archive_write_set_format_pax_restricted(writer);
	return failed || archive_write_set_bytes_in_last_block(writer, 1) ||
	       archive_write_open(writer, pack, NULL, on_write, NULL);
}

int gn_pack_new(struct gn_pack **out, enum gn_pack_kind kind, const struct gn_pack_file *files, int count, int64_t time,
                struct gn_error *err)
{
	struct gn_pack *pack = calloc(1, sizeof *pack);

	if (pack)
		pack->files = calloc((size_t)count, sizeof *files);
	if (!pack || !pack->files || open_writer(pack, kind)) {
		gn_pack_free(pack);
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for an archive");
	}
	memcpy(pack->files, files, (size_t)count * sizeof *files);
	pack->count = count;
	pack->time = time;
	*out = pack;
	return 0;
}

ssize_t gn_pack_read(struct gn_pack *pack, void *buffer, size_t size)
{
	while (pack->ready_at == pack->ready_size && pack->at <= pack->count && !pack->broken) {
		pack->ready_at = pack->ready_size = 0;
		pack->broken = step(pack) != 0;
	}
	if (pack->broken)
		return -1;
	if (size > pack->ready_size - pack->ready_at)
		size = pack->ready_size - pack->ready_at;
	memcpy(buffer, pack->ready + pack->ready_at, size);
	pack->ready_at += size;
	return (ssize_t)size;
}

void gn_pack_free(struct gn_pack *pack)
{
	if (!pack)
		return;
	pack->dropped = true;
	archive_write_free(pack->writer);
	free(pack->files);
	free(pack->ready);
	free(pack);
}
