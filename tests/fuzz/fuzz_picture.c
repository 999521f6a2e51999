/* Any bytes as a picture: JPEG at every DCT scale, PNG, WebP. Whatever is accepted can be resized
 * and verified too. */
#include "data/image.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { MAX_PIXELS = 1 << 16 };
	struct gn_image_info info;

	if (gn_image_sniff(data, size) == GN_IMAGE_UNKNOWN || gn_image_probe(&info, data, size, MAX_PIXELS, NULL))
		return 0;
	for (int cover = 0; cover < 64; cover = 2 * cover + 7) {
		struct gn_image image = {0}, small = {0};

		if (gn_image_decode(&image, data, size, MAX_PIXELS, cover, NULL, NULL, NULL))
			continue;
		if (gn_image_resize(&small, &image, (double[4]){0, 0, image.width, image.height}, 9, 7, GN_BICUBIC,
		                    NULL))
			abort();
		if (!cover && gn_image_verify(data, size, &info, NULL, NULL))
			abort(); /* what can be decoded must verify */
		gn_image_release(&small);
		gn_image_release(&image);
	}
	return 0;
}
