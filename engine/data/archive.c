/* See archive.h. */
#include "data/archive.h"

#include "data/decompress.h"
#include "data/names.h"
#include "base/files.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#define BUFFER_BYTES (256 << 10)
#define TAIL_BYTES   (66 << 10) /* a zip's end record with the longest comment */
#define RATIO_FREE   ((uint64_t)64 << 20)

const struct gn_archive_budget gn_archive_budget_default = {
    .total_bytes = (uint64_t)64 << 30,
    .ratio = 200, /* photographs hardly shrink, but zeros shrink by a factor of a thousand */
    .entry_seconds = 5,
    .memory = (uint64_t)136 << 20, /* zstd --ultra -22 and xz -9 need less */
};

struct gn_archive {
	const struct gn_archive_source *source;
	struct gn_archive_budget budget;
	/* NULL if the archive is not compressed as a whole */
	struct gn_decompressor *decompressor;
	struct archive *reader;
	struct archive_entry *entry; /* libarchive's, of the current entry */
	struct gn_error failure;     /* the error of a callback, which ended the reading */
	locale_t utf8, before;       /* names are converted to the thread's character set */
	bool ended;                  /* the source has ended */
	bool peeked;                 /* the buffer has the first piece, which was not used yet */
	ssize_t peeked_size;
	uint64_t packed;   /* bytes that have arrived */
	uint64_t stream;   /* bytes of the zip or tar in them */
	uint64_t unpacked; /* bytes of entries */
	uint64_t data_end; /* end of the entry before, in the stream */
	int entries;
	struct gn_work work; /* since the last entry was finished ... */
	bool work_begun;     /* ... or, more precisely, since the first check after it */
	unsigned pieces;     /* since the clock was last read */
	size_t tail_size;
	uint8_t tail[TAIL_BYTES]; /* the last bytes that have arrived */
	uint8_t buffer[BUFFER_BYTES];
};

/* ---------------------------------------------------------------- budgets --------------------- */

static int check_time(struct gn_archive *archive, struct gn_error *err)
{
	double seconds = archive->budget.entry_seconds;

	if (archive->source->gone && archive->source->gone(archive->source->user))
		return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	if (!archive->work_begun)
		gn_work_begin(&archive->work, archive->packed);
	archive->work_begun = true;
	if (gn_work_exceeds(&archive->work, archive->packed, seconds))
		return gn_fail(
		    err, GN_TOO_LARGE, "",
		    "the archive takes more than %g seconds of work without a finished entry, after %d of them",
		    seconds, archive->entries);
	return 0;
}

/* Called for every piece of the stream and of an entry. There may be millions of pieces, so the
 * clock is read only for some of them. */
static int check_budget(struct gn_archive *archive, struct gn_error *err)
{
	enum { PIECES_A_LOOK = 16 };
	const struct gn_archive_budget *budget = &archive->budget;
	uint64_t unpacked = archive->unpacked > archive->stream ? archive->unpacked : archive->stream;

	if (unpacked > budget->total_bytes)
		return gn_fail(err, GN_TOO_LARGE, "", "the archive unpacks to more than %llu bytes",
		               (unsigned long long)budget->total_bytes);
	if (unpacked > RATIO_FREE && (unpacked - RATIO_FREE) / (uint64_t)budget->ratio > archive->packed)
		return gn_fail(err, GN_TOO_LARGE, "", "the archive unpacks to more than %d times its size",
		               budget->ratio);
	if (++archive->pieces < PIECES_A_LOOK)
		return 0;
	archive->pieces = 0;
	return check_time(archive, err);
}

/* ---------------------------------------------------------------- the source ------------------ */

static void keep_tail(struct gn_archive *archive, const uint8_t *bytes, size_t size)
{
	size_t fresh = size < TAIL_BYTES ? size : TAIL_BYTES;
	size_t old = archive->tail_size < TAIL_BYTES - fresh ? archive->tail_size : TAIL_BYTES - fresh;

	memmove(archive->tail, archive->tail + archive->tail_size - old, old);
	memcpy(archive->tail + old, bytes + size - fresh, fresh);
	archive->tail_size = old + fresh;
}

/* Fills the buffer with one piece; the first piece is long enough to recognise the format. Returns
 * the number of bytes, or -1. */
static ssize_t fill(struct gn_archive *archive)
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
	archive->packed += (uint64_t)size;
	keep_tail(archive, archive->buffer, (size_t)size);
	return size;
}

/* Reads the next packed bytes. Returns their number, 0 at the end, or -1. */
static ssize_t next_packed(void *user, const uint8_t **bytes)
{
	struct gn_archive *archive = user;

	*bytes = archive->buffer;
	if (!archive->peeked)
		return fill(archive);
	archive->peeked = false;
	return archive->peeked_size;
}

/* A compressed upload must be a tar. A second layer of compression could hide an archive bomb in
 * another. */
static int check_one_layer(const struct gn_archive *archive, const uint8_t *bytes, size_t size, struct gn_error *err)
{
	enum gn_compression inner = gn_compression_sniff(bytes, size);
	bool zip = size >= 4 && !memcmp(bytes, "PK\3\4", 4);

	if (archive->stream > 0 || (inner == GN_PLAIN && !zip))
		return 0;
	return gn_fail(err, GN_UNSUPPORTED, "",
	               "the archive is compressed twice: there is %s inside. One layer is taken, as a tar.gz has",
	               zip ? "a zip" : gn_compression_name(inner));
}

/* Reads the next bytes of the zip or tar. Returns 1, 0 at the end, or -1. */
static int next_bytes(struct gn_archive *archive, const uint8_t **bytes, size_t *size, struct gn_error *err)
{
	if (archive->decompressor) {
		int more = gn_decompressor_next(archive->decompressor, bytes, size, err);

		if (more <= 0)
			return more;
		if (check_one_layer(archive, *bytes, *size, err))
			return -1;
	} else {
		ssize_t n = next_packed(archive, bytes);

		if (n < 0)
			return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
		*size = (size_t)n;
	}
	archive->stream += *size;
	return check_budget(archive, err) ? -1 : *size > 0;
}

static la_ssize_t on_read(struct archive *reader, void *user, const void **bytes)
{
	struct gn_archive *archive = user;
	const uint8_t *next = NULL;
	size_t size = 0;
	int more = next_bytes(archive, &next, &size, &archive->failure);

	if (more < 0) {
		archive_set_error(reader, EIO, "%s", archive->failure.text);
		return ARCHIVE_FATAL;
	}
	*bytes = next;
	return more ? (la_ssize_t)size : 0;
}

static int reader_failed(struct gn_archive *archive, struct gn_error *err)
{
	const char *text = archive_error_string(archive->reader);

	if (archive->failure.code)
		return gn_fail(err, archive->failure.code, archive->failure.where, "%s", archive->failure.text);
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

/* A budget's zeros are replaced by the defaults. */
static struct gn_archive_budget complete(const struct gn_archive_budget *given)
{
	const struct gn_archive_budget *usual = &gn_archive_budget_default;

	return (struct gn_archive_budget){
	    .total_bytes = given->total_bytes ? given->total_bytes : usual->total_bytes,
	    .ratio = given->ratio > 0 ? given->ratio : usual->ratio,
	    .entry_seconds = given->entry_seconds > 0 ? given->entry_seconds : usual->entry_seconds,
	    .memory = given->memory ? given->memory : usual->memory,
	};
}

/* Recognises the format in the first piece, and sets up its reader. */
static int set_up(struct gn_archive *archive, struct gn_error *err)
{
	enum gn_compression kind;
	struct archive *reader;

	archive->peeked_size = fill(archive);
	if (archive->peeked_size < 0)
		return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	archive->peeked = true;
	kind = gn_compression_sniff(archive->buffer, (size_t)archive->peeked_size);
	if (kind != GN_PLAIN &&
	    gn_decompressor_new(&archive->decompressor, kind, next_packed, archive, archive->budget.memory, err))
		return -1;
	reader = archive->reader = archive_read_new();
	if (!reader || archive_read_support_format_tar(reader) ||
	    (kind == GN_PLAIN && archive_read_support_format_zip_streamable(reader)))
		return gn_fail(err, GN_NO_MEMORY, "", "the archive reader cannot be set up");
	return archive_read_open(reader, archive, NULL, on_read, NULL) ? reader_failed(archive, err) : 0;
}

int gn_archive_open(struct gn_archive **out, const struct gn_archive_source *source, struct gn_error *err)
{
	struct gn_archive *archive = gn_alloc(1, sizeof *archive, err);

	if (!archive)
		return -1;
	archive->source = source;
	archive->budget = complete(&source->budget);
	archive->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (archive->utf8)
		archive->before = uselocale(archive->utf8);
	if (set_up(archive, err)) {
		gn_archive_close(archive);
		return -1;
	}
	*out = archive;
	return 0;
}

void gn_archive_close(struct gn_archive *archive)
{
	if (!archive)
		return;
	archive_read_free(archive->reader);
	gn_decompressor_free(archive->decompressor);
	if (archive->utf8) {
		uselocale(archive->before);
		freelocale(archive->utf8);
	}
	free(archive);
}

/* ---------------------------------------------------------------- the end --------------------- */

/* A zip ends with a record. Only a comment of the stated length may follow it (APPNOTE 4.3.16). */
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

/* Reads what follows the last entry: a zip's directory, a tar's padding. A compressed stream is
 * unpacked to its end, because its checksum is there. */
static int drain(struct gn_archive *archive, struct gn_error *err)
{
	const uint8_t *bytes;
	size_t size;
	int more = 1;

	while (archive->decompressor && (more = next_bytes(archive, &bytes, &size, err)) > 0)
		continue;
	if (more < 0)
		return -1;
	while (!archive->ended)
		if (fill(archive) < 0)
			return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	return 0;
}

/* libarchive accepts the end of the bytes as the end of the archive. An archive that is cut between
 * two entries must not be accepted as complete. */
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

/* ---------------------------------------------------------------- entries --------------------- */

/* Whether a zip's entry is stored or deflated, as every zip tool writes it. Other methods (lzma,
 * ppmd, ...) may need any amount of memory. */
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
	char shown[128];
	int rc;

	archive->data_end = (uint64_t)archive_filter_bytes(archive->reader, 0);
	archive->work_begun = false;
	do {
		rc = archive_read_next_header(archive->reader, &archive->entry);
		if (rc != ARCHIVE_FATAL && check_budget(archive, err))
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
	if (!archive_entry_is_encrypted(archive->entry) && !archive_entry_sparse_count(archive->entry))
		return 1;
	gn_name_show(shown, sizeof shown, entry->path);
	if (archive_entry_is_encrypted(archive->entry))
		return gn_fail(err, GN_UNSUPPORTED, shown, "the archive is encrypted (entry \"%s\")", shown);
	/* libarchive returns the data without the holes */
	return gn_fail(err, GN_UNSUPPORTED, shown, "the entry is stored with holes: pack without --sparse");
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
	return check_budget(archive, err) ? -1 : 1;
}

int gn_archive_check_harmless(const struct gn_archive_entry *entry, struct gn_error *err)
{
	char shown[sizeof err->where];

	gn_name_show(shown, sizeof shown, entry->path);
	if (gn_name_escapes(entry->path))
		return gn_fail(err, GN_INVALID, shown, "the archive holds a name that leads out of it");
	if (entry->not_file && *entry->not_file)
		return gn_fail(err, GN_INVALID, shown, "the archive holds %s: only files and folders are taken",
		               entry->not_file);
	return 0;
}
