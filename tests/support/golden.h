/*
 * Reads the reference files of tests/parity/golden, which tests/parity/README.md describes. It has
 * its own reader, so that a fault in the engine's reader cannot hide. Failures fail the running
 * cmocka test.
 */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "gonio.h"

#include <jansson.h>

struct golden {
	uint8_t *bytes;
	const uint8_t *data; /* the tensors' bytes */
	json_t *header;      /* name -> dtype, shape, data_offsets */
	json_t *config;      /* the description in the metadata; NULL if none */
};

/* The path of golden/NAME, in a buffer of the caller. */
void golden_path(char *path, size_t size, const char *name);
/* All bytes of golden/NAME, followed by a 0; caller frees. NULL if there is no such file. */
char *golden_read(const char *name, size_t *size);
/* Reads a safetensors file's bytes, which become the result's. */
struct golden golden_parse(void *bytes, size_t size);
/* Opens golden/CASE.ref.safetensors. */
struct golden golden_open(const char *name);
void golden_release(struct golden *golden);
/* A tensor's values (borrowed) and their number; NULL if the file has none of that name. */
const float *golden_find(const struct golden *golden, const char *name, size_t *n);
/* The same for a name put together by a format; it must be there and hold n values (0: any
 * number). */
const float *golden_get(const struct golden *golden, size_t n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const int32_t *golden_labels(const struct golden *golden, size_t n);
/* The integer config.architecture.FIELD. */
int golden_field(const struct golden *golden, const char *field);

/* max |found - wanted|, NAN if a difference is not a number; divide by golden_scale to make it
 * relative. */
double golden_difference(const float *found, const float *wanted, size_t n);
double golden_scale(const float *wanted, size_t n); /* max |wanted| */

#endif
