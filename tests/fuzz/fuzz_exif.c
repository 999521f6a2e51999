/* Any bytes as an EXIF block: an orientation from 1 to 8 comes out. */
#include "data/image.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int orientation = gn_exif_orientation(data, size);

	if (orientation < 1 || orientation > 8)
		abort();
	return 0;
}
