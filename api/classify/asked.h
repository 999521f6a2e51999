/*
 * The models that a request asks about a picture: {id}, or with ?models=a,b,c several. Those that prepare a picture alike are asked
 * together, so that the blocks they share are computed once.
 */
#ifndef GN_API_ASKED_H
#define GN_API_ASKED_H

#include "api/api.h"

struct gn_asked {
	struct gn_held *held[GN_TOGETHER_MAX];
	int count;
	bool several;      /* the request names models: results say of which model they are */
	int tickets;       /* for a picture: one for all models together, or one for each */
	int shared_blocks; /* that are computed once for all */
	int top;           /* predictions of each */
};
/* From {id} and the query (top, models). Replies and returns -1 when anything does not fit. Released in either case. */
int gn_asked_read(struct gn_request *r, struct gn_asked *asked);
void gn_asked_release(struct gn_request *r, struct gn_asked *asked);

/* Shows a picture to all: tickets[asked->tickets], zeroed. On failure none is on its way. */
int gn_asked_send(struct gn_request *r, const struct gn_asked *asked, const void *bytes, size_t size,
                  struct gn_ticket *tickets, struct gn_error *err);
/* Waits for them; the sums of their timings are added to seconds[3] (decode, queue, compute). -1 when one failed. */
int gn_asked_wait(struct gn_request *r, const struct gn_asked *asked, struct gn_ticket *tickets, double seconds[3],
                  struct gn_error *err);
/* Adds "predictions", or "models", to a picture's result, from tickets that were waited for. */
void gn_asked_result(const struct gn_asked *asked, const struct gn_ticket *tickets, json_t *result);
void gn_asked_clear(const struct gn_asked *asked, struct gn_ticket *tickets);

/* The whole reply: result (stolen) with what belongs beside it. */
json_t *gn_asked_reply(const struct gn_asked *asked, json_t *result, const double seconds[3]);

#endif
