/*
 * The pixels of an inference request, read without the JSON parser. It would make a node of 40 bytes and more for each number: a
 * body of 32 MiB has room for 16 million of them.
 *
 * gn_numbers_load cuts the list out of the text and parses what is left; once the request's shape is checked, gn_numbers_read
 * reads exactly as many numbers as it asks for.
 */
#ifndef GN_API_NUMBERS_H
#define GN_API_NUMBERS_H

#include <jansson.h>
#include <stddef.h>

#include "gonio.h"

struct gn_numbers { /* what stands between the list's brackets: borrowed from the text. length 0: no list was cut out */
	const char *text;
	size_t length;
};

/* Parses {"inputs":[{"data":[...]}]}. When the list holds only numbers and lists, it becomes *numbers and is empty in *out; any
 * other text is parsed whole. text ends with a NUL behind length. Errors as gn_json_load (server/common/json.h). */
int gn_numbers_load(json_t **out, struct gn_numbers *numbers, const char *text, size_t length, struct gn_error *err);

/* out[*used] = the numbers in row-major order, in whatever nesting of up to four lists. NULL, or why they are not `room` numbers that
 * float32 holds: a phrase that follows the list's name. */
const char *gn_numbers_read(float *out, size_t room, size_t *used, const struct gn_numbers *numbers);

#endif
