/*
 * See arrange.h. The rules:
 *   - Leading folders that all images share are dropped, as long as an image still has a folder
 *     after them. A folder named as a split is not dropped when it holds class folders.
 *   - If a top folder is named train, val, valid, validation or test (in any case) and every image
 *     in it lies in a class folder of its own, the archive comes split: top folder, then class.
 *     Images outside of such top folders are rejected. Otherwise the top folder is the class.
 *     Folders below a class belong to it.
 *   - The same bytes under two classes: every copy is rejected, for nobody knows which class is
 *     right.
 *   - The same bytes in train and held out: the copy in train is rejected, so that the published
 *     test stays whole. Where we split ourselves, copies stay together.
 *   - Copies within one class and split stay.
 */
#include "data/arrange.h"

#include "data/names.h"
#include "base/files.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---------------------------------------------------------------- layout ---------------------- */

static size_t folder_length(const char *path)
{
	const char *slash = strchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

/* The split that a folder's name means, or -1. */
static int split_of_name(const char *name, size_t length)
{
	static const struct {
		const char *name;
		enum gn_split split;
	} names[] = {
	    {"train", GN_TRAIN}, {"val", GN_VAL}, {"valid", GN_VAL}, {"validation", GN_VAL}, {"test", GN_TEST}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i].name) == length && !strncasecmp(names[i].name, name, length))
			return (int)names[i].split;
	return -1;
}

static bool same_folder(const char *a, const char *b, size_t length)
{
	return folder_length(a) == length && folder_length(b) == length && !memcmp(a, b, length);
}

/* The length of the folder that all images with a folder share, if one of them has another folder
 * after it; else 0. */
static size_t common_folder(const struct gn_item *items, int count)
{
	const char *first = NULL;
	size_t length = 0;
	bool deeper = false;

	for (int i = 0; i < count; i++) {
		const char *path = items[i].path;

		if (!folder_length(path))
			continue;
		if (!first) {
			first = path;
			length = folder_length(path);
		}
		if (!same_folder(first, path, length))
			return 0;
		deeper = deeper || folder_length(path + length + 1);
	}
	return deeper ? length : 0;
}

/* Bit s is set if there are top folders of split s, and they have class folders only. */
static unsigned splits_present(const struct gn_item *items, int count)
{
	unsigned seen = 0, flat = 0;

	for (int i = 0; i < count; i++) {
		size_t length = folder_length(items[i].path);
		int split = length ? split_of_name(items[i].path, length) : -1;

		if (split < 0)
			continue;
		seen |= 1u << split;
		if (!folder_length(items[i].path + length + 1))
			flat |= 1u << split;
	}
	return seen & ~flat;
}

/* Removes the common folders from every path. Images outside of them have no class. */
static void drop_common_folders(struct gn_item *items, int count)
{
	size_t length;

	while (!splits_present(items, count) && (length = common_folder(items, count)) > 0)
		for (int i = 0; i < count; i++)
			if (folder_length(items[i].path))
				items[i].path += length + 1;
}

static void reject(struct gn_item *item, const char *reason)
{
	if (!item->rejected)
		item->rejected = reason;
}

static void assign_classes(struct gn_item *items, int count, unsigned splits)
{
	for (int i = 0; i < count; i++) {
		struct gn_item *item = &items[i];
		const char *rest = item->path;
		size_t length = folder_length(rest);

		if (splits) {
			int split = length ? split_of_name(rest, length) : -1;

			if (split < 0 || !(splits & 1u << split)) {
				reject(item, "not in a class folder under train, val or test");
				continue;
			}
			item->split = (enum gn_split)split;
			rest += length + 1;
			length = folder_length(rest);
		}
		item->class_name = rest;
		item->class_length = length;
		if (!length)
			reject(item, "not in a class folder");
	}
}

/* ---------------------------------------------------------------- copies ---------------------- */

static int compare_class(const struct gn_item *a, const struct gn_item *b)
{
	size_t least = a->class_length < b->class_length ? a->class_length : b->class_length;
	int order = least ? memcmp(a->class_name, b->class_name, least) : 0;

	return order ? order : (a->class_length > b->class_length) - (a->class_length < b->class_length);
}

static int compare_path(const struct gn_item *a, const struct gn_item *b)
{
	int order = strcmp(a->path, b->path);

	return order ? order : (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

static int by_path(const void *a, const void *b)
{
	return compare_path(*(struct gn_item *const *)a, *(struct gn_item *const *)b);
}

static int by_hash(const void *a, const void *b)
{
	const struct gn_item *p = *(struct gn_item *const *)a, *q = *(struct gn_item *const *)b;
	int order = memcmp(p->sha256, q->sha256, sizeof p->sha256);

	return order ? order : compare_path(p, q);
}

static int by_place(const void *a, const void *b)
{
	const struct gn_item *p = *(struct gn_item *const *)a, *q = *(struct gn_item *const *)b;

	if (p->split != q->split)
		return p->split < q->split ? -1 : 1;
	if (p->label != q->label)
		return p->label < q->label ? -1 : 1;
	return compare_path(p, q);
}

/* Drops rejected items from the list. */
static int keep_good(struct gn_item **list, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (!list[i]->rejected)
			list[kept++] = list[i];
	return kept;
}

static void reject_copy(struct gn_item *item, const struct gn_item *twin, const char *reason)
{
	reject(item, reason);
	item->twin = twin;
}

/* The copies of one image. */
static void settle_copies(struct gn_item **copies, int count)
{
	/* rival: the first of another class than copies[0] */
	const struct gn_item *held_out = NULL, *rival = NULL;

	for (int i = 0; i < count; i++) {
		if (!rival && compare_class(copies[i], copies[0]) != 0)
			rival = copies[i];
		if (copies[i]->split != GN_TRAIN && !held_out)
			held_out = copies[i];
	}
	for (int i = 0; i < count; i++) {
		if (rival) {
			bool first_class = compare_class(copies[i], copies[0]) == 0;

			reject_copy(copies[i], first_class ? rival : copies[0], "the same bytes under two classes");
		} else if (held_out && copies[i]->split == GN_TRAIN) {
			reject_copy(copies[i], held_out, "the same bytes in train and in val or test");
		}
	}
}

static int settle_all_copies(struct gn_item **list, int count)
{
	qsort(list, (size_t)count, sizeof *list, by_hash);
	for (int i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && !memcmp(list[i]->sha256, list[end]->sha256, sizeof list[i]->sha256);)
			end++;
		if (end - i > 1)
			settle_copies(list + i, end - i);
	}
	return keep_good(list, count);
}

static int reject_same_paths(struct gn_item **list, int count)
{
	qsort(list, (size_t)count, sizeof *list, by_path);
	for (int i = 1; i < count; i++)
		if (!strcmp(list[i - 1]->path, list[i]->path))
			reject_copy(list[i], list[i - 1], "the archive has this path twice");
	return keep_good(list, count);
}

/* ---------------------------------------------------------------- classes --------------------- */

static int by_class(const void *a, const void *b)
{
	const struct gn_item *p = *(struct gn_item *const *)a, *q = *(struct gn_item *const *)b;
	int order = compare_class(p, q);

	return order ? order : compare_path(p, q);
}

/* Collects the class names, also those of rejected images: a class that lost all of its images must
 * not disappear silently. */
static int name_classes(struct gn_arrangement *out, struct gn_item *items, int count, struct gn_error *err)
{
	struct gn_item **list = gn_alloc((size_t)count, sizeof *list, err);
	int placed = 0;

	if (!list)
		return -1;
	for (int i = 0; i < count; i++)
		if (items[i].class_length)
			list[placed++] = &items[i];
	qsort(list, (size_t)placed, sizeof *list, by_class);
	out->classes = gn_alloc((size_t)placed, sizeof *out->classes, err);
	for (int i = 0; out->classes && i < placed; i++) {
		if (i == 0 || compare_class(list[i - 1], list[i]) != 0) {
			char *name = gn_copy_text(list[i]->class_name, list[i]->class_length, err);

			if (!name)
				break;
			out->classes[out->class_count++] = name;
		}
		list[i]->label = out->class_count - 1;
	}
	free(list);
	return err->code == GN_OK ? 0 : -1;
}

static int fail_class(struct gn_error *err, const char *name, const char *what)
{
	char shown[160];

	gn_name_show(shown, sizeof shown, name);
	return gn_fail(err, GN_INVALID, shown, "class \"%s\" %s", shown, what);
}

/* Every class needs two images, and at least one of them in train. */
static int check_classes(const struct gn_arrangement *a, struct gn_error *err)
{
	struct tally {
		int images, train;
	} * tally;
	int bad = -1;

	if (a->count == 0)
		return gn_fail(err, GN_INVALID, "",
		               "no class is left: the archive holds no image that can be used in a class folder");
	if (a->class_count == 1)
		return fail_class(err, a->classes[0], "is the only class: a data set needs two or more");
	tally = gn_alloc((size_t)a->class_count, sizeof *tally, err);
	if (!tally)
		return -1;
	for (int i = 0; i < a->count; i++) {
		tally[a->samples[i]->label].images++;
		tally[a->samples[i]->label].train += a->samples[i]->split == GN_TRAIN;
	}
	for (int c = a->class_count; c-- > 0;)
		if (tally[c].images < 2 || !tally[c].train)
			bad = c;
	if (bad >= 0)
		fail_class(err, a->classes[bad],
		           tally[bad].images < 2 ? "has fewer than 2 images that can be used"
		                                 : "has no image in train");
	free(tally);
	return bad < 0 ? 0 : -1;
}

/* ---------------------------------------------------------------- splitting ------------------- */

/* Images of one class, sorted by hash; copies of one image (a group) go to the same split. */
static int split_class(struct gn_item **list, int count, const char *name, double fraction, struct gn_random *random,
                       struct gn_error *err)
{
	int wanted = (int)fmin(count - 1, fmax(1, rint(count * fraction))), taken = 0, groups = 0;
	int32_t *starts = gn_alloc((size_t)count, sizeof *starts, err);

	if (!starts)
		return -1;
	for (int i = 0; i < count; i++)
		if (i == 0 || memcmp(list[i - 1]->sha256, list[i]->sha256, sizeof list[i]->sha256) != 0)
			starts[groups++] = i;
	gn_random_shuffle(random, starts, groups);
	for (int g = 0; g < groups && groups > 1; g++) {
		int end = starts[g] + 1;

		while (end < count && !memcmp(list[starts[g]]->sha256, list[end]->sha256, sizeof list[end]->sha256))
			end++;
		if (taken > 0 && taken + end - starts[g] > wanted)
			continue;
		for (int i = starts[g]; i < end; i++)
			list[i]->split = GN_VAL;
		taken += end - starts[g];
	}
	free(starts);
	return groups > 1 ? 0
	                  : fail_class(err, name, "has only copies of one image: a val split needs 2 different images");
}

static int by_class_and_hash(const void *a, const void *b)
{
	const struct gn_item *p = *(struct gn_item *const *)a, *q = *(struct gn_item *const *)b;

	return p->label != q->label ? (p->label < q->label ? -1 : 1) : by_hash(a, b);
}

static int split_all(struct gn_arrangement *a, double fraction, uint64_t seed, struct gn_error *err)
{
	qsort(a->samples, (size_t)a->count, sizeof *a->samples, by_class_and_hash);
	for (int i = 0, end; i < a->count; i = end) {
		struct gn_random random;
		int label = a->samples[i]->label;

		for (end = i; end < a->count && a->samples[end]->label == label;)
			end++;
		gn_random_init(&random, seed, GN_RANDOM_SPLIT, (uint32_t)label, 0);
		if (split_class(a->samples + i, end - i, a->classes[label], fraction, &random, err))
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- everything ------------------ */

/* With test folders but none for val, test serves as val. */
static void let_test_serve(struct gn_arrangement *a)
{
	for (int i = 0; i < a->count; i++)
		if (a->samples[i]->split == GN_TEST)
			a->samples[i]->split = GN_VAL;
}

static int arrange(struct gn_arrangement *a, struct gn_item *items, int count, double fraction, uint64_t seed,
                   struct gn_error *err)
{
	unsigned splits;

	drop_common_folders(items, count);
	splits = splits_present(items, count);
	if (splits && !(splits & 1u << GN_TRAIN))
		return gn_fail(err, GN_INVALID, "train",
		               "the archive has a %s folder but no train folder with class folders",
		               splits & 1u << GN_VAL ? "val" : "test");
	assign_classes(items, count, splits);
	if (name_classes(a, items, count, err))
		return -1;
	a->samples = gn_alloc((size_t)count, sizeof(struct gn_item *), err);
	if (!a->samples)
		return -1;
	for (int i = 0; i < count; i++)
		a->samples[i] = &items[i];
	a->count = keep_good(a->samples, count);
	a->count = reject_same_paths(a->samples, a->count);
	a->count = settle_all_copies(a->samples, a->count);
	if (check_classes(a, err))
		return -1;
	if (splits == 1u << GN_TRAIN || !splits) {
		if (fraction > 0 && split_all(a, fraction, seed, err))
			return -1;
	} else if (!(splits & 1u << GN_VAL)) {
		let_test_serve(a);
	}
	qsort(a->samples, (size_t)a->count, sizeof *a->samples, by_place);
	return 0;
}

int gn_arrange(struct gn_arrangement *out, struct gn_item *items, int count, double val_fraction, uint64_t seed,
               struct gn_error *err)
{
	struct gn_arrangement made = {0};
	struct gn_error own = {0};

	if (arrange(&made, items, count, val_fraction, seed, &own)) {
		gn_arrangement_release(&made);
		return gn_fail(err, own.code, own.where, "%s", own.text);
	}
	*out = made;
	return 0;
}

void gn_arrangement_release(struct gn_arrangement *arrangement)
{
	for (int i = 0; i < arrangement->class_count; i++)
		free(arrangement->classes[i]);
	free(arrangement->classes);
	free(arrangement->samples);
	*arrangement = (struct gn_arrangement){0};
}
