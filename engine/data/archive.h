/*
 * An archive read while it arrives, through libarchive: a zip, or a tar that may be compressed as a
 * whole (decompress.h), recognised by content. No entry is ever extracted. The data is read piece
 * by piece, and every piece is checked against the budget.
 */
#ifndef GN_ARCHIVE_H
#define GN_ARCHIVE_H

#include "gonio.h"

struct gn_archive_source {
	/* these three as in gn_ingest_options */
	gn_bytes_read *read;
	bool (*gone)(void *user);
	void *user;
	struct gn_archive_budget budget;
};

struct gn_archive_entry {
	/* raw bytes, borrowed until the next entry; "" if it is not readable */
	const char *path;
	/* NULL for a regular file, else its kind: "a symbolic link", ...; "" for a folder */
	const char *not_file;
};

struct gn_archive;
/* The source must outlive the archive. */
int gn_archive_open(struct gn_archive **out, const struct gn_archive_source *source, struct gn_error *err);
/* 1: an entry, whose data must be read to the end before the next; 0: the end of a complete
 * archive; -1: GN_MALFORMED if it is not an archive, damaged or cut short; GN_UNSUPPORTED for
 * encrypted or sparse entries and for a second layer of compression; GN_TOO_LARGE beyond the
 * budget; GN_CANCELLED if the source ended with -1. */
int gn_archive_next(struct gn_archive *archive, struct gn_archive_entry *entry, struct gn_error *err);
/* The next piece of the entry's data, borrowed until the next call: 1, or 0 at its end, or -1.
 * Damage of only this entry ends it with 0, and sets *damage to the reason (else NULL). */
int gn_archive_piece(struct gn_archive *archive, const void **bytes, size_t *size, const char **damage,
                     struct gn_error *err);
void gn_archive_close(struct gn_archive *archive);
/* GN_INVALID for entries that no upload may have: a name that leads out of the archive, a link or a
 * device. */
int gn_archive_check_harmless(const struct gn_archive_entry *entry, struct gn_error *err);

#endif
