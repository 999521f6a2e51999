/* JSON text of requests: see json.h. */
#include "server/common/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An empty object, the dearest of them, takes the parser some 250 bytes. */
enum { MAX_VALUES = 300000 };

size_t gn_json_skip_string(const char *text, size_t length, size_t at)
{
	for (at++; at < length && text[at] != '"'; at++)
		if (text[at] == '\\')
			at++;
	return (at < length ? at : length) + 1; /* a backslash may have been the last character */
}

/* A value in an object or a list has a comma or a bracket of its own: so many nodes the parser will
 * make. */
static int check_values(const char *text, size_t length, struct gn_error *err)
{
	int values = 0;

	for (size_t at = 0; at < length && values <= MAX_VALUES;) {
		if (text[at] == '"') {
			at = gn_json_skip_string(text, length, at);
			continue;
		}
		values += text[at] == ',' || text[at] == '[' || text[at] == '{';
		at++;
	}
	return values > MAX_VALUES ? gn_fail(err, GN_TOO_LARGE, "", "the JSON text has more than %d values", MAX_VALUES)
	                           : 0;
}

static const char *skip_digits(const char *at)
{
	while (*at >= '0' && *at <= '9')
		at++;
	return at;
}

const char *gn_json_number_end(const char *at)
{
	const char *first = at + (*at == '-'), *end = skip_digits(first);

	if (end == first || (*first == '0' && end > first + 1))
		return NULL;
	if (*end == '.') {
		first = end + 1;
		end = skip_digits(first);
		if (end == first)
			return NULL;
	}
	if (*end == 'e' || *end == 'E') {
		first = end + 1;
		first += *first == '+' || *first == '-';
		end = skip_digits(first);
		if (end == first)
			return NULL;
	}
	return end;
}

/* Whether the parser has no type for a number. Of the two, a whole number alone is read as an
 * integer. */
static bool overflows(const char *number, size_t length)
{
	if (memchr(number, '.', length) || memchr(number, 'e', length) || memchr(number, 'E', length))
		return !isfinite(strtod(number, NULL));
	errno = 0;
	return strtoll(number, NULL, 10) != 0 && errno == ERANGE;
}

/* Replaces the numbers that overflow by one past every bound. Such a number has at least five
 * characters ("2e308"), so the replacement fits. text ends with a NUL. */
static void soften_numbers(char *text, size_t length)
{
	static const char SOFT[] = "9e307";

	for (size_t at = 0; at < length;) {
		size_t sign = text[at] == '-', digits = strspn(text + at + sign, "+-.0123456789eE");

		if (text[at] == '"') {
			at = gn_json_skip_string(text, length, at);
			continue;
		}
		if (digits >= sizeof SOFT - 1 && gn_json_number_end(text + at) == text + at + sign + digits &&
		    overflows(text + at, sign + digits)) {
			memset(text + at + sign, ' ', digits);
			memcpy(text + at + sign, SOFT, sizeof SOFT - 1);
		}
		at += sign + digits > 1 ? sign + digits : 1;
	}
}

static int malformed(struct gn_error *err, const json_error_t *error)
{
	return gn_fail(err, GN_MALFORMED, "", "the JSON text is malformed at line %d, column %d: %s", error->line,
	               error->column, error->text);
}

int gn_json_load(json_t **out, const char *text, size_t length, struct gn_error *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
	json_error_t error;
	json_t *value;

	if (check_values(text, length, err))
		return -1;
	value = json_loadb(text, length, flags, &error);
	if (!value && json_error_code(&error) == json_error_numeric_overflow) {
		char *copy = malloc(length + 1);
		if (!copy)
			return gn_fail_errno(err, "", "reading JSON");
		memcpy(copy, text, length);
		copy[length] = 0;
		soften_numbers(copy, length);
		value = json_loadb(copy, length, flags, &error);
		free(copy);
	}
	if (!value)
		return length ? malformed(err, &error)
		              : gn_fail(err, GN_MALFORMED, "", "the body is empty, JSON is wanted");
	*out = value;
	return 0;
}
