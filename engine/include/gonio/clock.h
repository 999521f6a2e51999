/* The clock that durations are measured by. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_CLOCK_H
#define GONIO_CLOCK_H

/* Seconds of a clock that never goes back; its zero means nothing. */
double gn_clock(void);

#endif
