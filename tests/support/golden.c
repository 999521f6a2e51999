/* Reads reference files: see golden.h. */
#include "tests/support/golden.h"
#include "tests/support/source.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void golden_path(char *path, size_t size, const char *name)
{
	int length = snprintf(path, size, "%s/tests/parity/golden/%s", source_folder(), name);

	assert_true(length > 0 && (size_t)length < size);
}

char *golden_read(const char *name, size_t *size)
{
	char path[512];
	FILE *file;
	char *bytes;
	long length;

	golden_path(path, sizeof path, name);
	file = fopen(path, "rb");
	if (!file)
		return NULL;
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	length = ftell(file);
	assert_true(length >= 0);
	rewind(file);
	bytes = calloc((size_t)length + 1, 1);
	assert_non_null(bytes);
	*size = fread(bytes, 1, (size_t)length, file);
	assert_int_equal(*size, length);
	fclose(file);
	return bytes;
}

struct golden golden_parse(void *bytes, size_t size)
{
	struct golden g = {.bytes = bytes};
	const char *config;
	uint64_t length;

	assert_true(size > 8);
	memcpy(&length, g.bytes, 8);
	assert_true(length < size - 8);
	g.header = json_loadb((char *)g.bytes + 8, (size_t)length, 0, NULL);
	assert_non_null(g.header);
	g.data = g.bytes + 8 + length;
	config = json_string_value(json_object_get(json_object_get(g.header, "__metadata__"), "config"));
	g.config = config ? json_loads(config, 0, NULL) : NULL;
	return g;
}

struct golden golden_open(const char *name)
{
	char file[128];
	size_t size;
	char *bytes;

	snprintf(file, sizeof file, "%s.ref.safetensors", name);
	bytes = golden_read(file, &size);
	if (!bytes)
		fail_msg("no %s", file);
	return golden_parse(bytes, size);
}

void golden_release(struct golden *g)
{
	json_decref(g->header);
	json_decref(g->config);
	free(g->bytes);
	*g = (struct golden){0};
}

const float *golden_find(const struct golden *g, const char *name, size_t *n)
{
	json_int_t begin, end;

	if (json_unpack(json_object_get(g->header, name), "{s:[II]}", "data_offsets", &begin, &end))
		return NULL;
	*n = (size_t)(end - begin) / sizeof(float);
	return (const float *)(const void *)(g->data + begin);
}

const float *golden_get(const struct golden *g, size_t n, const char *format, ...)
{
	char name[128];
	const float *values;
	va_list arguments;
	size_t count;

	va_start(arguments, format);
	vsnprintf(name, sizeof name, format, arguments);
	va_end(arguments);
	values = golden_find(g, name, &count);
	if (!values)
		fail_msg("the reference has no %s", name);
	if (n && count != n)
		fail_msg("%s: the reference has %zu values, not %zu", name, count, n);
	return values;
}

const int32_t *golden_labels(const struct golden *g, size_t n)
{
	return (const int32_t *)(const void *)golden_get(g, n, "labels");
}

int golden_field(const struct golden *g, const char *field)
{
	json_t *value = json_object_get(json_object_get(g->config, "architecture"), field);

	if (!json_is_integer(value))
		fail_msg("the reference's description has no %s", field);
	return (int)json_integer_value(value);
}

double golden_difference(const float *found, const float *wanted, size_t n)
{
	double largest = 0;

	for (size_t i = 0; i < n; i++) {
		double off = fabs((double)found[i] - (double)wanted[i]);

		if (!(off <= largest))
			largest = off;
		if (isnan(largest))
			break;
	}
	return largest;
}

double golden_scale(const float *wanted, size_t n)
{
	double largest = 0;

	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs((double)wanted[i]));
	return largest;
}
