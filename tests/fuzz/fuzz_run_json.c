// Run bodies, event lines and query texts from outside: whatever a run's reader accepts it writes, and reads again as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/json.h"
#include "server/formats/events.h"
#include "server/formats/run_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_event(const char *text, size_t size)
{
	struct gn_event_record record;
	struct gn_event_parts parts;

	if (!gn_event_split(&parts, text, size))
		gn_assert(parts.kind + parts.kind_size < parts.data && parts.data + parts.data_size < text + size);
	if (!gn_event_parse(&record, text, size))
		json_decref(record.value);
}

// The second reading must accept what the first has written, and write it again.
static void check_again(const struct gn_run_request *request)
{
	json_t *errors = json_array(), *written = gn_run_request_write(request), *again;
	struct gn_run_request second;

	gn_run_request_read(&second, written, false, errors);
	again = gn_run_request_write(&second);
	gn_assert(json_array_size(errors) == 0);
	gn_assert(json_equal(written, again));
	gn_run_request_release(&second);
	json_decref(again);
	json_decref(written);
	json_decref(errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gn_error err = {0};
	struct gn_run_request request;
	json_t *object, *errors;

	read_event((const char *)data, size);
	if (gn_json_load(&object, (const char *)data, size, &err))
		return 0;
	for (int for_plan = 0; for_plan < 2; for_plan++) {
		errors = json_array();
		gn_run_request_read(&request, object, for_plan, errors);
		if (!for_plan && json_array_size(errors) == 0)
			check_again(&request);
		gn_run_request_release(&request);
		json_decref(errors);
	}
	json_decref(object);
	return 0;
}
