/* Shared JSON texts, and the forms of numbers and times in them: see text.h. */
#include "server/common/text.h"

#include <math.h>
#include <time.h>

/* 15 digits: 0.1 stays 0.1. */
static const size_t text_flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15);

static struct gn_text *text_alloc(size_t size)
{
	struct gn_text *text = malloc(sizeof *text + size + 1);

	if (!text)
		return NULL;
	atomic_init(&text->references, 1);
	text->bytes = size;
	text->data[size] = '\0';
	return text;
}

struct gn_text *gn_text_new(const void *bytes, size_t size)
{
	struct gn_text *text = text_alloc(size);

	if (text && size)
		memcpy(text->data, bytes, size);
	return text;
}

struct gn_text *gn_text_from_json(const json_t *value)
{
	size_t size = json_dumpb(value, NULL, 0, text_flags);
	struct gn_text *text = size ? text_alloc(size) : NULL;

	if (text)
		json_dumpb(value, text->data, size, text_flags);
	return text;
}

json_t *gn_text_to_json(const struct gn_text *text)
{
	return text ? json_loadb(text->data, text->bytes, 0, NULL) : NULL;
}

struct gn_text *gn_text_ref(struct gn_text *text)
{
	atomic_fetch_add_explicit(&text->references, 1, memory_order_relaxed);
	return text;
}

void gn_text_unref(void *object)
{
	struct gn_text *text = object;

	if (text && atomic_fetch_sub_explicit(&text->references, 1, memory_order_acq_rel) == 1)
		free(text);
}

json_t *gn_json_real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

void gn_time_text(char out[GN_TIME_SIZE], long long milliseconds)
{
	time_t seconds = milliseconds / 1000;
	struct tm parts;
	size_t n;

	gmtime_r(&seconds, &parts);
	n = strftime(out, GN_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(out + n, GN_TIME_SIZE - n, ".%03dZ", (int)(milliseconds % 1000));
}

json_t *gn_json_time(long long milliseconds)
{
	char text[GN_TIME_SIZE];

	if (milliseconds == 0)
		return json_null();
	gn_time_text(text, milliseconds);
	return json_string(text);
}

long long gn_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}
