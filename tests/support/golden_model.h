/* The models of tests/parity/golden, imported by gn_model_import with their libraries' own
 * names. */
#ifndef GOLDEN_MODEL_H
#define GOLDEN_MODEL_H

#include "tests/support/golden.h"

/* A case, and what a user must say beyond its tensors: heads are said for every file without a
 * config.json. */
struct golden_case {
	const char *name;
	const char *scheme;
	int activation; /* -1: not said */
	float norm_eps; /* 0: not said */
};
extern const struct golden_case golden_cases[];
extern const size_t golden_case_count;

/*
 * Imports a case's file into `folder` and opens it, and holds the import report against the
 * reference. A model without a head gets the reference's (`given.head.*`). image_size 0: the file's
 * own. Close with gn_model_close.
 */
struct gn_model *golden_import(const struct golden_case *c, const struct golden *ref, const char *folder,
                               int image_size);
const struct golden_case *golden_case_named(const char *name);

/* cmocka group fixtures: *state becomes the path of a new temporary folder; all in it is removed
 * with it. */
int golden_folder_new(void **state);
int golden_folder_remove(void **state);

#endif
