/*
 * A parser of multipart/form-data that reads from a callback. It reads bytes only when its caller
 * requests the next part, or bytes of the current part. Its memory is one fixed window, whatever
 * the client sends. handler.h has the functions for handlers.
 */
#ifndef GN_SERVER_MULTIPART_H
#define GN_SERVER_MULTIPART_H

#include <stdbool.h>
#include "server/http/handler.h"

enum { GN_MULTIPART_BOUNDARY = 70, GN_MULTIPART_PARTS = 20000 };

struct gn_form;
/* content_type: the whole header, with its boundary. read, user: the body's bytes. GN_UNSUPPORTED:
 * not multipart/form-data, or without a usable boundary. */
int gn_form_new(struct gn_form **out, const char *content_type, gn_bytes_read *read, void *user, struct gn_error *err);
void gn_form_free(struct gn_form *form);
/* As gn_multipart_next. GN_MALFORMED for a malformed form, GN_CANCELLED if read returned -1. */
int gn_form_next(struct gn_form *form, struct gn_form_part *part, struct gn_error *err);
/* As gn_multipart_read, with the error. */
ssize_t gn_form_read(struct gn_form *form, void *buffer, size_t size, struct gn_error *err);

#endif
