/* Any bytes as the list of an evaluation's images. Whatever is accepted lies within the buffer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/formats/verdicts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct gn_verdict *verdicts;
	int64_t count;
	char *bytes = malloc(size ? size : 1);

	if (!bytes)
		return 0;
	if (size)
		memcpy(bytes, data, size);
	if (gn_verdicts_parse(&verdicts, &count, bytes, size, NULL) == 0 &&
	    (const char *)(verdicts + count) != bytes + size)
		abort();
	free(bytes);
	return 0;
}
