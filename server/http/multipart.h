/*
 * multipart/form-data, pulled from a read callback: the parser asks for bytes when its caller asks for the next part or for bytes of
 * the current one. It holds one fixed window, whatever the client sends. What handlers use is in handler.h.
 */
#ifndef GN_SERVER_MULTIPART_H
#define GN_SERVER_MULTIPART_H

#include <stdbool.h>
#include "server/http/handler.h"

enum { GN_MULTIPART_BOUNDARY = 70, GN_MULTIPART_PARTS = 20000 };

struct gn_form;
/* content_type: the whole header, with its boundary. read, user: the body's bytes. GN_UNSUPPORTED: not multipart/form-data, or without
 * a usable boundary. */
int gn_form_new(struct gn_form **out, const char *content_type, gn_bytes_read *read, void *user, struct gn_error *err);
void gn_form_free(struct gn_form *form);
/* As gn_multipart_next; GN_MALFORMED for a broken form, GN_CANCELLED when read gave -1. */
int gn_form_next(struct gn_form *form, struct gn_part *part, struct gn_error *err);
/* As gn_multipart_read, with the error. */
ssize_t gn_form_read(struct gn_form *form, void *buffer, size_t size, struct gn_error *err);

#endif
