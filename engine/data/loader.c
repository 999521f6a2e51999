/*
 * See loader.h. Threads and locks: the caller's thread (one at a time) and the decoders share one
 * lock, which guards every field below "shared". A decoder claims one position of the order under
 * the lock, decodes that image without the lock, and reports under the lock. Batch b is in buffer b
 * % 2. Positions are claimed only up to the end of the second batch after those that the caller has
 * returned.
 */
#include "data/loader.h"

#include "data/transform.h"
#include "base/files.h"
#include "base/machine.h"
#include "base/random.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_CHOSEN_MAX 128
#define MEMORY_PER_THREAD  (256ull << 20) /* of the machine's: a picture may lie in memory as a whole */

enum kept { NOT_KEPT, BEING_KEPT, KEPT };

struct buffer {
	uint8_t *images; /* [room, S, S, 3] */
	int32_t *labels;
	int room;      /* images */
	int remaining; /* shared: of the batch that is being made in it */
};

struct gn_loader {
	const struct gn_dataset *dataset;
	const struct gn_preprocess *preprocess;
	int image_size;
	size_t pixels; /* bytes of one image of 8 bits */
	enum gn_augment augment;
	uint64_t seed;
	struct gn_image_limits limits;

	int32_t *order; /* [count] */
	int count, order_room, batch_size, batches, epoch;
	bool train;

	pthread_mutex_t lock;
	pthread_cond_t work, done;
	/* shared */
	struct buffer buffers[2];
	bool quit, running;
	bool holding;  /* the caller has the batch number `returned` */
	int returned;  /* batches that the caller has given back */
	int next;      /* the first unclaimed position */
	int active;    /* decoders at work */
	int failed_at; /* the lowest position that failed, INT_MAX if none */
	struct gn_error failure;
	uint8_t *store; /* [store_room, pixels] */
	int32_t *slots; /* [sample_count]: where in the store, once kept */
	uint8_t *kept;  /* [sample_count]: enum kept */
	int store_room, store_used;

	int threads;
	pthread_t *ids;
};

/* One claimed image: the facts that a decoder copied under the lock. */
struct task {
	int position;
	int32_t sample;
	uint8_t *keep_at;       /* where its pixels are to be kept, or NULL */
	const uint8_t *kept_at; /* where they are kept already, or NULL */
};

/* ---------------------------------------------------------------- decoders -------------------- */

static bool cropped(const struct gn_loader *loader)
{
	return loader->train && loader->augment == GN_AUGMENT_STANDARD;
}

/* Under the lock. */
static struct task claim(struct gn_loader *loader)
{
	struct task task = {.position = loader->next++};
	int32_t sample = task.sample = loader->order[task.position];

	loader->active++;
	if (cropped(loader))
		return task;
	if (loader->kept[sample] == NOT_KEPT && loader->store_used < loader->store_room) {
		loader->slots[sample] = loader->store_used++;
		loader->kept[sample] = BEING_KEPT;
		task.keep_at = loader->store + (size_t)loader->slots[sample] * loader->pixels;
	} else if (loader->kept[sample] == KEPT) {
		task.kept_at = loader->store + (size_t)loader->slots[sample] * loader->pixels;
	}
	return task;
}

/* pixels: [S, S, 3] */
static int make_image(struct gn_loader *loader, const struct task *task, uint8_t *pixels, struct gn_error *err)
{
	const struct gn_sample *sample = &loader->dataset->samples[task->sample];
	const uint8_t *bytes = loader->dataset->pack + sample->offset;
	struct gn_random random;
	int rc = 0;

	gn_random_init(&random, loader->seed, GN_RANDOM_AUGMENT, (uint32_t)loader->epoch, (uint32_t)task->sample);
	if (task->kept_at)
		memcpy(pixels, task->kept_at, loader->pixels);
	else if (cropped(loader))
		rc = gn_image_random_crop(pixels, bytes, sample->bytes, &loader->limits, loader->image_size,
		                          loader->preprocess, &random, err);
	else
		rc = gn_image_eval(pixels, bytes, sample->bytes, &loader->limits, loader->image_size,
		                   loader->preprocess, err);
	if (rc)
		return -1;
	if (task->keep_at)
		memcpy(task->keep_at, pixels, loader->pixels);
	if (loader->train && loader->augment != GN_AUGMENT_NONE && gn_random_uniform(&random) < 0.5)
		gn_image_flip(pixels, loader->image_size);
	return 0;
}

/* Under the lock. */
static void report(struct gn_loader *loader, const struct task *task, const struct gn_error *err)
{
	struct buffer *buffer = &loader->buffers[task->position / loader->batch_size % 2];

	if (task->keep_at)
		loader->kept[task->sample] = err->code == GN_OK ? KEPT : NOT_KEPT;
	if (err->code != GN_OK && task->position < loader->failed_at) {
		loader->failed_at = task->position;
		loader->failure = *err;
	}
	buffer->remaining--;
	loader->active--;
	if (buffer->remaining == 0 || loader->active == 0)
		pthread_cond_signal(&loader->done);
}

static void perform(struct gn_loader *loader, const struct task *task)
{
	const struct gn_sample *sample = &loader->dataset->samples[task->sample];
	const struct buffer *buffer = &loader->buffers[task->position / loader->batch_size % 2];
	size_t place = (size_t)(task->position % loader->batch_size);
	struct gn_error own = {0}, err = {0};

	pthread_mutex_unlock(&loader->lock);
	if (make_image(loader, task, buffer->images + place * loader->pixels, &own))
		gn_fail(&err, own.code, sample->path, "the image %.200s cannot be used: %s", sample->path, own.text);
	buffer->labels[place] = sample->label;
	pthread_mutex_lock(&loader->lock);
	report(loader, task, &err);
}

/* The first position after the two batches that may exist. */
static int claim_limit(const struct gn_loader *loader)
{
	int64_t limit = ((int64_t)loader->returned + 2) * loader->batch_size;

	return limit < loader->count ? (int)limit : loader->count;
}

static void *decoder(void *user)
{
	struct gn_loader *loader = user;

	pthread_mutex_lock(&loader->lock);
	while (!loader->quit) {
		if (loader->running && loader->next < claim_limit(loader)) {
			struct task task = claim(loader);

			perform(loader, &task);
		} else {
			pthread_cond_wait(&loader->work, &loader->lock);
		}
	}
	pthread_mutex_unlock(&loader->lock);
	return NULL;
}

/* ---------------------------------------------------------------- the caller's side ----------- */

/* Images in batch b. */
static int batch_images(const struct gn_loader *loader, int b)
{
	int64_t from = (int64_t)b * loader->batch_size, left = loader->count - from;

	return left <= 0 ? 0 : left < loader->batch_size ? (int)left : loader->batch_size;
}

static int buffer_reserve(struct buffer *buffer, int room, size_t pixels, struct gn_error *err)
{
	if (buffer->room >= room)
		return 0;
	free(buffer->images);
	free(buffer->labels);
	buffer->room = 0;
	buffer->images = gn_alloc((size_t)room, pixels, err);
	buffer->labels = gn_alloc((size_t)room, sizeof *buffer->labels, err);
	if (!buffer->images || !buffer->labels)
		return -1;
	buffer->room = room;
	return 0;
}

static int order_copy(struct gn_loader *loader, const int32_t *samples, int count, struct gn_error *err)
{
	for (int i = 0; i < count; i++)
		gn_assert(samples[i] >= 0 && samples[i] < loader->dataset->sample_count);
	if (loader->order_room < count) {
		free(loader->order);
		loader->order_room = 0;
		loader->order = gn_alloc((size_t)count, sizeof *loader->order, err);
		if (!loader->order)
			return -1;
		loader->order_room = count;
	}
	if (count)
		memcpy(loader->order, samples, (size_t)count * sizeof *samples);
	return 0;
}

int gn_loader_begin(struct gn_loader *loader, const int32_t *samples, int count, int batch_size, int epoch, bool train,
                    struct gn_error *err)
{
	int room = count < batch_size ? count : batch_size;

	gn_assert(batch_size > 0);
	gn_loader_stop(loader);
	for (int i = 0; i < 2; i++)
		if (buffer_reserve(&loader->buffers[i], room, loader->pixels, err))
			return -1;
	if (order_copy(loader, samples, count, err))
		return -1;
	pthread_mutex_lock(&loader->lock);
	loader->count = count;
	loader->batch_size = batch_size;
	loader->batches = count / batch_size + (count % batch_size != 0);
	loader->epoch = epoch;
	loader->train = train;
	loader->holding = false;
	loader->returned = loader->next = 0;
	loader->failed_at = INT_MAX;
	loader->failure = (struct gn_error){0};
	for (int i = 0; i < 2; i++)
		loader->buffers[i].remaining = batch_images(loader, i);
	loader->running = true;
	pthread_cond_broadcast(&loader->work);
	pthread_mutex_unlock(&loader->lock);
	return 0;
}

/* Under the lock: the buffer that the caller held may be filled again. */
static void take_back(struct gn_loader *loader)
{
	if (!loader->holding)
		return;
	loader->holding = false;
	loader->buffers[loader->returned % 2].remaining = batch_images(loader, loader->returned + 2);
	loader->returned++;
	pthread_cond_broadcast(&loader->work);
}

int gn_loader_next(struct gn_loader *loader, const uint8_t **images, int32_t **labels, const int32_t **samples, int *n,
                   struct gn_error *err)
{
	struct buffer *buffer;
	int rc = 1;

	pthread_mutex_lock(&loader->lock);
	gn_assert(loader->running);
	take_back(loader);
	buffer = &loader->buffers[loader->returned % 2];
	if (loader->returned < loader->batches) {
		int first = loader->returned * loader->batch_size, count = batch_images(loader, loader->returned);

		while (buffer->remaining > 0)
			pthread_cond_wait(&loader->done, &loader->lock);
		if (loader->failed_at < first + count) {
			rc = gn_fail(err, loader->failure.code, loader->failure.where, "%s", loader->failure.text);
		} else {
			loader->holding = true;
			*images = buffer->images;
			*labels = buffer->labels;
			*samples = loader->order + first;
			*n = count;
			rc = 0;
		}
	}
	pthread_mutex_unlock(&loader->lock);
	return rc;
}

void gn_loader_stop(struct gn_loader *loader)
{
	pthread_mutex_lock(&loader->lock);
	loader->running = false;
	while (loader->active > 0)
		pthread_cond_wait(&loader->done, &loader->lock);
	pthread_mutex_unlock(&loader->lock);
}

/* ---------------------------------------------------------------- life cycle ------------------ */

/* As many as compute, and no more than memory allows. */
static int choose_threads(void)
{
	uint64_t room = gn_machine_memory() / MEMORY_PER_THREAD;
	int threads = gn_machine_processors();

	threads = threads > THREADS_CHOSEN_MAX ? THREADS_CHOSEN_MAX : threads;
	return room < 1 ? 1 : room < (uint64_t)threads ? (int)room : threads;
}

static int start_threads(struct gn_loader *loader, int threads, struct gn_error *err)
{
	if (threads < 1)
		threads = choose_threads();
	loader->ids = gn_alloc((size_t)threads, sizeof *loader->ids, err);
	if (!loader->ids)
		return -1;
	for (; loader->threads < threads; loader->threads++)
		if (pthread_create(&loader->ids[loader->threads], NULL, decoder, loader))
			return gn_fail(err, GN_NO_MEMORY, "", "no threads to decode images");
	return 0;
}

static int make_store(struct gn_loader *loader, uint64_t bytes, struct gn_error *err)
{
	uint64_t room = bytes / loader->pixels, samples = (uint64_t)loader->dataset->sample_count;

	loader->store_room = (int)(room < samples ? room : samples);
	loader->slots = gn_alloc(samples, sizeof *loader->slots, err);
	loader->kept = gn_alloc(samples, sizeof *loader->kept, err);
	loader->store = gn_alloc((size_t)loader->store_room, loader->pixels, err);
	return loader->slots && loader->kept && loader->store ? 0 : -1;
}

int gn_loader_new(struct gn_loader **out, const struct gn_dataset *dataset, const struct gn_preprocess *preprocess,
                  int image_size, enum gn_augment augment, uint64_t seed, int threads, uint64_t pixel_cache_bytes,
                  uint64_t max_pixels, struct gn_error *err)
{
	struct gn_loader *loader = gn_alloc(1, sizeof *loader, err);

	if (!loader)
		return -1;
	loader->dataset = dataset;
	loader->preprocess = preprocess;
	loader->image_size = image_size;
	loader->pixels = (size_t)image_size * (size_t)image_size * 3;
	loader->augment = augment;
	loader->seed = seed;
	loader->limits.max_pixels = max_pixels;
	pthread_mutex_init(&loader->lock, NULL);
	pthread_cond_init(&loader->work, NULL);
	pthread_cond_init(&loader->done, NULL);
	if (make_store(loader, pixel_cache_bytes, err) || start_threads(loader, threads, err)) {
		gn_loader_free(loader);
		return -1;
	}
	*out = loader;
	return 0;
}

void gn_loader_free(struct gn_loader *loader)
{
	if (!loader)
		return;
	pthread_mutex_lock(&loader->lock);
	loader->quit = true;
	pthread_cond_broadcast(&loader->work);
	pthread_mutex_unlock(&loader->lock);
	for (int i = 0; i < loader->threads; i++)
		pthread_join(loader->ids[i], NULL);
	pthread_cond_destroy(&loader->done);
	pthread_cond_destroy(&loader->work);
	pthread_mutex_destroy(&loader->lock);
	for (int i = 0; i < 2; i++) {
		free(loader->buffers[i].images);
		free(loader->buffers[i].labels);
	}
	free(loader->store);
	free(loader->slots);
	free(loader->kept);
	free(loader->order);
	free(loader->ids);
	free(loader);
}
