/* Names of archive entries: which are accepted, skipped or errors, and how any bytes are shown. */
#include "data/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void safe_names_are_cleaned(void **state)
{
	static const char *const cases[][2] = {
	    {"a/b.jpg", "a/b.jpg"},
	    {"./a//b.jpg", "a/b.jpg"},
	    {"a/./b/", "a/b"},
	    {"a b/'q\"<script>.jpg", "a b/'q\"<script>.jpg"},
	    {"\xc3\xa9t\xc3\xa9/\xe7\x8c\xab/\xf0\x9f\x90\x88.png",
	     "\xc3\xa9t\xc3\xa9/\xe7\x8c\xab/\xf0\x9f\x90\x88.png"},
	    {"..a/b..", "..a/b.."},
	    {"back\\slash", "back\\slash"},
	};
	char out[GN_PATH_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_null(gn_name_clean(out, cases[i][0]));
		assert_string_equal(out, cases[i][1]);
	}
}

static void unsafe_names_are_refused(void **state)
{
	static const char *const cases[][2] = {
	    {"", "without a name"},
	    {"./", "without a name"},
	    {"a\nb", "control"},
	    {"a\x7f", "control"},
	    {"a\xc2\x80", "control"},       /* a C1 control */
	    {"a\xff", "UTF-8"},             /* never in UTF-8 */
	    {"a\xc0\xaf", "UTF-8"},         /* a slash in two bytes */
	    {"a\xed\xa0\x80", "UTF-8"},     /* a surrogate */
	    {"a\xf4\x90\x80\x80", "UTF-8"}, /* past U+10FFFF */
	    {"a\xe7\x8c", "UTF-8"},         /* cut */
	};
	char out[GN_PATH_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *why = gn_name_clean(out, cases[i][0]);

		if (!why || !strstr(why, cases[i][1]))
			fail_msg("case %zu: %s", i, why ? why : "accepted");
	}
}

static void names_that_lead_out(void **state)
{
	static const char *const out[] = {"/etc/x", "../x", "a/../../x", "a/..", ".."}, *const in[] = {
	                                                                                    "a/b", "..a/b..", "a/...",
	                                                                                    "./a", "a//b",    ""};

	(void)state;
	for (size_t i = 0; i < sizeof out / sizeof *out; i++)
		assert_true(gn_name_escapes(out[i]));
	for (size_t i = 0; i < sizeof in / sizeof *in; i++)
		assert_false(gn_name_escapes(in[i]));
}

static void long_names_have_bounds(void **state)
{
	char *path = calloc(1, GN_PATH_MAX + 10), out[GN_PATH_MAX + 1];

	(void)state;
	assert_non_null(path);
	memset(path, 'a', GN_NAME_MAX);
	assert_null(gn_name_clean(out, path));
	path[GN_NAME_MAX] = 'a';
	assert_non_null(gn_name_clean(out, path));
	for (int i = 0; i < GN_PATH_MAX; i++)
		path[i] = i % 2 ? '/' : 'a';
	assert_null(gn_name_clean(out, path));
	memcpy(path + GN_PATH_MAX, "aa", 3);
	assert_non_null(gn_name_clean(out, path));
	free(path);
}

static void litter_is_skipped(void **state)
{
	static const char *const skipped[] = {".hidden.jpg",        "a/.git/x.jpg",
	                                      "__MACOSX/a/._x.jpg", "a/.ipynb_checkpoints/x.png",
	                                      "a/Thumbs.db",        "a/desktop.ini"};
	static const char *const kept[] = {"a/b.jpg", "macosx/x.jpg", "a/Thumbs.db.jpg"};

	(void)state;
	for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
		assert_true(gn_name_skipped(skipped[i]));
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		assert_false(gn_name_skipped(kept[i]));
}

static void endings_tell_images(void **state)
{
	(void)state;
	assert_true(gn_name_image("a/b.JPG"));
	assert_true(gn_name_image("b.webp"));
	assert_true(gn_name_image("b.gif"));
	assert_false(gn_name_image("a.jpg/readme"));
	assert_false(gn_name_image("labels.csv"));
	assert_false(gn_name_image("jpg"));
}

static void any_bytes_are_shown(void **state)
{
	char out[16];

	(void)state;
	gn_name_show(out, sizeof out, "a\nb\xff");
	assert_string_equal(out, "a\\x0ab\\xff");
	gn_name_show(out, sizeof out, "0123456789abcde\xc3\xa9");
	assert_string_equal(out, "0123456789abcde");
	gn_name_show(out, sizeof out, "0123456789abcd\xc3\xa9"); /* a character is never cut */
	assert_string_equal(out, "0123456789abcd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(safe_names_are_cleaned), cmocka_unit_test(unsafe_names_are_refused),
	    cmocka_unit_test(names_that_lead_out),    cmocka_unit_test(long_names_have_bounds),
	    cmocka_unit_test(litter_is_skipped),      cmocka_unit_test(endings_tell_images),
	    cmocka_unit_test(any_bytes_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
