/* Converts the checkpoints of a command line to gonio's own files: see inputs.h. */
#include "server/cli/inputs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/job.h"
#include "server/common/files.h"

enum { COMPANION_LIMIT = 4 << 20, JOB_LIMIT = 4 << 20, BLOCK = 1 << 20 };

int gn_cli_temporary(char folder[PATH_MAX], struct gn_error *err)
{
	const char *base = getenv("TMPDIR");

	if (snprintf(folder, PATH_MAX, "%s/gonio-XXXXXX", base && *base ? base : "/tmp") >= PATH_MAX)
		return gn_fail(err, GN_INVALID, "TMPDIR", "is too long");
	gn_cli_catch_signals();
	return mkdtemp(folder) ? 0 : gn_fail_errno(err, folder, "cannot create a temporary folder");
}

static int join(char out[PATH_MAX], const char *folder, const char *name, struct gn_error *err)
{
	int n = snprintf(out, PATH_MAX, "%s%s%s", *name == '/' ? "" : folder, *name == '/' ? "" : "/", name);

	return n < PATH_MAX ? 0 : gn_fail(err, GN_INVALID, folder, "the path is too long");
}

static bool is_there(const char *folder, const char *name)
{
	char path[PATH_MAX];

	return join(path, folder, name, NULL) == 0 && access(path, F_OK) == 0;
}

void gn_cli_chain_release(struct gn_cli_chain *chain)
{
	while (chain->count > 0)
		free(chain->paths[--chain->count]);
}

/* Appends the absolute path of an existing file. */
static int append(struct gn_cli_chain *chain, const char *path, struct gn_error *err)
{
	char *absolute;

	if (chain->count == GN_CHAIN_MAX)
		return gn_fail(err, GN_INVALID, path, "more than %d models tuned one on another", GN_CHAIN_MAX - 1);
	absolute = realpath(path, NULL);
	if (!absolute)
		return gn_fail_errno(err, path, "cannot be found");
	chain->paths[chain->count++] = absolute;
	return 0;
}

/* ---------------------------------------------------------------- foreign checkpoints --------- */

/* The side files of a checkpoint, whole in memory. */
struct companion {
	/* name: in the checkpoint's own folder; NULL: only as an option */
	const char *option, *name;
	char *data;
	size_t size;
};

/* What the option names, or what lies beside the checkpoint in a folder that was named as a
 * whole. */
static int load_companion(struct companion *c, const struct gn_cli *cli, const char *beside, struct gn_error *err)
{
	const char *path = gn_cli_text(cli, c->option);
	char joined[PATH_MAX];

	if (!path && beside && c->name && is_there(beside, c->name)) {
		if (join(joined, beside, c->name, err))
			return -1;
		path = joined;
	}
	return path ? gn_file_load(path, COMPANION_LIMIT, &c->data, &c->size, err) : 0;
}

static int read_heads(int *heads, const struct gn_cli *cli, struct gn_error *err)
{
	const char *text = gn_cli_text(cli, "heads");
	char *end;
	long value = text ? strtol(text, &end, 10) : 0;

	if (text && (!*text || *end || value < 1 || value > 256))
		return gn_fail(err, GN_INVALID, "--heads", "must be a whole number from 1 to 256");
	*heads = (int)value;
	return 0;
}

/* out[3]: NAN where the option is not given. */
static int read_triple(float out[3], const struct gn_cli *cli, const char *name, double low, double high,
                       struct gn_error *err)
{
	const char *text = gn_cli_text(cli, name);
	char where[16];

	for (int i = 0; i < 3; i++) {
		char *end;
		double value = text ? strtod(text, &end) : NAN;

		if (text && (end == text || *end != (i < 2 ? ',' : '\0') || !(value >= low && value <= high))) {
			snprintf(where, sizeof where, "--%s", name);
			return gn_fail(err, GN_INVALID, where, "must be three numbers from %g to %g, R,G,B", low, high);
		}
		out[i] = (float)value;
		text = text && i < 2 ? end + 1 : text;
	}
	return 0;
}

static int import(const char *to, const char *from, const struct gn_cli *cli, const char *beside, struct gn_error *err)
{
	struct companion files[3] = {
	    {.option = "config", .name = "config.json"},
	    {.option = "preprocessor", .name = "preprocessor_config.json"},
	    {.option = "labels"},
	};
	struct gn_import_options options = {.activation = -1, .norm_eps = NAN, .crop_pct = NAN};
	struct gn_import_report report = {0};
	int result = read_heads(&options.heads, cli, err);

	if (result == 0)
		result = read_triple(options.mean, cli, "mean", 0, 1, err);
	if (result == 0)
		result = read_triple(options.std, cli, "std", 1e-4, 10, err);
	for (int i = 0; i < 3 && result == 0; i++)
		result = load_companion(&files[i], cli, beside, err);
	if (result == 0) {
		options.config_json = files[0].data;
		options.config_bytes = files[0].size;
		options.preprocessor_json = files[1].data;
		options.preprocessor_bytes = files[1].size;
		options.labels_json = files[2].data;
		options.labels_bytes = files[2].size;
		result = gn_model_import(to, from, &options, &report, err);
	}
	gn_import_report_release(&report);
	for (int i = 0; i < 3; i++)
		free(files[i].data);
	return result;
}

/* Appends a file of any kind; a foreign one is imported into folder under a name of its own. */
static int append_file(struct gn_cli_chain *chain, const struct gn_cli *cli, const char *path, const char *beside,
                       const char *folder, struct gn_error *err)
{
	char to[PATH_MAX], name[64];
	bool own;

	if (gn_model_is_own(&own, path, err))
		return -1;
	if (own)
		return append(chain, path, err);
	for (int i = 0;; i++) {
		snprintf(name, sizeof name, "imported-%d.safetensors", i);
		if (!is_there(folder, name))
			break;
	}
	if (join(to, folder, name, err) || import(to, path, cli, beside, err))
		return -1;
	return append(chain, to, err);
}

/* ---------------------------------------------------------------- folders --------------------- */

/* Appends the bases that a job's folder names: a run's model and its bases; of a soup, those of its
 * first ingredient. */
static int append_job_bases(struct gn_cli_chain *chain, const char *folder, struct gn_error *err)
{
	const json_t *paths;
	char path[PATH_MAX], *text;
	size_t size, first;
	json_t *job;
	int result = 0;

	if (join(path, folder, "job.json", err) || gn_file_load(path, JOB_LIMIT, &text, &size, err))
		return -1;
	job = json_loadb(text, size, 0, NULL);
	free(text);
	paths = json_array_get(json_object_get(job, "models"), 0);
	first = json_object_get(json_object_get(job, "request"), "models") ? 1 : 0;
	if (json_array_size(paths) <= first)
		result = gn_fail(err, GN_MALFORMED, path, "does not name the models of a run or a soup");
	for (size_t i = first; i < json_array_size(paths) && result == 0; i++) {
		const char *name = json_string_value(json_array_get(paths, i));

		result = name ? join(path, folder, name, err) : gn_fail(err, GN_MALFORMED, path, "is not a job.json");
		if (result == 0)
			result = append(chain, path, err);
	}
	json_decref(job);
	return result;
}

/* Appends what a checkpoint of the command line stands for: one file, or a job's result with its
 * bases. */
static int append_named(struct gn_cli_chain *chain, const struct gn_cli *cli, const char *path, const char *folder,
                        struct gn_error *err)
{
	char inside[PATH_MAX];
	struct stat st;

	if (stat(path, &st))
		return errno == ENOENT ? gn_fail(err, GN_NOT_FOUND, path, "there is no such file")
		                       : gn_fail_errno(err, path, "cannot be looked at");
	if (!S_ISDIR(st.st_mode))
		return append_file(chain, cli, path, NULL, folder, err);
	if (join(inside, path, "model.safetensors", err))
		return -1;
	if (!is_there(path, "model.safetensors"))
		return gn_fail(err, GN_NOT_FOUND, path, "the folder holds no model.safetensors%s",
		               is_there(path, "job.json") ? "; has its job finished?" : "");
	if (!is_there(path, "job.json"))
		return append_file(chain, cli, inside, path, folder, err);
	if (append(chain, inside, err))
		return -1;
	return append_job_bases(chain, path, err);
}

int gn_cli_chain_open(struct gn_cli_chain *chain, const struct gn_cli *cli, const char *path, const char *const *bases,
                      int count, const char *folder, struct gn_error *err)
{
	*chain = (struct gn_cli_chain){0};
	if (append_named(chain, cli, path, folder, err))
		return -1;
	if (chain->count > 1 && count > 0)
		return gn_fail(err, GN_INVALID, path, "names its base itself: --base cannot be given");
	for (int i = 0; i < count; i++)
		if (append_named(chain, cli, bases[i], folder, err))
			return -1;
	return 0;
}

/* ---------------------------------------------------------------- equal bases ----------------- */

static bool same_bytes(FILE *a, FILE *b)
{
	char *left = malloc(BLOCK), *right = malloc(BLOCK);
	bool same = left && right;
	size_t n = 1;

	while (same && n > 0) {
		n = fread(left, 1, BLOCK, a);
		same = fread(right, 1, BLOCK, b) == n && memcmp(left, right, n) == 0 && !ferror(a) && !ferror(b);
	}
	free(left);
	free(right);
	return same;
}

bool gn_cli_same_file(const char *a, const char *b)
{
	FILE *left, *right;
	struct stat x, y;
	bool same;

	if (!strcmp(a, b))
		return true;
	left = fopen(a, "rbe");
	right = fopen(b, "rbe");
	same = left && right && !fstat(fileno(left), &x) && !fstat(fileno(right), &y) && x.st_size == y.st_size &&
	       same_bytes(left, right);

	if (left)
		fclose(left);
	if (right)
		fclose(right);
	return same;
}

int gn_cli_chain_share(struct gn_cli_chain *chain, const struct gn_cli_chain *first, struct gn_error *err)
{
	if (chain->count != first->count)
		return 0;
	for (int i = 1; i < chain->count; i++) {
		char *copy;

		if (!strcmp(chain->paths[i], first->paths[i]))
			continue;
		if (!gn_cli_same_file(chain->paths[i], first->paths[i]))
			return 0;
		copy = strdup(first->paths[i]);
		if (!copy)
			return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
		free(chain->paths[i]);
		chain->paths[i] = copy;
	}
	return 0;
}
