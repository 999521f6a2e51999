/*
 * One layer of compression around a stream: gzip, xz or zstd, by zlib, liblzma and libzstd. Bytes are pulled through it. What it
 * unpacks is handed out in small pieces, so that the caller can stop a bomb early; what it keeps in memory has a limit.
 */
#ifndef GN_DECOMPRESS_H
#define GN_DECOMPRESS_H

#include "gonio.h"

enum gn_compression { GN_PLAIN, GN_GZIP, GN_XZ, GN_ZSTD };
/* By the first bytes; six of them tell for sure. */
enum gn_compression gn_compression_sniff(const void *bytes, size_t size);
const char *gn_compression_name(enum gn_compression kind); /* "gzip" */

struct gn_decompressor;
/* Where the packed bytes come from. Points *bytes at the next ones, which stay until the next call: how many, 0 at the end, -1 when they
 * broke off. */
typedef ssize_t gn_packed_read(void *user, const uint8_t **bytes);
/* memory: bytes that unpacking may keep, which is the window or dictionary that the packer chose. */
int gn_decompressor_new(struct gn_decompressor **out, enum gn_compression kind, gn_packed_read *read, void *user,
                        uint64_t memory, struct gn_error *err);
/* Points *bytes at the next unpacked bytes, at most GN_UNPACKED_PIECE, which stay until the next call: 1; 0: the end; -1: GN_MALFORMED for
 * damage and for a stream that is cut, GN_UNSUPPORTED for one that needs more memory, GN_CANCELLED when read gave -1. */
#define GN_UNPACKED_PIECE ((size_t)128 << 10)
int gn_decompressor_next(struct gn_decompressor *d, const uint8_t **bytes, size_t *size, struct gn_error *err);
void gn_decompressor_free(struct gn_decompressor *d);

#endif
