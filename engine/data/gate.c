/* The limit on memory for decoding: see gonio.h. There is one lock. Each leave wakes all that
 * wait. */
#include "base/files.h"
#include "gonio.h"

#include <pthread.h>
#include <stdlib.h>

struct gn_gate {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	uint64_t limit, taken;
};

int gn_gate_new(struct gn_gate **out, uint64_t bytes, struct gn_error *err)
{
	struct gn_gate *gate = gn_alloc(1, sizeof *gate, err);

	if (!gate)
		return -1;
	gate->limit = bytes;
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->freed, NULL);
	*out = gate;
	return 0;
}

void gn_gate_free(struct gn_gate *gate)
{
	if (!gate)
		return;
	gn_assert(gate->taken == 0);
	pthread_cond_destroy(&gate->freed);
	pthread_mutex_destroy(&gate->lock);
	free(gate);
}

/* Written so that no sum can overflow. */
static bool fits(const struct gn_gate *gate, uint64_t bytes)
{
	return gate->taken == 0 || (gate->taken <= gate->limit && bytes <= gate->limit - gate->taken);
}

void gn_gate_enter(struct gn_gate *gate, uint64_t bytes)
{
	if (!gate)
		return;
	pthread_mutex_lock(&gate->lock);
	while (!fits(gate, bytes))
		pthread_cond_wait(&gate->freed, &gate->lock);
	gate->taken += bytes;
	pthread_mutex_unlock(&gate->lock);
}

void gn_gate_leave(struct gn_gate *gate, uint64_t bytes)
{
	if (!gate)
		return;
	pthread_mutex_lock(&gate->lock);
	gate->taken -= bytes;
	pthread_cond_broadcast(&gate->freed);
	pthread_mutex_unlock(&gate->lock);
}
