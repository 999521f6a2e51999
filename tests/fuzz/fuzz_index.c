/* Any bytes as the index of a data set. Whatever is accepted points into the index and the pack
 * only. */
#include "data/index.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { PACK_BYTES = 1000 }; /* as in the corpus */
	struct gn_dataset dataset = {0};

	if (!gn_index_parse(&dataset, data, size, PACK_BYTES, NULL))
		for (int i = 0; i < dataset.sample_count; i++) {
			const struct gn_sample *sample = &dataset.samples[i];

			if (sample->offset + sample->bytes > PACK_BYTES || strlen(sample->path) > size ||
			    strlen(dataset.classes[sample->label].name) > size)
				abort();
		}
	free(dataset.classes);
	free(dataset.samples);
	return 0;
}
