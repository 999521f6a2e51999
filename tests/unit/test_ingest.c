/* Archives of every kind and layout become data sets. Bad archives are errors with the cause, and
 * nothing stays open. */
#include "tests/support/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One ingest and its result; release when done. */
struct trial {
	char folder[64];
	int rc;
	struct gn_error err;
	struct gn_ingest_report report;
	struct gn_dataset *dataset; /* NULL when rc is -1 */
};

static struct trial try_blob(const struct blob *archive, size_t chunk, struct gn_ingest_options options)
{
	struct trial t = {0};

	folder_make(t.folder);
	t.rc = ingest_bytes(t.folder, archive, chunk, options, &t.report, &t.err);
	if (t.rc) {
		assert_int_equal(t.rc, -1);
		assert_null(t.report.rejected);
	} else if (gn_dataset_open(&t.dataset, t.folder, &t.err)) {
		fail_msg("%s", t.err.text);
	}
	return t;
}

/* Finishes the archive. */
static struct trial try(struct maker *maker)
{
	struct blob archive = maker_end(maker);
	struct trial t = try_blob(&archive, 0, ingest_defaults());

	blob_release(&archive);
	return t;
}

static void release(struct trial *t)
{
	gn_dataset_close(t->dataset);
	gn_ingest_report_release(&t->report);
	folder_remove(t->folder);
}

/* The report counts what the written index holds. */
static void accept(const struct trial *t)
{
	if (t->rc)
		fail_msg("refused: %s (%s)", t->err.text, t->err.where);
	assert_int_equal(t->report.class_count, t->dataset->class_count);
	assert_memory_equal(t->report.totals, t->dataset->totals, sizeof t->report.totals);
	for (int c = 0; c < t->dataset->class_count; c++) {
		const struct gn_dataset_class *told = &t->report.classes[c], *written = &t->dataset->classes[c];

		assert_string_equal(told->name, written->name);
		assert_memory_equal(told->counts, written->counts, sizeof told->counts);
	}
}

/* The trial failed with this code and a text that holds the words; folder_remove in release checks
 * that no file is left half-made. */
static void refused(struct trial *t, enum gn_code code, const char *words)
{
	if (!t->rc)
		fail_msg("accepted, but \"%s\" was expected", words);
	if (t->err.code != code || !strstr(t->err.text, words))
		fail_msg("code %d, \"%s\" (%s) instead of code %d, \"%s\"", t->err.code, t->err.text, t->err.where,
		         code, words);
	print_message("%s\n", t->err.text);
	assert_int_equal(folder_count(t->folder), 0);
	release(t);
}

static const struct gn_rejected *find_rejected(const struct trial *t, const char *path)
{
	for (int i = 0; i < t->report.rejected_listed; i++)
		if (!strcmp(t->report.rejected[i].path, path))
			return &t->report.rejected[i];
	return NULL;
}

static void rejects(const struct trial *t, const char *path, const char *words)
{
	const struct gn_rejected *r = find_rejected(t, path);

	if (!r)
		fail_msg("%s is not among the rejected", path);
	else if (!strstr(r->reason, words))
		fail_msg("%s: \"%s\" does not hold \"%s\"", path, r->reason, words);
}

/* per[c] images CLASS/00n.jpg for each class below the root. seed: which pictures. */
static void add_classes(struct maker *maker, const char *root, const char *const *classes, int count, int per, int seed)
{
	for (int c = 0; c < count; c++)
		for (int i = 0; i < per; i++) {
			char name[256];

			snprintf(name, sizeof name, "%s%s/%03d.jpg", root, classes[c], i);
			maker_jpeg(maker, name, seed + 1000 * c + i);
		}
}

static const char *const pets[] = {"cat", "dog"};

/* Two good classes of four images, to which a test adds what it is about. */
static struct maker *pets_maker(const char *kind)
{
	struct maker *maker = maker_new(kind);

	add_classes(maker, "", pets, 2, 4, 0);
	return maker;
}

/* ---------------------------------------------------------------- kinds of archive ------------ */

static void every_kind_of_archive_is_read(void **state)
{
	static const char *const kinds[] = {"zip", "tar", "tar.gz", "tar.xz", "tar.zst"};
	char sha256[65] = "";

	(void)state;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct blob archive = maker_end(pets_maker(kinds[k]));
		static const size_t chunks[] = {0, 1, 13, 512};

		for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
			struct trial t = try_blob(&archive, chunks[c], ingest_defaults());

			accept(&t);
			assert_int_equal(t.dataset->class_count, 2);
			assert_string_equal(t.dataset->classes[1].name, "dog");
			assert_int_equal(t.dataset->totals[GN_TRAIN], 6);
			assert_int_equal(t.dataset->totals[GN_VAL], 2);
			assert_int_equal(t.dataset->samples[0].width, 12);
			assert_true(t.report.mean_width == 12 && t.report.mean_height == 10);
			assert_int_equal(folder_count(t.folder), 2);
			if (*sha256)
				assert_string_equal(sha256, t.report.sha256);
			memcpy(sha256, t.report.sha256, sizeof sha256);
			release(&t);
		}
		blob_release(&archive);
	}
}

static void what_is_no_archive_is_refused(void **state)
{
	struct blob none = {0}, text = {(uint8_t *)strdup("just a text that somebody named pets.zip"), 40},
	            cpio = maker_end(pets_maker("cpio"));
	struct trial t = try_blob(&none, 0, ingest_defaults());

	(void)state;
	refused(&t, GN_MALFORMED, "empty");
	t = try_blob(&text, 0, ingest_defaults());
	refused(&t, GN_MALFORMED, "neither a zip nor a tar");
	t = try_blob(&cpio, 0, ingest_defaults());
	refused(&t, GN_MALFORMED, "neither a zip nor a tar");
	blob_release(&text);
	blob_release(&cpio);
}

/* No truncation passes for the whole, wherever the cut is; except in zeros after a tar's end
 * mark. */
static void truncated_archives_are_refused(void **state)
{
	static const char *const kinds[] = {"zip", "tar", "tar.gz", "tar.xz", "tar.zst"};

	(void)state;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct blob archive = maker_end(pets_maker(kinds[k]));
		size_t end = archive.size;

		while (!strcmp(kinds[k], "tar") && end > 0 && archive.bytes[end - 1] == 0)
			end--;
		for (size_t size = 0; size < end; size += 1 + archive.size / 61) {
			struct blob cut = {archive.bytes, size};
			struct trial t = try_blob(&cut, 0, ingest_defaults());

			if (!t.rc)
				fail_msg("%s: %zu of %zu bytes were accepted", kinds[k], size, archive.size);
			if (t.err.code != GN_MALFORMED)
				fail_msg("%s: %zu of %zu bytes: code %d, %s", kinds[k], size, archive.size, t.err.code,
				         t.err.text);
			assert_int_equal(folder_count(t.folder), 0);
			release(&t);
		}
		blob_release(&archive);
	}
}

/* A cut exactly between two entries of a tar, or before a zip's end record. */
static void cuts_between_entries_are_seen(void **state)
{
	struct blob tar = maker_end(pets_maker("tar")), zip = maker_end(pets_maker("zip"));
	struct trial t;
	size_t end = tar.size;

	(void)state;
	while (end > 0 && tar.bytes[end - 1] == 0)
		end--;
	tar.size = (end + 511) / 512 * 512;
	t = try_blob(&tar, 0, ingest_defaults());
	refused(&t, GN_MALFORMED, "end mark");
	zip.size -= 22;
	t = try_blob(&zip, 0, ingest_defaults());
	refused(&t, GN_MALFORMED, "end record");
	blob_release(&tar);
	blob_release(&zip);
}

static void encrypted_archives_are_refused(void **state)
{
	struct trial t = try(pets_maker("zip encrypted"));

	(void)state;
	refused(&t, GN_UNSUPPORTED, "cat/000.jpg");
}

/* ---------------------------------------------------------------- layouts --------------------- */

static void leading_folders_are_dropped(void **state)
{
	struct maker *maker = maker_new("tar");
	struct trial t;

	(void)state;
	add_classes(maker, "./data/my pets/", pets, 2, 3, 0);
	maker_jpeg(maker, "data/my pets/dog/puppies/small/1.jpg", 77);
	maker_jpeg(maker, "data/stray.jpg", 78);
	t = try(maker);
	accept(&t);
	assert_int_equal(t.dataset->class_count, 2);
	assert_int_equal(t.dataset->classes[1].counts[GN_TRAIN] + t.dataset->classes[1].counts[GN_VAL], 4);
	assert_int_equal(t.report.rejected_count, 1);
	rejects(&t, "data/stray.jpg", "not in a class folder");
	for (int i = 0; i < t.dataset->sample_count; i++)
		assert_int_equal(strncmp(t.dataset->samples[i].path, t.dataset->samples[i].label ? "dog/" : "cat/", 4),
		                 0);
	release(&t);
}

static void check_totals(const struct trial *t, int train, int val, int test)
{
	accept(t);
	assert_int_equal(t->dataset->totals[GN_TRAIN], train);
	assert_int_equal(t->dataset->totals[GN_VAL], val);
	assert_int_equal(t->dataset->totals[GN_TEST], test);
}

static void split_folders_are_kept(void **state)
{
	static const char *const names[] = {"val", "valid", "validation", "Valid"};
	struct maker *maker;
	struct trial t;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char root[32];

		maker = maker_new("zip");
		snprintf(root, sizeof root, "top/%s/", names[i]);
		add_classes(maker, "top/train/", pets, 2, 3, 0);
		add_classes(maker, root, pets, 2, 2, 100);
		add_classes(maker, "top/test/", pets, 2, 1, 200);
		t = try(maker);
		check_totals(&t, 6, 4, 2);
		assert_string_equal(t.dataset->samples[0].path, "train/cat/000.jpg");
		release(&t);
	}
	maker = maker_new("zip"); /* test serves as val */
	add_classes(maker, "train/", pets, 2, 3, 0);
	add_classes(maker, "test/", pets, 2, 2, 100);
	t = try(maker);
	check_totals(&t, 6, 4, 0);
	release(&t);
	maker = maker_new("zip"); /* val is split off from train */
	add_classes(maker, "train/", pets, 2, 4, 0);
	t = try(maker);
	check_totals(&t, 6, 2, 0);
	release(&t);
	maker = maker_new("zip"); /* classes that are called train and test */
	add_classes(maker, "", (const char *const[]){"test", "train"}, 2, 4, 0);
	t = try(maker);
	check_totals(&t, 6, 2, 0);
	assert_string_equal(t.dataset->classes[1].name, "train");
	release(&t);
	maker = maker_new("zip"); /* no train */
	add_classes(maker, "val/", pets, 2, 4, 0);
	t = try(maker);
	refused(&t, GN_INVALID, "no train folder");
}

static void images_outside_of_the_splits_are_rejected(void **state)
{
	struct maker *maker = maker_new("zip");
	struct trial t;

	(void)state;
	add_classes(maker, "train/", pets, 2, 4, 0);
	maker_jpeg(maker, "extra/cow/1.jpg", 50);
	maker_jpeg(maker, "cover.jpg", 51);
	t = try(maker);
	check_totals(&t, 6, 2, 0);
	assert_int_equal(t.report.rejected_count, 2);
	rejects(&t, "extra/cow/1.jpg", "under train, val or test");
	rejects(&t, "cover.jpg", "under train, val or test");
	release(&t);
}

/* Which images are held out depends on seed and content, not on the order in the archive. */
static void the_split_is_stratified_and_repeatable(void **state)
{
	struct maker *maker = maker_new("tar"), *backwards = maker_new("zip");
	struct blob archive, other;
	struct gn_ingest_options options = ingest_defaults();
	struct trial a, b, c;
	int same = 0;

	(void)state;
	add_classes(maker, "", pets, 2, 20, 0);
	for (int i = 39; i >= 0; i--) {
		char name[32];

		snprintf(name, sizeof name, "x/%s/%03d.jpg", pets[i / 20], i % 20);
		maker_jpeg(backwards, name, 1000 * (i / 20) + i % 20);
	}
	archive = maker_end(maker);
	other = maker_end(backwards);
	options.threads = 1;
	a = try_blob(&archive, 0, options);
	options.threads = 4;
	b = try_blob(&other, 0, options);
	options.seed = 2;
	c = try_blob(&archive, 0, options);
	check_totals(&a, 30, 10, 0);
	check_totals(&b, 30, 10, 0);
	check_totals(&c, 30, 10, 0);
	assert_int_equal(a.dataset->classes[0].counts[GN_VAL], 5);
	assert_string_equal(a.report.sha256, b.report.sha256);
	assert_string_not_equal(a.report.sha256, c.report.sha256);
	for (int i = 0; i < 40; i++) {
		assert_string_equal(a.dataset->samples[i].path, b.dataset->samples[i].path);
		same += !strcmp(a.dataset->samples[i].path, c.dataset->samples[i].path);
	}
	assert_true(same < 40);
	release(&a);
	release(&b);
	release(&c);
	blob_release(&archive);
	blob_release(&other);
}

static void each_class_keeps_a_train_and_a_val_image(void **state)
{
	static const double fractions[] = {0.01, 0.5, 0.99};
	struct maker *maker = maker_new("zip");
	struct blob archive;
	struct gn_ingest_options options = ingest_defaults();
	struct trial t;

	(void)state;
	add_classes(maker, "", pets, 2, 2, 0);
	archive = maker_end(maker);
	for (size_t i = 0; i < 3; i++) {
		options.val_fraction = fractions[i];
		t = try_blob(&archive, 0, options);
		check_totals(&t, 2, 2, 0);
		assert_int_equal(t.dataset->classes[0].counts[GN_VAL], 1);
		release(&t);
	}
	options.val_fraction = 0;
	t = try_blob(&archive, 0, options);
	check_totals(&t, 4, 0, 0);
	release(&t);
	options.val_fraction = 1;
	t = try_blob(&archive, 0, options);
	refused(&t, GN_INVALID, "val_fraction");
	blob_release(&archive);
}

static void classes_have_odd_names(void **state)
{
	char longest[1025] = "";
	const char *const names[] = {
	    "a b", "it's \"quoted\"", "<script>alert(1)</script>", "\xe7\x8c\xab\xf0\x9f\x90\x88", "C:\\x", longest};
	struct maker *maker = maker_new("tar");
	struct trial t;
	size_t found = 0;

	(void)state;
	memset(longest, 'n', 300);
	for (size_t i = 0; i < 6; i++)
		for (int j = 0; j < 2; j++) {
			char path[2048];

			/* a slash in "</script>" is a folder below the class */
			snprintf(path, sizeof path, "%s/%d.jpg", names[i], j);
			maker_jpeg(maker, path, (int)i * 10 + j);
		}
	t = try(maker);
	accept(&t);
	assert_int_equal(t.dataset->class_count, 6);
	for (int c = 0; c < 6; c++)
		for (size_t i = 0; i < 6; i++)
			found += !strcmp(t.dataset->classes[c].name, i == 2 ? "<script>alert(1)<" : names[i]);
	assert_int_equal(found, 6);
	release(&t);
}

/* ---------------------------------------------------------------- too little ------------------ */

static void too_few_classes_or_images_are_refused(void **state)
{
	struct maker *maker = maker_new("zip");
	struct trial t = try(maker);

	(void)state;
	refused(&t, GN_INVALID, "no class is left");
	maker = maker_new("zip");
	maker_add(maker, "readme.txt", "hello", 5);
	t = try(maker);
	refused(&t, GN_INVALID, "no class is left");
	maker = maker_new("tar");
	add_classes(maker, "", pets, 1, 4, 0);
	t = try(maker);
	refused(&t, GN_INVALID, "class \"cat\" is the only class");
	maker = maker_new("tar");
	maker_jpeg(maker, "1.jpg", 1);
	maker_jpeg(maker, "2.jpg", 2);
	t = try(maker);
	refused(&t, GN_INVALID, "no class is left");
	maker = pets_maker("tar");
	maker_jpeg(maker, "cow/1.jpg", 99);
	t = try(maker);
	refused(&t, GN_INVALID, "class \"cow\" has fewer than 2");
	maker = pets_maker("tar"); /* a class whose only images are none */
	maker_add(maker, "cow/1.jpg", "text", 4);
	maker_add(maker, "cow/2.jpg", "text", 4);
	t = try(maker);
	refused(&t, GN_INVALID, "class \"cow\" has fewer than 2");
	maker = maker_new("tar");
	add_classes(maker, "train/", pets, 2, 3, 0);
	add_classes(maker, "val/", (const char *const[]){"cow"}, 1, 3, 50);
	t = try(maker);
	refused(&t, GN_INVALID, "class \"cow\" has no image in train");
	maker = pets_maker("tar"); /* two copies of one image */
	maker_jpeg(maker, "cow/1.jpg", 99);
	maker_jpeg(maker, "cow/2.jpg", 99);
	t = try(maker);
	refused(&t, GN_INVALID, "class \"cow\" has only copies of one image");
}

/* ---------------------------------------------------------------- bad entries ----------------- */

static void bad_images_are_rejected(void **state)
{
	struct maker *maker = pets_maker("zip");
	struct blob jpeg = picture_jpeg(40, 40, 5), large = picture_png(1025, 1024, 6);
	struct gn_ingest_options options = ingest_defaults();
	struct blob archive;
	struct trial t;

	(void)state;
	maker_add(maker, "cat/cut.jpg", jpeg.bytes, jpeg.size * 2 / 3);
	maker_add(maker, "cat/text.jpg", "this is a text", 14);
	maker_add(maker, "cat/nothing.png", "", 0);
	maker_add(maker, "cat/moving.gif", "GIF89a and more", 15);
	maker_add(maker, "dog/large.png", large.bytes, large.size);
	for (size_t i = 0; i + 9 < jpeg.size; i++)
		if (jpeg.bytes[i] == 0xff && jpeg.bytes[i + 1] == 0xc0) {
			memcpy(jpeg.bytes + i + 5, "\xc3\x50\xc3\x50", 4);
			break;
		}
	maker_add(maker, "dog/huge.jpg", jpeg.bytes, jpeg.size);
	archive = maker_end(maker);
	options.max_image_bytes = large.size - 1;
	t = try_blob(&archive, 0, options);
	check_totals(&t, 6, 2, 0);
	assert_int_equal(t.report.rejected_count, 6);
	rejects(&t, "cat/cut.jpg", "JPEG");
	rejects(&t, "cat/text.jpg", "neither a JPEG");
	rejects(&t, "cat/nothing.png", "empty (0 bytes)");
	rejects(&t, "cat/moving.gif", "neither a JPEG");
	rejects(&t, "dog/large.png", "limit for one file");
	rejects(&t, "dog/huge.jpg", "50000 x 50000");
	release(&t);
	options.max_image_bytes = large.size;
	t = try_blob(&archive, 0, options);
	rejects(&t, "dog/large.png", "1025 x 1024");
	release(&t);
	blob_release(&archive);
	blob_release(&jpeg);
	blob_release(&large);
}

/* An archive with one entry that has no place in it: refused, by the entry's name. */
static void refused_for(const char *path, char kind, const char *target, const char *words)
{
	struct maker *maker = pets_maker("tar");
	struct trial t;

	if (kind)
		maker_special(maker, path, kind, target);
	else
		maker_jpeg(maker, path, 20);
	t = try(maker);
	assert_int_equal(t.rc, -1);
	assert_int_equal(t.err.code, GN_INVALID);
	assert_string_equal(t.err.where, path);
	if (!strstr(t.err.text, words))
		fail_msg("%s: \"%s\" does not hold \"%s\"", path, t.err.text, words);
	release(&t);
}

static void harmful_entries_refuse_the_archive(void **state)
{
	(void)state;
	refused_for("../x.jpg", 0, NULL, "leads out");
	refused_for("cat/../../x.jpg", 0, NULL, "leads out");
	refused_for("/etc/x.jpg", 0, NULL, "leads out");
	refused_for("cat/link.jpg", 'l', "/etc/passwd", "a symbolic link");
	refused_for("cat/hard.jpg", 'h', "cat/000.jpg", "a hard link");
	refused_for("cat/null.jpg", 'c', NULL, "a device");
	refused_for("cat/disk.jpg", 'b', NULL, "a device");
	refused_for("cat/pipe.jpg", 'p', NULL, "a pipe");
}

static void unreadable_names_are_rejected(void **state)
{
	struct maker *maker = pets_maker("tar");
	struct trial t;

	(void)state;
	maker_jpeg(maker, "cat/line\nbreak.jpg", 23);
	maker_special(maker, "empty class", 'd', NULL);
	t = try(maker);
	check_totals(&t, 6, 2, 0);
	assert_int_equal(t.report.rejected_count, 1);
	assert_int_equal(t.report.skipped_count, 0);
	rejects(&t, "cat/line\\x0abreak.jpg", "control");
	release(&t);
}

static void litter_is_skipped_and_counted(void **state)
{
	struct maker *maker = pets_maker("zip");
	struct trial t;

	(void)state;
	maker_jpeg(maker, "cat/.thumb.jpg", 30);
	maker_jpeg(maker, "__MACOSX/cat/._000.jpg", 31);
	maker_jpeg(maker, "cat/.ipynb_checkpoints/000.jpg", 32);
	maker_add(maker, "cat/Thumbs.db", "x", 1);
	maker_add(maker, "labels.csv", "a,b", 3);
	maker_jpeg(maker, "cat/no_ending", 33); /* an image by content */
	t = try(maker);
	accept(&t);
	assert_int_equal(t.report.skipped_count, 5);
	assert_int_equal(t.report.rejected_count, 0);
	assert_int_equal(t.dataset->sample_count, 9);
	release(&t);
}

static void only_a_hundred_rejected_are_listed(void **state)
{
	struct maker *maker = pets_maker("tar");
	struct trial t;

	(void)state;
	for (int i = 0; i < 150; i++) {
		char name[32];

		snprintf(name, sizeof name, "cat/t%d.jpg", i);
		maker_add(maker, name, "text", 4);
	}
	t = try(maker);
	accept(&t);
	assert_int_equal(t.report.rejected_count, 150);
	assert_int_equal(t.report.rejected_listed, 100);
	assert_string_equal(t.report.rejected[99].path, "cat/t99.jpg");
	release(&t);
}

/* ---------------------------------------------------------------- copies ---------------------- */

static void copies_under_two_classes_are_rejected(void **state)
{
	struct maker *maker = pets_maker("tar");
	struct trial t;

	(void)state;
	maker_jpeg(maker, "dog/cat.jpg", 0);     /* the same as cat/000.jpg */
	maker_jpeg(maker, "dog/copy.jpg", 1000); /* the same as dog/000.jpg: stays */
	t = try(maker);
	accept(&t);
	assert_int_equal(t.report.rejected_count, 2);
	rejects(&t, "cat/000.jpg", "two classes: see dog/cat.jpg");
	rejects(&t, "dog/cat.jpg", "two classes: see cat/000.jpg");
	assert_int_equal(t.dataset->sample_count, 8);
	release(&t);
}

static void copies_in_train_and_held_out_leave_train(void **state)
{
	struct maker *maker = maker_new("tar");
	struct trial t;

	(void)state;
	add_classes(maker, "train/", pets, 2, 4, 0);
	add_classes(maker, "val/", pets, 2, 2, 100);
	add_classes(maker, "test/", pets, 2, 2, 200);
	maker_jpeg(maker, "val/cat/leak.jpg", 1);
	maker_jpeg(maker, "test/dog/leak.jpg", 1002);
	t = try(maker);
	check_totals(&t, 6, 5, 5);
	assert_int_equal(t.report.rejected_count, 2);
	rejects(&t, "train/cat/001.jpg", "in val or test: see val/cat/leak.jpg");
	rejects(&t, "train/dog/002.jpg", "in val or test: see test/dog/leak.jpg");
	release(&t);
}

/* Our own split never puts copies on both sides. */
static void copies_stay_together(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 5; seed++) {
		struct maker *maker = maker_new("tar");
		struct gn_ingest_options options = ingest_defaults();
		struct blob archive;
		struct trial t;

		for (int i = 0; i < 12; i++) {
			char name[32];

			snprintf(name, sizeof name, "cat/%d.jpg", i);
			maker_jpeg(maker, name, i / 3);
			snprintf(name, sizeof name, "dog/%d.jpg", i);
			maker_jpeg(maker, name, 100 + i / 2);
		}
		archive = maker_end(maker);
		options.seed = seed;
		t = try_blob(&archive, 0, options);
		check_totals(&t, 9 + 10, 3 + 2, 0);
		for (int i = 0; i < 24; i++)
			for (int j = 0; j < i; j++) {
				const struct gn_sample *a = &t.dataset->samples[i], *b = &t.dataset->samples[j];

				if (a->bytes == b->bytes &&
				    !memcmp(t.dataset->pack + a->offset, t.dataset->pack + b->offset, a->bytes))
					assert_int_equal(a->split, b->split);
			}
		release(&t);
		blob_release(&archive);
	}
}

static void a_path_counts_once(void **state)
{
	struct maker *maker = pets_maker("tar");
	struct trial t;

	(void)state;
	maker_jpeg(maker, "cat/000.jpg", 500);
	t = try(maker);
	accept(&t);
	assert_int_equal(t.dataset->sample_count, 8);
	rejects(&t, "cat/000.jpg", "has this path twice");
	release(&t);
}

/* ---------------------------------------------------------------- limits ---------------------- */

static void bombs_stop_early(void **state)
{
	struct gn_ingest_options options = ingest_defaults();
	struct maker *maker = pets_maker("tar.gz");
	struct blob archive;
	struct trial t;

	(void)state;
	maker_zeros(maker, "cat/zeros.jpg", (uint64_t)160 << 20);
	archive = maker_end(maker);
	t = try_blob(&archive, 0, options);
	refused(&t, GN_TOO_LARGE, "times its size");
	options.budget.total_bytes = 5 << 20;
	t = try_blob(&archive, 0, options);
	refused(&t, GN_TOO_LARGE, "more than 5242880 bytes");
	blob_release(&archive);
	maker = pets_maker("zip");
	maker_zeros(maker, "cat/zeros.txt", (uint64_t)160 << 20);
	t = try(maker);
	refused(&t, GN_TOO_LARGE, "times its size");
}

static void entries_are_limited(void **state)
{
	struct gn_ingest_options options = ingest_defaults();
	struct blob archive = maker_end(pets_maker("tar"));
	struct trial t;

	(void)state;
	options.max_entries = 8;
	t = try_blob(&archive, 0, options);
	accept(&t);
	release(&t);
	options.max_entries = 7;
	t = try_blob(&archive, 0, options);
	refused(&t, GN_TOO_LARGE, "more than 7 entries");
	blob_release(&archive);
}

static ssize_t hang_up(void *user, void *buffer, size_t size)
{
	struct blob *left = user;
	size_t n = left->size < size ? left->size : size;

	memcpy(buffer, left->bytes, n);
	*left = (struct blob){left->bytes + n, left->size - n};
	return n ? (ssize_t)n : -1;
}

static void a_client_that_hangs_up_ends_it(void **state)
{
	struct blob archive = maker_end(pets_maker("tar"));

	(void)state;
	for (size_t size = 0; size < archive.size; size += 1500) {
		struct blob left = {archive.bytes, size};
		struct gn_ingest_options options = ingest_defaults();
		struct trial t = {0};

		options.read = hang_up;
		options.user = &left;
		folder_make(t.folder);
		t.rc = gn_dataset_ingest(t.folder, &options, &t.report, &t.err);
		refused(&t, GN_CANCELLED, "broken off");
	}
	blob_release(&archive);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_of_archive_is_read),
	    cmocka_unit_test(what_is_no_archive_is_refused),
	    cmocka_unit_test(truncated_archives_are_refused),
	    cmocka_unit_test(cuts_between_entries_are_seen),
	    cmocka_unit_test(encrypted_archives_are_refused),
	    cmocka_unit_test(leading_folders_are_dropped),
	    cmocka_unit_test(split_folders_are_kept),
	    cmocka_unit_test(images_outside_of_the_splits_are_rejected),
	    cmocka_unit_test(the_split_is_stratified_and_repeatable),
	    cmocka_unit_test(each_class_keeps_a_train_and_a_val_image),
	    cmocka_unit_test(classes_have_odd_names),
	    cmocka_unit_test(too_few_classes_or_images_are_refused),
	    cmocka_unit_test(bad_images_are_rejected),
	    cmocka_unit_test(harmful_entries_refuse_the_archive),
	    cmocka_unit_test(unreadable_names_are_rejected),
	    cmocka_unit_test(litter_is_skipped_and_counted),
	    cmocka_unit_test(only_a_hundred_rejected_are_listed),
	    cmocka_unit_test(copies_under_two_classes_are_rejected),
	    cmocka_unit_test(copies_in_train_and_held_out_leave_train),
	    cmocka_unit_test(copies_stay_together),
	    cmocka_unit_test(a_path_counts_once),
	    cmocka_unit_test(bombs_stop_early),
	    cmocka_unit_test(entries_are_limited),
	    cmocka_unit_test(a_client_that_hangs_up_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
