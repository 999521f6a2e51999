/* The metadata of gonio's own files: __metadata__ under gonio.*. */
#ifndef GN_CHECKPOINT_METADATA_H
#define GN_CHECKPOINT_METADATA_H

#include <jansson.h>

#include "checkpoint/safetensors.h"
#include "gonio.h"

struct gn_metadata {
	struct gn_arch arch;
	struct gn_preprocess preprocess;
	enum gn_scheme scheme;
	enum gn_pos_resample pos_resample;
	char **labels; /* [label_count] */
	int label_count;
	char base[65]; /* the hash of its base; "" if not stated */
};
/* A new __metadata__ object of strings; the caller owns it. NULL with *err. */
json_t *gn_metadata_make(const struct gn_model_parts *parts, struct gn_error *err);
/* Whether a file has gonio's metadata. */
bool gn_metadata_there(const struct gn_st_file *file);
/* Reads and checks the metadata. On an error, where is the member ("gonio.architecture.heads"). */
int gn_metadata_read(struct gn_metadata *out, const struct gn_st_file *file, struct gn_error *err);
void gn_metadata_release(struct gn_metadata *metadata);

#endif
