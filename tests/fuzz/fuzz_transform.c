/*
 * Any picture with a header of any size: it is decoded, resized and cropped as in evaluation and
 * training, and as a thumbnail.
 *
 * The input: 16 bytes of settings, then a file. Random changes of a PNG would fail at its checksums
 * and rarely give an extreme size. So the settings can put a size into the header, and the
 * checksums are corrected.
 */
#include "data/transform.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum { SETTINGS = 16, MAX_PIXELS = 1 << 21, SIDE_MAX = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t big(const uint8_t *p, int bytes)
{
	uint32_t value = 0;

	for (int i = 0; i < bytes; i++)
		value = value << 8 | p[i];
	return value;
}

static void put_big(uint8_t *p, uint32_t value, int bytes)
{
	for (int i = bytes; i-- > 0; value >>= 8)
		p[i] = (uint8_t)value;
}

static void put_little(uint8_t *p, uint32_t value, int bytes)
{
	for (int i = 0; i < bytes; i++, value >>= 8)
		p[i] = (uint8_t)value;
}

/* ---------------------------------------------------------------- headers --------------------- */

/* IHDR is the first chunk. Every checksum is that of its chunk afterwards. */
static void resize_png(uint8_t *file, size_t size, const uint32_t sides[2])
{
	size_t at = 8;

	if (size >= 24 && sides[0]) {
		put_big(file + 16, sides[0], 4);
		put_big(file + 20, sides[1], 4);
	}
	while (at <= size && size - at >= 12) {
		size_t length = big(file + at, 4);

		if (length > size - at - 12)
			break;
		put_big(file + at + 8 + length, (uint32_t)crc32(0, file + at + 4, (uInt)length + 4), 4);
		at += 12 + length;
	}
}

/* The frame header: a marker SOF0 to SOF15, but not DHT, JPG and DAC, which lie among them. */
static void resize_jpeg(uint8_t *file, size_t size, const uint32_t sides[2])
{
	size_t at = 2;

	while (sides[0] && at < size && size - at >= 9 && file[at] == 0xff) {
		uint8_t marker = file[at + 1];

		if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
			put_big(file + at + 5, sides[1], 2);
			put_big(file + at + 7, sides[0], 2);
			return;
		}
		at += 2 + big(file + at + 2, 2);
	}
}

/* The first chunk's: of VP8X the canvas, of VP8L 14 bits each, of VP8 16 bits each after the start
 * code. */
static void resize_webp(uint8_t *file, size_t size, const uint32_t sides[2])
{
	if (size < 30 || !sides[0])
		return;
	if (!memcmp(file + 12, "VP8X", 4)) {
		put_little(file + 24, sides[0] - 1, 3);
		put_little(file + 27, sides[1] - 1, 3);
	} else if (!memcmp(file + 12, "VP8L", 4)) {
		put_little(file + 21, ((sides[0] - 1) & 0x3fff) | ((sides[1] - 1) & 0x3fff) << 14, 4);
	} else if (!memcmp(file + 12, "VP8 ", 4)) {
		put_little(file + 26, sides[0], 2);
		put_little(file + 28, sides[1], 2);
	}
}

/* ---------------------------------------------------------------- the way --------------------- */

struct settings {
	struct gn_preprocess preprocess;
	int image_size, side;
	uint32_t sides[2]; /* for the header; 0: as it is */
};

static struct settings read_settings(const uint8_t *p)
{
	struct settings s = {
	    .preprocess = {.std = {1, 1, 1}, .crop_pct = 0.05f + 0.95f * (float)p[0] / 255},
	    .image_size = 1 + (int)(big(p + 1, 2) % SIDE_MAX),
	    .side = 1 + (int)(big(p + 3, 2) % SIDE_MAX),
	};

	s.preprocess.interpolation = p[5] & 1 ? GN_BILINEAR : GN_BICUBIC;
	if (p[5] & 2) {
		s.sides[0] = big(p + 8, 4) | 1;
		s.sides[1] = big(p + 12, 4) | 1;
	}
	return s;
}

/* What can be decoded goes all the way, whatever its shape. */
static void go(const uint8_t *file, size_t size, const struct settings *s)
{
	const struct gn_image_limits limits = {.max_pixels = MAX_PIXELS};
	size_t room = (size_t)s->image_size * (size_t)s->image_size * 3, jpeg_size;
	uint8_t *pixels = malloc(room), *jpeg;
	struct gn_image_info info;
	struct gn_random random;

	if (!pixels || gn_image_probe(&info, file, size, MAX_PIXELS, NULL)) {
		free(pixels);
		return;
	}
	gn_random_init(&random, 1, GN_RANDOM_AUGMENT, 0, 0);
	if (!gn_image_verify(file, size, &info, NULL, NULL)) {
		if (gn_image_eval(pixels, file, size, &limits, s->image_size, &s->preprocess, NULL) ||
		    gn_image_random_crop(pixels, file, size, &limits, s->image_size, &s->preprocess, &random, NULL) ||
		    gn_image_thumbnail(&jpeg, &jpeg_size, file, size, &limits, s->side, NULL))
			abort();
		free(jpeg);
	}
	free(pixels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const resize[])(uint8_t * file, size_t size, const uint32_t sides[2]) = {
	    [GN_IMAGE_JPEG] = resize_jpeg, [GN_IMAGE_PNG] = resize_png, [GN_IMAGE_WEBP] = resize_webp};
	struct settings settings;
	enum gn_image_format format;
	uint8_t *file;

	if (size <= SETTINGS)
		return 0;
	settings = read_settings(data);
	size -= SETTINGS;
	file = malloc(size);
	format = gn_image_sniff(data + SETTINGS, size);
	if (file && format != GN_IMAGE_UNKNOWN) {
		memcpy(file, data + SETTINGS, size);
		resize[format](file, size, settings.sides);
		go(file, size, &settings);
	}
	free(file);
	return 0;
}
