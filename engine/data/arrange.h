/*
 * Arranges the images of an archive as the samples of a data set: decides which folder is a class,
 * which split an image belongs to, and which copies of an image are rejected. The result depends
 * only on paths, bytes and the seed, never on the order of arrival.
 */
#ifndef GN_ARRANGE_H
#define GN_ARRANGE_H

#include "gonio.h"

struct gn_item {           /* an image entry of the archive */
	const char *entry; /* the cleaned path in the archive */
	/* the same at first; gn_arrange removes the common leading folders */
	const char *path;
	/* set by gn_arrange: the start of the class folder in path ... */
	const char *class_name;
	size_t class_length;        /* ... and its length */
	const char *rejected;       /* why it was rejected, or NULL. Borrowed */
	const struct gn_item *twin; /* for a rejected copy, the image that it equals, or NULL */
	uint64_t offset, bytes;     /* in the pack */
	int64_t arrival;
	int width, height;
	int32_t label;
	enum gn_split split;
	uint8_t sha256[32];
};

struct gn_arrangement {
	struct gn_item **samples; /* [count], the accepted ones by split, then class, then path */
	int count;
	char **classes; /* [class_count], in byte order */
	int class_count;
};

/* items [count] may have rejected ones. They are used to find the layout, and keep their reason.
 * gn_arrange rejects further ones. */
int gn_arrange(struct gn_arrangement *out, struct gn_item *items, int count, double val_fraction, uint64_t seed,
               struct gn_error *err);
void gn_arrangement_release(struct gn_arrangement *arrangement);

#endif
