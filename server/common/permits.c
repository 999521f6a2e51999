/* See permits.h. Each caller gets the next number. Each returned permit admits the next number. */
#include "server/common/permits.h"

#include <pthread.h>
#include <stdlib.h>

struct gn_permits {
	pthread_mutex_t lock;
	pthread_cond_t given;
	uint64_t drawn, admitted; /* numbers below admitted may go ahead */
};

int gn_permits_new(struct gn_permits **out, int count, struct gn_error *err)
{
	struct gn_permits *permits = calloc(1, sizeof *permits);

	if (!permits)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	permits->admitted = (uint64_t)count;
	pthread_mutex_init(&permits->lock, NULL);
	pthread_cond_init(&permits->given, NULL);
	*out = permits;
	return 0;
}

void gn_permits_free(struct gn_permits *permits)
{
	if (!permits)
		return;
	pthread_cond_destroy(&permits->given);
	pthread_mutex_destroy(&permits->lock);
	free(permits);
}

void gn_permits_take(struct gn_permits *permits)
{
	uint64_t number;

	if (!permits)
		return;
	pthread_mutex_lock(&permits->lock);
	number = permits->drawn++;
	while (number >= permits->admitted)
		pthread_cond_wait(&permits->given, &permits->lock);
	pthread_mutex_unlock(&permits->lock);
}

void gn_permits_give(struct gn_permits *permits)
{
	if (!permits)
		return;
	pthread_mutex_lock(&permits->lock);
	permits->admitted++;
	pthread_cond_broadcast(&permits->given);
	pthread_mutex_unlock(&permits->lock);
}
