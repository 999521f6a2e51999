/* JSON text of requests: parses it within limits, and finds the end of a string or a number. */
#ifndef GN_SERVER_JSON_H
#define GN_SERVER_JSON_H

#include <jansson.h>
#include <stddef.h>
#include "gonio.h"

/* Parses a request's JSON text. Malformed text, duplicate keys and nesting past the parser's depth
 * are GN_MALFORMED with line and column; more than 300,000 values are GN_TOO_LARGE. A number too
 * large for its type is read as 9e307, so that the field's bounds report it. */
int gn_json_load(json_t **out, const char *text, size_t length, struct gn_error *err);
/* The position after the string whose quotation mark is text[at]; length + 1 if the string does not
 * end. */
size_t gn_json_skip_string(const char *text, size_t length, size_t at);
/* The end of the JSON number that begins at `at`, or NULL if no number begins there. The text ends
 * with a NUL. */
const char *gn_json_number_end(const char *at);

#endif
