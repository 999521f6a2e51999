/*
 * Log lines on stderr, one write() a line, as text or as JSON. The format and the level belong to
 * the process: they are set once at its start, before any thread.
 */
#ifndef GN_SERVER_LOG_H
#define GN_SERVER_LOG_H

enum gn_log_format { GN_LOG_TEXT, GN_LOG_JSON };
enum gn_log_level { GN_LOG_ERROR, GN_LOG_WARN, GN_LOG_INFO, GN_LOG_DEBUG };

void gn_log_setup(enum gn_log_format format, enum gn_log_level level);
/* True if a line of this level would be written. Check it before computing expensive arguments. */
int gn_log_on(enum gn_log_level level);
/* One line: time, level, area ("http", "runs", ...), message. Control characters of the message are
 * escaped. */
void gn_log(enum gn_log_level level, const char *area, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
