/* Decoding: formats, sizes, orientation, thumbnails, and files that are not pictures or only parts
 * of one. */
#include "data/image.h"
#include "tests/support/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define MAX_PIXELS 1000000

static const struct gn_image_limits limits = {.max_pixels = MAX_PIXELS};

static int largest_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
	int largest = 0;

	for (size_t i = 0; i < n; i++)
		if (abs(a[i] - b[i]) > largest)
			largest = abs(a[i] - b[i]);
	return largest;
}

static struct gn_image decode(const struct blob *blob)
{
	struct gn_image image = {0};
	struct gn_error err = {0};

	if (gn_image_decode(&image, blob->bytes, blob->size, MAX_PIXELS, 0, NULL, NULL, &err))
		fail_msg("%s", err.text);
	return image;
}

/* The bytes must be refused with this code and a text that holds these words; a heap copy lets a
 * sanitizer see reads past the end. */
static void refuse(const void *bytes, size_t size, enum gn_code code, const char *words)
{
	struct gn_image image = {0};
	struct gn_error err = {0};
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	if (size)
		memcpy(copy, bytes, size);
	assert_int_equal(gn_image_decode(&image, copy, size, MAX_PIXELS, 0, NULL, NULL, &err), -1);
	free(copy);
	assert_null(image.rgb);
	assert_int_equal(err.code, code);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not hold \"%s\"", err.text, words);
}

static void each_format_gives_its_pixels(void **state)
{
	const struct {
		struct blob (*make)(int width, int height, int seed);
		enum gn_image_format format;
		const char *media_type;
		int allowed;
	} kinds[] = {
	    {picture_jpeg, GN_IMAGE_JPEG, "image/jpeg", 24},
	    {picture_png, GN_IMAGE_PNG, "image/png", 0},
	    {picture_webp, GN_IMAGE_WEBP, "image/webp", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct blob blob = kinds[i].make(61, 37, 3);
		struct gn_image wanted = picture_make(61, 37, 3), found = decode(&blob);
		int difference;

		assert_int_equal(gn_image_sniff(blob.bytes, blob.size), kinds[i].format);
		assert_string_equal(gn_image_media_type(kinds[i].format), kinds[i].media_type);
		assert_int_equal(found.width, 61);
		assert_int_equal(found.height, 37);
		difference = largest_difference(found.rgb, wanted.rgb, 61 * 37 * 3);
		print_message("%s: largest difference %d\n", kinds[i].media_type, difference);
		assert_true(difference <= kinds[i].allowed);
		gn_image_release(&found);
		gn_image_release(&wanted);
		blob_release(&blob);
	}
}

/* Where the pixel at the stored picture's corner (0, 0) and the one right of it must be seen. */
static void orientation_moves_the_corner(void **state)
{
	static const struct {
		int corner[2], right[2]; /* in units of (last column, last row); right: the step */
	} wanted[9] = {
	    [1] = {{0, 0}, {1, 0}}, [2] = {{1, 0}, {-1, 0}}, [3] = {{1, 1}, {-1, 0}}, [4] = {{0, 1}, {1, 0}},
	    [5] = {{0, 0}, {0, 1}}, [6] = {{1, 0}, {0, 1}},  [7] = {{1, 1}, {0, -1}}, [8] = {{0, 1}, {0, -1}},
	};

	(void)state;
	for (int o = 1; o <= 8; o++) {
		struct gn_image image = picture_make(7, 5, 1), stored = picture_make(7, 5, 1);
		struct gn_error err = {0};
		const uint8_t *corner, *right;

		assert_int_equal(gn_image_orient(&image, o, &err), 0);
		assert_int_equal(image.width, o >= 5 ? 5 : 7);
		assert_int_equal(image.height, o >= 5 ? 7 : 5);
		corner = image.rgb + 3 * (wanted[o].corner[1] * (image.height - 1) * image.width +
		                          wanted[o].corner[0] * (image.width - 1));
		right = corner + 3 * (wanted[o].right[1] * image.width + wanted[o].right[0]);
		assert_memory_equal(corner, stored.rgb, 3);
		assert_memory_equal(right, stored.rgb + 3, 3);
		gn_image_release(&image);
		gn_image_release(&stored);
	}
}

static void exif_turns_a_jpeg(void **state)
{
	struct blob plain = picture_jpeg(40, 24, 2), turned = jpeg_with_orientation(&plain, 6);
	struct gn_error err = {0};
	struct gn_image image = {0};
	int width, height;

	(void)state;
	assert_int_equal(gn_image_decode(&image, turned.bytes, turned.size, MAX_PIXELS, 6, &width, &height, &err), 0);
	assert_int_equal(width, 24);
	assert_int_equal(height, 40);
	assert_int_equal(image.width, 6);
	assert_int_equal(image.height, 10);
	gn_image_release(&image);
	blob_release(&plain);
	blob_release(&turned);
}

static void exif_block_is_checked(void **state)
{
	uint8_t block[26] = {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0};

	(void)state;
	assert_int_equal(gn_exif_orientation(block, sizeof block), 8);
	for (size_t size = 0; size < 22; size++) {
		uint8_t *cut = malloc(size ? size : 1);

		assert_non_null(cut);
		memcpy(cut, block, size);
		assert_int_equal(gn_exif_orientation(cut, size), 1);
		free(cut);
	}
	block[19] = 9; /* no such orientation */
	assert_int_equal(gn_exif_orientation(block, sizeof block), 1);
	block[19] = 8;
	block[13] = 4; /* not a short */
	assert_int_equal(gn_exif_orientation(block, sizeof block), 1);
	block[13] = 3;
	block[4] = 0xff; /* the directory lies far outside */
	assert_int_equal(gn_exif_orientation(block, sizeof block), 1);
}

static void a_large_jpeg_is_decoded_small(void **state)
{
	static const struct {
		int cover, width, height;
	} cases[] = {{0, 100, 60}, {60, 100, 60}, {31, 100, 60}, {30, 50, 30},
	             {16, 50, 30}, {15, 25, 15},  {7, 13, 8},    {1, 13, 8}};
	struct blob jpeg = picture_jpeg(100, 60, 4), png = picture_png(100, 60, 4);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct gn_image image = {0};
		struct gn_error err = {0};
		int width, height;

		assert_int_equal(
		    gn_image_decode(&image, jpeg.bytes, jpeg.size, MAX_PIXELS, cases[i].cover, &width, &height, &err),
		    0);
		assert_int_equal(width, 100);
		assert_int_equal(height, 60);
		assert_int_equal(image.width, cases[i].width);
		assert_int_equal(image.height, cases[i].height);
		gn_image_release(&image);
		assert_int_equal(
		    gn_image_decode(&image, png.bytes, png.size, MAX_PIXELS, cases[i].cover, NULL, NULL, &err), 0);
		assert_int_equal(image.width, 100);
		gn_image_release(&image);
	}
	blob_release(&jpeg);
	blob_release(&png);
}

/* Every truncation of a picture must be refused: no prefix may pass for the whole. */
static void truncated_pictures_are_refused(void **state)
{
	struct blob blobs[] = {picture_jpeg(40, 30, 5), picture_png(40, 30, 5), picture_webp(40, 30, 5)};
	/* a JPEG's end mark and a PNG's closing chunks hold no pixels */
	const size_t ends[] = {2, 20, 1};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		int accepted = 0;

		for (size_t size = 0; size + ends[i] < blobs[i].size; size += size < 64 ? 1 : 7) {
			uint8_t *cut = malloc(size ? size : 1);
			struct gn_image image = {0};
			struct gn_error err = {0};

			assert_non_null(cut);
			memcpy(cut, blobs[i].bytes, size);
			if (!gn_image_decode(&image, cut, size, MAX_PIXELS, 0, NULL, NULL, &err)) {
				print_message("format %zu: %zu of %zu bytes were accepted\n", i, size, blobs[i].size);
				accepted++;
				gn_image_release(&image);
			} else {
				assert_true(err.code == GN_MALFORMED || err.code == GN_UNSUPPORTED);
			}
			free(cut);
		}
		assert_int_equal(accepted, 0);
		blob_release(&blobs[i]);
	}
}

static void damaged_png_fails_its_checksum(void **state)
{
	struct blob png = picture_png(40, 30, 6);

	(void)state;
	png.bytes[png.size / 2] ^= 0x40;
	refuse(png.bytes, png.size, GN_MALFORMED, "PNG");
	blob_release(&png);
}

static void what_is_no_picture_is_refused(void **state)
{
	static const char text[] = "a shopping list, not a photograph";
	static const char gif[] = "GIF89a\1\0\1\0";

	(void)state;
	refuse("", 0, GN_MALFORMED, "empty");
	refuse(text, sizeof text, GN_UNSUPPORTED, "neither");
	refuse(gif, sizeof gif, GN_UNSUPPORTED, "neither");
	refuse("\xff\xd8\xff", 3, GN_MALFORMED, "JPEG");
	refuse("\x89PNG\r\n\x1a\n", 8, GN_MALFORMED, "PNG");
	refuse("RIFF\x04\0\0\0WEBP", 12, GN_MALFORMED, "WebP");
}

/* A header may promise any size: it must be refused before anything is allocated for it. */
static void huge_headers_are_refused(void **state)
{
	struct blob jpeg = picture_jpeg(16, 16, 7), png = picture_png(16, 16, 7);
	uint8_t *frame = NULL;

	(void)state;
	for (size_t i = 0; i + 9 < jpeg.size && !frame; i++)
		if (jpeg.bytes[i] == 0xff && jpeg.bytes[i + 1] == 0xc0)
			frame = jpeg.bytes + i;
	assert_non_null(frame);
	memcpy(frame + 5, "\xc3\x50\xc3\x50", 4); /* 50000 x 50000 */
	refuse(jpeg.bytes, jpeg.size, GN_TOO_LARGE, "50000 x 50000");
	memcpy(png.bytes + 16, "\0\0\xc3\x50\0\0\xc3\x50", 8);
	refuse(png.bytes, png.size, GN_MALFORMED, "PNG"); /* its checksum does not fit any more */
	blob_release(&jpeg);
	blob_release(&png);
	png = picture_png(1001, 1000, 7);
	refuse(png.bytes, png.size, GN_TOO_LARGE, "1001 x 1000");
	blob_release(&png);
}

static void thumbnails_fit(void **state)
{
	static const struct {
		int width, height, side, to_width, to_height;
	} cases[] = {{200, 100, 96, 96, 48},
	             {100, 200, 96, 48, 96},
	             {50, 40, 96, 50, 40},
	             {900, 3, 96, 96, 1},
	             {64, 64, 1, 1, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct blob png = picture_png(cases[i].width, cases[i].height, 8), jpeg = {0};
		struct gn_error err = {0};
		struct gn_image image;

		assert_int_equal(
		    gn_image_thumbnail(&jpeg.bytes, &jpeg.size, png.bytes, png.size, &limits, cases[i].side, &err), 0);
		assert_int_equal(gn_image_sniff(jpeg.bytes, jpeg.size), GN_IMAGE_JPEG);
		image = decode(&jpeg);
		assert_int_equal(image.width, cases[i].to_width);
		assert_int_equal(image.height, cases[i].to_height);
		gn_image_release(&image);
		blob_release(&png);
		blob_release(&jpeg);
	}
}

static void verifying_keeps_nothing_and_sees_everything(void **state)
{
	struct blob blobs[] = {picture_jpeg(80, 60, 9), picture_png(80, 60, 9), picture_webp(80, 60, 9)};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct gn_image_info info;
		struct gn_error err = {0};

		assert_int_equal(gn_image_probe(&info, blobs[i].bytes, blobs[i].size, MAX_PIXELS, &err), 0);
		assert_true(info.verify_bytes > 0);
		assert_int_equal(gn_image_verify(blobs[i].bytes, blobs[i].size, &info, NULL, &err), 0);
		assert_int_equal(gn_image_verify(blobs[i].bytes, blobs[i].size * 3 / 4, &info, NULL, &err), -1);
		blob_release(&blobs[i]);
	}
}

static bool gone_after(void *user)
{
	int *looks = user;

	return (*looks)-- <= 0;
}

/* The decoders look every few rows whether the picture is still wanted. (libwebp gives no chance
 * to.) */
static void decoding_ends_when_nobody_waits(void **state)
{
	struct blob blobs[] = {picture_jpeg(64, 640, 9), picture_png(64, 640, 9)};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (int looks = 0; looks < 10; looks += 3) {
			int left = looks;
			const struct gn_image_limits impatient = {.gone = gone_after, .user = &left};
			struct gn_image_info info = {0};
			struct gn_error err = {0};

			assert_int_equal(gn_image_probe(&info, blobs[i].bytes, blobs[i].size, MAX_PIXELS, &err), 0);
			assert_int_equal(gn_image_verify(blobs[i].bytes, blobs[i].size, &info, &impatient, &err), -1);
			assert_int_equal(err.code, GN_CANCELLED);
			assert_int_equal(left, -1); /* not asked again */
		}
		blob_release(&blobs[i]);
	}
}

static uint8_t *put_chunk(uint8_t *at, const char *kind, const void *bytes, size_t size)
{
	const uint8_t length[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
	uLong checksum;

	memcpy(at, length, 4);
	memcpy(at + 4, kind, 4);
	if (size)
		memcpy(at + 8, bytes, size);
	checksum = crc32(0, at + 4, (uInt)size + 4);
	for (int i = 0; i < 4; i++)
		at[8 + size + (size_t)i] = (uint8_t)(checksum >> (24 - 8 * i));
	return at + size + 12;
}

/* A grey PNG of 16 x 16 pixels, all black, followed by extra zeros. */
static struct blob png_with_extra_data(size_t extra, bool interlaced)
{
	const uint8_t header[13] = {0, 0, 0, 16, 0, 0, 0, 16, 8, 0, 0, 0, interlaced};
	/* rows with their filter bytes; of the seven passes together */
	size_t pixels = interlaced ? 2 * 3 + 2 * 3 + 2 * 5 + 4 * 5 + 4 * 9 + 8 * 9 + 8 * 17 : 16 * 17;
	uLongf packed = compressBound(pixels + extra);
	uint8_t *zeros = calloc(1, pixels + extra), *data = malloc(packed), *at;
	struct blob png = {malloc(packed + 100), 0};

	assert_true(zeros && data && png.bytes);
	assert_int_equal(compress2(data, &packed, zeros, pixels + extra, 9), Z_OK);
	memcpy(png.bytes, "\x89PNG\r\n\x1a\n", 8);
	at = put_chunk(png.bytes + 8, "IHDR", header, sizeof header);
	at = put_chunk(at, "IDAT", data, packed);
	at = put_chunk(at, "IEND", NULL, 0);
	png.size = (size_t)(at - png.bytes);
	free(zeros);
	free(data);
	return png;
}

/* libpng would unpack all of what follows the last row. */
static void data_after_the_last_row_is_limited(void **state)
{
	static const size_t extra[] = {0, 100 << 20};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct blob png = png_with_extra_data(extra[i % 2], i >= 2);
		struct gn_image_info info = {0};
		struct gn_error err = {0};

		assert_int_equal(gn_image_probe(&info, png.bytes, png.size, MAX_PIXELS, &err), 0);
		assert_int_equal(gn_image_verify(png.bytes, png.size, &info, NULL, &err), i % 2 ? -1 : 0);
		if (i % 2)
			assert_non_null(strstr(err.text, "far more data than its pixels"));
		blob_release(&png);
	}
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

/*
 * A grey progressive JPEG of 4000 x 4000 pixels, all alike: a scan for the first coefficient, a bit
 * a block, then scans for the others. In those a code of one bit and 14 more bits says that 16384
 * blocks have nothing. So a scan over 250,000 blocks is 40 bytes long.
 */
static struct blob many_scans(int count)
{
	enum { BLOCKS = 500 * 500, HEADERS = 200, SCAN = 50 };
	static const uint8_t tables[] = {0xff, 0xd8, 0xff, 0xdb, 0, 67, 0};
	static const uint8_t frame[] = {0xff,      0xc2,       0, 11, 8,    4000 >> 8, 4000 & 255,
	                                4000 >> 8, 4000 & 255, 1, 1,  0x11, 0};
	static const uint8_t codes[] = {0xff, 0xc4, 0, 20, 0,    1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	                                0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0};
	static const uint8_t first[] = {0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0},
	                     next[] = {0xff, 0xda, 0, 8, 1, 1, 0, 1, 63, 0};
	struct blob blob = {calloc(1, HEADERS + BLOCKS / 8 + (size_t)count * SCAN), 0};
	uint8_t *at = blob.bytes;

	assert_non_null(at);
	at = put(at, tables, sizeof tables);
	memset(at, 1, 64);
	at = put(at + 64, frame, sizeof frame);
	at = put(at, codes, sizeof codes);
	at = put(at, first, sizeof first) + BLOCKS / 8;
	for (int i = 1; i < count; i++)
		at = put(at, next, sizeof next) + (BLOCKS / 16384 + 1) * 15 / 8 + 1;
	at = put(at, (uint8_t[]){0xff, 0xd9}, 2);
	blob.size = (size_t)(at - blob.bytes);
	return blob;
}

static void scans_are_limited(void **state)
{
	static const struct {
		int scans;
		bool good;
	} cases[] = {{1, true}, {10, true}, {25, true}, {40, false}, {2000, false}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct blob jpeg = many_scans(cases[i].scans);
		struct gn_image_info info = {0};
		struct gn_error err = {0};
		int rc;

		if (gn_image_probe(&info, jpeg.bytes, jpeg.size, UINT64_MAX, &err))
			fail_msg("%s", err.text);
		rc = gn_image_verify(jpeg.bytes, jpeg.size, &info, NULL, &err);
		print_message("%d scans in %zu bytes: %s\n", cases[i].scans, jpeg.size, rc ? err.text : "taken");
		assert_int_equal(rc, cases[i].good ? 0 : -1);
		if (rc)
			assert_non_null(strstr(err.text, "scans over 4000 x 4000 pixels are too many"));
		blob_release(&jpeg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_format_gives_its_pixels),
	    cmocka_unit_test(orientation_moves_the_corner),
	    cmocka_unit_test(exif_turns_a_jpeg),
	    cmocka_unit_test(exif_block_is_checked),
	    cmocka_unit_test(a_large_jpeg_is_decoded_small),
	    cmocka_unit_test(truncated_pictures_are_refused),
	    cmocka_unit_test(damaged_png_fails_its_checksum),
	    cmocka_unit_test(what_is_no_picture_is_refused),
	    cmocka_unit_test(huge_headers_are_refused),
	    cmocka_unit_test(thumbnails_fit),
	    cmocka_unit_test(verifying_keeps_nothing_and_sees_everything),
	    cmocka_unit_test(decoding_ends_when_nobody_waits),
	    cmocka_unit_test(data_after_the_last_row_is_limited),
	    cmocka_unit_test(scans_are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
