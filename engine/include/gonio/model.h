/* Model files: opening, importing, exporting and unpacking them. Part of gonio.h, whose conventions
 * hold here. */
#ifndef GONIO_MODEL_H
#define GONIO_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/gonio/architecture.h"
#include "include/gonio/files.h"

enum gn_interpolation { GN_BICUBIC, GN_BILINEAR };
/* How each library resamples position embeddings: engine/checkpoint/position.h. */
enum gn_pos_resample { GN_POS_TIMM, GN_POS_HF, GN_POS_DINOV2, GN_POS_TORCHVISION };
/* "timm", "hf", "dinov2", "torchvision" */
const char *gn_pos_resample_name(enum gn_pos_resample how);
enum gn_scheme { GN_SCHEME_TIMM, GN_SCHEME_HUGGINGFACE, GN_SCHEME_TORCHVISION, GN_SCHEME_DINOV2, GN_SCHEME_GONIO };
/* "timm", "huggingface", "torchvision", "dinov2", "gonio" */
const char *gn_scheme_name(enum gn_scheme scheme);

/* The decimal that people write for a float, the shortest that stands for it: 0.485, not
 * 0.48500001430511475. */
double gn_decimal(float value);

struct gn_preprocess {
	float mean[3], std[3]; /* of pixels in 0..1 */
	float crop_pct;        /* shorter side -> floor(image_size / crop_pct), then centre crop */
	enum gn_interpolation interpolation;
};

/*
 * A model whose weights lie in memory-mapped files. The file is gonio's own model.safetensors:
 * float32, timm's names, and the architecture, the preprocessing and the labels in __metadata__.
 * The file of a tuned model holds its delta only; the other tensors point into its base, which must
 * outlive it. A model is read-only, so any number of threads may use it.
 */
struct gn_model {
	struct gn_arch arch;
	struct gn_preprocess preprocess;
	enum gn_scheme scheme; /* where the base came from */
	enum gn_pos_resample pos_resample;
	struct gn_layout layout;
	const float **tensors; /* [layout.count]; 4-byte alignment only */
	/* [layout.count]: whether this file holds the tensor itself; true for all tensors of a base
	 * model */
	bool *own;
	char **labels; /* [label_count]; label_count is 0 or arch.classes */
	int label_count;
	const struct gn_model *base; /* NULL for a base model */
	/* gn_model_hash of the base, as this file states it; "" if it states none */
	char base_hash[65];
	struct gn_model_map *map; /* private */
};

/* Tells gonio's own files (gonio's metadata, float32), which gn_model_open reads, from foreign
 * ones, which gn_model_import reads. GN_MALFORMED if it is not a safetensors file. */
int gn_model_is_own(bool *own, const char *path, struct gn_error *err);
/* Opens gonio's own file. base is the model that the file's delta belongs to (borrowed), or NULL.
 * GN_INVALID with where the path if the file states another base, by gn_model_hash. */
int gn_model_open(struct gn_model **out, const char *path, const struct gn_model *base, struct gn_error *err);
/* The same for a caller that knows that the base is the right one: does not read the base to hash
 * it. */
int gn_model_open_known(struct gn_model **out, const char *path, const struct gn_model *base, struct gn_error *err);
void gn_model_close(struct gn_model *model);
/* A model opened together with all its bases. paths has the model's file first. known: the caller
 * knows that the files belong together, so that nothing is hashed. */
#define GN_CHAIN_MAX 16 /* a tuned model, its base, the base's base, ... */
struct gn_chain {
	int count;
	struct gn_model *models[GN_CHAIN_MAX];
};
int gn_chain_open_paths(struct gn_chain *chain, int count, const char *const *paths, bool known, struct gn_error *err);
void gn_chain_close(struct gn_chain *chain);
/* SHA-256 of the values of all tensors, also the base's, in the layout's order. The first call
 * reads all of them (0.4 s for ViT-B); later calls return the stored hash. Any thread. */
int gn_model_hash(char hash[65], const struct gn_model *model, struct gn_error *err);

/* The content of a new model file. tensors[i] == NULL leaves tensor i out, for a delta. Borrowed
 * during the call. */
struct gn_model_parts {
	const struct gn_arch *arch;
	const struct gn_preprocess *preprocess;
	enum gn_scheme scheme;
	enum gn_pos_resample pos_resample;
	const struct gn_layout *layout;
	const float *const *tensors;
	const char *const *labels;
	int label_count;
	/* gn_model_hash of the model that a delta belongs to; NULL or "" states none */
	const char *base;
};
/* Those of an open model, without tensors and base; borrowed from it. */
struct gn_model_parts gn_model_parts_of(const struct gn_model *model);
/* Writes gonio's own file at path: a temporary file beside it, fsync, rename, fsync of the
 * folder. */
int gn_model_write(const char *path, const struct gn_model_parts *parts, struct gn_error *err);
/* Writes an untrained model with timm's initialisation: a truncated normal distribution of standard
 * deviation 0.02 for matrices, tokens and positions, weight 1 and bias 0 for norms, 0 for other
 * biases. The same seed gives the same file. labels may be NULL. gone is as in gn_ingest_options,
 * because a large model takes a minute. */
int gn_model_write_random(const char *path, const struct gn_arch *arch, uint64_t seed, const char *const *labels,
                          bool (*gone)(void *user), void *user, struct gn_error *err);

/* What the user states about a checkpoint beyond its tensors. 0, NULL, NAN or -1 mean "not
 * stated". */
struct gn_import_options {
	int heads, image_size;
	int activation;        /* enum gn_activation, or -1 */
	float norm_eps;        /* NAN: not stated */
	float mean[3], std[3]; /* mean[0] NAN: not stated */
	float crop_pct;        /* NAN: not stated */
	const char *config_json;
	size_t config_bytes; /* Hugging Face or timm config.json, or NULL */
	const char *preprocessor_json;
	size_t preprocessor_bytes; /* Hugging Face preprocessor_config.json, or NULL */
	const char *labels_json;
	size_t labels_bytes; /* JSON array of class names, or NULL */
	/* NULL: as the checkpoint's own library resamples */
	const enum gn_pos_resample *pos_resample;
	bool allow_unused;
};
struct gn_import_report {
	int mapped; /* source tensors that went into the model */
	char **ignored;
	int ignored_count;
	char **resized;
	int resized_count;
	char sha256[65]; /* of the source file's bytes */
};
/* Reads a foreign safetensors file in any scheme of docs/checkpoints.md, and writes gonio's own
 * file at out_path. Each backbone tensor must be there exactly once, have the right shape and only
 * finite values. On an error, err->where names the tensor. */
int gn_model_import(const char *out_path, const char *source_path, const struct gn_import_options *options,
                    struct gn_import_report *report, struct gn_error *err);
void gn_import_report_release(struct gn_import_report *report);

/*
 * A checkpoint in an archive (zip, tar, tar.gz, tar.xz, tar.zst), as model hubs and gonio's exports
 * provide it: one *.safetensors file, and config.json and preprocessor_config.json in the same
 * folder. Other files are ignored. These are errors: names that lead out of the folder, links,
 * devices, a second checkpoint and a sharded checkpoint.
 */
struct gn_archive_budget; /* defined in dataset.h */
struct gn_unpack_options {
	gn_bytes_read *read; /* these four as in gn_ingest_options */
	bool (*gone)(void *user);
	void *user;
	const struct gn_archive_budget *budget; /* NULL: the default */
	/* Fails if this many more bytes must not be written. Called now and then. NULL: no
	 * limit. */
	int (*room)(void *user, uint64_t bytes, struct gn_error *err);
	void *room_user;
};
struct gn_unpacked {
	char *config, *preprocessor; /* malloc'd texts; NULL if the archive has no such file */
	size_t config_bytes, preprocessor_bytes;
};
/* Whether a file that begins with these bytes is an archive. 512 bytes are enough to be sure. No
 * safetensors file begins like an archive. */
bool gn_archive_sniff(const void *bytes, size_t size);
/* Unpacks the checkpoint to a new file at checkpoint_path while the archive arrives. On an error no
 * file is left. Caller frees the texts. Errors are those of gn_dataset_ingest. */
int gn_model_unpack(struct gn_unpacked *out, const char *checkpoint_path, const struct gn_unpack_options *options,
                    struct gn_error *err);

/*
 * Exports: a safetensors stream, and the files that belong beside it. The caller reads the stream
 * piece by piece, so that a large model is never in memory twice.
 *
 * HUGGINGFACE means the classifier of transformers that computes exactly the same function, with
 * the tensor names that every version reads: ViT, DeiT (with or without the distillation head),
 * Dinov2 (with or without registers). A model that none of these classes computes is an error, and
 * so is a model without a head. gn_export_config also fails for a model that timm has no options
 * for.
 */
enum gn_dtype { GN_F32, GN_F16, GN_BF16 };
enum gn_export_format { GN_EXPORT_TIMM, GN_EXPORT_HUGGINGFACE };
struct gn_note {
	const char *key, *value; /* UTF-8 */
};
struct gn_export_options {
	enum gn_export_format format;
	bool delta_only; /* true: only the tensors that differ from the base; false: all tensors */
	enum gn_dtype dtype;
	/* [note_count]: further members of __metadata__; borrowed during the call */
	const struct gn_note *notes;
	int note_count;
};
struct gn_export;
/* Errors: GN_INVALID with where "format", "content" or "dtype". */
int gn_export_open(struct gn_export **out, const struct gn_model *model, const struct gn_export_options *options,
                   struct gn_error *err);
uint64_t gn_export_bytes(const struct gn_export *e);
/* Copies up to size bytes from offset into buffer. Returns the number copied, 0 at the end. Several
 * threads may read one object. */
size_t gn_export_read(struct gn_export *e, uint64_t offset, void *buffer, size_t size);
void gn_export_close(struct gn_export *e);
/* config.json for timm or transformers, and preprocessor_config.json for transformers. Both are
 * malloc'd JSON texts; caller frees. dtype is that of the exported weights. GN_INVALID with where
 * "format" if the format cannot express the model. */
int gn_export_config(char **out, const struct gn_model *model, enum gn_export_format format, enum gn_dtype dtype,
                     struct gn_error *err);
int gn_export_preprocessor(char **out, const struct gn_model *model, struct gn_error *err);
/* The class that loads an export: "ViTForImageClassification", or the timm architecture that the
 * config starts from. NULL if gn_export_config fails for this model. */
const char *gn_export_class(const struct gn_model *model, enum gn_export_format format);

/* Lists the tensors of any safetensors file: calls visit for each tensor, in file order. */
int gn_inspect(const char *path,
               void (*visit)(void *user, const char *name, const char *dtype, int rank, const int64_t *shape),
               void *user, struct gn_error *err);

#endif
