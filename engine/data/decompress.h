/*
 * One layer of compression around a stream: gzip, xz or zstd, by zlib, liblzma and libzstd. The
 * caller reads the unpacked bytes in small pieces, so that it can stop an archive bomb early. The
 * memory of the decompressor has a limit.
 */
#ifndef GN_DECOMPRESS_H
#define GN_DECOMPRESS_H

#include "gonio.h"

enum gn_compression { GN_PLAIN, GN_GZIP, GN_XZ, GN_ZSTD };
/* Recognises the format by the first bytes; six are enough to be sure. */
enum gn_compression gn_compression_sniff(const void *bytes, size_t size);
const char *gn_compression_name(enum gn_compression kind); /* "gzip" */

struct gn_decompressor;
/* The source of the packed bytes. Points *bytes at the next ones, which are valid until the next
 * call. Returns their number, 0 at the end, or -1 if the source failed. */
typedef ssize_t gn_packed_read(void *user, const uint8_t **bytes);
/* memory: limit in bytes for the window or dictionary, whose size the packer chose. */
int gn_decompressor_new(struct gn_decompressor **out, enum gn_compression kind, gn_packed_read *read, void *user,
                        uint64_t memory, struct gn_error *err);
/* Points *bytes at the next unpacked bytes, at most GN_UNPACKED_PIECE, which are valid until the
 * next call, and returns 1. 0 at the end. -1: GN_MALFORMED for a damaged or cut stream,
 * GN_UNSUPPORTED for one that needs more memory, GN_CANCELLED if read returned -1. */
#define GN_UNPACKED_PIECE ((size_t)128 << 10)
int gn_decompressor_next(struct gn_decompressor *d, const uint8_t **bytes, size_t *size, struct gn_error *err);
void gn_decompressor_free(struct gn_decompressor *d);

#endif
