/* See view.h. */
#include "server/cli/view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "gonio.h"

enum { CELLS = 24, LINE = 256, NARROWEST = 20, WIDTH_UNLESS_KNOWN = 80 };

static const double REDRAW_SECONDS = 0.1;

void gn_view_init(struct gn_view *view, bool json)
{
	*view = (struct gn_view){.terminal = !json && isatty(STDERR_FILENO)};
}

/* Columns of the terminal: a wider bar could not be removed. */
static int columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < NARROWEST)
		return WIDTH_UNLESS_KNOWN;
	return size.ws_col < LINE ? size.ws_col : LINE - 1;
}

static int draw_cells(char *line, double share)
{
	int full = (int)(share * CELLS), n = 0;

	line[n++] = '[';
	for (int i = 0; i < CELLS; i++)
		line[n++] = i < full ? '#' : '.';
	n += snprintf(line + n, (size_t)(LINE - n), "] %3.0f%% ", 100 * share);
	return n;
}

void gn_view_bar(struct gn_view *view, double share, const char *format, ...)
{
	char line[LINE] = "";
	double time = gn_clock();
	va_list args;
	int n = 0;

	if (!view->terminal || (view->drawn && time < view->drawn_at + REDRAW_SECONDS))
		return;
	if (!isnan(share))
		n = draw_cells(line, share < 0 ? 0 : share > 1 ? 1 : share);
	va_start(args, format);
	vsnprintf(line + n, (size_t)(LINE - n), format, args);
	va_end(args);
	fprintf(stderr, "\r\033[K%.*s", columns() - 1, line);
	view->drawn = true;
	view->drawn_at = time;
}

void gn_view_clear(struct gn_view *view)
{
	if (view->drawn)
		fputs("\r\033[K", stderr);
	view->drawn = false;
}

void gn_view_line(struct gn_view *view, const char *format, ...)
{
	va_list args;

	gn_view_clear(view);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}
