/*
 * Checks the images of a new data set: decoder threads decode each one completely. Results come in
 * the order of the images. The number and the bytes of images in progress are limited.
 */
#ifndef GN_CHECKER_H
#define GN_CHECKER_H

#include "gonio.h"

struct gn_check {
	const char *path; /* borrowed */
	uint8_t *bytes;   /* malloc'd; the owner of the check frees them */
	size_t size;
	bool good; /* results, from here on */
	int width, height;
	uint8_t sha256[32];
	struct gn_error err; /* why not good */
};

struct gn_checker;
/* limits->gate NULL: a gate of its own, of GN_CHECKER_MEMORY. */
#define GN_CHECKER_MEMORY ((uint64_t)48 << 20)
int gn_checker_new(struct gn_checker **out, int threads, const struct gn_image_limits *limits, struct gn_error *err);
/* Waits for the decoders, and frees images that were not taken. */
void gn_checker_free(struct gn_checker *checker);
/* Whether an image of so many bytes may be put within the limits. If not, take one first. */
bool gn_checker_room(struct gn_checker *checker, size_t size);
/* Gives an image to the decoders. There must be room. */
void gn_checker_put(struct gn_checker *checker, const struct gn_check *check);
/* Waits until the oldest image is checked, and takes it; false if none is in progress. If
 * limits->gone returns true, all decoding ends: the image is not good, with GN_CANCELLED and
 * without its bytes, and no other may be taken after it. */
bool gn_checker_take(struct gn_checker *checker, struct gn_check *check);

#endif
