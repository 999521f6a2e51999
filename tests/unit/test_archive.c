/* Archives as streams: one layer of compression, and every limit of the budget. */
#include "data/archive.h"
#include "tests/support/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

/* The bytes of an archive, as a client sends them. */
struct upload {
	struct blob left;
	size_t chunk; /* bytes a read gives at most; 0: as many as fit */
	int reads, gone_after;
};

static ssize_t read_upload(void *user, void *buffer, size_t size)
{
	struct upload *upload = user;
	size_t n = upload->left.size < size ? upload->left.size : size;

	n = upload->chunk && n > upload->chunk ? upload->chunk : n;
	if (n)
		memcpy(buffer, upload->left.bytes, n);
	upload->left = (struct blob){upload->left.bytes + n, upload->left.size - n};
	upload->reads++;
	return (ssize_t)n;
}

static bool hung_up(void *user)
{
	const struct upload *upload = user;

	return upload->gone_after && upload->reads >= upload->gone_after;
}

/* Reads every entry to its end: how many, or -1 with the error. */
static int read_through(struct upload *upload, const struct gn_archive_budget *budget, struct gn_error *err)
{
	struct gn_archive_source source = {.read = read_upload, .gone = hung_up, .user = upload, .budget = *budget};
	struct gn_archive_entry entry;
	struct gn_archive *archive;
	const char *damage;
	const void *bytes;
	size_t size;
	int count = 0, more;

	if (gn_archive_open(&archive, &source, err))
		return -1;
	while ((more = gn_archive_next(archive, &entry, err)) > 0) {
		count++;
		while ((more = gn_archive_piece(archive, &bytes, &size, &damage, err)) > 0)
			continue;
		if (more < 0)
			break;
	}
	gn_archive_close(archive);
	return more < 0 ? -1 : count;
}

static const struct gn_archive_budget usual = {0};

static void taken(const struct blob *archive, int entries)
{
	static const size_t chunks[] = {0, 1, 700};

	for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
		struct upload upload = {.left = *archive, .chunk = chunks[c]};
		struct gn_error err = {0};
		int count = read_through(&upload, &usual, &err);

		if (count != entries)
			fail_msg("%d entries instead of %d: %s", count, entries, err.text);
	}
}

static void refused_within(const struct blob *archive, const struct gn_archive_budget *budget, enum gn_code code,
                           const char *words)
{
	struct upload upload = {.left = *archive};
	struct gn_error err = {0};

	if (read_through(&upload, budget, &err) >= 0)
		fail_msg("taken, but \"%s\" was expected", words);
	print_message("%s\n", err.text);
	if (err.code != code || !strstr(err.text, words))
		fail_msg("code %d, \"%s\" instead of %d, \"%s\"", err.code, err.text, code, words);
}

static void refused(const struct blob *archive, enum gn_code code, const char *words)
{
	refused_within(archive, &usual, code, words);
}

static struct blob small_archive(const char *kind)
{
	struct maker *maker = maker_new(kind);

	maker_jpeg(maker, "cat/1.jpg", 1);
	maker_jpeg(maker, "cat/2.jpg", 2);
	return maker_end(maker);
}

/* One gzip member around bytes. */
static struct blob gzip(const void *bytes, size_t size)
{
	z_stream z = {0};
	struct blob out;

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	out.size = deflateBound(&z, size);
	out.bytes = malloc(out.size);
	assert_non_null(out.bytes);
	z.next_in = (Bytef *)(uintptr_t)bytes;
	z.avail_in = (uInt)size;
	z.next_out = out.bytes;
	z.avail_out = (uInt)out.size;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	out.size = z.total_out;
	deflateEnd(&z);
	return out;
}

static struct blob joined(const struct blob *a, const struct blob *b)
{
	struct blob out = {malloc(a->size + b->size), a->size + b->size};

	assert_non_null(out.bytes);
	memcpy(out.bytes, a->bytes, a->size);
	memcpy(out.bytes + a->size, b->bytes, b->size);
	return out;
}

/* ---------------------------------------------------------------- layers ---------------------- */

/* What parallel packers write: a stream in several members, some of them empty. And padding, which
 * tape drives add. */
static void members_are_one_stream(void **state)
{
	struct blob tar = small_archive("tar"), nothing = gzip("", 0), first = gzip(tar.bytes, 1000),
	            rest = gzip(tar.bytes + 1000, tar.size - 1000), a, b, padded;
	uint8_t zeros[512] = {0};

	(void)state;
	a = joined(&nothing, &first);
	b = joined(&a, &rest);
	padded = joined(&b, &(struct blob){zeros, sizeof zeros});
	taken(&b, 2);
	taken(&padded, 2);
	b.size -= 5;
	refused(&b, GN_MALFORMED, "does not end");
	blob_release(&tar);
	blob_release(&nothing);
	blob_release(&first);
	blob_release(&rest);
	blob_release(&a);
	blob_release(&b);
	blob_release(&padded);
}

/* zstd's seekable format ends with a frame that is skipped. */
static void skipped_frames_are_no_data(void **state)
{
	uint8_t frame[] = {0x5e, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
	struct blob tar = small_archive("tar.zst"), both = joined(&tar, &(struct blob){frame, sizeof frame});

	(void)state;
	taken(&both, 2);
	both.bytes[tar.size] = 0; /* no frame at all */
	refused(&both, GN_MALFORMED, "zstd is damaged");
	blob_release(&tar);
	blob_release(&both);
}

static void a_second_layer_is_refused(void **state)
{
	static const char *const kinds[] = {"zip", "tar.gz", "tar.xz", "tar.zst"};
	static const char *const words[] = {"there is a zip inside", "there is gzip inside", "there is xz inside",
	                                    "there is zstd inside"};

	(void)state;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct blob inner = small_archive(kinds[k]), outer = gzip(inner.bytes, inner.size);

		taken(&inner, 2);
		refused(&outer, GN_UNSUPPORTED, words[k]);
		blob_release(&inner);
		blob_release(&outer);
	}
}

/* ---------------------------------------------------------------- budgets --------------------- */

/* A tar.gz whose second entry is zeros. */
static struct blob zeros_archive(const char *kind, uint64_t size)
{
	struct maker *maker = maker_new(kind);

	maker_jpeg(maker, "cat/1.jpg", 1);
	maker_zeros(maker, "cat/zeros.jpg", size);
	return maker_end(maker);
}

static void bytes_out_have_a_limit(void **state)
{
	static const char *const kinds[] = {"tar.gz", "tar.xz", "tar.zst", "zip"};

	(void)state;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct blob archive = zeros_archive(kinds[k], (uint64_t)100 << 20);

		refused(&archive, GN_TOO_LARGE, "more than 200 times its size");
		refused_within(&archive, &(struct gn_archive_budget){.total_bytes = 5 << 20}, GN_TOO_LARGE,
		               "more than 5242880 bytes");
		refused_within(&archive, &(struct gn_archive_budget){.ratio = 3}, GN_TOO_LARGE, "more than 3 times");
		blob_release(&archive);
	}
}

/* Unpacking 100 MB of zeros takes longer than a millisecond. Without that limit and that of the
 * ratio, it is an archive like any other. */
static void work_without_an_entry_has_a_limit(void **state)
{
	struct blob archive = zeros_archive("tar.gz", (uint64_t)100 << 20);
	const struct gn_archive_budget brief = {.ratio = 100000, .entry_seconds = 1e-3},
	                               ample = {.ratio = 100000, .entry_seconds = 1e3};
	struct upload upload = {.left = archive};

	(void)state;
	refused_within(&archive, &brief, GN_TOO_LARGE, "without a finished entry, after 2 of them");
	assert_int_equal(read_through(&upload, &ample, NULL), 2);
	blob_release(&archive);
}

/* The xz block header with a dictionary of 2^(property / 2 + 11) bytes or half as much again, as
 * the format defines it (5.3.1). */
static void hungry_xz_is_refused(void **state)
{
	uint8_t xz[300] = {0xfd, '7', 'z', 'X', 'Z', 0, 0, 4, 0xe6, 0xd6, 0xb4, 0x46, 2, 0, 0x21, 1, 40};
	struct blob hungry = {xz, sizeof xz}, modest = small_archive("tar.xz"), both;

	(void)state;
	for (int property = 27; property <= 40; property++) {
		uLong checksum;

		xz[16] = (uint8_t)property;
		checksum = crc32(0, xz + 12, 8);
		for (int i = 0; i < 4; i++)
			xz[20 + i] = (uint8_t)(checksum >> 8 * i);
		if (property > 30) /* 128 MiB */
			refused(&hungry, GN_UNSUPPORTED, "needs more than 142606336 bytes of memory");
		else
			refused(&hungry, GN_MALFORMED, "damaged");
	}
	both = joined(&modest, &hungry); /* and where it comes late */
	refused(&both, GN_UNSUPPORTED, "needs more than");
	blob_release(&modest);
	blob_release(&both);
}

static void hungry_zstd_is_refused(void **state)
{
	uint8_t frame[16] = {0x28, 0xb5, 0x2f, 0xfd, 0};

	(void)state;
	for (int log = 20; log <= 41; log++) {
		frame[5] = (uint8_t)((log - 10) << 3);
		frame[6] = 7; /* a last block of a kind that is reserved */
		if (log > 27)
			refused(&(struct blob){frame, sizeof frame}, GN_UNSUPPORTED, "needs more than");
		else
			refused(&(struct blob){frame, sizeof frame}, GN_MALFORMED, "damaged");
	}
}

/* Methods of a zip that may ask for any amount of memory. */
static void odd_zips_are_refused(void **state)
{
	struct blob archive = small_archive("zip");

	(void)state;
	for (size_t i = 0; i + 10 < archive.size; i++)
		if (!memcmp(archive.bytes + i, "PK\3\4", 4))
			archive.bytes[i + 8] = 14; /* LZMA */
	refused(&archive, GN_UNSUPPORTED, "lzma");
	blob_release(&archive);
}

static void a_client_that_has_gone_ends_the_work(void **state)
{
	struct blob archive = zeros_archive("tar.gz", (uint64_t)50 << 20);

	(void)state;
	for (int after = 1; after < 40; after += 6) {
		struct upload upload = {.left = archive, .chunk = 512, .gone_after = after};
		struct gn_error err = {0};

		assert_int_equal(read_through(&upload, &usual, &err), -1);
		assert_int_equal(err.code, GN_CANCELLED);
		assert_true(upload.reads <= after + 16); /* it looks every few pieces */
	}
	blob_release(&archive);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(members_are_one_stream),
	    cmocka_unit_test(skipped_frames_are_no_data),
	    cmocka_unit_test(a_second_layer_is_refused),
	    cmocka_unit_test(bytes_out_have_a_limit),
	    cmocka_unit_test(work_without_an_entry_has_a_limit),
	    cmocka_unit_test(hungry_xz_is_refused),
	    cmocka_unit_test(hungry_zstd_is_refused),
	    cmocka_unit_test(odd_zips_are_refused),
	    cmocka_unit_test(a_client_that_has_gone_ends_the_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
