/* The progress of a command for a terminal: a bar on stderr, below the lines of text. */
#ifndef GN_CLI_VIEW_H
#define GN_CLI_VIEW_H

#include <stdbool.h>

struct gn_view {
	/* stderr is a terminal and --json was not given; otherwise no bar is drawn */
	bool terminal;
	bool drawn;      /* the bar is on the line of the cursor */
	double drawn_at; /* monotonic seconds */
};
void gn_view_init(struct gn_view *view, bool json);
/* share: 0 to 1 of the work; NAN if unknown. Draws at most ten times a second. */
void gn_view_bar(struct gn_view *view, double share, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Prints a line of text on stderr. */
void gn_view_line(struct gn_view *view, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Removes the bar. */
void gn_view_clear(struct gn_view *view);

#endif
