/*
 * Batches the images of all requests: see classifier.h.
 *
 * One lock, `lock`, guards the queue, `decoding` and every queued ticket. `work` wakes the compute
 * thread, `ready` the requests that wait for their result, and `slot` those that wait to decode:
 * more decoders than cores would only need more memory. The compute thread holds no lock while it
 * computes.
 */
#include "server/classifier/classifier.h"

#include <stdatomic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/cond.h"
#include "server/common/log.h"
#include "server/common/text.h"

#define LARGE_PIXELS ((uint64_t)32 << 20) /* they take tenths of a second and more */

struct gn_classifier {
	struct gn_classifier_options options;
	struct gn_modelpool *pool;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work, ready, slot;
	struct gn_ticket *first, **end;    /* the queue, oldest first */
	int depth, decoding, large, slots; /* large: those that decode an image of more than LARGE_PIXELS */
	bool stop;
	/* the compute thread's own */
	float *images, *logits;
	size_t images_size, logits_size;
	struct gn_ticket **batch; /* [batch_max] */
	char failure[520];        /* of the device, for good; set before `failed` is */
	atomic_bool suspected;    /* the device has to be looked at */
	atomic_bool failed;
};

/* ---------------------------------------------------------------- the compute thread ---------------------------- */

/* Whether two images are for the same models. */
static bool same_models(const struct gn_ticket *a, const struct gn_ticket *b)
{
	return a->count == b->count && !memcmp(a->models, b->models, (size_t)a->count * sizeof *a->models);
}

static int count_alike(const struct gn_classifier *c)
{
	int count = 0;

	for (const struct gn_ticket *t = c->first; t && count < c->options.batch_max; t = t->next)
		count += same_models(t, c->first);
	return count;
}

/* Waits until a batch for the oldest image's model is full or need not wait. With the lock. */
static void gather(struct gn_classifier *c)
{
	double deadline = c->first->sent_at + c->options.batch_wait_ms / 1000;

	while (!c->stop && c->decoding > 0 && count_alike(c) < c->options.batch_max && gn_clock() < deadline)
		gn_cond_wait_until(&c->work, &c->lock, deadline);
}

/* Takes the oldest image and those for the same models out of the queue. With the lock. */
static int take_batch(struct gn_classifier *c)
{
	const struct gn_ticket *oldest = c->first;
	struct gn_ticket **at = &c->first;
	int count = 0;

	while (*at) {
		struct gn_ticket *ticket = *at;
		if (count < c->options.batch_max && same_models(ticket, oldest)) {
			c->batch[count++] = ticket;
			*at = ticket->next;
		} else {
			at = &ticket->next;
		}
	}
	c->end = at;
	c->depth -= count;
	return count;
}

static int grow(float **buffer, size_t *size, size_t wanted, struct gn_error *err)
{
	if (wanted <= *size)
		return 0;
	free(*buffer);
	*size = 0;
	*buffer = aligned_alloc(128, (wanted * sizeof(float) + 127) / 128 * 128);
	if (!*buffer)
		return gn_fail_errno(err, "", "no memory for a batch");
	*size = wanted;
	return 0;
}

static int classes_of(const struct gn_open_model *opened)
{
	return opened->model->arch.classes;
}

/* Classes of the first n of a ticket's models together. */
static size_t classes_before(const struct gn_ticket *ticket, int n)
{
	size_t classes = 0;

	for (int m = 0; m < n; m++)
		classes += (size_t)classes_of(ticket->models[m]);
	return classes;
}

/* The compute thread's logits of model m, [count, K], to the tickets. */
static void give_out(struct gn_classifier *c, int count, int m, const float *logits)
{
	int classes = classes_of(c->batch[0]->models[m]);
	size_t at = classes_before(c->batch[0], m);

	for (int i = 0; i < count; i++) {
		struct gn_ticket *ticket = c->batch[i];

		memcpy(ticket->logits + at, logits + (size_t)i * (size_t)classes, (size_t)classes * sizeof *logits);
		gn_softmax(ticket->probabilities + at, ticket->logits + at, classes);
	}
}

static int compute(struct gn_classifier *c, int count, struct gn_error *err)
{
	const struct gn_ticket *first = c->batch[0];
	const struct gn_model *model = first->models[0]->model;
	int side = model->arch.image_size;
	size_t image = (size_t)3 * (size_t)side * (size_t)side;
	float *logits[GN_TOGETHER_MAX];

	if (grow(&c->images, &c->images_size, image * (size_t)count, err) ||
	    grow(&c->logits, &c->logits_size, classes_before(first, first->count) * (size_t)count, err))
		return -1;
	for (int i = 0; i < count; i++) {
		if (c->batch[i]->values)
			memcpy(c->images + image * (size_t)i, c->batch[i]->values, image * sizeof *c->images);
		else
			gn_image_normalise(c->images + image * (size_t)i, c->batch[i]->pixels, side,
			                   &model->preprocess);
	}
	for (int m = 0; m < first->count; m++)
		logits[m] = c->logits + classes_before(first, m) * (size_t)count;
	if (gn_modelpool_infer(c->pool, first->models, first->count, c->images, count, logits, err))
		return -1;
	for (int m = 0; m < first->count; m++)
		give_out(c, count, m, logits[m]);
	return 0;
}

/* Notes the device's failure, if err is the first one. */
static void note_failure(struct gn_classifier *c, const struct gn_error *err)
{
	if (err->code != GN_DEVICE || atomic_load(&c->failed))
		return;
	snprintf(c->failure, sizeof c->failure, "the device failed: %s", err->text);
	gn_log(GN_LOG_ERROR, "classify", "%s", c->failure);
	atomic_store(&c->failed, true);
}

static void look_at_device(struct gn_classifier *c)
{
	struct gn_error err = {0};

	gn_modelpool_check_device(c->pool, &err);
	note_failure(c, &err);
	atomic_store(&c->suspected, false);
}

static void run_batch(struct gn_classifier *c, int count)
{
	struct gn_error err = {0};
	struct gn_metrics *metrics = c->options.metrics;
	double start = gn_clock();

	compute(c, count, &err);
	note_failure(c, &err);
	double seconds = gn_clock() - start;
	gn_metrics_classify_batch(metrics, count);
	for (int m = 0; m < c->batch[0]->count; m++)
		gn_metrics_classify_images(metrics, c->batch[0]->models[m]->id, (uint64_t)count);
	for (int i = 0; i < count; i++) {
		struct gn_ticket *ticket = c->batch[i];
		ticket->queue_seconds = start - ticket->sent_at;
		ticket->compute_seconds = seconds;
		ticket->error = err;
		gn_metrics_classify_seconds(metrics, GN_STAGE_DECODE, ticket->decode_seconds);
		gn_metrics_classify_seconds(metrics, GN_STAGE_QUEUE, ticket->queue_seconds);
		gn_metrics_classify_seconds(metrics, GN_STAGE_COMPUTE, seconds);
	}
}

static void *compute_thread(void *user)
{
	struct gn_classifier *c = user;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->first && !c->stop && !atomic_load(&c->suspected))
			pthread_cond_wait(&c->work, &c->lock);
		if (atomic_load(&c->suspected)) {
			pthread_mutex_unlock(&c->lock);
			look_at_device(c);
			pthread_mutex_lock(&c->lock);
			continue;
		}
		if (!c->first)
			break;
		gather(c);
		int count = take_batch(c);
		pthread_mutex_unlock(&c->lock);
		run_batch(c, count);
		pthread_mutex_lock(&c->lock);
		for (int i = 0; i < count; i++)
			c->batch[i]->done = true;
		pthread_cond_broadcast(&c->ready);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---------------------------------------------------------------- requests -------------------------------------- */

static bool slot_free(const struct gn_classifier *c, bool large)
{
	return c->decoding < c->slots && !(large && c->large >= c->slots - 1);
}

static void wait_for_slot(struct gn_classifier *c)
{
	const double look = 0.25; /* seconds until it is seen that the client has gone */

	gn_cond_wait_until(&c->slot, &c->lock, gn_clock() + look);
}

/* Waits for a slot. -1 when nobody waits for the image any more. */
static int begin_decoding(struct gn_classifier *c, struct gn_ticket *ticket, bool large, struct gn_error *err)
{
	bool gone = false;

	pthread_mutex_lock(&c->lock);
	while (!gone && !slot_free(c, large)) {
		wait_for_slot(c);
		gone = ticket->gone && ticket->gone(ticket->user);
	}
	if (!gone) {
		c->decoding++;
		c->large += large;
		ticket->large = large;
	}
	pthread_mutex_unlock(&c->lock);
	return gone ? gn_fail(err, GN_CANCELLED, "", "nobody waits for the image any more") : 0;
}

/*
 * Gives the slot back; queued: puts the ticket into the queue. The compute thread may wait for just
 * this image.
 */
static void end_decoding(struct gn_classifier *c, struct gn_ticket *ticket, bool queued)
{
	pthread_mutex_lock(&c->lock);
	c->decoding--;
	c->large -= ticket->large;
	if (queued) {
		*c->end = ticket;
		c->end = &ticket->next;
		c->depth++;
	}
	pthread_cond_broadcast(&c->slot); /* the next one may be waiting for another kind of slot */
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
}

static int room_for_results(struct gn_ticket *ticket, struct gn_open_model *const *models, int count,
                            struct gn_error *err)
{
	gn_assert(count > 0 && count <= GN_TOGETHER_MAX && !ticket->sent);
	memcpy(ticket->models, models, (size_t)count * sizeof *models);
	ticket->count = count;
	size_t classes = classes_before(ticket, count);
	gn_assert(classes > 0);
	ticket->logits = calloc(classes, sizeof *ticket->logits);
	ticket->probabilities = calloc(classes, sizeof *ticket->probabilities);
	return ticket->logits && ticket->probabilities ? 0 : gn_fail_errno(err, "", "no memory for an image");
}

static int decode(struct gn_classifier *c, const void *bytes, size_t size, struct gn_ticket *ticket,
                  struct gn_error *err)
{
	const struct gn_model *model = ticket->models[0]->model;
	const struct gn_image_limits limits = {c->options.max_pixels, c->options.gate, ticket->gone, ticket->user};
	int side = model->arch.image_size;

	ticket->pixels = malloc((size_t)3 * (size_t)side * (size_t)side);
	if (!ticket->pixels)
		return gn_fail_errno(err, "", "no memory for an image");
	return gn_image_eval(ticket->pixels, bytes, size, &limits, side, &model->preprocess, err);
}

/* Queues a ticket that is prepared. */
static void put_in_queue(struct gn_classifier *c, struct gn_ticket *ticket, double start)
{
	ticket->sent = true;
	ticket->next = NULL;
	ticket->sent_at = gn_clock();
	ticket->decode_seconds = ticket->sent_at - start;
	end_decoding(c, ticket, true);
}

int gn_classify_send(struct gn_classifier *c, struct gn_open_model *const *models, int count, const void *bytes,
                     size_t size, struct gn_ticket *ticket, struct gn_error *err)
{
	uint64_t pixels;

	if (gn_image_pixels(&pixels, bytes, size, err) || begin_decoding(c, ticket, pixels > LARGE_PIXELS, err))
		return -1;
	double start = gn_clock();
	if (room_for_results(ticket, models, count, err) || decode(c, bytes, size, ticket, err)) {
		end_decoding(c, ticket, false);
		gn_ticket_release(ticket);
		return -1;
	}
	put_in_queue(c, ticket, start);
	return 0;
}

int gn_classify_send_values(struct gn_classifier *c, struct gn_open_model *opened, const float *values,
                            struct gn_ticket *ticket, struct gn_error *err)
{
	size_t side = (size_t)opened->model->arch.image_size, count = 3 * side * side;

	if (begin_decoding(c, ticket, false, err))
		return -1;
	double start = gn_clock();
	int failed = room_for_results(ticket, &opened, 1, err);
	ticket->values = failed ? NULL : malloc(count * sizeof *values);
	if (!ticket->values) {
		end_decoding(c, ticket, false);
		gn_ticket_release(ticket);
		return failed ? -1 : gn_fail_errno(err, "", "no memory for an image");
	}
	memcpy(ticket->values, values, count * sizeof *values);
	put_in_queue(c, ticket, start);
	return 0;
}

bool gn_open_models_alike(const struct gn_open_model *a, const struct gn_open_model *b)
{
	const struct gn_preprocess *p = &a->model->preprocess, *q = &b->model->preprocess;

	return a->model->arch.image_size == b->model->arch.image_size && !memcmp(p->mean, q->mean, sizeof p->mean) &&
	       !memcmp(p->std, q->std, sizeof p->std) && !memcmp(&p->crop_pct, &q->crop_pct, sizeof p->crop_pct) &&
	       p->interpolation == q->interpolation;
}

const float *gn_ticket_probabilities(const struct gn_ticket *ticket, int n)
{
	return ticket->probabilities + classes_before(ticket, n);
}

void gn_classify_wait(struct gn_classifier *c, struct gn_ticket *ticket)
{
	if (!ticket->sent)
		return;
	pthread_mutex_lock(&c->lock);
	while (!ticket->done)
		pthread_cond_wait(&c->ready, &c->lock);
	pthread_mutex_unlock(&c->lock);
	free(ticket->pixels);
	free(ticket->values);
	ticket->pixels = NULL;
	ticket->values = NULL;
}

void gn_ticket_release(struct gn_ticket *ticket)
{
	free(ticket->pixels);
	free(ticket->values);
	free(ticket->logits);
	free(ticket->probabilities);
	ticket->pixels = NULL;
	ticket->values = ticket->logits = ticket->probabilities = NULL;
}

int gn_classifier_depth(struct gn_classifier *c)
{
	int depth;

	pthread_mutex_lock(&c->lock);
	depth = c->depth;
	pthread_mutex_unlock(&c->lock);
	return depth;
}

/* ---------------------------------------------------------------- life cycle ------------------------------------ */

static void init_locks(struct gn_classifier *c)
{
	pthread_mutex_init(&c->lock, NULL);
	gn_cond_init(&c->work);
	gn_cond_init(&c->ready);
	gn_cond_init(&c->slot);
}

static void release(struct gn_classifier *c)
{
	gn_modelpool_free(c->pool);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->ready);
	pthread_cond_destroy(&c->slot);
	free(c->images);
	free(c->logits);
	free(c->batch);
	free(c);
}

const char *gn_classifier_failure(struct gn_classifier *c)
{
	return atomic_load(&c->failed) ? c->failure : NULL;
}

void gn_classifier_suspect_device(struct gn_classifier *c)
{
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->suspected, true);
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
}

bool gn_classifier_device_usable(const struct gn_classifier *c)
{
	return !atomic_load(&c->suspected) && !atomic_load(&c->failed);
}

uint64_t gn_classifier_memory(const struct gn_classifier *c)
{
	return c->options.model_memory;
}

int gn_classifier_new(struct gn_classifier **out, const struct gn_classifier_options *options, struct gn_error *err)
{
	struct gn_classifier *c = calloc(1, sizeof *c);

	if (!c)
		return gn_fail_errno(err, "", "starting the classifier");
	c->options = *options;
	c->end = &c->first;
	c->slots = options->threads > 1 ? 2 * options->threads : 2;
	init_locks(c);
	c->batch = calloc((size_t)c->options.batch_max, sizeof *c->batch);
	if (!c->batch) {
		release(c);
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the classifier");
	}
	if (gn_modelpool_new(&c->pool, options->store, options->device, options->model_memory, options->batch_max,
	                     err)) {
		release(c);
		return -1;
	}
	if (pthread_create(&c->thread, NULL, compute_thread, c)) {
		release(c);
		return gn_fail(err, GN_NO_MEMORY, "", "cannot start the classifier's thread");
	}
	*out = c;
	return 0;
}

void gn_classifier_free(struct gn_classifier *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	release(c);
}

struct gn_modelpool *gn_classifier_pool(struct gn_classifier *c)
{
	return c->pool;
}
