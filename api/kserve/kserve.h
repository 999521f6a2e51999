/* Functions that the handlers of the Open Inference Protocol (KServe v2) share. Its errors are
 * {"error": "..."} instead of problems. */
#ifndef GN_API_KSERVE_H
#define GN_API_KSERVE_H

#include "api/api.h"

void gn_v2_error(struct gn_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Replies with an error of engine or store. An error that the client's input caused is a 400,
 * unless another status is more precise. */
void gn_v2_failure(struct gn_request *r, const char *what, const struct gn_error *err);
/* Opens the model that {name} of the path names, which must have a head. Otherwise replies 404 or
 * 409 and returns -1. Caller drops the model. */
int gn_v2_hold(struct gn_request *r, struct gn_open_model **opened);

#endif
