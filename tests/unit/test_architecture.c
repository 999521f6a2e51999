// The table of an architecture's fields: bounds, comparison, and that openapi.yaml says the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gonio.h"
#include "server/common/files.h"

static struct gn_arch small(void)
{
	struct gn_arch arch;

	gn_arch_plain(&arch);
	arch.image_size = 32;
	arch.patch_size = 8;
	arch.dim = 64;
	arch.depth = 2;
	arch.heads = 4;
	arch.mlp_dim = 256;
	return arch;
}

static void assert_refused(const struct gn_arch *arch, const char *where)
{
	struct gn_error err = {0};

	assert_int_equal(gn_arch_check(arch, &err), -1);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, where);
}

static void test_bounds(void **state)
{
	const struct gn_arch good = small();

	(void)state;
	assert_int_equal(gn_arch_check(&good, NULL), 0);
	for (int i = 0; i < gn_arch_field_count; i++) {
		const struct gn_arch_field *field = &gn_arch_fields[i];
		struct gn_arch arch = good;

		if (field->type == GN_ARCH_BOOL)
			continue;
		gn_arch_set(&arch, field, field->type == GN_ARCH_REAL ? field->low : field->low - 1);
		assert_refused(&arch, field->name);
		gn_arch_set(&arch, field, field->type == GN_ARCH_REAL ? field->high : field->high + 1);
		assert_refused(&arch, field->name);
	}
}

// Each field is told from every other, and a value that is set is read again.
static void test_difference(void **state)
{
	const struct gn_arch a = small();

	(void)state;
	assert_null(gn_arch_difference(&a, &a));
	for (int i = 0; i < gn_arch_field_count; i++) {
		const struct gn_arch_field *field = &gn_arch_fields[i];
		double value = gn_arch_value(&a, field), other = field->type == GN_ARCH_REAL ? 0.5
		                                                 : value > 0                 ? value - 1
		                                                                             : 1;
		struct gn_arch b = a;

		gn_arch_set(&b, field, other);
		assert_true(gn_arch_value(&b, field) == other);
		assert_ptr_equal(gn_arch_difference(&a, &b), field);
		gn_arch_set(&b, field, value);
		assert_memory_equal(&a, &b, sizeof a);
	}
}

/* ---------------------------------------------------------------- openapi.yaml ---------------- */

static char *load_openapi(void)
{
	char *text;
	size_t size;

	assert_int_equal(gn_file_load(GN_SOURCE_DIR "/api/openapi.yaml", 8 << 20, &text, &size, NULL), 0);
	return text;
}

// The block from `head` to the next line that is indented no deeper. Caller frees.
static char *block(const char *text, const char *head, int indent)
{
	char line[128];
	const char *at, *end;

	snprintf(line, sizeof line, "\n%*s%s:\n", indent, "", head);
	at = strstr(text, line);
	assert_non_null(at);
	at += strlen(line);
	for (end = at; *end && strspn(end, " ") > (size_t)indent; end++) {
		end = strchr(end, '\n');
		assert_non_null(end);
	}
	return strndup(at, (size_t)(end - at));
}

// The line "NAME: { ... }" of a property; NULL: there is none. Caller frees.
static char *property(const char *schema, const char *name)
{
	char mark[80];
	const char *at;

	snprintf(mark, sizeof mark, " %s: {", name);
	at = strstr(schema, mark);
	return at ? strndup(at, strcspn(at, "\n")) : NULL;
}

__attribute__((format(printf, 2, 3))) static void assert_says(const char *line, const char *format, ...)
{
	char wanted[256];
	va_list args;

	va_start(args, format);
	vsnprintf(wanted, sizeof wanted, format, args);
	va_end(args);
	if (!strstr(line, wanted))
		fail_msg("openapi.yaml says%s, not %s", line, wanted);
}

static void assert_words(const char *line, const struct gn_arch_field *field)
{
	char list[160] = "enum: [";

	for (int i = 0; field->words[i]; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", field->words[i]);
	assert_says(line, "%s]", list);
}

static void assert_list(const char *schema, unsigned use)
{
	char list[512] = "required: [";
	const char *comma = "";

	for (int i = 0; i < gn_arch_field_count; i++)
		if (gn_arch_fields[i].use & use) {
			snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", comma,
			         gn_arch_fields[i].name);
			comma = ", ";
		}
	assert_says(schema, "%s]", list);
}

// What is shown of a model.
static void test_resource(void **state)
{
	char *text = load_openapi(), *schema = block(text, "Architecture", 4);
	static const char *const types[] = {"type: integer", "type: boolean", "type: string", "type: number"};

	(void)state;
	assert_list(schema, GN_ARCH_SHOWN);
	for (int i = 0; i < gn_arch_field_count; i++) {
		const struct gn_arch_field *field = &gn_arch_fields[i];
		char *line = property(schema, field->name);

		assert_int_equal(line != NULL, (field->use & GN_ARCH_SHOWN) != 0);
		if (!line)
			continue;
		assert_says(line, "%s", types[field->type]);
		if (field->type == GN_ARCH_INT)
			assert_says(line, "minimum: %.0f", field->low);
		if (field->words)
			assert_words(line, field);
		free(line);
	}
	free(schema);
	free(text);
}

// What may be given for an untrained model.
static void test_untrained(void **state)
{
	char *text = load_openapi(), *model = block(text, "NewModel", 4), *schema = block(model, "architecture", 8);

	(void)state;
	assert_list(schema, GN_ARCH_REQUIRED);
	for (int i = 0; i < gn_arch_field_count; i++) {
		const struct gn_arch_field *field = &gn_arch_fields[i];
		char *line = property(schema, field->name);

		assert_int_equal(line != NULL, (field->use & GN_ARCH_GIVEN) != 0);
		if (!line)
			continue;
		if (field->words)
			assert_words(line, field);
		else
			assert_says(line, "minimum: %.0f", field->low);
		if (!field->words &&
		    strcmp(field->name, "classes") != 0) // those of an untrained model have a bound of their own
			assert_says(line, "maximum: %.0f", field->high);
		if (field->use & GN_ARCH_REQUIRED)
			assert_null(strstr(line, "default:"));
		else if (field->plain < field->low)
			assert_says(line, "default: null");
		else if (field->words)
			assert_says(line, "default: %s", field->words[(int)field->plain]);
		else
			assert_says(line, "default: %.0f", field->plain);
		free(line);
	}
	free(schema);
	free(model);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_difference),
	                                   cmocka_unit_test(test_resource), cmocka_unit_test(test_untrained)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
