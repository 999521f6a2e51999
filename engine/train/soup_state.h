/* A soup in progress. soup.c makes it, soup_state.c keeps its measurements in folder/soup.bin. */
#ifndef GN_SOUP_STATE_H
#define GN_SOUP_STATE_H

#include "train/evaluator.h"
#include "tune/blend.h"

/* The measurements of one ingredient. Written to soup.bin unchanged. */
struct gn_soup_measure {
	double accuracy, loss;
	int32_t measured, kept; /* flags */
};

struct gn_soup {
	const struct gn_soup_options *options;
	struct gn_blend_input *inputs;    /* [count] */
	struct gn_soup_measure *measures; /* [count] */
	/* [count] indices of the models, best first: the order of greedy */
	int *order;
	double *weights; /* [count] of the current average */
	/* number of models in the order that greedy has decided on */
	int64_t tried;
	double accuracy, loss; /* of the soup so far */
	int done, total;       /* steps, for the progress */
	char key[65];          /* of soup.bin */
	struct gn_evaluate_options evaluate;
	struct gn_evaluator *evaluator; /* NULL without a data set */
};

/* folder/NAME. */
int gn_soup_path(char path[4096], const struct gn_soup *soup, const char *name, struct gn_error *err);
/* Reads measurements, decisions and the soup's figures from soup.bin, if it exists. */
int gn_soup_state_load(struct gn_soup *soup, struct gn_error *err);
int gn_soup_state_save(const struct gn_soup *soup, struct gn_error *err);

#endif
