/* Model files for those who handle more weights than they want in memory; the public face is in gonio.h. */
#ifndef GN_CHECKPOINT_MODEL_H
#define GN_CHECKPOINT_MODEL_H

#include "gonio.h"

#define GN_MODEL_PIECE ((size_t)1 << 18) /* values: 1 MiB */

struct gn_model_source {
	/* Values at .. at + n of a tensor, n <= GN_MODEL_PIECE, valid until the next call; NULL with *err ends the writing. */
	const float *(*piece)(void *user, int tensor, size_t at, size_t n, struct gn_error *err);
	void *user;
};
/* gn_model_write for weights that are made while they are written: tensor i of the layout is written where has[i], asked for
 * in order, piece by piece. parts->tensors is not looked at. */
int gn_model_write_pieces(const char *path, const struct gn_model_parts *parts, const bool *has,
                          const struct gn_model_source *source, struct gn_error *err);
/* These values are not needed for now: if they lie in the model's own mapped file, their pages leave the memory. */
void gn_model_forget(const struct gn_model *model, int tensor, size_t at, size_t n);

#endif
