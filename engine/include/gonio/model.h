/* Models in files: opening, importing, exporting, unpacking. Part of gonio.h, whose conventions hold here. */
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
const char *gn_pos_resample_name(enum gn_pos_resample how); /* "timm", "hf", "dinov2", "torchvision" */
enum gn_scheme { GN_SCHEME_TIMM, GN_SCHEME_HUGGINGFACE, GN_SCHEME_TORCHVISION, GN_SCHEME_DINOV2, GN_SCHEME_GONIO };
const char *gn_scheme_name(enum gn_scheme scheme); /* "timm", "huggingface", "torchvision", "dinov2", "gonio" */

/* The decimal that people write for a float, the shortest that stands for it: 0.485, not 0.48500001430511475. */
double gn_decimal(float value);

struct gn_preprocess {
	float mean[3], std[3]; /* of pixels in 0..1 */
	float crop_pct;        /* shorter side -> floor(image_size / crop_pct), then centre crop */
	enum gn_interpolation interpolation;
};

/*
 * A model whose weights lie in memory-mapped files: gonio's own model.safetensors (F32, timm names, with the
 * architecture, the preprocessing and the labels in __metadata__). A tuned model's file holds its delta only; the
 * other tensors point into its base, which must outlive it. Read-only, so any number of threads may use one.
 */
struct gn_model {
	struct gn_arch arch;
	struct gn_preprocess preprocess;
	enum gn_scheme scheme; /* where the base came from */
	enum gn_pos_resample pos_resample;
	struct gn_layout layout;
	const float **tensors; /* [layout.count]; 4-byte alignment only */
	bool *own;             /* [layout.count]: this file holds the tensor itself (all of them for a base model) */
	char **labels;         /* [label_count]; label_count is 0 or arch.classes */
	int label_count;
	const struct gn_model *base; /* NULL for a base model */
	char base_hash[65];          /* what the file says of the base it was tuned from: gn_model_hash; "": nothing */
	struct gn_model_map *map;    /* private */
};

/* Whether a file is one that gn_model_open takes (gonio's own metadata, float32), rather than gn_model_import. GN_MALFORMED for a
 * file that is no safetensors file. */
int gn_model_is_own(bool *own, const char *path, struct gn_error *err);
/* Opens gonio's own file. base: NULL, or the model that the file's delta belongs to (borrowed). GN_INVALID with where the path when
 * the file says that it was tuned from another, by gn_model_hash of the base. */
int gn_model_open(struct gn_model **out, const char *path, const struct gn_model *base, struct gn_error *err);
/* The same, without reading the base through: for those who know it to be the one. */
int gn_model_open_known(struct gn_model **out, const char *path, const struct gn_model *base, struct gn_error *err);
void gn_model_close(struct gn_model *model);
/* A model opened with its bases, from the paths of their files, the model first. known: that they belong together. */
#define GN_CHAIN_MAX 16 /* a tuned model, its base, the base's base, ... */
struct gn_chain {
	int count;
	struct gn_model *models[GN_CHAIN_MAX];
};
int gn_chain_open_paths(struct gn_chain *chain, int count, const char *const *paths, bool known, struct gn_error *err);
void gn_chain_close(struct gn_chain *chain);
/* SHA-256 over the values of all tensors, the base's too, in the layout's order. The first call reads them all (ViT-B: 0.4 s), later
 * ones know it. Any thread. */
int gn_model_hash(char hash[65], const struct gn_model *model, struct gn_error *err);

/* What a new model file is made of: tensors[i] == NULL leaves tensor i out (a delta). Borrowed during the call. */
struct gn_model_parts {
	const struct gn_arch *arch;
	const struct gn_preprocess *preprocess;
	enum gn_scheme scheme;
	enum gn_pos_resample pos_resample;
	const struct gn_layout *layout;
	const float *const *tensors;
	const char *const *labels;
	int label_count;
	const char *base; /* gn_model_hash of the model that a delta belongs to; NULL or "": not said */
};
/* Those of an open model, without tensors and base; borrowed from it. */
struct gn_model_parts gn_model_parts_of(const struct gn_model *model);
/* Writes gonio's own file at path: temporary file beside it, fsync, rename, fsync of the folder. */
int gn_model_write(const char *path, const struct gn_model_parts *parts, struct gn_error *err);
/* Writes an untrained model: truncated normal of 0.02 for matrices, tokens and positions, 1 and 0 for norms, 0 for
 * biases (timm's initialisation); the same seed gives the same file. labels may be NULL. gone: as in
 * gn_ingest_options; a large model takes a minute. */
int gn_model_write_random(const char *path, const struct gn_arch *arch, uint64_t seed, const char *const *labels,
                          bool (*gone)(void *user), void *user, struct gn_error *err);

/* What the user says about a checkpoint beyond its tensors. 0, NULL, NAN or -1 mean "not said". */
struct gn_import_options {
	int heads, image_size;
	int activation;        /* -1 or enum gn_activation */
	float norm_eps;        /* NAN: not said */
	float mean[3], std[3]; /* mean[0] NAN: not said */
	float crop_pct;        /* NAN: not said */
	const char *config_json;
	size_t config_bytes; /* Hugging Face or timm config.json, or NULL */
	const char *preprocessor_json;
	size_t preprocessor_bytes; /* Hugging Face preprocessor_config.json, or NULL */
	const char *labels_json;
	size_t labels_bytes;                      /* JSON array of class names, or NULL */
	const enum gn_pos_resample *pos_resample; /* NULL: as the checkpoint's own library does */
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
/* Reads a foreign safetensors file (any scheme of docs/checkpoints.md) and writes gonio's own file at out_path.
 * Every backbone tensor must be there exactly once, of the right shape and finite; err->where names the tensor. */
int gn_model_import(const char *out_path, const char *source_path, const struct gn_import_options *options,
                    struct gn_import_report *report, struct gn_error *err);
void gn_import_report_release(struct gn_import_report *report);

/*
 * The folder of a checkpoint in an archive (zip, tar, tar.gz, tar.xz, tar.zst), as a model hub or an export gives it: the one
 * *.safetensors file, and config.json and preprocessor_config.json from the same folder. Everything else in it is passed over,
 * but names that lead out, links and devices, and a second or a sharded checkpoint are refused.
 */
struct gn_archive_budget; /* below, with the data sets */
struct gn_unpack_options {
	gn_bytes_read *read; /* these four as in gn_ingest_options */
	bool (*gone)(void *user);
	void *user;
	const struct gn_archive_budget *budget; /* NULL: the default */
	/* Whether this many more bytes may be written; NULL: always. Asked now and then. */
	int (*room)(void *user, uint64_t bytes, struct gn_error *err);
	void *room_user;
};
struct gn_unpacked {
	char *config, *preprocessor; /* malloc'd texts; NULL: not there */
	size_t config_bytes, preprocessor_bytes;
};
/* Whether these first bytes of a file (512 tell for sure) are an archive's. No safetensors file begins so. */
bool gn_archive_sniff(const void *bytes, size_t size);
/* Unpacks the checkpoint to a new file at checkpoint_path while the archive arrives; on an error there is none. Caller frees the
 * texts. Errors as gn_dataset_ingest's. */
int gn_model_unpack(struct gn_unpacked *out, const char *checkpoint_path, const struct gn_unpack_options *options,
                    struct gn_error *err);

/*
 * Exports: a safetensors stream, and the files that stand beside it. The caller reads it piece by piece, so that a
 * large model never lies in memory twice.
 *
 * HUGGINGFACE means the classifier of transformers that computes the very same function, in the names that every
 * version reads: ViT, DeiT (with or without the distillation's head), Dinov2 with or without registers. A model that
 * none of them computes is refused, and so is one without a head; so is, by gn_export_config, a model that timm cannot be
 * told of.
 */
enum gn_dtype { GN_F32, GN_F16, GN_BF16 };
enum gn_export_format { GN_EXPORT_TIMM, GN_EXPORT_HUGGINGFACE };
struct gn_note {
	const char *key, *value; /* UTF-8 */
};
struct gn_export_options {
	enum gn_export_format format;
	bool delta_only; /* only the tensors that differ from the base; else every one */
	enum gn_dtype dtype;
	const struct gn_note *notes; /* [note_count]: more members of __metadata__; borrowed during the call */
	int note_count;
};
struct gn_export;
/* Errors: GN_INVALID with where "format", "content" or "dtype". */
int gn_export_open(struct gn_export **out, const struct gn_model *model, const struct gn_export_options *options,
                   struct gn_error *err);
uint64_t gn_export_bytes(const struct gn_export *e);
/* Copies up to size bytes from offset into buffer; returns how many (0 at the end). Thread-safe on one object. */
size_t gn_export_read(struct gn_export *e, uint64_t offset, void *buffer, size_t size);
void gn_export_close(struct gn_export *e);
/* config.json for timm or transformers, preprocessor_config.json for transformers: malloc'd JSON texts, caller frees.
 * dtype is that of the weights beside them. GN_INVALID with where "format" when the format has no words for the
 * model. */
int gn_export_config(char **out, const struct gn_model *model, enum gn_export_format format, enum gn_dtype dtype,
                     struct gn_error *err);
int gn_export_preprocessor(char **out, const struct gn_model *model, struct gn_error *err);
/* What loads an export: "ViTForImageClassification", or timm's architecture that the config starts from. NULL where
 * gn_export_config refuses. */
const char *gn_export_class(const struct gn_model *model, enum gn_export_format format);

/* Lists the tensors of any safetensors file: calls visit for each, in file order. */
int gn_inspect(const char *path,
               void (*visit)(void *user, const char *name, const char *dtype, int rank, const int64_t *shape),
               void *user, struct gn_error *err);

#endif
