/* Images, and packed data sets of images. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_DATASET_H
#define GONIO_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/gonio/model.h"

/* ---------------------------------------------------------------- images ---------------------- */

struct gn_image {     /* 8-bit RGB, rows packed */
	uint8_t *rgb; /* [height, width, 3] */
	int width, height;
};
void gn_image_release(struct gn_image *image);

enum gn_image_format { GN_IMAGE_UNKNOWN, GN_IMAGE_JPEG, GN_IMAGE_PNG, GN_IMAGE_WEBP };
enum gn_image_format gn_image_sniff(const void *bytes, size_t size);
const char *gn_image_media_type(enum gn_image_format format); /* "image/jpeg", ... */

/* The number of pixels that the header states. Reads nothing but the header. */
int gn_image_pixels(uint64_t *pixels, const void *bytes, size_t size, struct gn_error *err);
/* Decodes to RGB and applies the EXIF orientation. The size in the header is checked against
 * max_pixels before anything is allocated. cover 0 decodes at full size. Any other cover allows a
 * smaller DCT scale of a JPEG as long as both sides are still >= cover. width_full/height_full (may
 * be NULL) receive the size after orientation and before scaling. */
int gn_image_decode(struct gn_image *out, const void *bytes, size_t size, uint64_t max_pixels, int cover,
                    int *width_full, int *height_full, struct gn_error *err);
/* Resamples the box (x, y, width, height, in source pixels) to out_width x out_height with
 * antialiasing. Each value is within 1 level of Pillow's resize(box=...). */
int gn_image_resize(struct gn_image *out, const struct gn_image *in, const double box[4], int out_width, int out_height,
                    enum gn_interpolation interpolation, struct gn_error *err);

/* A limit on the memory of pictures that are decoded at the same time. A picture waits at the gate
 * until its bytes fit beside those of the pictures inside. A picture that needs more than the whole
 * limit enters alone. Any thread. */
struct gn_gate;
int gn_gate_new(struct gn_gate **out, uint64_t bytes, struct gn_error *err);
void gn_gate_free(struct gn_gate *gate); /* nobody may be inside */
/* Each enter needs one leave with the same number of bytes. A NULL gate has no limit. */
void gn_gate_enter(struct gn_gate *gate, uint64_t bytes);
void gn_gate_leave(struct gn_gate *gate, uint64_t bytes);

/* The limits of one picture. A side never has more than GN_IMAGE_SIDE_MAX pixels. */
struct gn_image_limits {
	uint64_t max_pixels;
	struct gn_gate *gate; /* entered while pixels are decoded; NULL: no limit */
	/* Returns true when nobody waits for the picture any more; decoding then ends with
	 * GN_CANCELLED. Called every few rows. NULL: decoding always finishes. */
	bool (*gone)(void *user);
	void *user;
};
#define GN_IMAGE_SIDE_MAX 65535 /* the largest side of a JPEG; no photograph is longer */

/* Makes a JPEG of the whole picture that fits into side x side pixels. *jpeg is malloc'd; caller
 * frees. */
int gn_image_thumbnail(uint8_t **jpeg, size_t *jpeg_size, const void *bytes, size_t size,
                       const struct gn_image_limits *limits, int side, struct gn_error *err);
/* Evaluation preprocessing: decodes, resizes the shorter side to floor(S / crop_pct), and crops S x
 * S at the centre. out is u8 [S, S, 3]. */
int gn_image_eval(uint8_t *out, const void *bytes, size_t size, const struct gn_image_limits *limits, int image_size,
                  const struct gn_preprocess *preprocess, struct gn_error *err);
/* The shorter side that evaluation resizes to: floor(S / crop_pct), never below S. */
int gn_image_eval_side(int image_size, float crop_pct);
/* What the pixel values 0 .. 255 of each channel become: (x / 255 - mean) / std. */
void gn_image_levels(float levels[3][256], const struct gn_preprocess *preprocess);
/* u8 [S, S, 3] -> float [3, S, S], by gn_image_levels. */
void gn_image_normalise(float *out, const uint8_t *in, int image_size, const struct gn_preprocess *preprocess);

/* ---------------------------------------------------------------- data sets ------------------- */

enum gn_split { GN_TRAIN, GN_VAL, GN_TEST, GN_SPLIT_COUNT };
const char *gn_split_name(enum gn_split split); /* "train", "val", "test" */

struct gn_sample {
	uint64_t offset, bytes; /* in the pack */
	/* as in the archive, without the leading folders that all share; borrowed */
	const char *path;
	int width, height; /* after EXIF orientation */
	int32_t label;
	enum gn_split split;
};
struct gn_dataset_class {
	const char *name;
	int counts[GN_SPLIT_COUNT];
};
/* A packed data set, memory-mapped and read-only. Samples are in a fixed order: split, then class,
 * then path. */
struct gn_dataset {
	int class_count, sample_count;
	struct gn_dataset_class *classes; /* sorted by name (byte order) */
	struct gn_sample *samples;
	int totals[GN_SPLIT_COUNT];
	const uint8_t *pack;
	uint64_t pack_bytes;
	void *map; /* private */
};
int gn_dataset_open(struct gn_dataset **out, const char *folder, struct gn_error *err);
void gn_dataset_close(struct gn_dataset *dataset);

/*
 * A limit on the work for a client. The calling thread may use a few seconds of processor time, and
 * one more for every 8 MiB that arrive. Waiting does not count. bytes is the total that has arrived
 * so far.
 */
struct gn_work {
	double began;
	uint64_t bytes;
};
void gn_work_begin(struct gn_work *work, uint64_t bytes);
bool gn_work_exceeds(const struct gn_work *work, uint64_t bytes, double seconds);

/* Limits for unpacking one archive; they stop archive bombs. 0 means the value of
 * gn_archive_budget_default. */
struct gn_archive_budget {
	uint64_t total_bytes; /* all unpacked bytes together */
	int ratio;            /* bytes unpacked for each byte packed, after the first 64 MiB */
	double entry_seconds; /* of work (see gn_work) in which no entry was finished */
	uint64_t memory;      /* limit for the window of gzip, xz or zstd */
};
extern const struct gn_archive_budget gn_archive_budget_default;

struct gn_rejected {
	char *path, *reason;
};
struct gn_ingest_options {
	double val_fraction;
	uint64_t seed;
	uint64_t max_pixels;      /* per image */
	uint64_t max_image_bytes; /* per entry of the archive */
	int max_entries;
	struct gn_archive_budget budget;
	/* limits the memory for decoding; NULL: a gate of 48 MiB for this call */
	struct gn_gate *gate;
	int threads; /* that decode */
	/* Reads the archive: writes at least one byte to buffer and returns the number of bytes, 0
	 * at the end, or -1 to abort because the client has gone. May block. */
	gn_bytes_read *read;
	/* Returns true when nobody waits for the result any more; the work then ends with
	 * GN_CANCELLED. Called often. NULL: the work always finishes. */
	bool (*gone)(void *user);
	void *user;
	/* Fails if this many more bytes must not be written. Called now and then. NULL: no
	 * limit. */
	int (*room)(void *user, uint64_t bytes, struct gn_error *err);
	void *room_user;
};
struct gn_ingest_report {
	struct gn_rejected *rejected; /* the first 100 */
	int rejected_listed;
	int64_t rejected_count, skipped_count;
	/* as of the opened data set, names included */
	struct gn_dataset_class *classes;
	int class_count, totals[GN_SPLIT_COUNT];
	double mean_width, mean_height;
	uint64_t bytes; /* of everything in folder */
	/* SHA-256 of the content; the archive's format and order do not change it. For each sample
	 * in order it covers the names of split and class and the path, each followed by a NUL, and
	 * then the 32 bytes of the sample's own SHA-256. */
	char sha256[65];
};
/* Reads an archive while it arrives, decodes each image completely, and writes a packed data set to
 * folder. The content decides whether it is a zip, tar, tar.gz, tar.xz or tar.zst. folder exists
 * and is empty; on an error the caller removes it. Memory grows by about 200 bytes for each image.
 * engine/data/arrange.c explains how classes and splits are found and which copies are dropped.
 * GN_MALFORMED: not an archive, damaged or cut short. GN_UNSUPPORTED: encrypted. GN_TOO_LARGE: a
 * limit was passed. GN_INVALID: fewer than two classes, or a class with fewer than two images. */
int gn_dataset_ingest(const char *folder, const struct gn_ingest_options *options, struct gn_ingest_report *report,
                      struct gn_error *err);
void gn_ingest_report_release(struct gn_ingest_report *report);

#endif
