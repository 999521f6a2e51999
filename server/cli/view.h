/* What a person at a terminal sees while a command works: a bar on stderr that lines of text push down. */
#ifndef GN_CLI_VIEW_H
#define GN_CLI_VIEW_H

#include <stdbool.h>

struct gn_view {
	bool terminal;   /* stderr is one, and --json was not given: only then a bar is drawn */
	bool drawn;      /* the cursor's line is the bar */
	double drawn_at; /* monotonic seconds */
};
void gn_view_init(struct gn_view *view, bool json);
/* share: 0 to 1 of the work, NAN: not known. Drawn ten times a second at most. */
void gn_view_bar(struct gn_view *view, double share, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A line of text on stderr. */
void gn_view_line(struct gn_view *view, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes the bar away. */
void gn_view_clear(struct gn_view *view);

#endif
