/* The device that a test of tests/device runs on. */
#ifndef TEST_DEVICE_H
#define TEST_DEVICE_H

#include "gonio.h"

/* argv[1]: "cpu" or "cuda:N", argv[2]: precision. Prints what it is. Ends the program with status
 * 77 (skipped) where the device cannot be had, with 1 where GONIO_DEVICE_REQUIRED is set. Caller
 * closes. */
struct gn_device *device_for_test(int argc, char **argv);

/* All of a device's free memory, in pieces that get smaller until not even 4 KiB are left: a GPU
 * gives memory in pieces of 2 MiB. */
struct device_hog {
	struct gn_device *device;
	void *pieces[1024];
	size_t bytes[1024];
	int count;
};
/* Fails the running cmocka test where the pieces are not enough. */
void device_hog_take(struct device_hog *hog, struct gn_device *device);
void device_hog_free(struct device_hog *hog);

#endif
