/*
 * Functions that the image files of this folder share: a probe that reads the header, and one
 * decoder per format, for gn_image_decode and the evaluation and training transforms. Every
 * function gets (bytes, size) and reads only these bytes.
 */
#ifndef GN_IMAGE_H
#define GN_IMAGE_H

#include "gonio.h"

struct gn_image_info {
	enum gn_image_format format;
	int width, height; /* as stored, before orientation */
	int orientation;   /* EXIF, 1..8 */
	/* decoding needs the whole picture in memory: WebP, interlaced PNG */
	bool whole;
	uint64_t verify_bytes; /* memory that gn_image_verify needs, about */
};

/* Orientations 5 to 8 exchange the sides. */
static inline bool gn_image_turned(const struct gn_image_info *info)
{
	return info->orientation >= 5;
}

/* The size after orientation. */
static inline void gn_image_upright(const struct gn_image_info *info, int *width, int *height)
{
	*width = gn_image_turned(info) ? info->height : info->width;
	*height = gn_image_turned(info) ? info->width : info->height;
}

/* The target of a decoder's rows, from top to bottom: one buffer, or a function that gets strips.
 * Without both, the rows are dropped. */
struct gn_rows {
	uint8_t *whole; /* [height, width, 3] */
	void (*take)(void *user, const uint8_t *rgb, int y,
	             int count); /* rgb: [count, width, 3] from row y on; borrowed */
	void *user;
	/* whose gone is called after every strip; may be NULL */
	const struct gn_image_limits *limits;
};
static inline bool gn_rows_gone(const struct gn_rows *rows)
{
	return rows->limits && rows->limits->gone && rows->limits->gone(rows->limits->user);
}
#define GN_STRIP_ROWS 32 /* rows of a strip, if the format allows it */

/* ---------------------------------------------------------------- any format ------------------ */

/* Reads the header. GN_UNSUPPORTED for an unsupported format or a side over GN_IMAGE_SIDE_MAX;
 * GN_TOO_LARGE beyond max_pixels. Allocates nothing for pixels. */
int gn_image_probe(struct gn_image_info *info, const void *bytes, size_t size, uint64_t max_pixels,
                   struct gn_error *err);
/* The largest of 1, 2, 4, 8 by which a JPEG of these sides can be shrunk so that both stay >=
 * cover; 1 for other formats and cover 0. */
int gn_image_denominator(const struct gn_image_info *info, int width, int height, int cover);
/* About the memory for decoding at 1/denominator of the size and for turning. */
uint64_t gn_image_decode_memory(const struct gn_image_info *info, int denominator);
/* Decodes at 1/denominator of the size (rounded up) with orientation applied. info: of the same
 * bytes. */
int gn_image_decode_at(struct gn_image *out, const void *bytes, size_t size, const struct gn_image_info *info,
                       int denominator, const struct gn_image_limits *limits, struct gn_error *err);
/* Decodes strip by strip, as stored: the caller applies the orientation. */
int gn_image_decode_rows(const struct gn_rows *rows, const void *bytes, size_t size, const struct gn_image_info *info,
                         int denominator, struct gn_error *err);
/* Decodes every pixel and keeps none: a JPEG of one scan and a PNG need memory for a few rows only.
 * info: of the same bytes. */
int gn_image_verify(const void *bytes, size_t size, const struct gn_image_info *info,
                    const struct gn_image_limits *limits, struct gn_error *err);
/* Turns an image by its EXIF orientation, in place. */
int gn_image_orient(struct gn_image *image, int orientation, struct gn_error *err);

/* The orientation in an EXIF block (a TIFF file, with or without "Exif\0\0" before it); 1 if the
 * block is invalid. */
int gn_exif_orientation(const uint8_t *bytes, size_t size);

/* ---------------------------------------------------------------- one format ------------------ */

/* X_probe fills in width, height and orientation. X_decode gives the rows [ceil(height /
 * denominator), ceil(width / denominator), 3] as stored. The bytes must still have the header that
 * info came from. */
int gn_jpeg_probe(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err);
int gn_jpeg_decode(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
                   int denominator, struct gn_error *err);
/* *jpeg is malloc'd; caller frees. */
int gn_jpeg_encode(uint8_t **jpeg, size_t *jpeg_size, const struct gn_image *image, int quality, struct gn_error *err);
int gn_png_probe(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err);
int gn_png_decode(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
                  int denominator, struct gn_error *err);
int gn_webp_probe(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err);
int gn_webp_decode(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
                   int denominator, struct gn_error *err);

#endif
