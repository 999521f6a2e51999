/*
 * Reads the pixels of an inference request without the JSON parser. The parser would make a node of
 * 40 bytes or more for each number, and a body of 32 MiB can have 16 million numbers.
 *
 * gn_numbers_load cuts the list out of the text and parses the rest. After the request's shape was
 * checked, gn_numbers_read reads exactly as many numbers as the shape needs.
 */
#ifndef GN_API_NUMBERS_H
#define GN_API_NUMBERS_H

#include <jansson.h>
#include <stddef.h>

#include "gonio.h"

/* the text between the list's brackets, borrowed. length 0: no list was cut out */
struct gn_numbers {
	const char *text;
	size_t length;
};

/* Parses {"inputs":[{"data":[...]}]}. If the list has only numbers and lists, it becomes *numbers
 * and is empty in *out. Any other text is parsed completely. text has a NUL after length bytes.
 * Errors as gn_json_load (server/common/json.h). */
int gn_numbers_load(json_t **out, struct gn_numbers *numbers, const char *text, size_t length, struct gn_error *err);

/* out[*used] = the numbers in row-major order; up to four nested lists are accepted. Returns NULL
 * if they are `room` numbers that fit in float32. Otherwise returns the reason, a phrase to follow
 * the list's name. */
const char *gn_numbers_read(float *out, size_t room, size_t *used, const struct gn_numbers *numbers);

#endif
