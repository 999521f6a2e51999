/*
 * Ingredients of soups: a toy data set, a base, a model that was fully tuned on it, and models made
 * from the two by recipe. Failures fail the running cmocka test.
 */
#ifndef INGREDIENTS_H
#define INGREDIENTS_H

#include "tests/support/toy.h"

enum { SOUP_CLASSES = 3, SOUP_IMAGES = 32, SOUP_MODELS_MAX = 12 };

struct soup_toy {
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *base, *trained;
	struct gn_device *device;
	int made; /* model files and folders so far, for their names */
};
extern struct soup_toy soup_toy;

/* cmocka group fixtures: they fill soup_toy. */
int soup_set_up(void **state);
int soup_tear_down(void **state);
/* A name in the folder that is not taken; a new folder of such a name. */
void soup_path(char path[600], const char *what);
void soup_folder(char path[600]);

struct soup_recipe {
	uint64_t seed;
	double pull;     /* how far from the base towards the trained model */
	double noise;    /* deviation of what is added to each value */
	unsigned groups; /* bit i: blocks with block % 4 == i are tuned; the head always is */
};
/* A tuned model on the base, opened. Caller closes. */
struct gn_model *soup_model(const struct soup_recipe *recipe);

struct soup_set {
	struct gn_model *models[SOUP_MODELS_MAX];
	int count;
};
/* Models of different recipes. */
struct soup_set soup_models(int count, uint64_t seed);
void soup_close_set(struct soup_set *set);

/* Options without and with the data set. */
struct gn_soup_options soup_options(enum gn_soup_method method, const struct soup_set *set, const char *folder);
struct gn_soup_options soup_options_measured(enum gn_soup_method method, const struct soup_set *set,
                                             const char *folder);
/* The model that a soup left in its folder. Caller closes. */
struct gn_model *soup_open_result(const char *folder);
/* A soup without a data set, opened. Caller closes. */
struct gn_model *soup_mix(enum gn_soup_method method, const struct soup_set *set, const double *weights);
/* All tensors are equal bit for bit; same_delta: the files hold the same ones, too. */
void soup_assert_same_bits(const struct gn_model *a, const struct gn_model *b, bool same_delta);

#endif
