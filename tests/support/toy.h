/* A small data set and a small model on disk, for tests that train. Failures fail the running
 * cmocka test. */
#ifndef TOY_H
#define TOY_H

#include "gonio.h"

/* A fresh folder under the system's temporary folder. toy_remove deletes it with all that is in it,
 * and frees the path. */
char *toy_folder(void);
void toy_remove(char *folder);
/* Packs a data set of classes x images PNG pictures of 24 x 24 pixels into folder/NAME (created):
 * each class is a colour and a stripe width with noise. A quarter goes to val. Caller closes. */
struct gn_dataset *toy_dataset(const char *folder, const char *name, int classes, int images);
/* A random model of the architecture in folder/NAME.safetensors, opened. Caller closes. */
struct gn_model *toy_model(const char *folder, const char *name, const struct gn_arch *arch, uint64_t seed);
/* 16 pixels, patches of 4, width 32, 4 blocks. */
extern const struct gn_arch toy_arch;
/* Three epochs of batches of 8 with everything else at its default. */
struct gn_run_config toy_config(enum gn_strategy_kind kind);

#endif
