/* Table-driven reading, writing and describing of JSON objects: see fields.h. */
#include "server/common/fields.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/kinds.h"

enum { POINTER_SIZE = 256, MAX_ERRORS = 64 };

/* Cuts an incomplete UTF-8 sequence off the end of a text that was cut to its buffer's size. */
static void trim_utf8(char *text)
{
	size_t n = strlen(text), tail = 0;

	while (tail < n && tail < 3 && ((unsigned char)text[n - 1 - tail] & 0xC0) == 0x80)
		tail++;
	if (tail == n || (unsigned char)text[n - 1 - tail] < 0xC0)
		return;
	unsigned char lead = (unsigned char)text[n - 1 - tail];
	size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
	if (tail < wanted)
		text[n - 1 - tail] = 0;
}

void gn_field_error(json_t *errors, const char *pointer, const char *format, ...)
{
	char detail[640];
	va_list args;

	if (json_array_size(errors) >= MAX_ERRORS)
		return;
	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	trim_utf8(detail);
	json_t *item = json_pack("{s:s,s:s}", "pointer", pointer, "detail", detail);
	if (!item)
		item = json_pack("{s:s,s:s}", "pointer", "", "detail", "a name in the request is not UTF-8");
	json_array_append_new(errors, item);
}

void gn_field_pointer(char *pointer, size_t size, const char *prefix, const char *name)
{
	size_t used = (size_t)snprintf(pointer, size, "%s/", prefix);

	if (used >= size)
		return;
	for (; *name && used + 4 < size; name++) {
		/* never stop inside a UTF-8 sequence */
		if (used + 12 > size && ((unsigned char)*name & 0xC0) != 0x80)
			break;
		if (*name == '~' || *name == '/') {
			pointer[used++] = '~';
			pointer[used++] = *name == '~' ? '0' : '1';
		} else {
			pointer[used++] = *name;
		}
	}
	pointer[used] = 0;
}

static bool name_pattern(const char *text)
{
	size_t n = strlen(text);

	if (n < 1 || n > 64 || !isalnum((unsigned char)text[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(islower((unsigned char)text[i]) || isdigit((unsigned char)text[i]) || strchr("._-", text[i])))
			return false;
	return true;
}

/* Whether text may be a new name: the pattern, and not the look of an id. */
static bool name_valid(const char *text)
{
	return !gn_kind_like_id(text) && name_pattern(text);
}

const struct gn_field *gn_field_find(const struct gn_field *table, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

/* ---------------------------------------------------------------- reading --------------------------------------- */

static const char *or_null(const struct gn_field *field)
{
	return field->flags & GN_FIELD_NULLABLE ? " or null" : "";
}

static void store(const struct gn_field *field, void *out, double value)
{
	char *member = (char *)out + field->offset;

	switch (field->type) {
	case GN_FIELD_INT:
	case GN_FIELD_CHOICE:
		*(int *)(void *)member = (int)value;
		break;
	case GN_FIELD_INT64:
		*(int64_t *)(void *)member = (int64_t)value;
		break;
	case GN_FIELD_NUMBER:
	case GN_FIELD_TRIPLE:
		*(double *)(void *)member = value;
		break;
	case GN_FIELD_BOOL:
		*(bool *)(void *)member = value != 0;
		break;
	case GN_FIELD_NAME:
	case GN_FIELD_REF:
		*member = 0;
		break;
	case GN_FIELD_SPECIAL:
		break;
	}
}

static void read_number(const struct gn_field *field, const json_t *value, void *out, const char *pointer,
                        json_t *errors)
{
	bool whole = field->type != GN_FIELD_NUMBER;
	double number = json_number_value(value);

	if (!json_is_number(value) || (whole && fabs(number) < 9e15 && number != floor(number))) {
		gn_field_error(errors, pointer, "must be %s%s", whole ? "an integer" : "a number", or_null(field));
		return;
	}
	if (!(number >= field->min && number <= field->max)) {
		gn_field_error(errors, pointer, "must be between %.15g and %.15g%s", field->min, field->max,
		               or_null(field));
		return;
	}
	store(field, out, number);
}

static void read_choice(const struct gn_field *field, const json_t *value, void *out, const char *pointer,
                        json_t *errors)
{
	char list[256] = "";
	size_t used = 0;

	for (int i = 0; field->choices[i]; i++) {
		if (json_is_string(value) && !strcmp(json_string_value(value), field->choices[i])) {
			store(field, out, i);
			return;
		}
		if (used < sizeof list)
			used +=
			    (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", field->choices[i]);
	}
	gn_field_error(errors, pointer, "must be %s%s", field->choices[1] ? "one of " : "", list);
}

static void read_text(const struct gn_field *field, const json_t *value, void *out, const char *pointer, json_t *errors)
{
	const char *text = json_string_value(value);

	if (!text) {
		gn_field_error(errors, pointer, "must be a string%s", or_null(field));
	} else if (field->type == GN_FIELD_NAME && !name_valid(text)) {
		gn_field_error(errors, pointer,
		               "must match [a-z0-9][a-z0-9._-]{0,63} and not begin like an id (mdl_, dst_, run_, ...)");
	} else if (field->type == GN_FIELD_REF && !name_pattern(text)) {
		gn_field_error(errors, pointer, "must be an id or a name");
	} else {
		snprintf((char *)out + field->offset, GN_NAME_SIZE, "%s", text);
	}
}

static void read_triple(const struct gn_field *field, const json_t *value, void *out, const char *pointer,
                        json_t *errors)
{
	double *triple = (double *)(void *)((char *)out + field->offset);
	double read[3];
	bool fits = json_array_size(value) == 3;

	for (size_t i = 0; fits && i < 3; i++) {
		const json_t *item = json_array_get(value, i);
		read[i] = json_number_value(item);
		fits = json_is_number(item) && read[i] >= field->min && read[i] <= field->max;
	}
	if (!fits) {
		gn_field_error(errors, pointer, "must be three numbers between %.15g and %.15g", field->min,
		               field->max);
		return;
	}
	memcpy(triple, read, sizeof read);
}

void gn_field_read(const struct gn_field *field, const json_t *value, void *out, const char *pointer, json_t *errors)
{
	store(field, out, field->fallback);
	if (field->type == GN_FIELD_SPECIAL) {
		field->special->read(value, out, pointer, errors);
		return;
	}
	if (!value || (json_is_null(value) && field->flags & GN_FIELD_NULLABLE)) {
		if (!value && field->flags & GN_FIELD_REQUIRED)
			gn_field_error(errors, pointer, "is required");
		return;
	}
	switch (field->type) {
	case GN_FIELD_INT:
	case GN_FIELD_INT64:
	case GN_FIELD_NUMBER:
		read_number(field, value, out, pointer, errors);
		break;
	case GN_FIELD_BOOL:
		if (json_is_boolean(value))
			store(field, out, json_is_true(value));
		else
			gn_field_error(errors, pointer, "must be true or false");
		break;
	case GN_FIELD_CHOICE:
		read_choice(field, value, out, pointer, errors);
		break;
	case GN_FIELD_NAME:
	case GN_FIELD_REF:
		read_text(field, value, out, pointer, errors);
		break;
	case GN_FIELD_TRIPLE:
		read_triple(field, value, out, pointer, errors);
		break;
	case GN_FIELD_SPECIAL:
		break;
	}
}

void gn_fields_read(const struct gn_field *table, int count, const json_t *object, void *out, const char *prefix,
                    json_t *errors)
{
	char pointer[POINTER_SIZE];
	const char *key;
	json_t *value;

	if (object && !json_is_object(object))
		gn_field_error(errors, prefix, "must be a JSON object");
	for (int i = 0; i < count; i++) {
		gn_field_pointer(pointer, sizeof pointer, prefix, table[i].name);
		gn_field_read(&table[i], json_object_get(object, table[i].name), out, pointer, errors);
	}
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (gn_field_find(table, count, key))
			continue;
		gn_field_pointer(pointer, sizeof pointer, prefix, key);
		gn_field_error(errors, pointer, "no such field");
	}
}

static bool whole_text(const char *text, const char *end)
{
	return end != text && !*end && !isspace((unsigned char)*text);
}

static json_t *number_from_text(const char *text, const char **end)
{
	char *after;
	double value = strtod(text, &after);

	*end = after;
	/* strtod also takes "nan", "inf" and hexadecimal */
	if (after == text || strspn(text, "+-.0123456789eE") < (size_t)(after - text))
		return NULL;
	return isfinite(value) ? json_real(value) : json_real(value > 0 ? 9e307 : -9e307);
}

static json_t *triple_from_text(const char *text)
{
	json_t *triple = json_array();

	for (int i = 0; i < 3; i++) {
		const char *end = text;
		json_t *number = number_from_text(text, &end);
		if (!number || *end != (i < 2 ? ',' : 0)) {
			json_decref(number);
			json_decref(triple);
			return NULL;
		}
		json_array_append_new(triple, number);
		text = end + 1;
	}
	return triple;
}

json_t *gn_field_from_text(const struct gn_field *field, const char *text)
{
	json_t *value = NULL;
	const char *end;

	switch (field ? field->type : GN_FIELD_NAME) {
	case GN_FIELD_INT:
	case GN_FIELD_INT64:
	case GN_FIELD_NUMBER:
		value = number_from_text(text, &end);
		if (value && !whole_text(text, end)) {
			json_decref(value);
			value = NULL;
		}
		break;
	case GN_FIELD_BOOL:
		if (!strcmp(text, "true") || !strcmp(text, "false"))
			value = json_boolean(*text == 't');
		break;
	case GN_FIELD_TRIPLE:
		value = triple_from_text(text);
		break;
	default:
		break;
	}
	if (!value)
		value = json_string(text);
	return value ? value : json_string("");
}

/* ---------------------------------------------------------------- writing --------------------------------------- */

static json_t *write_value(const struct gn_field *field, const void *in)
{
	const char *member = (const char *)in + field->offset;
	double number;

	switch (field->type) {
	case GN_FIELD_INT:
		number = *(const int *)(const void *)member;
		break;
	case GN_FIELD_INT64:
		number = (double)*(const int64_t *)(const void *)member;
		break;
	case GN_FIELD_NUMBER:
		number = *(const double *)(const void *)member;
		break;
	case GN_FIELD_BOOL:
		return json_boolean(*(const bool *)(const void *)member);
	case GN_FIELD_CHOICE:
		return json_string(field->choices[*(const int *)(const void *)member]);
	case GN_FIELD_NAME:
	case GN_FIELD_REF:
		return *member ? json_string(member) : json_null();
	case GN_FIELD_TRIPLE: {
		const double *triple = (const double *)(const void *)member;
		return isnan(*triple) ? json_null() : json_pack("[f,f,f]", triple[0], triple[1], triple[2]);
	}
	case GN_FIELD_SPECIAL:
	default:
		return field->special->write(in);
	}
	if (isnan(number) || (field->flags & GN_FIELD_NULLABLE && number == field->fallback))
		return json_null();
	return field->type == GN_FIELD_NUMBER ? json_real(number) : json_integer((json_int_t)number);
}

json_t *gn_fields_write(const struct gn_field *table, int count, const void *in)
{
	json_t *object = json_object();

	for (int i = 0; i < count; i++)
		json_object_set_new(object, table[i].name, write_value(&table[i], in));
	return object;
}

/* ---------------------------------------------------------------- schema ---------------------------------------- */

static const char *type_name(enum gn_field_type type)
{
	switch (type) {
	case GN_FIELD_INT:
	case GN_FIELD_INT64:
		return "integer";
	case GN_FIELD_NUMBER:
		return "number";
	case GN_FIELD_BOOL:
		return "boolean";
	case GN_FIELD_TRIPLE:
		return "array";
	default:
		return "string";
	}
}

static json_t *bound(enum gn_field_type type, double value)
{
	return type == GN_FIELD_NUMBER ? json_real(value) : json_integer((json_int_t)value);
}

static void schema_bounds(json_t *schema, const struct gn_field *field)
{
	json_t *choices;

	switch (field->type) {
	case GN_FIELD_INT:
	case GN_FIELD_INT64:
	case GN_FIELD_NUMBER:
		json_object_set_new(schema, "minimum", bound(field->type, field->min));
		json_object_set_new(schema, "maximum", bound(field->type, field->max));
		break;
	case GN_FIELD_CHOICE:
		choices = json_array();
		for (int i = 0; field->choices[i]; i++)
			json_array_append_new(choices, json_string(field->choices[i]));
		json_object_set_new(schema, "enum", choices);
		break;
	case GN_FIELD_NAME:
		json_object_set_new(schema, "pattern", json_string("^[a-z0-9][a-z0-9._-]{0,63}$"));
		break;
	case GN_FIELD_TRIPLE:
		json_object_set_new(
		    schema, "items",
		    json_pack("{s:s,s:f,s:f}", "type", "number", "minimum", field->min, "maximum", field->max));
		json_object_set_new(schema, "minItems", json_integer(3));
		json_object_set_new(schema, "maxItems", json_integer(3));
		break;
	default:
		break;
	}
}

static json_t *field_default(const struct gn_field *field)
{
	if (field->flags & GN_FIELD_NULLABLE || isnan(field->fallback))
		return json_null();
	switch (field->type) {
	case GN_FIELD_BOOL:
		return json_boolean(field->fallback != 0);
	case GN_FIELD_CHOICE:
		return json_string(field->choices[(int)field->fallback]);
	case GN_FIELD_INT:
	case GN_FIELD_INT64:
	case GN_FIELD_NUMBER:
		return bound(field->type, field->fallback);
	default:
		return NULL;
	}
}

static json_t *field_schema(const struct gn_field *field)
{
	if (field->type == GN_FIELD_SPECIAL)
		return field->special->schema();

	json_t *schema = json_object();
	const char *type = type_name(field->type);
	if (field->flags & GN_FIELD_NULLABLE)
		json_object_set_new(schema, "type", json_pack("[s,s]", type, "null"));
	else
		json_object_set_new(schema, "type", json_string(type));
	schema_bounds(schema, field);
	json_t *fallback = field->flags & GN_FIELD_REQUIRED ? NULL : field_default(field);
	if (fallback)
		json_object_set_new(schema, "default", fallback);
	return schema;
}

json_t *gn_fields_schema(const struct gn_field *table, int count)
{
	json_t *properties = json_object(), *required = json_array();

	for (int i = 0; i < count; i++) {
		json_t *schema = field_schema(&table[i]);
		json_object_set_new(schema, "description", json_string(table[i].help));
		json_object_set_new(properties, table[i].name, schema);
		if (table[i].flags & GN_FIELD_REQUIRED)
			json_array_append_new(required, json_string(table[i].name));
	}
	return json_pack("{s:s,s:s,s:b,s:o,s:o}", "$schema", "https://json-schema.org/draft/2020-12/schema", "type",
	                 "object", "additionalProperties", 0, "required", required, "properties", properties);
}
