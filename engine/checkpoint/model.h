/* Model files for code that processes more weights than fit in memory. The public functions are in
 * gonio.h. */
#ifndef GN_CHECKPOINT_MODEL_H
#define GN_CHECKPOINT_MODEL_H

#include "gonio.h"

#define GN_MODEL_PIECE ((size_t)1 << 18) /* values: 1 MiB */

struct gn_model_source {
	/* Values at .. at + n of a tensor, n <= GN_MODEL_PIECE, valid until the next call; NULL
	 * with *err ends the writing. */
	const float *(*piece)(void *user, int tensor, size_t at, size_t n, struct gn_error *err);
	void *user;
};
/* gn_model_write for weights that are computed while they are written. Tensor i of the layout is
 * written if has[i]. The pieces are requested in order. parts->tensors is ignored. */
int gn_model_write_pieces(const char *path, const struct gn_model_parts *parts, const bool *has,
                          const struct gn_model_source *source, struct gn_error *err);
/* Drops the pages of these values from memory, if they lie in the model's own mapped file. */
void gn_model_forget(const struct gn_model *model, int tensor, size_t at, size_t n);

#endif
