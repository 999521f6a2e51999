/*
 * Reads JSON objects and query strings by tables of fields.
 *
 * A table has the type, bounds, default and description of each field. From it come the reader,
 * which reports all invalid fields together, each with a JSON pointer; the writer, which makes the
 * same object with all defaults filled in; and the JSON Schema. Values are stored in a struct of
 * the caller, at the offset in the table.
 *
 * Errors are collected in a JSON array of {"pointer","detail"}: the `errors` member of a
 * problem+json reply.
 */
#ifndef GN_SERVER_FIELDS_H
#define GN_SERVER_FIELDS_H

#include <jansson.h>

#include "gonio.h"

enum gn_field_type {
	GN_FIELD_INT, /* int */
	/* int64_t or uint64_t; bounds within 2^53, so that every JSON reader can represent it */
	GN_FIELD_INT64,
	GN_FIELD_NUMBER,  /* double */
	GN_FIELD_BOOL,    /* bool */
	GN_FIELD_CHOICE,  /* int or an enum: index into choices */
	GN_FIELD_NAME,    /* char[65]: a new name, [a-z0-9][a-z0-9._-]{0,63}; "" when absent */
	GN_FIELD_REF,     /* char[65]: an id or a name; "" when absent */
	GN_FIELD_TRIPLE,  /* double[3]; [0] is NAN when absent */
	GN_FIELD_SPECIAL, /* read, written and described by its own functions */
};
enum { GN_FIELD_REQUIRED = 1, GN_FIELD_NULLABLE = 2 };
enum { GN_NAME_SIZE = 65 };

/* A field without a simple type. `out` and `in` point to the whole struct of the caller. */
struct gn_field_special {
	/* value NULL: absent */
	void (*read)(const json_t *value, void *out, const char *pointer, json_t *errors);
	json_t *(*write)(const void *in);
	json_t *(*schema)(void);
};

struct gn_field {
	const char *name;
	enum gn_field_type type;
	unsigned flags;
	size_t offset;   /* of the member in the caller's struct */
	double min, max; /* of a number */
	/* the value if the field is absent or null; for a choice, its index */
	double fallback;
	const char *const *choices; /* NULL-terminated */
	const struct gn_field_special *special;
	const char *help;
};

/* Reads an object into *out, in the table's order. Appends to errors (a JSON array) for wrong
 * types, values out of bounds, missing required fields and unknown fields. prefix is the object's
 * own pointer, "" for the body. Sets every member of *out; a missing or invalid value becomes the
 * default. */
void gn_fields_read(const struct gn_field *table, int count, const json_t *object, void *out, const char *prefix,
                    json_t *errors);
/* Reads one value by one field, for items of arrays. value NULL means absent. */
void gn_field_read(const struct gn_field *field, const json_t *value, void *out, const char *pointer, json_t *errors);
/* The object for *in, with every field of the table. A new reference. */
json_t *gn_fields_write(const struct gn_field *table, int count, const void *in);
/* A JSON Schema (2020-12) of the object. A new reference. */
json_t *gn_fields_schema(const struct gn_field *table, int count);
/* Converts the text of a query parameter to JSON by its field's type; "0.5,0.5,0.5" is a triple. A
 * text that does not fit stays a string, which gn_fields_read then reports. field is NULL for an
 * unknown parameter. A new reference. */
json_t *gn_field_from_text(const struct gn_field *field, const char *text);
const struct gn_field *gn_field_find(const struct gn_field *table, int count, const char *name);

/* Appends {"pointer","detail"}; errors keeps at most 64. */
void gn_field_error(json_t *errors, const char *pointer, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* pointer = prefix/name with JSON Pointer's escapes, cut to fit. */
void gn_field_pointer(char *pointer, size_t size, const char *prefix, const char *name);

#endif
