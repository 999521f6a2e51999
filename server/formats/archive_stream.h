/*
 * An archive that is made while it is read: an uncompressed zip or tar, by libarchive. Only one
 * block of the current file is in memory, however large the files are.
 */
#ifndef GN_SERVER_PACK_H
#define GN_SERVER_PACK_H

#include "gonio.h"

struct gn_pack_file {
	char name[32]; /* plain ASCII */
	uint64_t bytes;
	/* Copies size bytes from offset, all within the file. Returning fewer aborts the
	 * archive. */
	size_t (*read)(void *user, uint64_t offset, void *buffer, size_t size);
	void *user;
};

enum gn_pack_kind { GN_PACK_ZIP, GN_PACK_TAR };
struct gn_pack;
/* files[count] are copied, but what their `user` points to must outlive the pack. time: of the
 * files, in seconds since 1970. The same arguments give the same bytes. */
int gn_pack_new(struct gn_pack **out, enum gn_pack_kind kind, const struct gn_pack_file *files, int count, int64_t time,
                struct gn_error *err);
/* Reads the next bytes of the archive. Returns the number of bytes, 0 at the end, -1 if the archive
 * was aborted. One thread at a time. */
ssize_t gn_pack_read(struct gn_pack *pack, void *buffer, size_t size);
void gn_pack_free(struct gn_pack *pack);

#endif
