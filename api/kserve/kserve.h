/* What the handlers of the Open Inference Protocol (KServe v2) share. Its errors are {"error": "..."}, not problems. */
#ifndef GN_API_KSERVE_H
#define GN_API_KSERVE_H

#include "api/api.h"

void gn_v2_error(struct gn_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What an engine or store error says; what a client's input caused is a 400 unless the status says more. */
void gn_v2_failure(struct gn_request *r, const char *what, const struct gn_error *err);
/* The model that {name} of the path names, which has a head. Replies 404 or 409 and returns -1. Caller drops. */
int gn_v2_hold(struct gn_request *r, struct gn_held **held);

#endif
