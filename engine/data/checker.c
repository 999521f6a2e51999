/*
 * See checker.h. One ring of images in order of arrival, between three positions that only grow: taken <= started <= put.
 * The caller moves put and taken, decoders move started. One lock guards the ring and the memory account; decoding is done outside of it.
 */
#include "data/checker.h"

#include "data/image.h"
#include "fileio.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#define RING           256
#define BYTES_MAX      ((size_t)32 << 20)   /* of files in the ring, unless one alone is larger */
#define DECODING_BYTES ((uint64_t)48 << 20) /* that decoders use at one time, unless one image alone needs more */

struct slot {
	struct gn_check check;
	bool done;
};

struct gn_checker {
	pthread_mutex_t lock;
	pthread_cond_t work, done, memory;
	struct slot ring[RING];
	uint64_t put, started, taken;
	size_t bytes;
	uint64_t decoding;
	bool stop;
	uint64_t max_pixels;
	int threads;
	pthread_t *ids;
};

/* Waits until an image that needs so much may be decoded beside the others. */
static void borrow(struct gn_checker *checker, uint64_t bytes)
{
	pthread_mutex_lock(&checker->lock);
	while (checker->decoding && checker->decoding + bytes > DECODING_BYTES)
		pthread_cond_wait(&checker->memory, &checker->lock);
	checker->decoding += bytes;
	pthread_mutex_unlock(&checker->lock);
}

static void give_back(struct gn_checker *checker, uint64_t bytes)
{
	pthread_mutex_lock(&checker->lock);
	checker->decoding -= bytes;
	pthread_cond_broadcast(&checker->memory);
	pthread_mutex_unlock(&checker->lock);
}

static void check_image(struct gn_checker *checker, struct gn_check *check)
{
	struct gn_image_info info;

	SHA256(check->bytes, check->size, check->sha256);
	if (gn_image_probe(&info, check->bytes, check->size, checker->max_pixels, &check->err))
		return;
	borrow(checker, info.verify_bytes);
	check->good = !gn_image_verify(check->bytes, check->size, &info, &check->err);
	give_back(checker, info.verify_bytes);
	check->width = gn_image_turned(&info) ? info.height : info.width;
	check->height = gn_image_turned(&info) ? info.width : info.height;
}

static void *decoder(void *user)
{
	struct gn_checker *checker = user;

	pthread_mutex_lock(&checker->lock);
	for (;;) {
		struct slot *slot;

		while (!checker->stop && checker->started == checker->put)
			pthread_cond_wait(&checker->work, &checker->lock);
		if (checker->stop)
			break;
		slot = &checker->ring[checker->started++ % RING];
		pthread_mutex_unlock(&checker->lock);
		check_image(checker, &slot->check);
		pthread_mutex_lock(&checker->lock);
		slot->done = true;
		pthread_cond_signal(&checker->done);
	}
	pthread_mutex_unlock(&checker->lock);
	return NULL;
}

int gn_checker_new(struct gn_checker **out, int threads, uint64_t max_pixels, struct gn_error *err)
{
	struct gn_checker *checker = gn_alloc(1, sizeof *checker, err);

	if (!checker)
		return -1;
	threads = threads < 1 ? 1 : threads;
	checker->max_pixels = max_pixels;
	pthread_mutex_init(&checker->lock, NULL);
	pthread_cond_init(&checker->work, NULL);
	pthread_cond_init(&checker->done, NULL);
	pthread_cond_init(&checker->memory, NULL);
	checker->ids = gn_alloc((size_t)threads, sizeof *checker->ids, err);
	while (checker->ids && checker->threads < threads &&
	       !pthread_create(&checker->ids[checker->threads], NULL, decoder, checker))
		checker->threads++;
	if (checker->threads < threads) {
		gn_checker_free(checker);
		return gn_fail(err, GN_NO_MEMORY, "", "no threads to decode images");
	}
	*out = checker;
	return 0;
}

void gn_checker_free(struct gn_checker *checker)
{
	struct gn_check check;

	if (!checker)
		return;
	pthread_mutex_lock(&checker->lock);
	checker->stop = true;
	pthread_cond_broadcast(&checker->work);
	pthread_mutex_unlock(&checker->lock);
	for (int i = 0; i < checker->threads; i++)
		pthread_join(checker->ids[i], NULL);
	for (; checker->taken < checker->put; checker->taken++) {
		check = checker->ring[checker->taken % RING].check;
		free(check.bytes);
	}
	pthread_cond_destroy(&checker->memory);
	pthread_cond_destroy(&checker->done);
	pthread_cond_destroy(&checker->work);
	pthread_mutex_destroy(&checker->lock);
	free(checker->ids);
	free(checker);
}

/* put, taken and bytes belong to the caller's thread; only started and the slots are shared. */
bool gn_checker_room(struct gn_checker *checker, size_t size)
{
	uint64_t in_flight = checker->put - checker->taken;

	return in_flight == 0 || (in_flight < RING && checker->bytes + size <= BYTES_MAX);
}

void gn_checker_put(struct gn_checker *checker, const struct gn_check *check)
{
	gn_assert(gn_checker_room(checker, check->size));
	pthread_mutex_lock(&checker->lock);
	checker->ring[checker->put % RING] = (struct slot){.check = *check};
	checker->put++;
	checker->bytes += check->size;
	pthread_cond_signal(&checker->work);
	pthread_mutex_unlock(&checker->lock);
}

bool gn_checker_take(struct gn_checker *checker, struct gn_check *check)
{
	struct slot *slot = &checker->ring[checker->taken % RING];

	if (checker->taken == checker->put)
		return false;
	pthread_mutex_lock(&checker->lock);
	while (!slot->done)
		pthread_cond_wait(&checker->done, &checker->lock);
	*check = slot->check;
	slot->done = false;
	checker->taken++;
	checker->bytes -= check->size;
	pthread_mutex_unlock(&checker->lock);
	return true;
}
