/* Condition variables that wait by gn_clock: setting the time of day neither ends nor prolongs a
 * wait. */
#ifndef GN_SERVER_COND_H
#define GN_SERVER_COND_H

#include <pthread.h>

/* pthread_cond_destroy ends it. */
void gn_cond_init(pthread_cond_t *cond);
/* pthread_cond_wait that ends at `deadline`, in seconds of gn_clock, at the latest. For a condition
 * of gn_cond_init. */
void gn_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, double deadline);

#endif
