/* The device that a test of tests/device runs on. */
#ifndef TEST_DEVICE_H
#define TEST_DEVICE_H

#include "gonio.h"

/* argv[1]: "cpu" or "cuda:N", argv[2]: precision. Prints what it is. Ends the program with status 77 (skipped) where the device
 * cannot be had, with 1 where GONIO_DEVICE_REQUIRED is set. Caller closes. */
struct gn_device *device_for_test(int argc, char **argv);

#endif
