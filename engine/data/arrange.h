/*
 * From the images of an archive to the samples of a data set: which folder is a class, which split an image belongs to, which copies of
 * an image cannot stay. The result depends on paths, bytes and the seed only, never on the order of arrival.
 */
#ifndef GN_ARRANGE_H
#define GN_ARRANGE_H

#include "gonio.h"

struct gn_item {                    /* an image entry of the archive */
	const char *entry;          /* the cleaned path in the archive */
	const char *path;           /* the same at first; arranging moves it past the common leading folders */
	const char *class_name;     /* set by arranging: the start of the class folder in path ... */
	size_t class_length;        /* ... and its length */
	const char *rejected;       /* why it cannot stay, or NULL. Borrowed */
	const struct gn_item *twin; /* of a rejected copy: the image that it equals, or NULL */
	uint64_t offset, bytes;     /* in the pack */
	int64_t arrival;
	int width, height;
	int32_t label;
	enum gn_split split;
	uint8_t sha256[32];
};

struct gn_arrangement {
	struct gn_item **samples; /* [count], those that stay: split, then class, then path */
	int count;
	char **classes; /* [class_count], in byte order */
	int class_count;
};

/* items [count]: rejected ones take part in finding the layout and keep their reason; more are rejected here. */
int gn_arrange(struct gn_arrangement *out, struct gn_item *items, int count, double val_fraction, uint64_t seed,
               struct gn_error *err);
void gn_arrangement_release(struct gn_arrangement *arrangement);

#endif
