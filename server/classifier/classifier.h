/*
 * Classification: images of all requests gathered into batches.
 *
 * A request's task thread decodes its images and hands them over; one compute thread, the only user of the device, takes the oldest
 * waiting image and with it up to --batch-max images for the same model. It waits for more, at most --batch-wait-ms after that image
 * came, only while another request is decoding one: an idle service answers a single image at once.
 *
 * Decoding has a few slots. Images of very many pixels never have all of them, so that others need not wait behind them.
 */
#ifndef GN_SERVER_CLASSIFIER_H
#define GN_SERVER_CLASSIFIER_H

#include "gonio.h"
#include "server/classifier/modelpool.h"
#include "server/common/metrics.h"

struct gn_classifier;

struct gn_classifier_options { /* all pointers outlive the classifier */
	struct gn_store *store;
	struct gn_device *device; /* one thread at a time may use it: the classifier's */
	struct gn_metrics *metrics;
	struct gn_gate *gate; /* of the memory for decoding; NULL: no limit */
	uint64_t max_pixels;  /* of one image */
	int threads;          /* of the host, for decoding */
	int batch_max;        /* images */
	double batch_wait_ms;
	uint64_t model_memory; /* bytes for models kept ready */
};
int gn_classifier_new(struct gn_classifier **out, const struct gn_classifier_options *options, struct gn_error *err);
void gn_classifier_free(struct gn_classifier *classifier);
struct gn_modelpool *gn_classifier_pool(struct gn_classifier *classifier);
/* Why the device computes no more; NULL while it does. A GPU that has failed stays so until the service is started again. */
const char *gn_classifier_failure(struct gn_classifier *classifier);
/* A worker says that the device failed: the compute thread looks whether it does so for this process too. Returns at once. */
void gn_classifier_suspect_device(struct gn_classifier *classifier);
/* Not while it is looked at, and not after it has failed. Never blocks. */
bool gn_classifier_device_usable(const struct gn_classifier *classifier);
/* Bytes that the models kept ready may take. */
uint64_t gn_classifier_memory(const struct gn_classifier *classifier);
/* Images that wait to be computed. */
int gn_classifier_depth(struct gn_classifier *classifier);

enum { GN_TOGETHER_MAX = 32 }; /* models that one image is shown to together */

/* One image on its way. Zero-initialise; stays where it is from gn_classify_send to gn_classify_wait. */
struct gn_ticket {
	/* One behind the other for each model; malloc'd by send, freed with gn_ticket_release. */
	float *logits, *probabilities;
	double decode_seconds, queue_seconds, compute_seconds;
	struct gn_error error; /* of the computation */
	/* Set by the caller: whether nobody waits for the result any more. NULL: never. */
	bool (*gone)(void *user);
	void *user;
	/* private */
	bool sent, done, large;
	struct gn_held *held[GN_TOGETHER_MAX];
	int count;
	uint8_t *pixels; /* [S, S, 3]; NULL where values are given */
	float *values;   /* [3, S, S], normalised */
	double sent_at;
	struct gn_ticket *next;
};
/* Whether the models prepare a picture in the same way, so that they can be asked together. */
bool gn_held_alike(const struct gn_held *a, const struct gn_held *b);
/* Decodes the image and queues it for count models that are all alike. bytes may go afterwards. On failure nothing is queued. The models
 * must have heads and stay held until the ticket was waited for. */
int gn_classify_send(struct gn_classifier *classifier, struct gn_held *const *held, int count, const void *bytes,
                     size_t size, struct gn_ticket *ticket, struct gn_error *err);
/* The same for a picture that is prepared already: values [3, S, S], normalised, are copied. */
int gn_classify_send_values(struct gn_classifier *classifier, struct gn_held *held, const float *values,
                            struct gn_ticket *ticket, struct gn_error *err);
/* The result for the n-th of the ticket's models, [K]. */
const float *gn_ticket_probabilities(const struct gn_ticket *ticket, int n);
/* Blocks until the image is computed; ticket->error says how it went. Returns at once for a ticket that was not sent. */
void gn_classify_wait(struct gn_classifier *classifier, struct gn_ticket *ticket);
void gn_ticket_release(struct gn_ticket *ticket);

#endif
