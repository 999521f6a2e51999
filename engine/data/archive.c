/* See archive.h. */
#include "data/archive.h"

#include "data/names.h"
#include "fileio.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#define BUFFER_BYTES   (256 << 10)
#define TAIL_BYTES     (66 << 10)           /* a zip's end record with the longest comment */
#define RATIO_MAX      200                  /* photographs hardly shrink; zeros shrink a thousandfold */
#define DICTIONARY_MAX ((uint64_t)64 << 20) /* what xz -9 uses */
#define RATIO_FREE     ((uint64_t)64 << 20)

struct gn_archive {
	const struct gn_archive_source *source;
	struct archive *reader;
	struct archive_entry *entry; /* libarchive's, of the present entry */
	locale_t utf8, before;       /* names are converted to the thread's character set */
	bool aborted, hungry, ended;
	uint64_t packed, unpacked;
	uint64_t data_end; /* of the entry before, in the unpacked stream */
	int entries;
	size_t tail_size;
	uint8_t tail[TAIL_BYTES]; /* the last bytes that came */
	uint8_t buffer[BUFFER_BYTES];
};

/* ---------------------------------------------------------------- memory ----------------------------------------- */

/* A variable-length integer of xz; moves *at past it. UINT64_MAX if it is cut or too long. */
static uint64_t xz_integer(const uint8_t *bytes, size_t size, size_t *at)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 63 && *at < size; shift += 7) {
		uint8_t byte = bytes[(*at)++];

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	return UINT64_MAX;
}

/*
 * The dictionary that the first block of an xz stream asks for, 0 if there is none to be seen (The .xz File Format, 3.1 and 5.3.1). It
 * decides how much memory unpacking takes, and libarchive sets no limit. Later blocks could ask for more; no packer does that.
 */
static uint64_t xz_dictionary(const uint8_t *bytes, size_t size)
{
	enum { STREAM_HEADER = 12, LZMA2 = 0x21, PROPERTY_MAX = 40 };
	size_t at = STREAM_HEADER + 2;
	uint8_t flags;

	if (size <= at || memcmp(bytes,
	                         "\xfd"
	                         "7zXZ",
	                         6) != 0)
		return 0;
	flags = bytes[STREAM_HEADER + 1];
	for (int sizes = (flags >> 6 & 1) + (flags >> 7); sizes > 0; sizes--)
		xz_integer(bytes, size, &at);
	for (int filters = (flags & 3) + 1; filters > 0; filters--) {
		uint64_t id = xz_integer(bytes, size, &at), length = xz_integer(bytes, size, &at);

		if (length > 16 || length > size - at)
			return 0;
		if (id == LZMA2 && length == 1 && bytes[at] <= PROPERTY_MAX)
			return (uint64_t)(2 | (bytes[at] & 1)) << (bytes[at] / 2 + 11);
		at += length;
	}
	return 0;
}

/* ---------------------------------------------------------------- the source ------------------------------------- */

static void keep_tail(struct gn_archive *archive, const uint8_t *bytes, size_t size)
{
	size_t fresh = size < TAIL_BYTES ? size : TAIL_BYTES;
	size_t old = archive->tail_size < TAIL_BYTES - fresh ? archive->tail_size : TAIL_BYTES - fresh;

	memmove(archive->tail, archive->tail + archive->tail_size - old, old);
	memcpy(archive->tail + old, bytes + size - fresh, fresh);
	archive->tail_size = old + fresh;
}

/* Fills the buffer with one piece, the first time with enough to see what it is: how many bytes, or -1. */
static ssize_t read_piece(struct gn_archive *archive)
{
	enum { ENOUGH = 256 };
	const struct gn_archive_source *source = archive->source;
	ssize_t size = 0;

	while (!archive->ended && (size == 0 || (archive->packed == 0 && size < ENOUGH))) {
		ssize_t n = source->read(source->user, archive->buffer + size, BUFFER_BYTES - (size_t)size);

		if (n < 0)
			return -1;
		archive->ended = n == 0;
		size += n;
	}
	return size;
}

static la_ssize_t on_read(struct archive *reader, void *user, const void **bytes)
{
	struct gn_archive *archive = user;
	ssize_t n = read_piece(archive);

	if (n < 0) {
		archive->aborted = true;
		archive_set_error(reader, EIO, "the upload was broken off");
		return ARCHIVE_FATAL;
	}
	if (archive->packed == 0 && xz_dictionary(archive->buffer, (size_t)n) > DICTIONARY_MAX) {
		archive->hungry = true;
		archive_set_error(reader, ENOMEM, "the dictionary is too large");
		return ARCHIVE_FATAL;
	}
	archive->packed += (uint64_t)n;
	keep_tail(archive, archive->buffer, (size_t)n);
	*bytes = archive->buffer;
	return n;
}

static int reader_failed(struct gn_archive *archive, struct gn_error *err)
{
	const char *text = archive_error_string(archive->reader);

	if (archive->aborted)
		return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	if (archive->hungry)
		return gn_fail(err, GN_UNSUPPORTED, "", "the archive needs an xz dictionary of more than %llu bytes",
		               (unsigned long long)DICTIONARY_MAX);
	if (archive->packed == 0)
		return gn_fail(err, GN_MALFORMED, "", "the archive is empty (0 bytes)");
	if (archive_errno(archive->reader) == ENOMEM)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory to unpack the archive");
	if (archive->entries == 0 && archive_format(archive->reader) == 0)
		return gn_fail(err, GN_MALFORMED, "",
		               "neither a zip nor a tar archive (plain, gzip, xz or zstd), or cut at its start");
	return gn_fail(err, GN_MALFORMED, "", "the archive is damaged or cut after %d entries: %s", archive->entries,
	               text ? text : "unknown reason");
}

int gn_archive_open(struct gn_archive **out, const struct gn_archive_source *source, struct gn_error *err)
{
	struct gn_archive *archive = gn_alloc(1, sizeof *archive, err);
	struct archive *reader;

	if (!archive)
		return -1;
	archive->source = source;
	archive->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (archive->utf8)
		archive->before = uselocale(archive->utf8);
	reader = archive->reader = archive_read_new();
	if (!reader || archive_read_support_format_zip_streamable(reader) || archive_read_support_format_tar(reader) ||
	    archive_read_support_filter_gzip(reader) || archive_read_support_filter_xz(reader) ||
	    archive_read_support_filter_zstd(reader)) {
		gn_archive_close(archive);
		return gn_fail(err, GN_NO_MEMORY, "", "the archive reader cannot be set up");
	}
	if (archive_read_open(reader, archive, NULL, on_read, NULL)) {
		int rc = reader_failed(archive, err);

		gn_archive_close(archive);
		return rc;
	}
	*out = archive;
	return 0;
}

void gn_archive_close(struct gn_archive *archive)
{
	if (!archive)
		return;
	archive_read_free(archive->reader);
	if (archive->utf8) {
		uselocale(archive->before);
		freelocale(archive->utf8);
	}
	free(archive);
}

/* ---------------------------------------------------------------- limits ----------------------------------------- */

static int check_limits(struct gn_archive *archive, struct gn_error *err)
{
	uint64_t stream = (uint64_t)archive_filter_bytes(archive->reader, 0);
	uint64_t unpacked = archive->unpacked > stream ? archive->unpacked : stream;

	if (unpacked > archive->source->max_total_bytes)
		return gn_fail(err, GN_TOO_LARGE, "", "the archive unpacks to more than %llu bytes",
		               (unsigned long long)archive->source->max_total_bytes);
	if (unpacked > RATIO_FREE && (unpacked - RATIO_FREE) / RATIO_MAX > archive->packed)
		return gn_fail(err, GN_TOO_LARGE, "", "the archive unpacks to more than %d times its size", RATIO_MAX);
	return 0;
}

/* ---------------------------------------------------------------- the end --------------------------------------- */

/* A zip ends with a record that nothing but a comment of the stated length may follow (APPNOTE 4.3.16). */
static bool zip_has_end(const struct gn_archive *archive)
{
	enum { RECORD = 22 };

	for (size_t at = archive->tail_size < RECORD ? 0 : archive->tail_size - RECORD + 1; at-- > 0;) {
		const uint8_t *p = archive->tail + at;

		if (!memcmp(p, "PK\5\6", 4) && at + RECORD + ((size_t)p[20] | (size_t)p[21] << 8) <= archive->tail_size)
			return true;
	}
	return false;
}

/* Reads what follows the last entry: a zip's directory, a tar's padding. */
static int drain(struct gn_archive *archive, struct gn_error *err)
{
	while (!archive->ended) {
		const void *bytes;

		if (on_read(archive->reader, archive, &bytes) < 0)
			return reader_failed(archive, err);
	}
	return 0;
}

/* libarchive takes the end of the bytes for the end of the archive; a cut between two entries must not pass for a whole one. */
static int check_end(struct gn_archive *archive, struct gn_error *err)
{
	bool zip = (archive_format(archive->reader) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_ZIP;
	uint64_t end = (uint64_t)archive_filter_bytes(archive->reader, 0);

	if (drain(archive, err))
		return -1;
	if (zip && !zip_has_end(archive))
		return gn_fail(err, GN_MALFORMED, "",
		               "the archive is cut after %d entries: the zip's end record is missing",
		               archive->entries);
	/* the last entry's padding is less than a block, the end mark is a block or two of zeros */
	if (!zip && end - archive->data_end < 512)
		return gn_fail(err, GN_MALFORMED, "",
		               "the archive is cut after %d entries: the tar's end mark is missing", archive->entries);
	return 0;
}

/* ---------------------------------------------------------------- entries ---------------------------------------- */

/* A zip's entries stored or deflated: what every zip tool writes. Others (lzma, ppmd, ...) may ask for any amount of memory. */
static bool plainly_packed(struct gn_archive *archive)
{
	const char *name = archive_format_name(archive->reader); /* "ZIP 2.0 (deflation)" */

	return (archive_format(archive->reader) & ARCHIVE_FORMAT_BASE_MASK) != ARCHIVE_FORMAT_ZIP || !name ||
	       strstr(name, "(uncompressed") || strstr(name, "(deflation");
}

static const char *kind_of(struct archive_entry *entry)
{
	if (archive_entry_symlink(entry) || archive_entry_filetype(entry) == AE_IFLNK)
		return "a symbolic link";
	if (archive_entry_hardlink(entry))
		return "a hard link";
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return NULL;
	case AE_IFDIR:
		return "";
	case AE_IFIFO:
		return "a pipe";
	case AE_IFSOCK:
		return "a socket";
	default:
		return "a device";
	}
}

int gn_archive_next(struct gn_archive *archive, struct gn_archive_entry *entry, struct gn_error *err)
{
	int rc;

	archive->data_end = (uint64_t)archive_filter_bytes(archive->reader, 0);
	do {
		rc = archive_read_next_header(archive->reader, &archive->entry);
		if (check_limits(archive, err))
			return -1;
	} while (rc == ARCHIVE_RETRY);
	if (rc == ARCHIVE_EOF)
		return check_end(archive, err);
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		return reader_failed(archive, err);
	archive->entries++;
	entry->path = archive_entry_pathname(archive->entry);
	if (!entry->path)
		entry->path = "";
	entry->not_file = kind_of(archive->entry);
	if (!plainly_packed(archive))
		return gn_fail(err, GN_UNSUPPORTED, "", "the archive is packed as %s: store or deflate its entries",
		               archive_format_name(archive->reader));
	if (archive_entry_is_encrypted(archive->entry)) {
		char shown[128];

		gn_name_show(shown, sizeof shown, entry->path);
		return gn_fail(err, GN_UNSUPPORTED, shown, "the archive is encrypted (entry \"%s\")", shown);
	}
	return 1;
}

int gn_archive_piece(struct gn_archive *archive, const void **bytes, size_t *size, const char **damage,
                     struct gn_error *err)
{
	la_int64_t offset;
	int rc;

	*damage = NULL;
	do {
		rc = archive_read_data_block(archive->reader, bytes, size, &offset);
	} while (rc == ARCHIVE_RETRY);
	if (rc == ARCHIVE_FATAL)
		return reader_failed(archive, err);
	if (rc == ARCHIVE_WARN || rc == ARCHIVE_FAILED) {
		*damage = archive_error_string(archive->reader);
		if (!*damage)
			*damage = "damaged in the archive";
		return 0;
	}
	if (rc == ARCHIVE_EOF)
		return 0;
	archive->unpacked += *size;
	return check_limits(archive, err) ? -1 : 1;
}
