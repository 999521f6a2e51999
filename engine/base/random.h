/*
 * Random numbers without state to save: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011). A stream is named by (seed, purpose, a, b), for example (seed,
 * AUGMENT, epoch, sample), so that a resumed run draws the same numbers by naming the same stream.
 * The order in which streams are used does not matter.
 */
#ifndef GN_RANDOM_H
#define GN_RANDOM_H

#include <stddef.h>
#include <stdint.h>

enum gn_purpose {                        /* values decide what a seed gives: never renumber */
	          GN_RANDOM_ORDER = 1,   /* a: epoch */
	          GN_RANDOM_AUGMENT = 2, /* a: epoch, b: sample */
	          GN_RANDOM_HEAD = 3,    /* a: tensor index */
	          GN_RANDOM_INIT = 4,    /* a: tensor index */
	          GN_RANDOM_SPLIT = 5,   /* a: class */
	          GN_RANDOM_BENCH = 6
};

struct gn_random {
	uint32_t key[2], counter[4];
	uint32_t block[4];
	int left;
};

void gn_random_init(struct gn_random *r, uint64_t seed, enum gn_purpose purpose, uint32_t a, uint32_t b);
uint32_t gn_random_u32(struct gn_random *r);
double gn_random_uniform(struct gn_random *r); /* [0, 1), 53 bits */
/* 0 .. limit-1, unbiased; limit > 0 */
uint32_t gn_random_below(struct gn_random *r, uint32_t limit);
double gn_random_normal(struct gn_random *r); /* mean 0, deviation 1 */
/* out[n] = normal of deviation std; values beyond two deviations are drawn again. */
void gn_random_truncated_normal(struct gn_random *r, float *out, size_t n, double std);
/* Fisher-Yates over n indices, in place. */
void gn_random_shuffle(struct gn_random *r, int32_t *items, int n);

#endif
