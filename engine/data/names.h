/*
 * Names of archive entries: which are safe, which are skipped, and how an unsafe one is shown. An
 * entry's name is never opened as a file. The rules prevent names that mislead a reader or another
 * program.
 */
#ifndef GN_NAMES_H
#define GN_NAMES_H

#include "gonio.h"

#define GN_NAME_MAX 1024 /* bytes of one folder's or file's name; a class name is one */
#define GN_PATH_MAX 4096 /* bytes of a whole path */

/* Whether the name leads out of the archive's folder: it is absolute, or has a "..". */
bool gn_name_escapes(const char *path);
/* Writes the path without "./" and doubled slashes to out [GN_PATH_MAX + 1] and returns NULL, or
 * returns why it is unsafe: a control character, not UTF-8, too long, empty. path does not
 * escape. */
const char *gn_name_clean(char *out, const char *path);
/* Whether the entry is hidden or an operating system's own: any component that starts with a dot,
 * __MACOSX, Thumbs.db, desktop.ini. path: cleaned. */
bool gn_name_skipped(const char *path);
/* Whether the name is that of an image of any kind. */
bool gn_name_image(const char *path);
/* Writes any bytes as printable UTF-8, cut to fit. Bytes that are not printable become \xNN. */
void gn_name_show(char *out, size_t room, const char *path);

#endif
