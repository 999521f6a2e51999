/* The one clock that durations are measured by. */
#include "gonio.h"

#include <time.h>

double gn_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
