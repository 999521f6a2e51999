/*
 * JSON from outside, with limits: a largest size and depth, no duplicate names, and typed getters
 * whose errors name the field. Uses jansson. For safetensors headers, side files and our own
 * metadata.
 */
#ifndef GN_CHECKPOINT_JSON_H
#define GN_CHECKPOINT_JSON_H

#include <jansson.h>

#include "gonio.h"

/* Parses text of one object or array. what names it in messages ("config.json"). Errors:
 * GN_MALFORMED; GN_TOO_LARGE past max_bytes, and past 300,000 objects and lists; where is "". The
 * caller owns *out (json_decref). */
int gn_json_parse(json_t **out, const char *text, size_t size, size_t max_bytes, int max_depth, const char *what,
                  struct gn_error *err);

/* Optional members: *out is unchanged if the member is missing or null. A wrong type or range is
 * GN_INVALID with where = the member's name. */
int gn_json_int(int *out, const json_t *object, const char *name, int low, int high, struct gn_error *err);
int gn_json_number(double *out, const json_t *object, const char *name, double low, double high, struct gn_error *err);
int gn_json_bool(bool *out, const json_t *object, const char *name, struct gn_error *err);
/* Borrowed from the object. */
int gn_json_text(const char **out, const json_t *object, const char *name, struct gn_error *err);
/* Three numbers of low .. high. */
int gn_json_triple(float out[3], const json_t *object, const char *name, double low, double high, struct gn_error *err);
/* Copies an array of strings; *out and its strings are malloc'd (gn_text_list_free). what names it
 * in messages. */
int gn_json_text_list(char ***out, int *count, const json_t *array, const char *what, struct gn_error *err);
void gn_text_list_free(char **list, int count);

/* Compact text, followed by a NUL; caller frees. A real has nine digits, so that a float32 is read
 * back exactly. NULL with GN_NO_MEMORY, also if json is NULL. */
char *gn_json_dump(const json_t *json, struct gn_error *err);
/* The same for people: indented, with fifteen digits. */
char *gn_json_dump_pretty(const json_t *json, struct gn_error *err);

#endif
