/* Makes small JPEGs of data-set pictures, for the dashboard. */
#include "data/transform.h"
#include "base/files.h"

#include <math.h>

#define QUALITY 82

/* The largest size of the picture's shape that fits side x side, never larger than the picture. */
static void fit(int *to_width, int *to_height, int width, int height, int side)
{
	double shrink = fmin(1.0, fmin((double)side / width, (double)side / height));

	*to_width = (int)fmax(1.0, rint(width * shrink));
	*to_height = (int)fmax(1.0, rint(height * shrink));
}

/* The largest power of two up to 8 by which a JPEG may be decoded smaller and still be no smaller
 * than the thumbnail. */
static int choose_denominator(const struct gn_image_info *info, int side)
{
	int longer = info->width > info->height ? info->width : info->height, denominator = 1;

	while (info->format == GN_IMAGE_JPEG && denominator < 8 && longer / (2 * denominator) >= side)
		denominator *= 2;
	return denominator;
}

static int shrink(struct gn_image *small, const void *bytes, size_t size, const struct gn_image_limits *limits,
                  int side, struct gn_error *err)
{
	struct gn_resample job = {.interpolation = GN_BICUBIC};
	struct gn_image_info info;
	int width, height;

	if (gn_image_probe(&info, bytes, size, limits->max_pixels, err))
		return -1;
	gn_image_upright(&info, &width, &height);
	fit(&small->width, &small->height, width, height, side);
	small->rgb = gn_alloc((size_t)small->width * (size_t)small->height, 3, err);
	if (!small->rgb)
		return -1;
	job.box[2] = width;
	job.box[3] = height;
	job.width = job.window.width = small->width;
	job.height = job.window.height = small->height;
	return gn_image_decode_resampled(small->rgb, bytes, size, &info, choose_denominator(&info, side), &job, limits,
	                                 err);
}

int gn_image_thumbnail(uint8_t **jpeg, size_t *jpeg_size, const void *bytes, size_t size,
                       const struct gn_image_limits *limits, int side, struct gn_error *err)
{
	struct gn_image small = {0};
	int rc;

	if (side < 1 || side > 4096)
		return gn_fail(err, GN_INVALID, "size", "a thumbnail's side must be between 1 and 4096");
	rc = shrink(&small, bytes, size, limits, side, err);
	if (!rc)
		rc = gn_jpeg_encode(jpeg, jpeg_size, &small, QUALITY, err);
	gn_image_release(&small);
	return rc;
}
