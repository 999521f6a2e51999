/* See decompress.h. Each format is a row of a table: how its library starts, takes a step, and
 * ends. */
#include "data/decompress.h"

#include "base/files.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* The result of a step. */
enum step {
	STEP_ON,      /* it has read or written bytes, or needs more */
	STEP_END,     /* a member is complete; another may follow */
	STEP_DAMAGED, /* the reason is in text, if it is known */
	STEP_MEMORY,  /* the file needs more memory than the limit */
	STEP_NO_MEMORY
};

struct gn_decompressor {
	const struct codec *codec;
	gn_packed_read *read;
	void *user;
	uint64_t memory;
	const uint8_t *in;
	size_t in_size;
	bool in_ended;  /* no more packed bytes */
	bool out_ended; /* the last member is complete */
	union {
		z_stream gzip;
		lzma_stream xz;
		ZSTD_DCtx *zstd;
	} state;
	const char *text;
	uint8_t out[GN_UNPACKED_PIECE];
};

struct codec {
	const char *name, *magic;
	size_t magic_size;
	bool (*begin)(struct gn_decompressor *d);
	enum step (*step)(struct gn_decompressor *d, size_t *made);
	void (*end)(struct gn_decompressor *d);
};

/* ---------------------------------------------------------------- gzip ------------------------ */

static bool gzip_begin(struct gn_decompressor *d)
{
	return inflateInit2(&d->state.gzip, 16 + MAX_WBITS) == Z_OK;
}

static enum step gzip_step(struct gn_decompressor *d, size_t *made)
{
	z_stream *z = &d->state.gzip;
	uInt given = d->in_size < UINT_MAX ? (uInt)d->in_size : UINT_MAX;
	int rc;

	/* zlib does not write there; its type has no const by default */
	z->next_in = (Bytef *)(uintptr_t)d->in;
	z->avail_in = given;
	z->next_out = d->out;
	z->avail_out = sizeof d->out;
	rc = inflate(z, Z_NO_FLUSH);
	d->in += given - z->avail_in;
	d->in_size -= given - z->avail_in;
	*made = sizeof d->out - z->avail_out;
	d->text = z->msg;
	if (rc == Z_STREAM_END)
		return inflateReset(z) == Z_OK ? STEP_END : STEP_DAMAGED;
	if (rc == Z_MEM_ERROR)
		return STEP_NO_MEMORY;
	return rc == Z_OK || rc == Z_BUF_ERROR ? STEP_ON : STEP_DAMAGED;
}

static void gzip_end(struct gn_decompressor *d)
{
	inflateEnd(&d->state.gzip);
}

/* ---------------------------------------------------------------- xz -------------------------- */

/* The decoder reads consecutive streams as one and knows their padding, so only the decoder can
 * find the end. */
static bool xz_begin(struct gn_decompressor *d)
{
	d->state.xz = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_stream_decoder(&d->state.xz, d->memory, LZMA_CONCATENATED) == LZMA_OK;
}

static enum step xz_step(struct gn_decompressor *d, size_t *made)
{
	lzma_stream *xz = &d->state.xz;
	lzma_ret rc;

	xz->next_in = d->in;
	xz->avail_in = d->in_size;
	xz->next_out = d->out;
	xz->avail_out = sizeof d->out;
	rc = lzma_code(xz, d->in_ended ? LZMA_FINISH : LZMA_RUN);
	d->in += d->in_size - xz->avail_in;
	d->in_size = xz->avail_in;
	*made = sizeof d->out - xz->avail_out;
	switch (rc) {
	case LZMA_OK:
	case LZMA_BUF_ERROR:
		return STEP_ON;
	case LZMA_STREAM_END:
		return STEP_END;
	case LZMA_MEMLIMIT_ERROR:
		return STEP_MEMORY;
	case LZMA_MEM_ERROR:
		return STEP_NO_MEMORY;
	default:
		return STEP_DAMAGED;
	}
}

static void xz_end(struct gn_decompressor *d)
{
	lzma_end(&d->state.xz);
}

/* ---------------------------------------------------------------- zstd ------------------------ */

static int log2_floor(uint64_t value)
{
	int bits = 0;

	while (value >>= 1)
		bits++;
	return bits;
}

static bool zstd_begin(struct gn_decompressor *d)
{
	const ZSTD_bounds bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
	int window = log2_floor(d->memory);

	window = window < bounds.lowerBound ? bounds.lowerBound : window;
	window = window > bounds.upperBound ? bounds.upperBound : window;
	d->state.zstd = ZSTD_createDCtx();
	return d->state.zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(d->state.zstd, ZSTD_d_windowLogMax, window));
}

static enum step zstd_step(struct gn_decompressor *d, size_t *made)
{
	ZSTD_inBuffer in = {d->in, d->in_size, 0};
	ZSTD_outBuffer out = {d->out, sizeof d->out, 0};
	size_t rc = ZSTD_decompressStream(d->state.zstd, &out, &in);

	d->in += in.pos;
	d->in_size -= in.pos;
	*made = out.pos;
	if (!ZSTD_isError(rc))
		return rc == 0 ? STEP_END : STEP_ON;
	d->text = ZSTD_getErrorName(rc);
	switch (ZSTD_getErrorCode(rc)) {
	case ZSTD_error_frameParameter_windowTooLarge:
		return STEP_MEMORY;
	case ZSTD_error_memory_allocation:
		return STEP_NO_MEMORY;
	default:
		return STEP_DAMAGED;
	}
}

static void zstd_end(struct gn_decompressor *d)
{
	ZSTD_freeDCtx(d->state.zstd);
}

/* ---------------------------------------------------------------- any format ------------------ */

static const struct codec codecs[] = {
    [GN_PLAIN] = {"none", "", 0, NULL, NULL, NULL},
    [GN_GZIP] = {"gzip", "\x1f\x8b", 2, gzip_begin, gzip_step, gzip_end},
    [GN_XZ] = {"xz",
               "\xfd"
               "7zXZ",
               6, xz_begin, xz_step, xz_end},
    [GN_ZSTD] = {"zstd", "\x28\xb5\x2f\xfd", 4, zstd_begin, zstd_step, zstd_end},
};

enum gn_compression gn_compression_sniff(const void *bytes, size_t size)
{
	for (enum gn_compression kind = GN_GZIP; kind <= GN_ZSTD; kind++)
		if (size >= codecs[kind].magic_size && !memcmp(bytes, codecs[kind].magic, codecs[kind].magic_size))
			return kind;
	return GN_PLAIN;
}

const char *gn_compression_name(enum gn_compression kind)
{
	return codecs[kind].name;
}

int gn_decompressor_new(struct gn_decompressor **out, enum gn_compression kind, gn_packed_read *read, void *user,
                        uint64_t memory, struct gn_error *err)
{
	struct gn_decompressor *d = gn_alloc(1, sizeof *d, err);

	if (!d)
		return -1;
	d->codec = &codecs[kind];
	d->read = read;
	d->user = user;
	d->memory = memory;
	if (!d->codec->begin(d)) {
		gn_decompressor_free(d);
		return gn_fail(err, GN_NO_MEMORY, "", "no memory to unpack %s", codecs[kind].name);
	}
	*out = d;
	return 0;
}

void gn_decompressor_free(struct gn_decompressor *d)
{
	if (!d)
		return;
	d->codec->end(d);
	free(d);
}

static int step_failed(const struct gn_decompressor *d, enum step step, struct gn_error *err)
{
	const char *name = d->codec->name;

	if (step == STEP_NO_MEMORY)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory to unpack %s", name);
	if (step == STEP_MEMORY)
		return gn_fail(
		    err, GN_UNSUPPORTED, "",
		    "the archive's %s needs more than %llu bytes of memory to unpack: pack it with a smaller "
		    "window or dictionary",
		    name, (unsigned long long)d->memory);
	return gn_fail(err, GN_MALFORMED, "", "the archive's %s is damaged%s%s", name, d->text ? ": " : "",
	               d->text ? d->text : "");
}

/* More packed bytes, if none are left. */
static int refill(struct gn_decompressor *d, struct gn_error *err)
{
	ssize_t n;

	if (d->in_size || d->in_ended)
		return 0;
	n = d->read(d->user, &d->in);
	if (n < 0)
		return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	d->in_size = (size_t)n;
	d->in_ended = n == 0;
	return 0;
}

/*
 * Whether another member begins. Other bytes after a gzip member are padding, which gzip itself
 * ignores. Frames of other kinds may follow a zstd frame; the library knows them.
 */
static bool another_member(const struct gn_decompressor *d)
{
	if (d->in_size == 0)
		return false;
	return d->codec == &codecs[GN_ZSTD] || (d->codec == &codecs[GN_GZIP] && *d->in == 0x1f);
}

int gn_decompressor_next(struct gn_decompressor *d, const uint8_t **bytes, size_t *size, struct gn_error *err)
{
	for (*size = 0; *size == 0;) {
		size_t before;
		enum step step;

		if (refill(d, err))
			return -1;
		if (d->out_ended && !another_member(d))
			return 0;
		d->out_ended = false;
		before = d->in_size;
		step = d->codec->step(d, size);
		if (step > STEP_END)
			return step_failed(d, step, err);
		d->out_ended = step == STEP_END;
		if (step == STEP_ON && *size == 0 && d->in_size == before)
			return gn_fail(err, GN_MALFORMED, "", "the archive is cut: its %s does not end",
			               d->codec->name);
	}
	*bytes = d->out;
	return 1;
}
