/*
 * The models that a request classifies a picture with: {id}, or several with ?models=a,b,c. Models
 * with equal preprocessing compute together, so that the blocks that they share are computed once.
 */
#ifndef GN_API_CHOSEN_H
#define GN_API_CHOSEN_H

#include "api/api.h"

struct gn_chosen {
	struct gn_open_model *models[GN_TOGETHER_MAX];
	int count;
	bool several; /* the request has `models`, so results name their model */
	/* for each picture: one for all models together, or one for each model */
	int tickets;
	int shared_blocks; /* blocks that are computed once for all models */
	int top;           /* predictions of each model */
};
/* Reads {id} and the query (top, models). On any error, replies and returns -1. Caller releases in
 * both cases. */
int gn_chosen_read(struct gn_request *r, struct gn_chosen *chosen);
void gn_chosen_release(struct gn_request *r, struct gn_chosen *chosen);

/* Sends a picture to all models: tickets[chosen->tickets], zeroed. On a failure no ticket is
 * pending. */
int gn_chosen_send(struct gn_request *r, const struct gn_chosen *chosen, const void *bytes, size_t size,
                   struct gn_ticket *tickets, struct gn_error *err);
/* Waits for the tickets. Adds their timings to seconds[3] (decode, queue, compute). -1 if one
 * failed. */
int gn_chosen_wait(struct gn_request *r, const struct gn_chosen *chosen, struct gn_ticket *tickets, double seconds[3],
                   struct gn_error *err);
/* Adds "predictions" or "models" to a picture's result, from finished tickets. */
void gn_chosen_result(const struct gn_chosen *chosen, const struct gn_ticket *tickets, json_t *result);
void gn_chosen_clear(const struct gn_chosen *chosen, struct gn_ticket *tickets);

/* The whole reply: result (stolen) and the members beside it. */
json_t *gn_chosen_reply(const struct gn_chosen *chosen, json_t *result, const double seconds[3]);

#endif
