/*
 * See checker.h. One ring of images in order of arrival, between three positions that only grow:
 * taken <= started <= put. The caller moves put and taken, decoders move started. One lock guards
 * the ring; decoding is done outside of it.
 */
#include "data/checker.h"

#include "data/image.h"
#include "base/files.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#define RING             256
#define LOOK_NANOSECONDS 100000000 /* between two checks whether the client has gone */
/* of files in the ring, unless a single one is larger */
#define BYTES_MAX ((size_t)32 << 20)

struct slot {
	struct gn_check check;
	bool done;
};

struct gn_checker {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct slot ring[RING];
	uint64_t put, started, taken;
	size_t bytes;
	atomic_bool stop; /* decoders end, also in the middle of an image */
	struct gn_image_limits limits;
	struct gn_image_limits decoding; /* the same, but gone checks stop */
	struct gn_gate *own;             /* the gate of limits, if the caller gave none */
	int threads;
	pthread_t *ids;
};

static bool stopped(void *user)
{
	return atomic_load(&((struct gn_checker *)user)->stop);
}

static void check_image(struct gn_checker *checker, struct gn_check *check)
{
	struct gn_image_info info;

	SHA256(check->bytes, check->size, check->sha256);
	if (gn_image_probe(&info, check->bytes, check->size, checker->limits.max_pixels, &check->err))
		return;
	gn_gate_enter(checker->limits.gate, info.verify_bytes);
	check->good = !gn_image_verify(check->bytes, check->size, &info, &checker->decoding, &check->err);
	gn_gate_leave(checker->limits.gate, info.verify_bytes);
	gn_image_upright(&info, &check->width, &check->height);
}

static void *decoder(void *user)
{
	struct gn_checker *checker = user;

	pthread_mutex_lock(&checker->lock);
	for (;;) {
		struct slot *slot;

		while (!atomic_load(&checker->stop) && checker->started == checker->put)
			pthread_cond_wait(&checker->work, &checker->lock);
		if (atomic_load(&checker->stop))
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

int gn_checker_new(struct gn_checker **out, int threads, const struct gn_image_limits *limits, struct gn_error *err)
{
	struct gn_checker *checker = gn_alloc(1, sizeof *checker, err);

	if (!checker)
		return -1;
	threads = threads < 1 ? 1 : threads;
	checker->limits = *limits;
	pthread_mutex_init(&checker->lock, NULL);
	pthread_cond_init(&checker->work, NULL);
	pthread_cond_init(&checker->done, NULL);
	if (!limits->gate && !gn_gate_new(&checker->own, GN_CHECKER_MEMORY, err))
		checker->limits.gate = checker->own;
	checker->decoding = (struct gn_image_limits){limits->max_pixels, NULL, stopped, checker};
	if (checker->limits.gate)
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
	atomic_store(&checker->stop, true);
	pthread_cond_broadcast(&checker->work);
	pthread_mutex_unlock(&checker->lock);
	for (int i = 0; i < checker->threads; i++)
		pthread_join(checker->ids[i], NULL);
	for (; checker->taken < checker->put; checker->taken++) {
		check = checker->ring[checker->taken % RING].check;
		free(check.bytes);
	}
	pthread_cond_destroy(&checker->done);
	pthread_cond_destroy(&checker->work);
	pthread_mutex_destroy(&checker->lock);
	gn_gate_free(checker->own);
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

/* Waits for an image. Decoding may take seconds, but it ends at once when nobody waits for it any
 * more. Needs the lock. */
static void wait_for_image(struct gn_checker *checker)
{
	const struct gn_image_limits *limits = &checker->limits;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_NANOSECONDS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&checker->done, &checker->lock, &until);
	if (limits->gone && limits->gone(limits->user))
		atomic_store(&checker->stop, true);
}

bool gn_checker_take(struct gn_checker *checker, struct gn_check *check)
{
	struct slot *slot = &checker->ring[checker->taken % RING];

	if (checker->taken == checker->put)
		return false;
	pthread_mutex_lock(&checker->lock);
	while (!slot->done && !atomic_load(&checker->stop))
		wait_for_image(checker);
	if (!slot->done) { /* a decoder may still use it */
		*check = (struct gn_check){.err = {.code = GN_CANCELLED, .text = "nobody waits for it any more"}};
		pthread_mutex_unlock(&checker->lock);
		return true;
	}
	*check = slot->check;
	slot->done = false;
	checker->taken++;
	checker->bytes -= check->size;
	pthread_mutex_unlock(&checker->lock);
	return true;
}
