// The multipart parser: forms as clients send them, cut into pieces at every byte, and malformed
// forms.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/http/multipart.h"

// A body that comes in pieces of `piece` bytes; broken: it ends with -1.
struct source {
	const char *bytes;
	size_t size, at, piece;
	bool broken;
};

static ssize_t source_read(void *user, void *buffer, size_t size)
{
	struct source *source = user;
	size_t n = source->size - source->at;

	if (n == 0)
		return source->broken ? -1 : 0;
	if (n > size)
		n = size;
	if (n > source->piece)
		n = source->piece;
	memcpy(buffer, source->bytes + source->at, n);
	source->at += n;
	return (ssize_t)n;
}

static const char type[] = "multipart/form-data; boundary=XY";

// Writes what the form holds as text: [name|filename|type]content...; errors as ERR(code).
static void describe(char *out, size_t room, const char *content_type, struct source *source)
{
	struct gn_error err = {0};
	struct gn_form *form;
	struct gn_form_part part;
	size_t used = 0;

	out[0] = '\0';
	if (gn_form_new(&form, content_type, source_read, source, &err)) {
		snprintf(out, room, "NEW(%d)", err.code);
		return;
	}
	while (gn_form_next(form, &part, &err) > 0) {
		char buffer[16];
		ssize_t n;
		used += (size_t)snprintf(out + used, room - used, "[%s|%s|%s]", part.name, part.filename,
		                         part.content_type);
		while ((n = gn_form_read(form, buffer, sizeof buffer, &err)) > 0)
			used += (size_t)snprintf(out + used, room - used, "%.*s", (int)n, buffer);
		if (n < 0)
			break;
	}
	if (err.code)
		snprintf(out + used, room - used, "ERR(%d)", err.code);
	gn_form_free(form);
}

static void expect_type(const char *content_type, const char *body, const char *expected)
{
	char got[1024];

	for (size_t piece = 1; piece < 40; piece++) {
		struct source source = {body, strlen(body), 0, piece, false};
		describe(got, sizeof got, content_type, &source);
		assert_string_equal(got, expected);
	}
}

static void expect(const char *body, const char *expected)
{
	expect_type(type, body, expected);
}

static void test_forms(void **state)
{
	(void)state;
	expect("--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n--XY--\r\n", "[a||]hello");
	expect("--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n--XY\r\n"
	       "content-disposition: form-data; name=b; filename=\"x y;.zip\"\r\nContent-Type: Application/ZIP; "
	       "q=1\r\n\r\nPK\r\n\r\n--XY--",
	       "[a||]hello[b|x y;.zip|application/zip]PK\r\n");
	expect("preamble\r\n--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--XY--epilogue", "[a||]");
	expect("--XY--\r\n", "");
	// A part without any byte, whose separator follows the empty line directly.
	expect("--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--XY--", "[a||]");
	// What looks like a separator and is none.
	expect("--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--X\r\n--XZ\r\r\n--XY--",
	       "[a||]\r\n--X\r\n--XZ\r");
	// White space after a separator; no headers at all.
	expect("--XY  \r\n\r\nv\r\n--XY--", "[||]v");
	// Escaped quotes.
	expect("--XY\r\nContent-Disposition: form-data; filename=\"a\\\"b\"; name=\"q\"\r\n\r\nv\r\n--XY--",
	       "[q|a\"b|]v");
}

static void test_broken_forms(void **state)
{
	(void)state;
	expect("", "ERR(2)");
	expect("no separator", "ERR(2)");
	expect("--XY\r\n", "ERR(2)");
	expect("--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhel", "[a||]ERR(2)");
	expect("--XYZ\r\n", "ERR(2)");
	expect("--XY\r\nno colon\r\n\r\nv\r\n--XY--", "ERR(2)");
	expect("--XY\r\nContent-Transfer-Encoding: base64\r\n\r\nv\r\n--XY--", "ERR(3)");
}

static void test_content_types(void **state)
{
	(void)state;
	expect_type("text/plain", "", "NEW(3)");
	expect_type("multipart/form-data", "", "NEW(3)");
	expect_type("multipart/form-data; boundary=", "", "NEW(3)");
	expect_type("multipart/mixed; boundary=XY", "", "NEW(3)");
	expect_type(
	    "multipart/form-data; boundary=1234567890123456789012345678901234567890123456789012345678901234567890X", "",
	    "NEW(3)");
	expect_type("Multipart/Form-Data; charset=x; boundary=\"XY\"", "--XY--", "");
}

static void test_client_goes(void **state)
{
	static const char body[] = "--XY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n--X";
	char got[256];

	(void)state;
	for (size_t size = 0; size < sizeof body; size++) {
		struct source source = {body, size, 0, 7, true};
		describe(got, sizeof got, type, &source);
		assert_non_null(strstr(got, "ERR(11)"));
	}
}

// Headers without end must not be collected without end, and a value that does not fit is dropped,
// not cut.
static void test_limits(void **state)
{
	size_t room = 200000;
	char *body = malloc(room), got[256];
	struct source source;
	int n;

	(void)state;
	memset(body, 'h', room);
	snprintf(body, room, "--XY\r\n");
	body[6] = 'h';
	source = (struct source){body, room, 0, 65536, false};
	describe(got, sizeof got, type, &source);
	assert_string_equal(got, "ERR(2)");
	assert_true(source.at < room);

	n = snprintf(body, room,
	             "--XY\r\nContent-Disposition: form-data; name=\"%01100d\"; filename=f\r\n\r\nv\r\n--XY--", 0);
	source = (struct source){body, (size_t)n, 0, 65536, false};
	describe(got, sizeof got, type, &source);
	assert_string_equal(got, "[|f|]v");
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forms),         cmocka_unit_test(test_broken_forms),
	    cmocka_unit_test(test_content_types), cmocka_unit_test(test_client_goes),
	    cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
