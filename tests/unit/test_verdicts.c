// The file of an evaluation's images: a written file is read back; any other file is an error.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/common/files.h"
#include "server/formats/verdicts.h"
#include "tests/support/client.h"

static void test_round_trip(void **state)
{
	struct gn_evaluated_image images[] = {{7, 1, 2, 0.75}, {3, 0, 0, 0.5}};
	const struct gn_evaluation_report report = {.images = 2, .results = images};
	const struct gn_verdict *verdicts;
	struct gn_error err = {0};
	char folder[64], path[96], *bytes;
	int64_t count;
	size_t size;

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/images.bin", folder);
	assert_int_equal(gn_verdicts_write(path, &report, &err), 0);
	assert_int_equal(gn_file_load(path, 1 << 20, &bytes, &size, &err), 0);
	assert_int_equal(gn_verdicts_parse(&verdicts, &count, bytes, size, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(verdicts[0].sample, 7);
	assert_int_equal(verdicts[0].label, 1);
	assert_int_equal(verdicts[0].predicted, 2);
	assert_true(verdicts[0].confidence == 0.75F);
	assert_int_equal(verdicts[1].sample, 3);

	// every other length, and another beginning
	for (size_t n = 0; n < size; n++)
		assert_int_equal(gn_verdicts_parse(&verdicts, &count, bytes, n, NULL), -1);
	bytes[0] ^= 1;
	assert_int_equal(gn_verdicts_parse(&verdicts, &count, bytes, size, &err), -1);
	assert_int_equal(err.code, GN_MALFORMED);
	free(bytes);
	temporary_remove(folder);
}

// A count that would overflow the size in bytes.
static void test_huge_count(void **state)
{
	_Alignas(8) char bytes[32] = "gnverd1";
	const struct gn_verdict *verdicts;
	int64_t count = INT64_MAX / 16 + 2;

	(void)state;
	memcpy(bytes + 8, &count, sizeof count);
	assert_int_equal(gn_verdicts_parse(&verdicts, &count, bytes, sizeof bytes, NULL), -1);
	count = -1;
	memcpy(bytes + 8, &count, sizeof count);
	assert_int_equal(gn_verdicts_parse(&verdicts, &count, bytes, sizeof bytes, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_huge_count)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
