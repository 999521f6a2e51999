// An inference request: the numbers of its list are the same as those of the JSON parser.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/fields.h"
#include "server/common/json.h"
#include "api/kserve/numbers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The numbers of data in whatever nesting, as the parser made them.
static size_t flatten(const json_t *data, float *out, size_t room, size_t used)
{
	size_t i;
	json_t *item;

	json_array_foreach((json_t *)(uintptr_t)data, i, item)
	{
		if (json_is_array(item))
			used = flatten(item, out, room, used);
		else if (used < room)
			out[used++] = (float)json_number_value(item);
	}
	return used;
}

static void compare(const struct gn_numbers *numbers, const char *text, size_t size)
{
	enum { ROOM = 64 };
	float ours[ROOM], theirs[ROOM];
	struct gn_error err = {0};
	size_t used;
	const char *wrong = gn_numbers_read(ours, ROOM, &used, numbers);
	json_t *whole;

	if (gn_json_load(&whole, text, size, &err)) {
		gn_assert(wrong); // the rest was JSON, so the list was not
		return;
	}
	gn_assert(!wrong || strcmp(wrong, "is not a list of JSON") != 0);
	const json_t *inputs = json_object_get(whole, "inputs"), *input = json_array_get(inputs, 0);
	// elsewhere the list is not the input's, and the request is refused
	if (json_object_size(whole) == 1 && json_array_size(inputs) == 1 && wrong &&
	    !strcmp(wrong, "has too few values")) {
		gn_assert(flatten(json_object_get(input, "data"), theirs, ROOM, 0) == used);
		for (size_t i = 0; i < used;
		     // integers of more than 63 bits are approximated before the parser sees them;
		     // its -0 has no sign
		     i++)
			gn_assert(fabsf(ours[i]) > 1e15F || ours[i] == theirs[i]);
	}
	json_decref(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gn_error err = {0};
	struct gn_numbers numbers;
	char *text = malloc(size + 1);
	json_t *body;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (!gn_numbers_load(&body, &numbers, text, size, &err)) {
		if (numbers.length)
			compare(&numbers, text, size);
		json_decref(body);
	}
	free(text);
	return 0;
}
