/*
 * gonio: partial fine-tuning of Vision Transformers. The engine's public API, and the only engine header that other
 * rooms include.
 *
 * Conventions that hold for every function here:
 *   - int functions return 0, or -1 with *err filled in (err may be NULL; the first error in it wins).
 *   - "out" parameters come first and are left untouched on an error unless the comment says otherwise.
 *   - X_new/X_open allocate what X_free/X_close releases; a "borrowed" pointer lives as long as the object it came
 *     from.
 *   - Nothing here prints, exits or keeps process-wide state. Sizes are bytes, durations seconds, angles degrees.
 *   - Dimension letters: B images, T tokens, C width (dim), H heads, D head width, M hidden width of the FFN,
 *     K classes, S image side, L blocks.
 */
#ifndef GONIO_H
#define GONIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus /* the CUDA backend includes this header */
extern "C" {
#define GN_NORETURN [[noreturn]]
#else
#define GN_NORETURN _Noreturn
#endif

/* ---------------------------------------------------------------- errors ---------------------------------------- */

enum gn_code {
	GN_OK = 0,
	GN_INVALID,     /* a value or a file that cannot be accepted as it is: HTTP 422 */
	GN_MALFORMED,   /* bytes that are not what they claim to be: HTTP 400 */
	GN_UNSUPPORTED, /* well formed, but of a kind that gonio does not take: HTTP 422 or 415 */
	GN_NOT_FOUND,   /* HTTP 404 */
	GN_CONFLICT,    /* HTTP 409 */
	GN_TOO_LARGE,   /* past a limit: HTTP 413 */
	GN_NO_MEMORY,   /* HTTP 503; a run's own failure */
	GN_NO_SPACE,    /* disk full: HTTP 507 */
	GN_IO,          /* another failure of the operating system: HTTP 500 */
	GN_DEVICE,      /* the compute device failed: HTTP 503 */
	GN_CANCELLED    /* stopped because the caller asked for it */
};

/* Caller-owned; zero-initialise before use. `where` names the field, file or tensor ("" if none). */
struct gn_error {
	enum gn_code code;
	char where[160];
	char text[480];
};

/* Records an error unless one is there already; returns -1 so that callers can `return gn_fail(...)`. */
int gn_fail(struct gn_error *err, enum gn_code code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a failed system call: ENOSPC and EDQUOT become GN_NO_SPACE, ENOMEM GN_NO_MEMORY, others GN_IO. */
int gn_fail_errno(struct gn_error *err, const char *where, const char *what);

/* gn_assert: our own bug. Prints file and line, aborts. Never for anything that input can cause. */
#define gn_assert(condition) ((condition) ? (void)0 : gn_assert_failed(#condition, __FILE__, __LINE__))
GN_NORETURN void gn_assert_failed(const char *condition, const char *file, int line);

const char *gn_version(void);

/* ---------------------------------------------------------------- architecture ---------------------------------- */

/* MEAN: of the patch tokens, without class, distillation and register tokens. */
enum gn_pool { GN_POOL_CLS, GN_POOL_MEAN };
enum gn_activation { GN_ACT_GELU, GN_ACT_GELU_TANH, GN_ACT_QUICK_GELU }; /* exact erf; tanh form; x*sigmoid(1.702x) */

/* A ViT. Token order is [cls][dist][registers...][patches]. T = prefix tokens + (image_size / patch_size)^2. */
struct gn_arch {
	int image_size, patch_size, dim, depth, heads, mlp_dim;
	int classes;   /* 0: no head */
	int registers; /* register tokens; they never get a position */
	enum gn_pool pool;
	enum gn_activation activation;
	float norm_eps;
	bool class_token;     /* pool CLS needs it */
	bool distilled;       /* a distillation token stands behind the class token */
	bool dist_head;       /* timm DeiT: head_dist reads the distillation token, logits are the mean of both heads */
	bool pos_on_prefix;   /* pos_embed has rows for cls and dist (false: timm's no_embed_class, DeiT-3) */
	bool layer_scale;     /* ls1, ls2 */
	bool norm_pre;        /* CLIP: a LayerNorm after the embeddings */
	bool norm_after_pool; /* timm fc_norm: the final norm comes after the mean pooling, and is named fc_norm */
	bool qkv_bias, patch_bias;
};

/* Checks every field against its bounds (dim divisible by heads, image by patch, ...); names the field in
 * err->where. */
int gn_arch_check(const struct gn_arch *arch, struct gn_error *err);
int gn_arch_tokens(const struct gn_arch *arch);        /* T */
int gn_arch_prefix_tokens(const struct gn_arch *arch); /* cls + dist + registers */

enum gn_group { GN_GROUP_EMBEDDING, GN_GROUP_ATTENTION, GN_GROUP_FFN, GN_GROUP_NORM, GN_GROUP_HEAD };
const char *gn_group_name(enum gn_group group); /* "embedding", "attention", "ffn", "norm", "head" */

/* What a tensor does in the network; with the block number it identifies the tensor. */
/* clang-format off */
enum gn_role {
	GN_CLS_TOKEN, GN_DIST_TOKEN, GN_REG_TOKEN, GN_POS_EMBED, GN_PATCH_W, GN_PATCH_B, GN_NORM_PRE_W, GN_NORM_PRE_B,
	GN_NORM1_W, GN_NORM1_B, GN_QKV_W, GN_QKV_B, GN_PROJ_W, GN_PROJ_B, GN_LS1,
	GN_NORM2_W, GN_NORM2_B, GN_FC1_W, GN_FC1_B, GN_FC2_W, GN_FC2_B, GN_LS2,
	GN_NORM_W, GN_NORM_B, GN_HEAD_W, GN_HEAD_B, GN_HEAD_DIST_W, GN_HEAD_DIST_B,
	GN_ROLE_COUNT
};
/* clang-format on */

/* One parameter tensor. Names are timm's ("blocks.3.attn.qkv.weight"). Linear weights are (out, in), row-major. */
struct gn_tensor {
	char name[48];
	enum gn_role role;
	enum gn_group group; /* norm1 and ls1 belong to attention, norm2 and ls2 to ffn: METHOD 2 */
	int block;           /* -1 outside the blocks */
	int rank;
	int64_t shape[4];
	size_t numel;
	size_t offset; /* in floats, into a flat buffer of layout.floats; a multiple of 32 (128 bytes) */
	bool matrix;   /* one of qkv, proj, fc1, fc2 weight: what a layer's angle is made of */
	bool no_decay; /* no weight decay: 1-D tensors, tokens, position embedding */
};

/* Every tensor of an architecture, in network order. */
struct gn_layout {
	int count;
	struct gn_tensor *tensors;
	size_t floats;     /* length of a flat buffer that holds all of them, padding included */
	size_t parameters; /* without padding */
};
int gn_layout_init(struct gn_layout *layout, const struct gn_arch *arch, struct gn_error *err);
void gn_layout_release(struct gn_layout *layout);
/* The index of a tensor, or -1 where the architecture has none. block is ignored for roles outside the blocks. */
int gn_layout_find(const struct gn_layout *layout, enum gn_role role, int block);
int gn_layout_find_name(const struct gn_layout *layout, const char *name);

/* ---------------------------------------------------------------- models ----------------------------------------- */

enum gn_interpolation { GN_BICUBIC, GN_BILINEAR };
/* How each library resamples position embeddings: engine/checkpoint/position.h. */
enum gn_pos_resample { GN_POS_TIMM, GN_POS_HF, GN_POS_DINOV2, GN_POS_TORCHVISION };
const char *gn_pos_resample_name(enum gn_pos_resample how); /* "timm", "hf", "dinov2", "torchvision" */
enum gn_scheme { GN_SCHEME_TIMM, GN_SCHEME_HUGGINGFACE, GN_SCHEME_TORCHVISION, GN_SCHEME_DINOV2, GN_SCHEME_GONIO };
const char *gn_scheme_name(enum gn_scheme scheme); /* "timm", "huggingface", "torchvision", "dinov2", "gonio" */

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
/* Reads a foreign safetensors file (any scheme of CHECKPOINTS.md) and writes gonio's own file at out_path.
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
	ssize_t (*read)(void *user, void *buffer, size_t size); /* these four as in gn_ingest_options */
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

/* ---------------------------------------------------------------- images ---------------------------------------- */

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
/* u8 [S, S, 3] -> float [3, S, S], (x / 255 - mean) / std. */
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
	ssize_t (*read)(void *user, void *buffer, size_t size);
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

/* ---------------------------------------------------------------- devices ---------------------------------------- */

struct gn_device;
/* What matrix products are computed in; sums, norms, softmax, losses and the tuned weights are float32 in all. AUTO:
 * the device's own choice, fp32 on a CPU and bf16 on a GPU. A CPU has fp32 alone. */
enum gn_precision { GN_PRECISION_AUTO, GN_PRECISION_FP32, GN_PRECISION_TF32, GN_PRECISION_BF16 };
const char *gn_precision_name(enum gn_precision precision); /* "auto", "fp32", "tf32", "bf16" */
int gn_precision_from_name(const char *name);               /* -1: no such name */

/* spec: "cpu", "cuda", "cuda:N", or "auto": the first GPU that can be used, else the CPU (gn_device_describe says why);
 * threads 0 = all. One thread at a time may use a device. GN_UNSUPPORTED or GN_DEVICE where a GPU that was asked for
 * cannot be used: the text says why. */
int gn_device_open(struct gn_device **out, const char *spec, int threads, enum gn_precision precision,
                   struct gn_error *err);
void gn_device_close(struct gn_device *device);
struct gn_device_info {
	const char *backend;
	char spec[16]; /* what gn_device_open takes for this very device: "cpu", "cuda:0" */
	char name[96];
	enum gn_precision precision;
	uint64_t memory_bytes, memory_free; /* of the device; free: 0 where that is not known */
	uint64_t overhead_bytes;            /* of a GPU's memory: what each process takes by opening it */
	int threads;                        /* of the host: they compute, or read and decode for a GPU */
	char software[96];                  /* of a GPU: compute capability, driver and runtime; else "" */
	char remark[480];                   /* why "auto" is not a GPU; else "" */
};
void gn_device_describe(const struct gn_device *device, struct gn_device_info *info);
/* Whether the device still works: writes a little of its memory and waits for it. -1: its failure. */
int gn_device_check(struct gn_device *device, struct gn_error *err);

/* Leading blocks whose tensors, with the embedding's, are the same memory in all the models: those of tuned models that came with
 * their base. 0 for models of different shapes. */
int gn_models_shared_blocks(const struct gn_model *const *models, int count);

/* A model made ready on a device. On the CPU it uses the model's mapped weights where they lie: tuned models share
 * their base's pages. The model must outlive it. */
struct gn_infer;
int gn_infer_new(struct gn_infer **out, struct gn_device *device, const struct gn_model *model, int max_batch,
                 struct gn_error *err);
/* images [B, 3, S, S] normalised -> logits [B, K]; B <= max_batch. One thread at a time per device. */
int gn_infer_run(struct gn_infer *infer, const float *images, int batch, float *logits, struct gn_error *err);
/* The same images through several models of one device and image size: logits[i] is [B, K of model i], bit for bit what each
 * gives alone. Blocks that all share are computed once. */
int gn_infer_run_many(struct gn_infer *const *infers, int count, const float *images, int batch, float *const *logits,
                      struct gn_error *err);
/* Memory beyond the mapped weights that this model has for itself, and that all models on the device have together. */
uint64_t gn_infer_bytes(const struct gn_infer *infer);
uint64_t gn_device_resident_bytes(const struct gn_device *device);
/* The GPU's memory that a process takes which opens the device in this precision and makes one model of the architecture ready;
 * 0 on a CPU. */
uint64_t gn_infer_gpu_bytes(const struct gn_device *device, enum gn_precision precision, const struct gn_arch *arch,
                            int max_batch);
void gn_infer_free(struct gn_infer *infer);
/* probabilities [K] from logits [K], in double inside. */
void gn_softmax(float *probabilities, const float *logits, int classes);

/* ---------------------------------------------------------------- strategies and plans --------------------------- */

enum gn_strategy_kind {
	GN_FULL,
	GN_LINEAR,
	GN_ATTENTION,
	GN_FFN,
	GN_FIRST_THIRD,
	GN_MIDDLE_THIRD,
	GN_LAST_THIRD,
	GN_ODD,
	GN_EVEN,
	GN_NORM,
	GN_BIAS,
	GN_CUSTOM,
	GN_ANGLE, /* the layers that were chosen by their angle */
	GN_STRATEGY_COUNT
};
const char *gn_strategy_name(enum gn_strategy_kind kind);
int gn_strategy_kind_from_name(const char *name); /* -1: no such name */
struct gn_strategy {
	enum gn_strategy_kind kind;
	const char *const
	    *patterns; /* CUSTOM: globs over timm tensor names with {a..b} ranges; "head" means head.*; borrowed */
	int pattern_count;
	const char *const
	    *layers; /* ANGLE: names of attention and FFN layers, "blocks.3.attn", "blocks.3.mlp"; borrowed */
	int layer_count;
};
/* tuned[i] for each tensor of the layout; the head is always tuned. A pattern that matches nothing is an error
 * whose where is "/strategy/tune/N", a layer that the model does not have one at "/strategy/layers/N". */
int gn_strategy_select(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                       struct gn_error *err);
/* METHOD 8's learning rate for a strategy. */
double gn_strategy_lr(enum gn_strategy_kind kind);

enum gn_optimizer { GN_ADAMW, GN_SGD };
enum gn_schedule { GN_COSINE, GN_CONSTANT };
enum gn_augment { GN_AUGMENT_NONE, GN_AUGMENT_FLIP, GN_AUGMENT_STANDARD };
enum gn_head_init {
	GN_HEAD_ZERO,
	GN_HEAD_RANDOM,
	GN_HEAD_KEEP
}; /* KEEP: the model's own head; its classes must match */
enum gn_class_weights { GN_WEIGHTS_NONE, GN_WEIGHTS_BALANCED };

/* Everything that decides a run's result, all defaults filled in. */
struct gn_run_config {
	struct gn_strategy strategy;
	int epochs, batch_size;
	int micro_batch_size; /* 0: the largest that is useful and fits, see gn_plan_make */
	double lr, weight_decay, label_smoothing, clip_norm /* 0: none */, layer_decay;
	enum gn_optimizer optimizer;
	enum gn_schedule schedule;
	int64_t warmup_steps; /* -1: a tenth of all steps */
	enum gn_augment augment;
	int image_size; /* 0: the model's own */
	enum gn_head_init head;
	uint64_t seed;
	int eval_every_epochs;
	double checkpoint_every_seconds;
	int early_stop_epochs; /* 0: off; stop after so many evaluations without a better val accuracy */
	enum gn_class_weights class_weights;
};

/* What a run would cost: exact counts from the architecture and the set of tuned tensors. */
struct gn_plan {
	size_t tuned_parameters, total_parameters;
	int tuned_tensors;
	int lowest_tuned_block;   /* -1: no block is tuned; 0 also when the embedding is */
	int frozen_prefix_blocks; /* blocks whose output never changes: 0..depth */
	int prefix_stage; /* where the kept outputs of the frozen prefix end: 0 none are kept, depth + 1 the features */
	bool prefix_cached, prefix_in_memory;
	struct {
		uint64_t weights, gradients, optimizer, activations, prefix_cache, process,
		    total;       /* process: code, libraries, decoding */
		uint64_t device; /* what of it lies on the GPU; 0 on a CPU */
	} memory;
	/* Multiplies and adds counted apart; forward and backward of one whole batch, once the prefix is kept ... */
	double flops_per_step;
	double flops_first_epoch_step; /* ... and with the frozen prefix computed */
	/* What these operations and the optimiser read and write of memory at least, each operand once. */
	double bytes_per_step, bytes_first_epoch_step;
	double ideal_units, full_units; /* METHOD 7: block passes; full tuning costs 3 a block */
	double ideal_units_cached;      /* the same once the frozen prefix is kept */
	int64_t steps, steps_per_epoch, warmup_steps;
	int micro_batch_size;
	int image_size;
};
/* The plan on a CPU. train_images, val_images: how many; memory_limit: bytes that the run may use (0: the machine's memory).
 * micro_batch_size 0 in the config becomes the largest divisor-free split of the batch that fits and still makes
 * products larger (about 2048 token rows on a CPU, 65536 on a GPU). Fails with GN_NO_MEMORY, naming bytes needed and present, when
 * not even one image fits. */
int gn_plan_make(struct gn_plan *plan, const struct gn_arch *arch, const struct gn_run_config *config, int classes,
                 int train_images, int val_images, uint64_t memory_limit, struct gn_error *err);
/* The same on a device (NULL: a CPU) in a precision that it can compute in, which need not be the one that it was opened
 * with. memory_limit is the GPU's then, and stands against memory.device. */
int gn_plan_make_on(struct gn_plan *plan, const struct gn_device *device, enum gn_precision precision,
                    const struct gn_arch *arch, const struct gn_run_config *config, int classes, int train_images,
                    int val_images, uint64_t memory_limit, struct gn_error *err);

/* ---------------------------------------------------------------- angles ----------------------------------------- */

/* METHOD 4, in degrees. Kahan's form, double accumulation; 0 for equal bits. Both vectors must be non-zero, else
 * NAN. */
double gn_angle(const float *a, const float *b, size_t n);

struct gn_layer_angle { /* an attention or FFN layer */
	char name[32];  /* "blocks.0.attn" */
	int block;
	enum gn_group group;
	double degrees;
	int rank; /* 1 is the largest of its group; equal angles: the lower block first */
	int tensor_count;
	struct {
		char name[48];
		double degrees;
	} tensors[5]; /* qkv, its q, k and v rows, proj; or fc1, fc2 */
};
struct gn_angles {
	int count;
	struct gn_layer_angle *layers; /* network order: attn, mlp of block 0, ... */
};
/* tuned against base: same layout for all attention and FFN matrices. Caller releases. */
int gn_angles_compute(struct gn_angles *out, const struct gn_model *tuned, const struct gn_model *base,
                      struct gn_error *err);
void gn_angles_release(struct gn_angles *angles);

/* Which end of a group's ranking is tuned: METHOD 5. */
enum gn_order { GN_LARGEST, GN_SMALLEST };
const char *gn_order_name(enum gn_order order); /* "largest", "smallest" */
int gn_order_from_name(const char *name);       /* -1: no such name */
struct gn_selected_layer {
	char name[32]; /* "blocks.3.attn" */
	int block;
	enum gn_group group;
	double degrees;
};
struct gn_selection {
	int count;
	struct gn_selected_layer *layers; /* network order */
};
/* The first attention_layers and ffn_layers of each group's order; of equal angles the lower block comes first. Caller
 * releases. GN_INVALID with where "/strategy/attention_layers" or "/strategy/ffn_layers": a number below 0 or above
 * the group's; both 0; a group with a number above 0 in which a layer was frozen (an angle of exactly 0) or has no
 * angle (NAN). A group of which 0 layers are wanted is not looked at. */
int gn_select_layers(struct gn_selection *out, const struct gn_angles *angles, enum gn_order order,
                     int attention_layers, int ffn_layers, struct gn_error *err);
void gn_selection_release(struct gn_selection *selection);

/* ---------------------------------------------------------------- training --------------------------------------- */

enum gn_event_kind {
	GN_EVENT_START,
	GN_EVENT_STEP,
	GN_EVENT_EPOCH,
	GN_EVENT_ANGLES,
	GN_EVENT_CHECKPOINT,
	GN_EVENT_LOG,
	GN_EVENT_CHOICE /* gn_train_guided has chosen the layers */
};
/* Which layers a guided run tunes, and why. */
struct gn_choice {
	enum gn_order order;
	const struct gn_selection *selection;
	bool tried; /* both orders were: */
	struct {
		double val_accuracy, val_loss;
	} trials[2]; /* by order */
};
struct gn_event {
	enum gn_event_kind kind;
	int64_t step, steps;                                        /* optimiser steps done, and of the whole run */
	int epoch, epochs;                                          /* epoch counts from 1 */
	double loss, lr, grad_norm, images_per_second, eta_seconds; /* STEP; loss is the mean of the batch */
	double train_loss, val_loss, val_accuracy, val_macro_f1, seconds; /* EPOCH; val_* NAN when not evaluated */
	const struct gn_angles *angles;                                   /* ANGLES; borrowed during the call */
	const char *text;                                                 /* LOG, START; borrowed */
	const struct gn_choice *choice;                                   /* CHOICE; borrowed */
	const char *phase; /* of a guided run: "probe", "trial_largest", "trial_smallest", "tuning"; else NULL */
};
struct gn_train_result {
	double val_accuracy, val_macro_f1, val_loss, train_loss; /* of the best epoch; train_loss of the last */
	int best_epoch, epochs_done;
	double seconds; /* over all attempts */
	uint64_t peak_memory_bytes;
	int64_t images;
};
/* Where runs on one model and data set share the outputs of the frozen prefix. What decides their content is told apart by
 * the engine but for the weights and the pictures: those are what identity stands for. */
struct gn_shared {
	const char *folder; /* exists; the files stay there */
	const char *identity;
	const int *stages; /* gn_plan.prefix_stage of the runs that will come: filled on the way */
	int stage_count;
	uint64_t disk_reserve; /* bytes that stay free; where they do not, nothing is shared */
};
struct gn_train_options {
	struct gn_device *device;
	const struct gn_model *model;
	const struct gn_dataset *dataset;
	const struct gn_run_config *config;
	const char
	    *folder; /* checkpoint.bin, prefix cache; model.safetensors (the delta of the best epoch) is left here */
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	void (*on_event)(void *user,
	                 const struct gn_event *event); /* from the calling thread; must not block for long */
	void *user;
	const volatile int *stop;       /* != 0: write a checkpoint, return GN_CANCELLED. May be NULL */
	const struct gn_shared *shared; /* NULL: nothing is shared */
	bool discard_model;             /* leaves no model.safetensors: only the figures and the angles are wanted */
};
/* Trains from the pre-trained weights, or from folder/checkpoint.bin if one is there, bit for bit as if never
 * interrupted. */
int gn_train(struct gn_train_result *result, const struct gn_train_options *options, struct gn_error *err);

/* How a run finds the layers that it tunes by itself: METHOD 5. */
struct gn_guide {
	int probe_epochs; /* of full fine-tuning, for the angles */
	double probe_lr;
	enum gn_order order;
	bool try_both_orders; /* tune by either order for trial_epochs, and take the one with the better validation */
	int trial_epochs;
	int attention_layers, ffn_layers;
};
/* The configuration of a phase before the choice: the run's own but for strategy, length, rate, warm-up and stopping. */
struct gn_run_config gn_guide_probe(const struct gn_guide *guide, const struct gn_run_config *config);
struct gn_run_config gn_guide_trial(const struct gn_guide *guide, const struct gn_run_config *config);
/* Probe, trials where they are wanted, then gn_train with the strategy ANGLE and the chosen layers, from the pre-trained weights again. Each
 * phase has a folder of its own in options->folder while it goes on, and leaves a small file: interrupted anywhere, the next call goes on
 * bit for bit. The result's seconds and images are those of all phases. config->strategy is not looked at. */
int gn_train_guided(struct gn_train_result *result, const struct gn_train_options *options,
                    const struct gn_guide *guide, struct gn_error *err);

/* ---------------------------------------------------------------- evaluation ------------------------------------- */

enum { GN_CALIBRATION_BINS = 15, GN_TOP_COUNT = 5 };
/* Images whose confidence (the probability of the predicted class) lies in (i/15, (i+1)/15]. */
struct gn_calibration_bin {
	int64_t images;
	double confidence, accuracy; /* means; 0 in an empty bin */
};
struct gn_evaluated_image {
	int32_t sample;           /* index into the data set's samples */
	int32_t label, predicted; /* classes of the model; of equal logits the lower class is the predicted one */
	double confidence;
};
struct gn_evaluation_report {
	int classes; /* K */
	int64_t images;
	double accuracy;
	double
	    top5_accuracy; /* the label is among the 5 largest logits; of equal logits the lower class counts as larger */
	double loss;       /* mean cross-entropy */
	double macro_f1;   /* over classes that have images */
	double ece;        /* expected calibration error: sum over bins of images / all * |accuracy - confidence| */
	double *class_accuracy; /* [K]; NAN for a class without images */
	int64_t *class_images;  /* [K] */
	int64_t *confusion;     /* [K, K]: row label, column predicted */
	struct gn_calibration_bin bins[GN_CALIBRATION_BINS];
	struct gn_evaluated_image *results; /* [images]: mistakes before right answers, each most confident first */
};
/* Images that an evaluation computes at once. */
enum { GN_EVALUATE_BATCH = 32 };
struct gn_evaluate_options {
	struct gn_device *device;
	const struct gn_model *model;
	const struct gn_dataset *dataset;
	int split; /* enum gn_split, or GN_SPLIT_COUNT for all */
	uint64_t max_pixels;
	int loader_threads;                                           /* 0: chosen */
	void (*on_progress)(void *user, int64_t done, int64_t total); /* after each batch; may be NULL */
	void *user;
	const volatile int *stop; /* != 0: return GN_CANCELLED. May be NULL */
};
/* The data set's classes are exactly the model's labels, in any order. Otherwise GN_INVALID with where "labels", and the
 * text names the first class that differs. */
int gn_labels_match(const struct gn_model *model, const struct gn_dataset *dataset, struct gn_error *err);
/* Runs the model over a split with evaluation preprocessing. GN_INVALID: where "labels" as above; where "split" when it has
 * no image; where an image's path when the model's output for it is not a number. Caller releases the report. */
int gn_evaluate_model(struct gn_evaluation_report *report, const struct gn_evaluate_options *options,
                      struct gn_error *err);
void gn_evaluation_report_release(struct gn_evaluation_report *report);

/* ---------------------------------------------------------------- soups ------------------------------------------ */

/* METHOD 6: averages of models that were tuned from one base. */
enum gn_soup_method { GN_SOUP_UNIFORM, GN_SOUP_GREEDY, GN_SOUP_WEIGHTED, GN_SOUP_METHOD_COUNT };
const char *gn_soup_method_name(enum gn_soup_method method); /* "uniform", "greedy", "weighted" */
int gn_soup_method_from_name(const char *name);              /* -1: no such name */
enum { GN_SOUP_MODELS_MAX = 128 };
struct gn_soup_progress {
	int ingredient;  /* index into models of what was measured or tried last; -1: the soup itself */
	int done, total; /* steps: each ingredient measured, each one tried, the result measured, the result written */
	double val_accuracy; /* what was measured; NAN when nothing was */
	bool kept;           /* of an ingredient that greedy tried */
	const char *text;    /* a line for a log; borrowed during the call */
};
struct gn_soup_options {
	enum gn_soup_method method;
	const struct gn_model *const *models; /* [count], each opened on one and the same base object */
	int count;                            /* 1..GN_SOUP_MODELS_MAX */
	const char *const *names;             /* [count] what errors and log lines call them; NULL: "models/0", ... */
	const double *weights;                /* [count] of WEIGHTED: finite, not negative, not all 0; otherwise NULL */
	/* With a data set (and a device) ingredients and result are measured on its validation split; GREEDY needs both. */
	const struct gn_dataset *dataset;
	struct gn_device *device; /* averages are added up on it, too; NULL: on the CPU */
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	/* model.safetensors, the soup's delta, is left here; soup.bin, from which a stopped or killed soup goes on, too. */
	const char *folder;
	void (*on_progress)(void *user, const struct gn_soup_progress *progress); /* may be NULL */
	void *user;
	const volatile int *stop; /* != 0: return GN_CANCELLED. May be NULL */
};
struct gn_soup_ingredient {
	double val_accuracy, val_loss; /* NAN without a data set */
	bool kept;
	double weight; /* share in the result: 0 when not kept, 1 in sum */
};
struct gn_soup_result {
	int count, kept;
	struct gn_soup_ingredient *ingredients; /* [count] in the order of the models */
	double val_accuracy, val_loss;          /* of the soup; NAN without a data set */
};
/* The models can be mixed, and the options fit: GN_INVALID with where "/models", "/models/N", "/weights", "/weights/N" or
 * "/dataset"; the text names the model and what is wrong. Whether the data set has the models' classes is gn_labels_match's
 * to say. Reads no weights. */
int gn_soup_check(const struct gn_soup_options *options, struct gn_error *err);
/* Averages in float64, tensor by tensor, whatever the number of models in the memory of one piece of a tensor. A tensor
 * that is frozen in a model counts with the base's value; one that equals the base in all of them stays out of the delta.
 * The average of given models does not depend on their order, nor on the device. GREEDY sorts by validation accuracy (then
 * loss), adds one model at a time, and keeps it if the average's validation accuracy does not fall. Errors: those of the
 * check; GN_CONFLICT with where "soup.bin" when the folder holds the state of another soup; where "labels" or "split" as
 * gn_evaluate_model. Caller releases the result. */
int gn_soup_make(struct gn_soup_result *result, const struct gn_soup_options *options, struct gn_error *err);
void gn_soup_result_release(struct gn_soup_result *result);
/* The GPU's memory that a process takes which opens the device in this precision and averages models on it; 0 on a CPU. What
 * measuring takes is gn_infer_gpu_bytes's to say: the two come one after the other. */
uint64_t gn_soup_gpu_bytes(const struct gn_device *device, enum gn_precision precision);

/* ---------------------------------------------------------------- bench ------------------------------------------ */

/* One measured figure. unit: "GFLOP/s", "GB/s", "images/s", "s", "bytes", "ratio". */
struct gn_bench_row {
	char section[24], name[72], unit[16];
	double value, reference; /* reference NAN: none */
};
enum { GN_BENCH_BATCH_MAX = 256 };
struct gn_bench_options {
	struct gn_device *device; /* what operations, steps and inference run on */
	int threads;
	double seconds;   /* per figure, about */
	int batch;        /* images, at most GN_BENCH_BATCH_MAX; 0: each part's own */
	const char *only; /* a substring of section/name, or NULL */
	void (*on_row)(void *user, const struct gn_bench_row *row);
	void *user;
};
int gn_bench(const struct gn_bench_options *options, struct gn_error *err);

#ifdef __cplusplus
}
#endif
#endif
