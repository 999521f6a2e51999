/* The processor time that a thread has used for a client: see gonio.h. */
#include "gonio.h"

#include <time.h>

#define EARNING_BYTES ((double)(8 << 20)) /* each allow one more second */

static double thread_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void gn_work_begin(struct gn_work *work, uint64_t bytes)
{
	*work = (struct gn_work){thread_clock(), bytes};
}

bool gn_work_exceeds(const struct gn_work *work, uint64_t bytes, double seconds)
{
	return thread_clock() - work->began > seconds + (double)(bytes - work->bytes) / EARNING_BYTES;
}
