/*
 * Images on their way into a data set: decoder threads check each one whole, results come out in the order in which images went in.
 * What is in flight is bounded, in images and in bytes.
 */
#ifndef GN_CHECKER_H
#define GN_CHECKER_H

#include "gonio.h"

struct gn_check {
	const char *path; /* borrowed */
	uint8_t *bytes;   /* malloc'd; whoever holds the check frees them */
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
/* Waits for decoders where they are behind; frees what was not taken. */
void gn_checker_free(struct gn_checker *checker);
/* True when an image of so many bytes may be put without going over the bounds: else take first. */
bool gn_checker_room(struct gn_checker *checker, size_t size);
/* Hands an image over. There must be room. */
void gn_checker_put(struct gn_checker *checker, const struct gn_check *check);
/* The oldest image, waiting until it is checked; false when none is in flight. When limits->gone says that nobody waits any more, all
 * decoding ends: the image is not good, with GN_CANCELLED and without its bytes, and none may be taken after it. */
bool gn_checker_take(struct gn_checker *checker, struct gn_check *check);

#endif
