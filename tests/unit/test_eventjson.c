// Events as JSON lines: what the worker writes is read back; half a line is not; numbers that JSON
// has not become null.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <math.h>

#include <cmocka.h>

#include "server/formats/events.h"
#include "tests/support/client.h"

static void check_line(int64_t id, const struct gn_event *event, const char *kind, const char *data)
{
	char *line = gn_event_line(id, event);
	struct gn_event_record record;
	json_t *wanted = json_loads(data, 0, NULL);

	assert_non_null(line);
	assert_non_null(wanted);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_null(memchr(line, '\n', strlen(line) - 1));
	assert_int_equal(gn_event_parse(&record, line, strlen(line)), 0);
	assert_true(record.id == id);
	assert_string_equal(record.kind, kind);
	if (!json_equal(record.data, wanted))
		fail_msg("not as wanted: %s", line);
	json_decref(record.value);
	json_decref(wanted);
	free(line);
}

static void test_lines(void **state)
{
	struct gn_layer_angle layer = {
	    .name = "blocks.0.attn", .group = GN_GROUP_ATTENTION, .degrees = 0.5, .rank = 1, .tensor_count = 1};
	struct gn_angles angles = {.count = 1, .layers = &layer};

	(void)state;
	snprintf(layer.tensors[0].name, sizeof layer.tensors[0].name, "blocks.0.attn.proj.weight");
	layer.tensors[0].degrees = NAN;
	check_line(
	    3,
	    &(struct gn_event){.kind = GN_EVENT_STEP,
	                       .step = 5,
	                       .steps = 9,
	                       .epoch = 1,
	                       .epochs = 2,
	                       .loss = INFINITY,
	                       .lr = 0.25,
	                       .grad_norm = NAN,
	                       .images_per_second = 10,
	                       .eta_seconds = 1.5},
	    "step",
	    "{\"step\":5,\"steps\":9,\"epoch\":1,\"epochs\":2,\"loss\":null,\"lr\":0.25,\"images_per_second\":10.0,"
	    "\"grad_norm\":null,\"eta_seconds\":1.5}");
	check_line(4,
	           &(struct gn_event){.kind = GN_EVENT_EPOCH,
	                              .epoch = 1,
	                              .train_loss = 0.5,
	                              .val_loss = NAN,
	                              .val_accuracy = NAN,
	                              .val_macro_f1 = NAN,
	                              .seconds = 2},
	           "epoch",
	           "{\"epoch\":1,\"train_loss\":0.5,\"val_loss\":null,\"val_accuracy\":null,\"val_macro_f1\":null,"
	           "\"seconds\":2.0}");
	check_line(
	    5, &(struct gn_event){.kind = GN_EVENT_ANGLES, .epoch = 1, .angles = &angles}, "angles",
	    "{\"epoch\":1,\"layers\":[{\"name\":\"blocks.0.attn\",\"block\":0,\"group\":\"attention\",\"degrees\":0.5,"
	    "\"rank\":1,\"tensors\":[{\"name\":\"blocks.0.attn.proj.weight\",\"degrees\":null}]}]}");
	check_line(6, &(struct gn_event){.kind = GN_EVENT_LOG, .text = "two\nlines \"quoted\""}, "log",
	           "{\"line\":\"two\\nlines \\\"quoted\\\"\"}");
	check_line(7, &(struct gn_event){.kind = GN_EVENT_LOG, .text = "\xff"}, "log",
	           "{\"line\":\"(a line that is not UTF-8)\"}");
	check_line(8, &(struct gn_event){.kind = GN_EVENT_CHECKPOINT, .step = 5, .epoch = 1}, "checkpoint",
	           "{\"step\":5,\"epoch\":1}");
}

// What is printed is split again into the same parts, whatever the data hold; other lines are
// refused.
static void test_split(void **state)
{
	static const char *const data[] = {"{}", "{\"line\":\"a \\\"\\\\ \\n\",\"x\":[1,{}]}",
	                                   "{\"line\":\",\\\"event\\\":\\\"x\\\",\\\"data\\\":}\"}",
	                                   "{\"event\":\"x\",\"data\":{\"id\":3}}"};
	static const char *const others[] = {"",
	                                     "{}",
	                                     "{\"id\":1",
	                                     "{\"id\":,\"time\":\"t\",\"event\":\"log\",\"data\":{}}",
	                                     "{\"id\":x,\"time\":\"t\",\"event\":\"log\",\"data\":{}}",
	                                     "{\"id\":1,\"event\":\"log\",\"time\":\"t\",\"data\":{}}",
	                                     "{\"id\":1,\"time\":\"t\",\"event\":\"log\",\"data\":{}",
	                                     "{\"id\":1,\"time\":\"t\",\"event\":\"log\",\"data\":"};
	const int64_t ids[] = {1, 4000000000, 999999999999999999};
	struct gn_event_parts parts;

	(void)state;
	for (size_t i = 0; i < 3 * sizeof data / sizeof data[0]; i++) {
		const char *text = data[i / 3];
		char *line = gn_event_line_of(ids[i % 3], "record", json_loads(text, 0, NULL));
		assert_non_null(line);
		assert_int_equal(gn_event_split(&parts, line, strlen(line) - 1), 0);
		assert_true(parts.id == ids[i % 3]);
		assert_int_equal(parts.kind_size, 6);
		assert_memory_equal(parts.kind, "record", 6);
		assert_int_equal(parts.data_size, strlen(text));
		assert_memory_equal(parts.data, text, strlen(text));
		for (size_t cut = 0; cut + 1 < strlen(line) - 1 - strlen(text); cut++)
			assert_int_equal(gn_event_split(&parts, line, cut), -1);
		free(line);
	}
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		assert_int_equal(gn_event_split(&parts, others[i], strlen(others[i])), -1);
}

static bool count_three(void *user, const struct gn_event_record *record)
{
	(void)record;
	return ++*(int *)user < 3;
}

static void test_file(void **state)
{
	char folder[128], path[160];
	struct gn_error err = {0};
	int count = 0;

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/events.ndjson", folder);
	assert_int_equal(gn_events_read(path, count_three, &count, &err), 0);
	assert_int_equal(count, 0);
	assert_true(gn_events_last_id(path) == 0);

	FILE *file = fopen(path, "w");
	for (int id = 1; id <= 5; id++) {
		char *line = gn_event_line_of(id, "log", json_pack("{s:i}", "line", id));
		fputs(line, file);
		free(line);
	}
	fputs("not an event\n{\"id\":7}\n\n{\"id\":9,\"event\":\"log\",\"data\":{}}", file);
	fclose(file);
	// the last line is still being written
	assert_true(gn_events_last_id(path) == 5);
	assert_int_equal(gn_events_read(path, count_three, &count, &err), 0);
	assert_int_equal(count, 3);
	temporary_remove(folder);
}

static void append(const char *path, const char *text)
{
	FILE *file = fopen(path, "a");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void assert_line(struct gn_event_lines *lines, const char *path, const char *wanted)
{
	const char *line;
	size_t length;

	assert_int_equal(gn_event_lines_next(lines, path, &line, &length), 1);
	assert_int_equal(length, strlen(wanted));
	assert_memory_equal(line, wanted, length);
}

// A file that grows: whole lines only, and where the next reader starts.
static void test_growing_file(void **state)
{
	struct gn_event_lines lines;
	char folder[128], path[160], *large = malloc(100002);
	const char *line;
	size_t length;

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/events.ndjson", folder);
	gn_event_lines_init(&lines, 0);
	assert_int_equal(gn_event_lines_next(&lines, path, &line, &length), 0); // no file yet
	append(path, "one\n\ntwo\nthr");
	assert_line(&lines, path, "one");
	assert_line(&lines, path, "");
	assert_line(&lines, path, "two");
	assert_int_equal(gn_event_lines_next(&lines, path, &line, &length), 0);
	assert_true(gn_event_lines_given(&lines) == 9);
	append(path, "ee\n");
	assert_line(&lines, path, "three");
	assert_true(gn_event_lines_given(&lines) == 15);
	gn_event_lines_release(&lines);

	memset(large, 'x', 100000); // more than a block
	memcpy(large + 100000, "\n", 2);
	append(path, large);
	large[100000] = 0;
	gn_event_lines_init(&lines, 15);
	assert_line(&lines, path, large);
	assert_int_equal(gn_event_lines_next(&lines, path, &line, &length), 0);
	gn_event_lines_release(&lines);
	free(large);
	temporary_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_split),
	                                   cmocka_unit_test(test_file), cmocka_unit_test(test_growing_file)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
