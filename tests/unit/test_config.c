// The configuration: defaults, environment, command line, bounds, and the allowed addresses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "server/service/config.h"

enum { WORDS_MAX = 8 };

// Parses words that end with NULL.
static int parse(struct gn_config *config, struct gn_error *err, const char *first, ...)
{
	char *words[WORDS_MAX];
	int count = 0;
	va_list rest;

	*err = (struct gn_error){0};
	va_start(rest, first);
	for (const char *word = first; word; word = va_arg(rest, const char *))
		words[count++] = (char *)word;
	va_end(rest);
	return gn_config_parse(config, count, words, err);
}

static void test_defaults(void **state)
{
	struct gn_config config;
	struct gn_error err;

	(void)state;
	assert_int_equal(parse(&config, &err, "--data", "/d", NULL), 0);
	assert_string_equal(config.data, "/d");
	assert_string_equal(config.listen, "127.0.0.1:8080");
	assert_string_equal(config.device, "auto");
	assert_int_equal(config.max_runs, 1);
	assert_int_equal(config.batch_max, 32);
	assert_true(config.batch_wait_ms == 2);
	assert_int_equal(config.log_format, GN_LOG_TEXT);
	assert_int_equal(config.log_level, GN_LOG_INFO);
	assert_false(config.insecure);
}

static void test_values(void **state)
{
	struct gn_config config;
	struct gn_error err;

	(void)state;
	assert_int_equal(
	    parse(&config, &err, "--data=/d", "--max-upload=3M", "--batch-wait-ms=0.5", "--log-format=json", NULL), 0);
	assert_int_equal(config.max_upload, 3 << 20);
	assert_true(config.batch_wait_ms == 0.5);
	assert_int_equal(config.log_format, GN_LOG_JSON);
	assert_int_equal(parse(&config, &err, "--data", "/d", "--log-level", "debug", "--disk-reserve", "2g", NULL), 0);
	assert_int_equal(config.log_level, GN_LOG_DEBUG);
	assert_int_equal(config.disk_reserve, 2LL << 30);
}

static void test_bad_values(void **state)
{
	static const char *const bad[][2] = {{"--max-runs", "0"},
	                                     {"--max-runs", "1.5"},
	                                     {"--max-runs", "x"},
	                                     {"--max-runs", ""},
	                                     {"--max-upload", "3X"},
	                                     {"--max-upload", "-1"},
	                                     {"--batch-wait-ms", "nan"},
	                                     {"--log-level", "loud"},
	                                     {"--listen", "localhost:80"},
	                                     {"--listen", "127.0.0.1"},
	                                     {"--listen", "127.0.0.1:65536"},
	                                     {"--listen", "127.0.0.1:1x"},
	                                     {"--listen", "[::1:80"},
	                                     {"--insecure=maybe", NULL},
	                                     {"--nonsense", "1"},
	                                     {"-x", NULL},
	                                     {"--threads", NULL}};
	struct gn_config config;
	struct gn_error err;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(parse(&config, &err, "--data", "/d", bad[i][0], bad[i][1], NULL), -1);
		assert_int_equal(err.code, GN_INVALID);
		assert_true(err.text[0] && err.where[0]);
	}
	assert_int_equal(parse(&config, &err, NULL, NULL), -1);
	assert_string_equal(err.where, "data");
}

static void test_environment(void **state)
{
	struct gn_config config;
	struct gn_error err;

	(void)state;
	setenv("GONIO_DATA", "/from-environment", 1);
	setenv("GONIO_BATCH_MAX", "7", 1);
	setenv("GONIO_INSECURE", "true", 1);
	assert_int_equal(parse(&config, &err, NULL, NULL), 0);
	assert_string_equal(config.data, "/from-environment");
	assert_int_equal(config.batch_max, 7);
	assert_true(config.insecure);
	assert_int_equal(parse(&config, &err, "--batch-max", "9", NULL), 0);
	assert_int_equal(config.batch_max, 9);
	setenv("GONIO_BATCH_MAX", "many", 1);
	assert_int_equal(parse(&config, &err, NULL, NULL), -1);
	assert_string_equal(err.where, "batch-max");
	unsetenv("GONIO_DATA");
	unsetenv("GONIO_BATCH_MAX");
	unsetenv("GONIO_INSECURE");
}

static void test_only_loopback(void **state)
{
	static const char *const open_to_all[] = {"0.0.0.0:80", "192.168.1.2:80", "[::]:80", "[2001:db8::1]:80",
	                                          "128.0.0.1:80"};
	static const char *const own[] = {"127.0.0.1:0", "127.8.8.8:80", "[::1]:80"};
	struct gn_config config;
	struct gn_error err;

	(void)state;
	for (size_t i = 0; i < sizeof open_to_all / sizeof open_to_all[0]; i++) {
		assert_int_equal(parse(&config, &err, "--data", "/d", "--listen", open_to_all[i], NULL), -1);
		assert_string_equal(err.where, "listen");
		assert_non_null(strstr(err.text, "--insecure"));
		assert_int_equal(parse(&config, &err, "--data", "/d", "--insecure", "--listen", open_to_all[i], NULL),
		                 0);
	}
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		assert_int_equal(parse(&config, &err, "--data", "/d", "--listen", own[i], NULL), 0);
}

// Every option of the table shows in --help, with its default.
static void test_help(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	char *words[] = {(char *)"--data", (char *)"x", (char *)"--help"};

	(void)state;
	assert_true(gn_config_wants_help(3, words));
	assert_false(gn_config_wants_help(2, words));
	gn_config_help(out);
	(void)fclose(out);
	assert_non_null(strstr(text, "--data DIR"));
	assert_non_null(strstr(text, "--listen ADDRESS:PORT"));
	assert_non_null(strstr(text, "[127.0.0.1:8080]"));
	assert_non_null(strstr(text, "--insecure"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),    cmocka_unit_test(test_values),        cmocka_unit_test(test_bad_values),
	    cmocka_unit_test(test_environment), cmocka_unit_test(test_only_loopback), cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
