/*
 * Classification: images of all requests gathered into batches.
 *
 * A request's task thread decodes its images and hands them over; one compute thread, the only user of the device, takes the oldest
 * waiting image and with it up to --batch-max images for the same model. It waits for more, at most --batch-wait-ms after that image
 * came, only while another request is decoding one: an idle service answers a single image at once.
 */
#ifndef GN_SERVER_CLASSIFIER_H
#define GN_SERVER_CLASSIFIER_H

#include "gonio.h"
#include "server/modelpool.h"

struct gn_classifier;

/* gn_classifier_new and gn_classifier_free: server/service.h. Uses service's store, device, metrics and configuration. */
struct gn_modelpool *gn_classifier_pool(struct gn_classifier *classifier);
/* Images that wait to be computed. */
int gn_classifier_depth(struct gn_classifier *classifier);

/* One image on its way. Zero-initialise; stays where it is from gn_classify_send to gn_classify_wait. */
struct gn_ticket {
	float *probabilities; /* [K]; malloc'd by send, the caller frees it with gn_ticket_release */
	double decode_seconds, queue_seconds, compute_seconds;
	struct gn_error error; /* of the computation */
	/* private */
	bool sent, done;
	struct gn_held *held;
	uint8_t *pixels; /* [S, S, 3] */
	double sent_at;
	struct gn_ticket *next;
};
/* Decodes the image and queues it for held's model. bytes may go afterwards. On failure nothing is queued. The model must have a
 * head and stay held until the ticket was waited for. */
int gn_classify_send(struct gn_classifier *classifier, struct gn_held *held, const void *bytes, size_t size,
                     struct gn_ticket *ticket, struct gn_error *err);
/* Blocks until the image is computed; ticket->error says how it went. Returns at once for a ticket that was not sent. */
void gn_classify_wait(struct gn_classifier *classifier, struct gn_ticket *ticket);
void gn_ticket_release(struct gn_ticket *ticket);

#endif
