/*
 * The models that a request classifies a picture with: {id}, or several with ?models=a,b,c. Models
 * with equal preprocessing compute together, so that the blocks that they share are computed once.
 */
#ifndef GN_API_ASKED_H
#define GN_API_ASKED_H

#include "api/api.h"

struct gn_asked {
	struct gn_held *held[GN_TOGETHER_MAX];
	int count;
	bool several; /* the request has `models`, so results name their model */
	/* for each picture: one for all models together, or one for each model */
	int tickets;
	int shared_blocks; /* blocks that are computed once for all models */
	int top;           /* predictions of each model */
};
/* Reads {id} and the query (top, models). On any error, replies and returns -1. Caller releases in
 * both cases. */
int gn_asked_read(struct gn_request *r, struct gn_asked *asked);
void gn_asked_release(struct gn_request *r, struct gn_asked *asked);

/* Sends a picture to all models: tickets[asked->tickets], zeroed. On a failure no ticket is
 * pending. */
int gn_asked_send(struct gn_request *r, const struct gn_asked *asked, const void *bytes, size_t size,
                  struct gn_ticket *tickets, struct gn_error *err);
/* Waits for the tickets. Adds their timings to seconds[3] (decode, queue, compute). -1 if one
 * failed. */
int gn_asked_wait(struct gn_request *r, const struct gn_asked *asked, struct gn_ticket *tickets, double seconds[3],
                  struct gn_error *err);
/* Adds "predictions" or "models" to a picture's result, from finished tickets. */
void gn_asked_result(const struct gn_asked *asked, const struct gn_ticket *tickets, json_t *result);
void gn_asked_clear(const struct gn_asked *asked, struct gn_ticket *tickets);

/* The whole reply: result (stolen) and the members beside it. */
json_t *gn_asked_reply(const struct gn_asked *asked, json_t *result, const double seconds[3]);

#endif
