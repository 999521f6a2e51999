/* Which tensors a strategy tunes: METHOD 2 and 3. */
#include "gonio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Learning rates: METHOD 8. */
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

/* ---------------------------------------------------------------- patterns --------------------------------------- */

enum { PATTERN_MAX = 128, NAME_MAX_LENGTH = sizeof(((struct gn_tensor *)0)->name) };

struct match {
	const char *pattern, *name;
	char known[PATTERN_MAX + 1][NAME_MAX_LENGTH + 1]; /* 0 unknown, 1 no, 2 yes: keeps many stars polynomial */
};

/* "{a..b}" at p: sets the bounds and returns its length, or 0 where it is not well formed. */
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

static bool match_from(struct match *m, size_t p, size_t n);

static bool match_range(struct match *m, size_t p, size_t n)
{
	long low, high, value;
	size_t length = parse_range(m->pattern + p, &low, &high);
	char *end;

	if (length == 0 || m->name[n] < '0' || m->name[n] > '9')
		return false;
	value = strtol(m->name + n, &end, 10);
	return value >= low && value <= high && match_from(m, p + length, (size_t)(end - m->name));
}

/* A pattern matches a whole name, or its leading components: "head" matches "head.weight". */
static bool match_from(struct match *m, size_t p, size_t n)
{
	char c = m->pattern[p];
	bool yes;

	if (m->known[p][n])
		return m->known[p][n] == 2;
	if (c == '\0')
		yes = m->name[n] == '\0' || (m->name[n] == '.' && p > 0);
	else if (c == '*')
		yes = match_from(m, p + 1, n) || (m->name[n] && match_from(m, p, n + 1));
	else if (c == '{')
		yes = match_range(m, p, n);
	else
		yes = m->name[n] && (c == '?' || c == m->name[n]) && match_from(m, p + 1, n + 1);
	m->known[p][n] = yes ? 2 : 1;
	return yes;
}

static bool pattern_matches(const char *pattern, const char *name)
{
	struct match m = {.pattern = pattern, .name = name};

	return match_from(&m, 0, 0);
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

/* ---------------------------------------------------------------- the named strategies -------------------------- */

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

/* A layer's name matches every tensor that belongs to it: its matrices, biases, norm and layer scale. */
static bool in_layer(const struct gn_tensor *tensor, const char *layer)
{
	char name[32];

	if (tensor->group != GN_GROUP_ATTENTION && tensor->group != GN_GROUP_FFN)
		return false;
	snprintf(name, sizeof name, "blocks.%d.%s", tensor->block,
	         tensor->group == GN_GROUP_ATTENTION ? "attn" : "mlp");
	return !strcmp(name, layer);
}

static int select_layers(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                         struct gn_error *err)
{
	if (strategy->layer_count < 1)
		return gn_fail(err, GN_INVALID, "/strategy/layers", "the layers to tune have not been chosen");
	for (int k = 0; k < strategy->layer_count; k++) {
		char where[48];
		int hits = 0;

		for (int i = 0; i < layout->count; i++) {
			if (in_layer(&layout->tensors[i], strategy->layers[k])) {
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
