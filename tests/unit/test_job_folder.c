// job.json and result.json: what one side writes, the other reads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/common/files.h"
#include "server/formats/job_folder.h"
#include "tests/support/client.h"

static void test_order(void **state)
{
	const int cuts[] = {3, 7};
	const struct gn_shared shared = {"../../sweeps/swp_1", "mdl_1 a dst_1 b", cuts, 2, 4096};
	struct gn_job_order order = {.job = "run_1",
	                             .request = json_pack("{s:f}", "lr", 0.1),
	                             .members = json_object(),
	                             .models = json_pack("[[s,s]]", "a.safetensors", "b.safetensors"),
	                             .dataset = "../data",
	                             .shared = gn_job_shared_write(&shared),
	                             .device = "cpu",
	                             .precision = "fp32",
	                             .threads = 2,
	                             .max_pixels = 5000000000,
	                             .attempt = 4},
	                    got;
	struct gn_shared got_shared;
	struct gn_error err = {0};
	char folder[128], path[160];
	int room[2];
	json_t *whole;

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/job.json", folder);
	assert_int_equal(gn_job_order_write(path, &order, &err), 0);
	assert_int_equal(gn_job_order_read(&got, &whole, path, &err), 0);
	assert_string_equal(got.job, order.job);
	assert_true(json_equal(got.request, order.request));
	assert_true(json_equal(got.members, order.members));
	assert_true(json_equal(got.models, order.models));
	assert_string_equal(got.dataset, order.dataset);
	assert_string_equal(got.device, order.device);
	assert_string_equal(got.precision, order.precision);
	assert_true(got.threads == 2 && got.max_pixels == 5000000000 && got.attempt == 4);
	assert_int_equal(gn_job_shared_read(&got_shared, room, 2, got.shared, &err), 0);
	assert_string_equal(got_shared.folder, shared.folder);
	assert_string_equal(got_shared.identity, shared.identity);
	assert_int_equal(got_shared.cut_count, 2);
	assert_true(room[0] == 3 && room[1] == 7 && got_shared.disk_reserve == 4096);
	assert_int_equal(gn_job_shared_read(&got_shared, room, 1, got.shared, &err), -1);
	assert_string_equal(err.where, GN_JOB_JSON);
	json_decref(whole);
	for (int i = 0; i < 4; i++)
		json_decref((json_t *)(uintptr_t)(const json_t *[]){order.request, order.members, order.models,
		                                                    order.shared}[i]);
	temporary_remove(folder);
}

// What is left out, and what is no order at all.
static void test_order_without(void **state)
{
	static const struct {
		const char *text;
		enum gn_code code;
	} bad[] = {{"{\"job\":1,\"job\":2}", GN_MALFORMED}, {"{\"job\"", GN_MALFORMED}, {"", GN_MALFORMED}};
	struct gn_job_order order;
	struct gn_shared shared;
	char folder[128], path[160];
	json_t *whole;

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/job.json", folder);
	assert_int_equal(gn_job_order_read(&order, &whole, path, NULL), -1);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct gn_error err = {0};
		assert_int_equal(gn_file_replace(path, bad[i].text, strlen(bad[i].text), &err), 0);
		assert_int_equal(gn_job_order_read(&order, &whole, path, &err), -1);
		assert_int_equal(err.code, bad[i].code);
	}
	static const char other[] = "{\"dataset\":null,\"device\":3,\"threads\":\"2\"}";
	assert_int_equal(gn_file_replace(path, other, strlen(other), NULL), 0);
	assert_int_equal(gn_job_order_read(&order, &whole, path, NULL), 0);
	assert_true(!order.job && !order.request && !order.models && !order.dataset && !order.device);
	assert_true(order.threads == 0 && order.attempt == 0);
	assert_int_equal(gn_job_shared_read(&shared, NULL, 0, order.shared, NULL), 0);
	assert_null(shared.folder);
	json_decref(whole);
	temporary_remove(folder);
}

static void test_result(void **state)
{
	struct gn_job_result result = {.result = json_pack("{s:i}", "kept", 2)}, got;
	struct gn_error err = {0};
	char folder[128], path[160];

	(void)state;
	temporary_folder(folder, sizeof folder);
	snprintf(path, sizeof path, "%s/result.json", folder);
	gn_job_result_read(&got, path);
	assert_true(!got.result && !got.error);
	assert_int_equal(gn_job_result_write(path, &result, &err), 0);
	gn_job_result_read(&got, path);
	assert_true(json_equal(got.result, result.result) && !got.error);
	gn_job_result_release(&got);
	gn_job_result_release(&result);

	result.error = gn_job_error(gn_job_error_type(GN_NO_SPACE), "\xff");
	assert_int_equal(gn_job_result_write(path, &result, &err), 0);
	gn_job_result_read(&got, path);
	assert_null(got.result);
	assert_string_equal(json_string_value(json_object_get(got.error, "type")), "disk_full");
	gn_job_result_release(&got);
	gn_job_result_release(&result);

	assert_int_equal(gn_file_replace(path, "{\"result\":3}", 12, &err), 0);
	gn_job_result_read(&got, path);
	assert_true(!got.result && !got.error);
	temporary_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_order_without),
	                                   cmocka_unit_test(test_result)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
