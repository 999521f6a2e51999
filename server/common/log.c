/* Log lines: see log.h. */
#include "server/common/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "server/common/text.h"

enum { LINE_SIZE = 2048, MESSAGE_SIZE = 1024 };

static enum gn_log_format line_format = GN_LOG_TEXT;
static enum gn_log_level line_level = GN_LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void gn_log_setup(enum gn_log_format format, enum gn_log_level level)
{
	line_format = format;
	line_level = level;
}

int gn_log_on(enum gn_log_level level)
{
	return level <= line_level;
}

/* Appends text with JSON's escapes: no control character and no quote survives, so that a line
 * stays one line. Bytes past ASCII are left alone. Returns the new length, which is at most
 * LINE_SIZE - 8. */
static size_t append_escaped(char *line, size_t used, const char *text)
{
	for (; *text && used < LINE_SIZE - 16; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\') {
			line[used++] = '\\';
			line[used++] = (char)c;
		} else if (c < 0x20 || c == 0x7f) {
			used += (size_t)snprintf(line + used, 7, "\\u%04x", c);
		} else {
			line[used++] = (char)c;
		}
	}
	return used;
}

void gn_log(enum gn_log_level level, const char *area, const char *format, ...)
{
	char line[LINE_SIZE], message[MESSAGE_SIZE], now[GN_TIME_SIZE];
	size_t used;
	va_list arguments;

	if (!gn_log_on(level))
		return;
	va_start(arguments, format);
	(void)vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	gn_time_text(now, gn_now());

	if (line_format == GN_LOG_JSON) {
		used = (size_t)snprintf(line, sizeof line,
		                        "{\"time\":\"%s\",\"level\":\"%s\",\"area\":\"%s\",\"message\":\"", now,
		                        level_names[level], area);
		used = append_escaped(line, used, message);
		line[used++] = '"';
		line[used++] = '}';
	} else {
		used = (size_t)snprintf(line, sizeof line, "%s %-5s %s: ", now, level_names[level], area);
		used = append_escaped(line, used, message);
	}
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to complain. */
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}
