/* Images, and packed data sets of them. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_DATASET_H
#define GONIO_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/gonio/model.h"

/* ---------------------------------------------------------------- images ----------------------------------------- */

struct gn_image {     /* 8-bit RGB, rows packed */
	uint8_t *rgb; /* [height, width, 3] */
	int width, height;
};
void gn_image_release(struct gn_image *image);

enum gn_image_format { GN_IMAGE_UNKNOWN, GN_IMAGE_JPEG, GN_IMAGE_PNG, GN_IMAGE_WEBP };
enum gn_image_format gn_image_sniff(const void *bytes, size_t size);
const char *gn_image_media_type(enum gn_image_format format); /* "image/jpeg", ... */

/* How many pixels the header claims; nothing else is looked at. */
int gn_image_pixels(uint64_t *pixels, const void *bytes, size_t size, struct gn_error *err);
/* Decodes to RGB with EXIF orientation applied. max_pixels is checked in the header, before anything is allocated.
 * cover: 0 for full size; otherwise a JPEG may be decoded at a smaller DCT scale whose sides are both still >= cover.
 * width_full/height_full (may be NULL) receive the size after orientation and before scaling. */
int gn_image_decode(struct gn_image *out, const void *bytes, size_t size, uint64_t max_pixels, int cover,
                    int *width_full, int *height_full, struct gn_error *err);
/* Antialiased resampling of the box (x, y, w, h; in source pixels, float) to out_width x out_height, as Pillow's
 * resize(box=...) within 1 level. */
int gn_image_resize(struct gn_image *out, const struct gn_image *in, const double box[4], int out_width, int out_height,
                    enum gn_interpolation interpolation, struct gn_error *err);

/* Memory for pictures that are decoded at the same time. A picture waits at the gate until its bytes fit beside those of
 * the pictures that are inside. One that needs more than the whole limit is let in alone. Any thread. */
struct gn_gate;
int gn_gate_new(struct gn_gate **out, uint64_t bytes, struct gn_error *err);
void gn_gate_free(struct gn_gate *gate); /* nobody may be inside */
/* Every enter has its leave with the same number. gate NULL: no limit. */
void gn_gate_enter(struct gn_gate *gate, uint64_t bytes);
void gn_gate_leave(struct gn_gate *gate, uint64_t bytes);

/* What one picture may take. A side has GN_IMAGE_SIDE_MAX pixels at most, in any case. */
struct gn_image_limits {
	uint64_t max_pixels;
	struct gn_gate *gate; /* entered while pixels are decoded; NULL: none */
	/* Whether nobody waits for the picture any more: decoding then ends with GN_CANCELLED. Asked every few rows; NULL: never. */
	bool (*gone)(void *user);
	void *user;
};
#define GN_IMAGE_SIDE_MAX 65535 /* what a JPEG can have; no photograph is longer */

/* A JPEG of the whole picture that fits size x size. *jpeg is malloc'd; caller frees. */
int gn_image_thumbnail(uint8_t **jpeg, size_t *jpeg_size, const void *bytes, size_t size,
                       const struct gn_image_limits *limits, int side, struct gn_error *err);
/* Evaluation preprocessing: decode, shorter side to floor(S / crop_pct), centre crop S x S: out u8 [S, S, 3]. */
int gn_image_eval(uint8_t *out, const void *bytes, size_t size, const struct gn_image_limits *limits, int image_size,
                  const struct gn_preprocess *preprocess, struct gn_error *err);
/* The shorter side that evaluation resizes to: floor(S / crop_pct), never below S. */
int gn_image_eval_side(int image_size, float crop_pct);
/* What the pixel values 0 .. 255 of each channel become: (x / 255 - mean) / std. */
void gn_image_levels(float levels[3][256], const struct gn_preprocess *preprocess);
/* u8 [S, S, 3] -> float [3, S, S], by gn_image_levels. */
void gn_image_normalise(float *out, const uint8_t *in, int image_size, const struct gn_preprocess *preprocess);

/* ---------------------------------------------------------------- data sets -------------------------------------- */

enum gn_split { GN_TRAIN, GN_VAL, GN_TEST, GN_SPLIT_COUNT };
const char *gn_split_name(enum gn_split split); /* "train", "val", "test" */

struct gn_sample {
	uint64_t offset, bytes; /* in the pack */
	const char *path;       /* as in the archive, without common leading folders; borrowed */
	int width, height;      /* after EXIF orientation */
	int32_t label;
	enum gn_split split;
};
struct gn_dataset_class {
	const char *name;
	int counts[GN_SPLIT_COUNT];
};
/* A packed data set, memory-mapped and read-only. Samples are in a fixed order: split, then class, then path. */
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
 * Work for a client, held against what the client sends: a few seconds of the calling thread's processor time, and one more for every
 * 8 MiB that arrive. What the thread waits for does not count. bytes: those that have arrived so far, in all.
 */
struct gn_work {
	double began;
	uint64_t bytes;
};
void gn_work_begin(struct gn_work *work, uint64_t bytes);
bool gn_work_exceeds(const struct gn_work *work, uint64_t bytes, double seconds);

/* What unpacking one archive may take; a bomb stops here. A 0 stands for the value of gn_archive_budget_default. */
struct gn_archive_budget {
	uint64_t total_bytes; /* unpacked, in all */
	int ratio;            /* bytes unpacked for each byte packed, after the first 64 MiB */
	double entry_seconds; /* of work (gn_work) without a finished entry */
	uint64_t memory;      /* that the window of gzip, xz or zstd may take */
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
	struct gn_gate *gate; /* of the memory for decoding; NULL: one of its own, of 48 MiB */
	int threads;          /* decoders */
	/* The archive's bytes: fills buffer with at least one byte, returns the number, 0 at the end, -1 to abort
	 * (the client has gone). May block. */
	gn_bytes_read *read;
	/* Whether nobody waits for the result any more: the work then ends with GN_CANCELLED. Asked often; NULL: never. */
	bool (*gone)(void *user);
	void *user;
	/* Whether this many more bytes may be written; NULL: always. Asked now and then. */
	int (*room)(void *user, uint64_t bytes, struct gn_error *err);
	void *room_user;
};
struct gn_ingest_report {
	struct gn_rejected *rejected; /* the first 100 */
	int rejected_listed;
	int64_t rejected_count, skipped_count;
	double mean_width, mean_height;
	uint64_t bytes; /* of everything in folder */
	/* Of the content, whatever the archive's form and order: over every sample in order, its split's name, its
	 * class, its path, each with a NUL behind, and the 32 bytes of its own SHA-256. */
	char sha256[65];
};
/* Reads an archive (zip, tar, tar.gz, tar.xz, tar.zst, by content) while it arrives, decodes every image whole,
 * and leaves a packed data set in folder (which exists and is empty; on an error the caller removes it). Memory
 * grows by a table of about 200 bytes an image. What is a class, what comes split and which copies go is told in
 * engine/data/arrange.c. GN_MALFORMED: no archive, damaged or cut; GN_UNSUPPORTED: encrypted; GN_TOO_LARGE: past a
 * limit, a bomb; GN_INVALID: fewer than two classes, or a class with fewer than two images. */
int gn_dataset_ingest(const char *folder, const struct gn_ingest_options *options, struct gn_ingest_report *report,
                      struct gn_error *err);
void gn_ingest_report_release(struct gn_ingest_report *report);

#endif
