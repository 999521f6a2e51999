/*
 * Immutable bytes with a reference count: a resource as JSON text that many replies share without a
 * copy. Counting is atomic. The bytes never change after gn_text_new.
 */
#ifndef GN_SERVER_TEXT_H
#define GN_SERVER_TEXT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stddef.h>

struct gn_text {
	atomic_int references;
	size_t bytes;
	char data[]; /* followed by a NUL that bytes does not count */
};

/* A copy of bytes (which may be NULL when size is 0), with one reference. NULL: out of memory. */
struct gn_text *gn_text_new(const void *bytes, size_t size);
/* Compact JSON of value (borrowed). NULL: out of memory. */
struct gn_text *gn_text_from_json(const json_t *value);
/* The value of a JSON text, which stays; NULL gives NULL. New reference. */
json_t *gn_text_to_json(const struct gn_text *text);
/* One reference more; returns its argument. */
struct gn_text *gn_text_ref(struct gn_text *text);
/* Drops a reference; the last one frees. NULL is allowed. The void pointer lets it serve as a free
 * callback. */
void gn_text_unref(void *text);

/* A JSON number, or null for NaN and infinities. New reference; NULL: out of memory. */
json_t *gn_json_real(double value);
/* RFC 3339 in UTC with milliseconds, from milliseconds since 1970: "2026-01-31T12:00:00.000Z". */
#define GN_TIME_SIZE 32
void gn_time_text(char out[GN_TIME_SIZE], long long milliseconds);
/* JSON string of gn_time_text, or null for 0 ("not yet"). New reference. */
json_t *gn_json_time(long long milliseconds);
/* Milliseconds since 1970 now. */
long long gn_now(void);

#endif
