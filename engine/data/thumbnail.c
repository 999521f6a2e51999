/* Small JPEGs of data-set pictures, for the dashboard. */
#include "data/image.h"

#include <math.h>

#define QUALITY 82

/* The largest size of the picture's shape that fits side x side, never larger than the picture. */
static void fit(int *to_width, int *to_height, int width, int height, int side)
{
	double shrink = fmin(1.0, fmin((double)side / width, (double)side / height));

	*to_width = (int)fmax(1.0, rint(width * shrink));
	*to_height = (int)fmax(1.0, rint(height * shrink));
}

int gn_image_thumbnail(uint8_t **jpeg, size_t *jpeg_size, const void *bytes, size_t size, uint64_t max_pixels, int side,
                       struct gn_error *err)
{
	struct gn_image image, small = {0};
	struct gn_image_info info;
	int to_width, to_height, denominator = 1, rc;

	if (side < 1 || side > 4096)
		return gn_fail(err, GN_INVALID, "size", "a thumbnail's side must be between 1 and 4096");
	if (gn_image_probe(&info, bytes, size, max_pixels, err))
		return -1;
	if (info.format == GN_IMAGE_JPEG)
		while (denominator < 8 &&
		       (info.width > info.height ? info.width : info.height) / (2 * denominator) >= side)
			denominator *= 2;
	if (gn_image_decode_at(&image, bytes, size, &info, denominator, err))
		return -1;
	fit(&to_width, &to_height, image.width, image.height, side);
	rc = gn_image_resize(&small, &image, (double[4]){0, 0, image.width, image.height}, to_width, to_height,
	                     GN_BICUBIC, err);
	gn_image_release(&image);
	if (rc)
		return -1;
	rc = gn_jpeg_encode(jpeg, jpeg_size, &small, QUALITY, err);
	gn_image_release(&small);
	return rc;
}
