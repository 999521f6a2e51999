/*
 * Reads a checkpoint's folder from an archive, once from front to back. The folder of the
 * checkpoint is not known in advance, so the config files of every folder are kept until the end.
 * An archive with many or large config files is an error.
 */
#include <stdlib.h>
#include <string.h>

#include "data/archive.h"
#include "data/names.h"
#include "base/files.h"
#include "gonio.h"

enum { SIDES_MAX = 16, SIDE_BYTES = 4 << 20, ENTRIES_MAX = 10000, ROOM_STEP = 16 << 20 };

/* A config file of some folder. */
struct side {
	char folder[GN_PATH_MAX + 1];
	bool preprocessor;
	char *text;
	size_t size;
};

struct unpack {
	const struct gn_unpack_options *options;
	const char *checkpoint_path;
	struct gn_archive *archive;
	char checkpoint[GN_PATH_MAX + 1]; /* its path in the archive; "" before it was found */
	/* a file in the archive that could be meant as weights, or NULL */
	const char *foreign;
	struct side *sides; /* [SIDES_MAX] */
	int side_count, entries;
};

/* ---------------------------------------------------------------- names ----------------------- */

static const char *file_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool same_folder(const char *path, const char *folder)
{
	size_t length = (size_t)(file_of(path) - path);

	return strlen(folder) == length && !memcmp(path, folder, length);
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

/* Recognises weights in an unsupported format by a file's name, for the error message if no
 * checkpoint is found. */
static const char *foreign_weights(const char *file)
{
	if (!strcmp(file, "data.pkl") || ends_with(file, ".bin") || ends_with(file, ".pth") || ends_with(file, ".pt"))
		return "PyTorch's pickles (.pth, .bin)";
	if (ends_with(file, ".npy") || ends_with(file, ".npz"))
		return "NumPy's arrays (.npz)";
	if (ends_with(file, ".h5") || ends_with(file, ".msgpack"))
		return "TensorFlow's or JAX's weights";
	return NULL;
}

bool gn_archive_sniff(const void *bytes, size_t size)
{
	static const struct {
		const char *magic;
		size_t length, at;
	} kinds[] = {
	    {"PK\3\4", 4, 0},
	    {"PK\5\6", 4, 0},
	    {"\x1f\x8b", 2, 0},
	    {"\xfd"
	     "7zXZ\0",
	     6, 0},
	    {"\x28\xb5\x2f\xfd", 4, 0},
	    {"ustar", 5, 257},
	};

	/* the header of a safetensors file begins here */
	if (size > 8 && ((const char *)bytes)[8] == '{')
		return false;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (size >= kinds[i].at + kinds[i].length &&
		    !memcmp((const char *)bytes + kinds[i].at, kinds[i].magic, kinds[i].length))
			return true;
	return false;
}

/* ---------------------------------------------------------------- one entry ------------------- */

/* Reads the next piece of the current entry: 1, 0 at its end, -1 on an error. Damage is an error,
 * because half a checkpoint is useless. */
static int next_piece(struct unpack *u, const char *path, const void **bytes, size_t *size, struct gn_error *err)
{
	const char *damage;
	int more = gn_archive_piece(u->archive, bytes, size, &damage, err);

	if (more == 0 && damage)
		return gn_fail(err, GN_MALFORMED, path, "damaged in the archive: %s", damage);
	return more;
}

static int pass_over(struct unpack *u, const char *path, struct gn_error *err)
{
	const void *bytes;
	size_t size;
	int more;

	while ((more = next_piece(u, path, &bytes, &size, err)) > 0)
		continue;
	return more;
}

static int copy_entry(struct unpack *u, struct gn_file_writer *writer, const char *path, struct gn_error *err)
{
	const struct gn_unpack_options *o = u->options;
	uint64_t unreported = 0;
	const void *bytes;
	size_t size;
	int more;

	while ((more = next_piece(u, path, &bytes, &size, err)) > 0) {
		unreported += size;
		if (o->room && unreported >= ROOM_STEP) {
			unreported = 0;
			if (o->room(o->room_user, ROOM_STEP, err))
				return -1;
		}
		if (gn_file_write(writer, bytes, size, err))
			return -1;
	}
	return more;
}

static int take_checkpoint(struct unpack *u, const char *path, struct gn_error *err)
{
	struct gn_file_writer writer;

	if (strstr(file_of(path), "-of-"))
		return gn_fail(err, GN_UNSUPPORTED, path,
		               "the checkpoint is in several files: save it as one (max_shard_size)");
	if (*u->checkpoint)
		return gn_fail(err, GN_INVALID, path, "the archive holds two checkpoints: %.200s is the other",
		               u->checkpoint);
	if (gn_file_begin(&writer, u->checkpoint_path, err))
		return -1;
	if (copy_entry(u, &writer, path, err)) {
		gn_file_abort(&writer);
		return -1;
	}
	if (gn_file_commit(&writer, err))
		return -1;
	snprintf(u->checkpoint, sizeof u->checkpoint, "%s", path);
	return 0;
}

static int find_side(const struct unpack *u, const char *path, bool preprocessor)
{
	for (int i = 0; i < u->side_count; i++)
		if (u->sides[i].preprocessor == preprocessor && same_folder(path, u->sides[i].folder))
			return i;
	return -1;
}

/* Appends a piece to a config file's text. */
static int append(struct side *side, const char *path, const void *bytes, size_t size, struct gn_error *err)
{
	char *grown;

	if (side->size + size > SIDE_BYTES)
		return gn_fail(err, GN_TOO_LARGE, path, "more than %d bytes", SIDE_BYTES);
	grown = realloc(side->text, side->size + size + 1);
	if (!grown)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a config");
	if (size) /* the archive's last piece may be empty, with a NULL address */
		memcpy(grown + side->size, bytes, size);
	side->text = grown;
	side->size += size;
	grown[side->size] = '\0';
	return 0;
}

static int take_side(struct unpack *u, const char *path, bool preprocessor, struct gn_error *err)
{
	struct side *side = &u->sides[u->side_count];
	const void *bytes = "";
	size_t size = 0;
	int more;

	if (find_side(u, path, preprocessor) >= 0)
		return gn_fail(err, GN_INVALID, path, "the archive has this file twice");
	if (u->side_count == SIDES_MAX)
		return gn_fail(err, GN_TOO_LARGE, path, "the archive holds more than %d config files", SIDES_MAX);
	u->side_count++;
	side->preprocessor = preprocessor;
	snprintf(side->folder, sizeof side->folder, "%.*s", (int)(file_of(path) - path), path);
	do {
		if (append(side, path, bytes, size, err))
			return -1;
	} while ((more = next_piece(u, path, &bytes, &size, err)) > 0);
	return more;
}

static int take_entry(struct unpack *u, const struct gn_archive_entry *entry, struct gn_error *err)
{
	char path[GN_PATH_MAX + 1];
	const char *file;

	if (gn_archive_check_harmless(entry, err))
		return -1;
	if (++u->entries > ENTRIES_MAX)
		return gn_fail(err, GN_TOO_LARGE, "", "the archive has more than %d entries", ENTRIES_MAX);
	if (entry->not_file || gn_name_clean(path, entry->path) || gn_name_skipped(path))
		return pass_over(u, "", err);
	file = file_of(path);
	if (ends_with(file, ".safetensors"))
		return take_checkpoint(u, path, err);
	if (!strcmp(file, "config.json") || !strcmp(file, "preprocessor_config.json"))
		return take_side(u, path, *file == 'p', err);
	if (!u->foreign)
		u->foreign = foreign_weights(file);
	return pass_over(u, path, err);
}

/* ---------------------------------------------------------------- the whole ------------------- */

static int read_entries(struct unpack *u, struct gn_error *err)
{
	struct gn_archive_entry entry;
	int more;

	while ((more = gn_archive_next(u->archive, &entry, err)) > 0)
		if (take_entry(u, &entry, err))
			return -1;
	if (more < 0)
		return -1;
	if (*u->checkpoint)
		return 0;
	if (u->foreign)
		return gn_fail(err, GN_UNSUPPORTED, "",
		               "this is an archive of %s: save the weights as safetensors first", u->foreign);
	return gn_fail(err, GN_INVALID, "", "the archive holds no *.safetensors file");
}

/* Gives the texts beside the checkpoint to the caller. */
static void give_sides(struct gn_unpacked *out, struct unpack *u)
{
	for (int preprocessor = 0; preprocessor < 2; preprocessor++) {
		int i = find_side(u, u->checkpoint, preprocessor != 0);

		if (i < 0)
			continue;
		*(preprocessor ? &out->preprocessor : &out->config) = u->sides[i].text;
		*(preprocessor ? &out->preprocessor_bytes : &out->config_bytes) = u->sides[i].size;
		u->sides[i].text = NULL;
	}
}

int gn_model_unpack(struct gn_unpacked *out, const char *checkpoint_path, const struct gn_unpack_options *options,
                    struct gn_error *err)
{
	struct gn_archive_source source = {.read = options->read, .gone = options->gone, .user = options->user};
	struct unpack *u = gn_alloc(1, sizeof *u, err);
	int result = -1;

	if (!u)
		return -1;
	if (options->budget)
		source.budget = *options->budget;
	u->options = options;
	u->checkpoint_path = checkpoint_path;
	u->sides = gn_alloc(SIDES_MAX, sizeof *u->sides, err);
	if (u->sides && !gn_archive_open(&u->archive, &source, err)) {
		result = read_entries(u, err);
		gn_archive_close(u->archive);
	}
	*out = (struct gn_unpacked){0};
	if (!result)
		give_sides(out, u);
	else if (*u->checkpoint)
		remove(checkpoint_path);
	for (int i = 0; i < u->side_count; i++)
		free(u->sides[i].text);
	free(u->sides);
	free(u);
	return result;
}
