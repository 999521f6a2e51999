/* Philox 4x32-10 and the few distributions that the engine draws from; see random.h. */
#include "base/random.h"

#include <math.h>

static void philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];

	for (int round = 0; round < 10; round++) {
		uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;

		c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
		c1 = (uint32_t)p1;
		c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
		c3 = (uint32_t)p0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

void gn_random_init(struct gn_random *r, uint64_t seed, enum gn_purpose purpose, uint32_t a, uint32_t b)
{
	r->key[0] = (uint32_t)seed;
	r->key[1] = (uint32_t)(seed >> 32);
	r->counter[0] = 0;
	r->counter[1] = (uint32_t)purpose;
	r->counter[2] = a;
	r->counter[3] = b;
	r->left = 0;
}

uint32_t gn_random_u32(struct gn_random *r)
{
	if (r->left == 0) {
		philox(r->block, r->counter, r->key);
		r->counter[0]++;
		r->left = 4;
	}
	return r->block[4 - r->left--];
}

double gn_random_uniform(struct gn_random *r)
{
	uint64_t high = gn_random_u32(r) >> 5, low = gn_random_u32(r) >> 6;

	return (double)(high << 26 | low) * 0x1p-53;
}

uint32_t gn_random_below(struct gn_random *r, uint32_t limit)
{
	/* Lemire, "Fast random integer generation in an interval", 2019: draw again only if the
	 * result would be biased */
	uint64_t product = (uint64_t)gn_random_u32(r) * limit;

	if ((uint32_t)product < limit) {
		uint32_t threshold = (0u - limit) % limit;

		while ((uint32_t)product < threshold)
			product = (uint64_t)gn_random_u32(r) * limit;
	}
	return (uint32_t)(product >> 32);
}

double gn_random_normal(struct gn_random *r)
{
	/* Box and Muller; 1 - u keeps the logarithm's argument above 0 */
	double radius = sqrt(-2.0 * log(1.0 - gn_random_uniform(r)));

	return radius * cos(6.283185307179586 * gn_random_uniform(r));
}

void gn_random_truncated_normal(struct gn_random *r, float *out, size_t n, double std)
{
	for (size_t i = 0; i < n; i++) {
		double x;

		do
			x = gn_random_normal(r);
		while (fabs(x) > 2.0);
		out[i] = (float)(x * std);
	}
}

void gn_random_shuffle(struct gn_random *r, int32_t *items, int n)
{
	for (int i = n - 1; i > 0; i--) {
		uint32_t j = gn_random_below(r, (uint32_t)i + 1);
		int32_t kept = items[i];

		items[i] = items[j];
		items[j] = kept;
	}
}
