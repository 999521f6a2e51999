/*
 * An archive that is made while it is read: zip or tar, nothing compressed, through libarchive. What lies in memory is one block of
 * the file that is being packed, however large the files are.
 */
#ifndef GN_SERVER_PACK_H
#define GN_SERVER_PACK_H

#include "gonio.h"

struct gn_pack_file {
	char name[32]; /* plain ASCII */
	uint64_t bytes;
	/* Copies size bytes from offset, which lie within the file; fewer break the archive off. */
	size_t (*read)(void *user, uint64_t offset, void *buffer, size_t size);
	void *user;
};

enum gn_pack_kind { GN_PACK_ZIP, GN_PACK_TAR };
struct gn_pack;
/* files[count] are copied, what their `user` points to must outlive the pack. time: of the files, in seconds since 1970. The same
 * arguments give the same bytes. */
int gn_pack_new(struct gn_pack **out, enum gn_pack_kind kind, const struct gn_pack_file *files, int count, int64_t time,
                struct gn_error *err);
/* The next bytes of the archive: how many, 0 at its end, -1 when it broke. One thread at a time. */
ssize_t gn_pack_read(struct gn_pack *pack, void *buffer, size_t size);
void gn_pack_free(struct gn_pack *pack);

#endif
