/* Condition variables that wait by gn_clock: see cond.h. */
#include "server/common/cond.h"

#include <math.h>
#include <time.h>

void gn_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic; /* the clock of gn_clock */

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void gn_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, double deadline)
{
	struct timespec at = {.tv_sec = (time_t)deadline, .tv_nsec = (long)((deadline - floor(deadline)) * 1e9)};

	pthread_cond_timedwait(cond, lock, &at);
}
