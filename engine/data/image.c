/*
 * Pictures of any format: recognises the format, reads the size, and decodes to upright RGB. The
 * formats are in jpeg.c, png.c and webp.c.
 */
#include "data/image.h"

#include "base/files.h"

#include <stdlib.h>
#include <string.h>

struct format {
	const char *media_type;
	int (*probe)(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err);
	int (*decode)(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
	              int denominator, struct gn_error *err);
};

static const struct format formats[] = {
    [GN_IMAGE_UNKNOWN] = {"application/octet-stream", NULL, NULL},
    [GN_IMAGE_JPEG] = {"image/jpeg", gn_jpeg_probe, gn_jpeg_decode},
    [GN_IMAGE_PNG] = {"image/png", gn_png_probe, gn_png_decode},
    [GN_IMAGE_WEBP] = {"image/webp", gn_webp_probe, gn_webp_decode},
};

enum gn_image_format gn_image_sniff(const void *bytes, size_t size)
{
	const char *b = bytes;

	if (size >= 3 && !memcmp(b, "\xff\xd8\xff", 3))
		return GN_IMAGE_JPEG;
	if (size >= 8 && !memcmp(b, "\x89PNG\r\n\x1a\n", 8))
		return GN_IMAGE_PNG;
	if (size >= 12 && !memcmp(b, "RIFF", 4) && !memcmp(b + 8, "WEBP", 4))
		return GN_IMAGE_WEBP;
	return GN_IMAGE_UNKNOWN;
}

const char *gn_image_media_type(enum gn_image_format format)
{
	return formats[format].media_type;
}

void gn_image_release(struct gn_image *image)
{
	free(image->rgb);
	*image = (struct gn_image){0};
}

int gn_image_probe(struct gn_image_info *info, const void *bytes, size_t size, uint64_t max_pixels,
                   struct gn_error *err)
{
	struct gn_image_info found = {.format = gn_image_sniff(bytes, size), .orientation = 1};

	if (size == 0)
		return gn_fail(err, GN_MALFORMED, "", "the file is empty (0 bytes)");
	if (found.format == GN_IMAGE_UNKNOWN)
		return gn_fail(err, GN_UNSUPPORTED, "", "neither a JPEG, nor a PNG, nor a WebP image");
	if (formats[found.format].probe(&found, bytes, size, err))
		return -1;
	if (found.width < 1 || found.height < 1)
		return gn_fail(err, GN_MALFORMED, "", "the image has no pixels");
	if (found.width > GN_IMAGE_SIDE_MAX || found.height > GN_IMAGE_SIDE_MAX)
		return gn_fail(err, GN_UNSUPPORTED, "", "%d x %d pixels: a side may have %d at most", found.width,
		               found.height, GN_IMAGE_SIDE_MAX);
	if ((uint64_t)found.width * (uint64_t)found.height > max_pixels)
		return gn_fail(err, GN_TOO_LARGE, "", "%d x %d pixels are more than the limit of %llu", found.width,
		               found.height, (unsigned long long)max_pixels);
	*info = found;
	return 0;
}

int gn_image_pixels(uint64_t *pixels, const void *bytes, size_t size, struct gn_error *err)
{
	struct gn_image_info info;

	if (gn_image_probe(&info, bytes, size, UINT64_MAX, err))
		return -1;
	*pixels = (uint64_t)info.width * (uint64_t)info.height;
	return 0;
}

int gn_image_denominator(const struct gn_image_info *info, int width, int height, int cover)
{
	int denominator = 1;

	if (info->format != GN_IMAGE_JPEG || cover < 1)
		return 1;
	while (denominator < 8 && width / (2 * denominator) >= cover && height / (2 * denominator) >= cover)
		denominator *= 2;
	return denominator;
}

uint64_t gn_image_decode_memory(const struct gn_image_info *info, int denominator)
{
	uint64_t width = (uint64_t)info->width / (uint64_t)denominator + 1;
	uint64_t pixels = 3 * width * ((uint64_t)info->height / (uint64_t)denominator + 1);
	uint64_t copies = info->orientation != 1 ? 2 : info->whole; /* as stored and upright */

	return info->verify_bytes + copies * pixels;
}

int gn_image_decode_at(struct gn_image *out, const void *bytes, size_t size, const struct gn_image_info *info,
                       int denominator, const struct gn_image_limits *limits, struct gn_error *err)
{
	struct gn_image image = {
	    .width = (info->width + denominator - 1) / denominator,
	    .height = (info->height + denominator - 1) / denominator,
	};

	struct gn_rows rows = {.limits = limits};

	rows.whole = image.rgb = gn_alloc((size_t)image.width * (size_t)image.height, 3, err);
	if (!image.rgb || formats[info->format].decode(&rows, bytes, size, info, denominator, err) ||
	    gn_image_orient(&image, info->orientation, err)) {
		gn_image_release(&image);
		return -1;
	}
	*out = image;
	return 0;
}

int gn_image_decode(struct gn_image *out, const void *bytes, size_t size, uint64_t max_pixels, int cover,
                    int *width_full, int *height_full, struct gn_error *err)
{
	struct gn_image_info info = {0};
	int width, height;

	if (gn_image_probe(&info, bytes, size, max_pixels, err) ||
	    gn_image_decode_at(out, bytes, size, &info, gn_image_denominator(&info, info.width, info.height, cover),
	                       NULL, err))
		return -1;
	gn_image_upright(&info, &width, &height);
	if (width_full)
		*width_full = width;
	if (height_full)
		*height_full = height;
	return 0;
}

int gn_image_decode_rows(const struct gn_rows *rows, const void *bytes, size_t size, const struct gn_image_info *info,
                         int denominator, struct gn_error *err)
{
	return formats[info->format].decode(rows, bytes, size, info, denominator, err);
}

int gn_image_verify(const void *bytes, size_t size, const struct gn_image_info *info,
                    const struct gn_image_limits *limits, struct gn_error *err)
{
	return gn_image_decode_rows(&(struct gn_rows){.limits = limits}, bytes, size, info, 1, err);
}

/* The stored pixel (x, y) goes to pixel number origin + x * right + y * down of the upright
 * image. */
int gn_image_orient(struct gn_image *image, int orientation, struct gn_error *err)
{
	ptrdiff_t w = image->width, h = image->height;
	const struct {
		bool turned;
		ptrdiff_t origin, right, down;
	} moves[9] = {
	    [2] = {false, w - 1, -1, w},       /* mirrored */
	    [3] = {false, w * h - 1, -1, -w},  /* half a turn */
	    [4] = {false, (h - 1) * w, 1, -w}, /* upside down */
	    [5] = {true, 0, h, 1},             /* transposed */
	    [6] = {true, h - 1, h, -1},        /* to be turned right */
	    [7] = {true, w * h - 1, -h, -1},   /* transposed over the other diagonal */
	    [8] = {true, (w - 1) * h, -h, 1},  /* to be turned left */
	};
	uint8_t *upright;
	const uint8_t *from = image->rgb;

	if (orientation < 2 || orientation > 8)
		return 0;
	upright = gn_alloc((size_t)(w * h), 3, err);
	if (!upright)
		return -1;
	for (ptrdiff_t y = 0; y < h; y++) {
		ptrdiff_t to = moves[orientation].origin + y * moves[orientation].down;

		for (ptrdiff_t x = 0; x < w; x++, from += 3, to += moves[orientation].right)
			memcpy(upright + 3 * to, from, 3);
	}
	free(image->rgb);
	image->rgb = upright;
	if (moves[orientation].turned) {
		image->width = (int)h;
		image->height = (int)w;
	}
	return 0;
}
