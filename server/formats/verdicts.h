/*
 * images.bin, the file of an evaluation with the result of each image. Mistakes come first, then
 * right answers, and in each the most confident first. So the pictures of a cell of the confusion
 * matrix are already in the order of the list.
 *
 * The byte order is the machine's, because a data directory stays on its machine. The file is a
 * head of 16 bytes, then one gn_verdict for each image.
 */
#ifndef GN_SERVER_VERDICTS_H
#define GN_SERVER_VERDICTS_H

#include "gonio.h"

struct gn_verdict {
	int32_t sample;           /* index into the data set's samples */
	int32_t label, predicted; /* classes of the model */
	float confidence;         /* the probability of the predicted class */
};

/* Writes the report's images to path, atomically. */
int gn_verdicts_write(const char *path, const struct gn_evaluation_report *report, struct gn_error *err);
/* The verdicts in a file's bytes, borrowed from buffer, which must be aligned for them.
 * GN_MALFORMED if it is not such a file. */
int gn_verdicts_parse(const struct gn_verdict **verdicts, int64_t *count, const void *buffer, size_t size,
                      struct gn_error *err);

#endif
