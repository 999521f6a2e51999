/* The numbers of an inference request: see numbers.h. */
#include "api/kserve/numbers.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/json.h"

/* ---------------------------------------------------------------- cutting out ----------------- */

/* The nesting of "data": body, inputs, one input. A valid request has no other list called "data"
 * at this depth. */
enum { BODY = 1, INPUTS, INPUT };

/* The content of the list whose bracket is text[at], if it has only numbers and lists. */
static struct gn_numbers contents(const char *text, size_t length, size_t at)
{
	static const struct gn_numbers none = {NULL, 0};
	size_t first = at + 1;
	int open = 1;

	for (at = first; at < length; at++) {
		if (text[at] == '[')
			open++;
		else if (text[at] == ']' && --open == 0)
			return (struct gn_numbers){text + first, at - first};
		else if (!text[at] || !strchr("0123456789+-.eE], \t\r\n", text[at]))
			return none;
	}
	return none;
}

static struct gn_numbers find(const char *text, size_t length)
{
	static const char key[] = "\"data\"";
	/* in_list: the second open bracket is that of a list */
	bool in_list = false, after_key = false;
	int depth = 0;

	for (size_t at = 0; at < length; at++) {
		char c = text[at];

		if (c == '"') {
			size_t end = gn_json_skip_string(text, length, at);
			after_key = depth == INPUT && in_list && end - at == sizeof key - 1 &&
			            !memcmp(text + at, key, sizeof key - 1);
			at = end - 1;
			continue;
		}
		if (c == '[' && after_key)
			return contents(text, length, at);
		if (c == '[' || c == '{') {
			depth++;
			in_list = depth == INPUTS ? c == '[' : in_list;
		} else if (c == ']' || c == '}') {
			depth--;
		}
		after_key = after_key && strchr(": \t\r\n", c);
	}
	return (struct gn_numbers){NULL, 0};
}

int gn_numbers_load(json_t **out, struct gn_numbers *numbers, const char *text, size_t length, struct gn_error *err)
{
	size_t before, after;
	char *rest;
	int result;

	*numbers = find(text, length);
	if (!numbers->length)
		return gn_json_load(out, text, length, err);
	before = (size_t)(numbers->text - text);
	after = length - before - numbers->length;
	rest = malloc(before + after + 1);
	if (!rest)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the request");
	memcpy(rest, text, before);
	memcpy(rest + before, numbers->text + numbers->length, after + 1);
	result = gn_json_load(out, rest, before + after, err);
	free(rest);
	return result;
}

/* ---------------------------------------------------------------- reading --------------------- */

struct reader {
	float *out;
	size_t used, room;
	int depth;
	enum { VALUE, VALUE_OR_END, SEPARATOR } next; /* what may follow */
};

static const char malformed[] = "is not a list of JSON";

static bool may_follow(const struct reader *r, char c)
{
	if (c == ',')
		return r->next == SEPARATOR;
	if (c == ']')
		return r->next != VALUE;
	return r->next != SEPARATOR;
}

/* Reads the token at **at, which is not white space. NULL on success, else the error. */
static const char *take(struct reader *r, const char **at)
{
	enum { DEPTH = 3 }; /* lists in the list: images, channels, rows */
	const char *end = *at + 1;
	char c = **at;

	if (!may_follow(r, c))
		return malformed;
	if (c == ',') {
		r->next = VALUE;
	} else if (c == ']') {
		r->depth--;
		r->next = SEPARATOR;
	} else if (c == '[') {
		if (++r->depth > DEPTH)
			return "has something that is no finite FP32 number";
		r->next = VALUE_OR_END;
	} else {
		double number;

		if (!(end = gn_json_number_end(*at)))
			return malformed;
		number = strtod(*at, NULL);
		if (!(fabs(number) <= (double)FLT_MAX))
			return "has something that is no finite FP32 number";
		if (r->used == r->room)
			return "has too many values";
		r->out[r->used++] = (float)number;
		r->next = SEPARATOR;
	}
	*at = end;
	return NULL;
}

const char *gn_numbers_read(float *out, size_t room, size_t *used, const struct gn_numbers *numbers)
{
	struct reader r = {.out = out, .room = room, .next = VALUE_OR_END};
	const char *at = numbers->text, *end = at + numbers->length, *wrong = NULL;

	while (at < end && !wrong) {
		if (strchr(" \t\r\n", *at))
			at++;
		else
			wrong = take(&r, &at);
	}
	*used = r.used;
	if (!wrong && r.next == VALUE)
		wrong = malformed;
	return wrong ? wrong : r.used < room ? "has too few values" : NULL;
}
