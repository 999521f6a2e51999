/*
 * Classification: computes the images of all requests in batches.
 *
 * A request's task thread decodes its images and queues them. One compute thread is the only user
 * of the device. It takes the oldest waiting image, together with further images for the same
 * model, up to --batch-max. It waits for more images only while another request is decoding one,
 * and at most --batch-wait-ms after the oldest image came. So an idle service computes a single
 * image at once.
 *
 * Decoding has a few slots. Very large images never use all of them, so that other images need not
 * wait for them.
 */
#ifndef GN_SERVER_CLASSIFIER_H
#define GN_SERVER_CLASSIFIER_H

#include "gonio.h"
#include "server/classifier/modelpool.h"
#include "server/common/metrics.h"

struct gn_classifier;

struct gn_classifier_options { /* all pointers outlive the classifier */
	struct gn_store *store;
	struct gn_device *device; /* used only by the classifier's thread */
	struct gn_metrics *metrics;
	struct gn_gate *gate; /* limits the memory for decoding; NULL: no limit */
	uint64_t max_pixels;  /* of one image */
	int threads;          /* of the host, for decoding */
	int batch_max;        /* images */
	double batch_wait_ms;
	uint64_t model_memory; /* bytes for models kept ready */
};
int gn_classifier_new(struct gn_classifier **out, const struct gn_classifier_options *options, struct gn_error *err);
void gn_classifier_free(struct gn_classifier *classifier);
struct gn_modelpool *gn_classifier_pool(struct gn_classifier *classifier);
/* Why the device has failed, or NULL while it works. A GPU that has failed is not used again until
 * the next start of the service. */
const char *gn_classifier_failure(struct gn_classifier *classifier);
/* Call it when a worker reports that the device failed: the compute thread then checks the device
 * in this process. Returns at once. */
void gn_classifier_suspect_device(struct gn_classifier *classifier);
/* False while the device is being checked, and after it has failed. Never blocks. */
bool gn_classifier_device_usable(const struct gn_classifier *classifier);
/* The limit of bytes for models that are kept ready. */
uint64_t gn_classifier_memory(const struct gn_classifier *classifier);
/* The number of images that wait to be computed. */
int gn_classifier_depth(struct gn_classifier *classifier);

enum { GN_TOGETHER_MAX = 32 }; /* models that classify one image together */

/* One image in progress. Zero-initialise it. It must not move between gn_classify_send and
 * gn_classify_wait. */
struct gn_ticket {
	/* One array for each model, one after the other; malloc'd by send, freed by
	 * gn_ticket_release. */
	float *logits, *probabilities;
	double decode_seconds, queue_seconds, compute_seconds;
	struct gn_error error; /* of the computation */
	/* Set by the caller: returns true when nobody waits for the result any more. NULL: someone
	 * always waits. */
	bool (*gone)(void *user);
	void *user;
	/* private */
	bool sent, done, large;
	struct gn_open_model *models[GN_TOGETHER_MAX];
	int count;
	uint8_t *pixels; /* [S, S, 3]; NULL if values are given */
	float *values;   /* [3, S, S], normalised */
	double sent_at;
	struct gn_ticket *next;
};
/* Whether the models have equal preprocessing, so that they can classify one decoded image. */
bool gn_open_models_alike(const struct gn_open_model *a, const struct gn_open_model *b);
/* Decodes the image and queues it for count models with equal preprocessing. bytes may be freed
 * afterwards. On a failure nothing is queued. The models must have heads, and must stay held until
 * gn_classify_wait has returned. */
int gn_classify_send(struct gn_classifier *classifier, struct gn_open_model *const *models, int count,
                     const void *bytes, size_t size, struct gn_ticket *ticket, struct gn_error *err);
/* The same for a preprocessed picture: normalised values [3, S, S], which are copied. */
int gn_classify_send_values(struct gn_classifier *classifier, struct gn_open_model *opened, const float *values,
                            struct gn_ticket *ticket, struct gn_error *err);
/* The result for the n-th of the ticket's models, [K]. */
const float *gn_ticket_probabilities(const struct gn_ticket *ticket, int n);
/* Blocks until the image is computed. ticket->error has the error, if any. Returns at once for a
 * ticket that was not sent. */
void gn_classify_wait(struct gn_classifier *classifier, struct gn_ticket *ticket);
void gn_ticket_release(struct gn_ticket *ticket);

#endif
