/* The tensors that a strategy tunes: docs/method.md, "Layers and groups" and "Strategies". */
#include "gonio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Learning rates: docs/method.md, "Recipe". */
static const struct {
	const char *name;
	double lr;
} kinds[GN_STRATEGY_COUNT] = {
    [GN_FULL] = {"full", 5e-5},
    [GN_LINEAR] = {"linear", 1e-3},
    [GN_ATTENTION] = {"attention", 1e-4},
    [GN_FFN] = {"ffn", 1e-4},
    [GN_FIRST_THIRD] = {"first_third", 1e-4},
    [GN_MIDDLE_THIRD] = {"middle_third", 1e-4},
    [GN_LAST_THIRD] = {"last_third", 1e-4},
    [GN_ODD] = {"odd", 1e-4},
    [GN_EVEN] = {"even", 1e-4},
    [GN_NORM] = {"norm", 1e-3},
    [GN_BIAS] = {"bias", 1e-3},
    [GN_CUSTOM] = {"custom", 1e-4},
    [GN_ANGLE] = {"angle", 1e-4},
};

const char *gn_strategy_name(enum gn_strategy_kind kind)
{
	return kinds[kind].name;
}

int gn_strategy_kind_from_name(const char *name)
{
	for (int i = 0; i < GN_STRATEGY_COUNT; i++)
		if (!strcmp(kinds[i].name, name))
			return i;
	return -1;
}

double gn_strategy_lr(enum gn_strategy_kind kind)
{
	return kinds[kind].lr;
}

/* ---------------------------------------------------------------- patterns -------------------- */

enum { PATTERN_MAX = 128 };

/* Parses "{a..b}" at p: sets the bounds and returns its length, or 0 if it is malformed. */
static size_t parse_range(const char *p, long *low, long *high)
{
	char *end;

	if (p[0] != '{' || p[1] < '0' || p[1] > '9')
		return 0;
	*low = strtol(p + 1, &end, 10);
	if (strncmp(end, "..", 2) || end[2] < '0' || end[2] > '9')
		return 0;
	*high = strtol(end + 2, &end, 10);
	return *end == '}' && *low <= *high ? (size_t)(end + 1 - p) : 0;
}

/* Matches a range with the whole number that begins at *name. */
static bool take_range(const char **pattern, const char **name)
{
	long low, high, value;
	size_t length;
	char *end;

	if (**name < '0' || **name > '9')
		return false;
	length = parse_range(*pattern, &low, &high);
	value = strtol(*name, &end, 10);
	if (!length || value < low || value > high)
		return false;
	*pattern += length;
	*name = end;
	return true;
}

/* Matches the next part of the pattern, which is neither a star nor the end, with the beginning of
 * the name. */
static bool take_one(const char **pattern, const char **name)
{
	if (**pattern == '{')
		return take_range(pattern, name);
	if (!**name || (**pattern != '?' && **pattern != **name))
		return false;
	(*pattern)++;
	(*name)++;
	return true;
}

/*
 * A pattern matches a whole name, or its leading components: "head" matches "head.weight".
 *
 * If the match fails, only the last star takes one more character. Earlier stars need not, because
 * the text between two stars was matched as early as possible, which leaves the most for the rest.
 * The time is at most the product of the two lengths, for any number of stars.
 */
static bool pattern_matches(const char *pattern, const char *name)
{
	const char *p = pattern, *after_star = NULL, *retry = name;

	for (;;) {
		if (*p == '*') {
			after_star = ++p;
			retry = name;
		} else if (*p == '\0' && p > pattern && (*name == '\0' || *name == '.')) {
			return true;
		} else if (*p == '\0' || !take_one(&p, &name)) {
			if (!after_star || !*retry)
				return false;
			name = ++retry;
			p = after_star;
		}
	}
}

static int check_pattern(const char *pattern, const char *where, struct gn_error *err)
{
	long low, high;

	if (strlen(pattern) == 0 || strlen(pattern) > PATTERN_MAX)
		return gn_fail(err, GN_INVALID, where, "a pattern has 1 to %d characters", PATTERN_MAX);
	for (const char *p = pattern; *p; p++) {
		if (*p == '{' && !parse_range(p, &low, &high))
			return gn_fail(err, GN_INVALID, where,
			               "a range is written {first..last}, for example blocks.{8..11}.attn");
	}
	return 0;
}

static int select_custom(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                         struct gn_error *err)
{
	if (strategy->pattern_count < 1)
		return gn_fail(err, GN_INVALID, "/strategy/tune", "needs at least one pattern");
	for (int k = 0; k < strategy->pattern_count; k++) {
		const char *pattern = strategy->patterns[k];
		char where[48];
		int hits = 0;

		snprintf(where, sizeof where, "/strategy/tune/%d", k);
		if (check_pattern(pattern, where, err))
			return -1;
		for (int i = 0; i < layout->count; i++) {
			if (pattern_matches(pattern, layout->tensors[i].name)) {
				tuned[i] = true;
				hits++;
			}
		}
		if (hits == 0)
			return gn_fail(err, GN_INVALID, where, "\"%.80s\" matches no tensor of the model", pattern);
	}
	return 0;
}

/* ---------------------------------------------------------------- the named strategies -------- */

static bool is_norm(enum gn_role role)
{
	return role == GN_NORM1_W || role == GN_NORM1_B || role == GN_NORM2_W || role == GN_NORM2_B ||
	       role == GN_NORM_W || role == GN_NORM_B || role == GN_NORM_PRE_W || role == GN_NORM_PRE_B;
}

static bool is_bias(enum gn_role role)
{
	return role == GN_PATCH_B || role == GN_NORM_PRE_B || role == GN_NORM1_B || role == GN_QKV_B ||
	       role == GN_PROJ_B || role == GN_NORM2_B || role == GN_FC1_B || role == GN_FC2_B || role == GN_NORM_B;
}

static bool selects(enum gn_strategy_kind kind, const struct gn_tensor *t, int depth)
{
	int first_end = depth / 3, middle_end = 2 * depth / 3;

	switch (kind) {
	case GN_FULL:
		return true;
	case GN_ATTENTION:
		return t->group == GN_GROUP_ATTENTION;
	case GN_FFN:
		return t->group == GN_GROUP_FFN;
	case GN_FIRST_THIRD:
		return t->block >= 0 && t->block < first_end;
	case GN_MIDDLE_THIRD:
		return t->block >= 0 && t->block >= first_end && t->block < middle_end;
	case GN_LAST_THIRD:
		return t->block >= 0 && t->block >= middle_end;
	case GN_ODD:
		return t->block >= 0 && t->block % 2 == 1;
	case GN_EVEN:
		return t->block >= 0 && t->block % 2 == 0;
	case GN_NORM:
		return is_norm(t->role);
	case GN_BIAS:
		return is_bias(t->role);
	case GN_LINEAR:
	case GN_CUSTOM:
	case GN_ANGLE:
	case GN_STRATEGY_COUNT:
		break;
	}
	return false;
}

/* A layer has every tensor of its group and block: its matrices, biases, norm and layer scale. */
static int select_layers(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                         struct gn_error *err)
{
	if (strategy->layer_count < 1)
		return gn_fail(err, GN_INVALID, "/strategy/layers", "the layers to tune have not been chosen");
	for (int k = 0; k < strategy->layer_count; k++) {
		char where[48];
		int hits = 0, block;
		enum gn_group group;
		bool known = gn_layer_from_name(&group, &block, strategy->layers[k]);

		for (int i = 0; known && i < layout->count; i++) {
			if (layout->tensors[i].block == block && layout->tensors[i].group == group) {
				tuned[i] = true;
				hits++;
			}
		}
		snprintf(where, sizeof where, "/strategy/layers/%d", k);
		if (hits == 0)
			return gn_fail(err, GN_INVALID, where, "the model has no attention or FFN layer \"%.40s\"",
			               strategy->layers[k]);
	}
	return 0;
}

int gn_strategy_select(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                       struct gn_error *err)
{
	int depth = 0;

	for (int i = 0; i < layout->count; i++)
		if (layout->tensors[i].block >= depth)
			depth = layout->tensors[i].block + 1;
	for (int i = 0; i < layout->count; i++)
		tuned[i] =
		    layout->tensors[i].group == GN_GROUP_HEAD || selects(strategy->kind, &layout->tensors[i], depth);
	if (strategy->kind == GN_CUSTOM)
		return select_custom(tuned, layout, strategy, err);
	return strategy->kind == GN_ANGLE ? select_layers(tuned, layout, strategy, err) : 0;
}
