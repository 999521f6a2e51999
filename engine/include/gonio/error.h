/* Errors, and assertions against our own bugs. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_ERROR_H
#define GONIO_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus /* the CUDA backend includes this header */
#define GN_NORETURN [[noreturn]]
#else
#define GN_NORETURN _Noreturn
#endif

enum gn_code {
	GN_OK = 0,
	GN_INVALID,   /* a value or a file that is not acceptable: HTTP 422 */
	GN_MALFORMED, /* bytes that are not what they claim to be: HTTP 400 */
	/* well formed, but of a kind that gonio does not support: HTTP 422 or 415 */
	GN_UNSUPPORTED,
	GN_NOT_FOUND, /* HTTP 404 */
	GN_CONFLICT,  /* HTTP 409 */
	GN_TOO_LARGE, /* a limit was passed: HTTP 413 */
	GN_NO_MEMORY, /* HTTP 503; in a run, the run fails */
	GN_NO_SPACE,  /* disk full: HTTP 507 */
	GN_IO,        /* another failure of the operating system: HTTP 500 */
	GN_DEVICE,    /* the compute device failed: HTTP 503 */
	GN_CANCELLED  /* stopped at the caller's request */
};

/* Caller-owned; zero-initialise before use. `where` names the field, file or tensor ("" if
 * none). */
struct gn_error {
	enum gn_code code;
	char where[160];
	char text[480];
};

/* Records an error, unless *err already holds one. Returns -1, so that callers can write `return
 * gn_fail(...)`. */
int gn_fail(struct gn_error *err, enum gn_code code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a failed system call. ENOSPC and EDQUOT become GN_NO_SPACE, ENOMEM becomes
 * GN_NO_MEMORY, all others GN_IO. */
int gn_fail_errno(struct gn_error *err, const char *where, const char *what);

/* Checks for a bug of our own: prints file and line and aborts. Never use it for what input can
 * cause. */
#define gn_assert(condition) ((condition) ? (void)0 : gn_assert_failed(#condition, __FILE__, __LINE__))
GN_NORETURN void gn_assert_failed(const char *condition, const char *file, int line);

const char *gn_version(void);

#endif
