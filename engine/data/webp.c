/*
 * WebP through libwebp: one picture, lossy or lossless; alpha is dropped as Pillow's convert("RGB")
 * does. The EXIF chunk is found by reading the RIFF container ourselves.
 */
#include "data/image.h"

#include "base/files.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>

/* Chunks are four letters, a little-endian length, the payload, and a byte of padding where the
 * length is odd. */
static int find_orientation(const uint8_t *bytes, size_t size)
{
	size_t at = 12;

	while (at <= size && size - at >= 8) {
		const uint8_t *p = bytes + at;
		size_t length = (size_t)p[7] << 24 | (size_t)p[6] << 16 | (size_t)p[5] << 8 | p[4];

		if (length > size - at - 8)
			break;
		if (!memcmp(p, "EXIF", 4))
			return gn_exif_orientation(p + 8, length);
		at += 8 + length + (length & 1);
	}
	return 1;
}

int gn_webp_probe(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err)
{
	WebPBitstreamFeatures features;

	if (WebPGetFeatures(bytes, size, &features) != VP8_STATUS_OK)
		return gn_fail(err, GN_MALFORMED, "", "not a readable WebP: its header is damaged or cut");
	if (features.has_animation)
		return gn_fail(err, GN_UNSUPPORTED, "", "an animated WebP is not a photograph");
	info->width = features.width;
	info->height = features.height;
	info->orientation = find_orientation(bytes, size);
	info->whole = true;
	/* RGB, and ARGB inside */
	info->verify_bytes = (uint64_t)info->width * (uint64_t)info->height * 8;
	return 0;
}

int gn_webp_decode(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
                   int denominator, struct gn_error *err)
{
	size_t stride = (size_t)info->width * 3, total = stride * (size_t)info->height;
	uint8_t *pixels = rows->whole ? rows->whole : gn_alloc(total, 1, err);
	int width = 0, height = 0;
	bool good;

	gn_assert(denominator == 1);
	if (!pixels)
		return -1;
	good = WebPGetInfo(bytes, size, &width, &height) && width == info->width && height == info->height &&
	       WebPDecodeRGBInto(bytes, size, pixels, total, (int)stride);
	if (good && rows->take)
		rows->take(rows->user, pixels, 0, info->height);
	if (!rows->whole)
		free(pixels);
	return good ? 0 : gn_fail(err, GN_MALFORMED, "", "the WebP cannot be decoded: damaged or cut");
}
