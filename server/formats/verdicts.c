/* The result of each image of an evaluation: see verdicts.h. */
#include "server/formats/verdicts.h"

#include <stdlib.h>
#include <string.h>

#include "server/common/files.h"

static const char magic[8] = "gnverd1";

struct head {
	char magic[8];
	int64_t count;
};

int gn_verdicts_write(const char *path, const struct gn_evaluation_report *report, struct gn_error *err)
{
	struct head head = {.count = report->images};
	size_t size = sizeof head + (size_t)report->images * sizeof(struct gn_verdict);
	char *buffer = malloc(size);
	int result;

	if (!buffer)
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	memcpy(head.magic, magic, sizeof magic);
	memcpy(buffer, &head, sizeof head);
	for (int64_t i = 0; i < report->images; i++) {
		const struct gn_evaluated_image *image = &report->results[i];
		struct gn_verdict verdict = {image->sample, image->label, image->predicted, (float)image->confidence};
		memcpy(buffer + sizeof head + (size_t)i * sizeof verdict, &verdict, sizeof verdict);
	}
	result = gn_file_replace(path, buffer, size, err);
	free(buffer);
	return result;
}

int gn_verdicts_parse(const struct gn_verdict **verdicts, int64_t *count, const void *buffer, size_t size,
                      struct gn_error *err)
{
	struct head head;

	if (size < sizeof head)
		return gn_fail(err, GN_MALFORMED, "images.bin", "is too short");
	memcpy(&head, buffer, sizeof head);
	if (memcmp(head.magic, magic, sizeof magic) != 0 || head.count < 0 ||
	    (uint64_t)head.count != (size - sizeof head) / sizeof(struct gn_verdict) ||
	    (size - sizeof head) % sizeof(struct gn_verdict))
		return gn_fail(err, GN_MALFORMED, "images.bin", "is no list of evaluated images");
	*verdicts = (const struct gn_verdict *)(const void *)((const char *)buffer + sizeof head);
	*count = head.count;
	return 0;
}
