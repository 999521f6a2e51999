/* Errors of the engine: see include/gonio/error.h. */
#include "gonio.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef GN_VERSION
#error "the build defines GN_VERSION"
#endif

const char *gn_version(void)
{
	return GN_VERSION;
}

int gn_fail(struct gn_error *err, enum gn_code code, const char *where, const char *format, ...)
{
	va_list args;

	if (!err || err->code != GN_OK)
		return -1;
	err->code = code;
	snprintf(err->where, sizeof err->where, "%s", where ? where : "");
	va_start(args, format);
	/* clang 14 does not see va_start when it checks many files at once */
	vsnprintf(err->text, sizeof err->text, format, args); // NOLINT(clang-analyzer-valist.Uninitialized)
	va_end(args);
	return -1;
}

int gn_fail_errno(struct gn_error *err, const char *where, const char *what)
{
	int code = errno;
	enum gn_code kind = code == ENOSPC || code == EDQUOT ? GN_NO_SPACE : code == ENOMEM ? GN_NO_MEMORY : GN_IO;
	char text[128];

	/* the GNU strerror_r: returns the text, thread-safe */
	return gn_fail(err, kind, where, "%s: %s", what, strerror_r(code, text, sizeof text));
}

_Noreturn void gn_assert_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "gonio: internal error: %s (%s:%d)\n", condition, file, line);
	abort();
}
