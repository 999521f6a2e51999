/* Models and data sets from files, for the subcommands. */
#ifndef GN_CLI_INPUTS_H
#define GN_CLI_INPUTS_H

#include <limits.h>

#include "server/cli/cli.h"
#include "server/common/kinds.h"

/* Options of commands that read foreign checkpoints. */
#define GN_CLI_FOREIGN_OPTIONS                                                                                         \
	{"config", "FILE", "config.json of a foreign checkpoint"},                                                     \
	    {"preprocessor", "FILE", "preprocessor_config.json of a foreign checkpoint"},                              \
	    {"labels", "FILE", "class names of a foreign checkpoint: a JSON array"},                                   \
	    {"mean", "R,G,B", "mean of the pixels (0..1) for a foreign checkpoint, over what its files say"},          \
	    {"std", "R,G,B", "standard deviation of the pixels (0..1), likewise"},                                     \
	{                                                                                                              \
		"heads", "N", "attention heads of a foreign checkpoint, where its tensors do not tell"                 \
	}

/* gonio's own files: a model, its base, the base's base, ... */
struct gn_cli_chain {
	char *paths[GN_CHAIN_MAX];
	int count;
};
/*
 * The chain of a checkpoint on the command line. The checkpoint may be
 *   - gonio's own file, used as it is; a delta needs its bases;
 *   - any other safetensors file, which is imported into folder by the options;
 *   - a folder with model.safetensors and perhaps config.json and preprocessor_config.json, which
 *     is imported too;
 *   - the folder of a run or a soup: its result, with the bases that its job.json names.
 * bases[count] are further checkpoints: the model's base, its base, ... Release the chain in all
 * cases.
 */
int gn_cli_chain_open(struct gn_cli_chain *chain, const struct gn_cli *cli, const char *path, const char *const *bases,
                      int count, const char *folder, struct gn_error *err);
void gn_cli_chain_release(struct gn_cli_chain *chain);
/* If the bases of `chain` and `first` are equal files, makes `chain` use the file of `first`. */
int gn_cli_chain_share(struct gn_cli_chain *chain, const struct gn_cli_chain *first, struct gn_error *err);

/* Whether the two files have equal bytes. */
bool gn_cli_same_file(const char *a, const char *b);

/* Makes a new empty folder under $TMPDIR or /tmp. From now on signals set gn_cli_stop, so that the
 * folder will be removed. */
int gn_cli_temporary(char folder[PATH_MAX], struct gn_error *err);

/* Options of commands that read pictures. */
#define GN_CLI_DATA_OPTIONS                                                                                            \
	{"data", "PATH",                                                                                               \
	 "the pictures: an archive (zip, tar, tar.gz, tar.xz, tar.zst) or a folder, laid out as CLASS/file or "        \
	 "train|val|test/CLASS/file, or a data set that is packed already (required)"},                                \
	    {"val-fraction", "X", "share of the pictures that becomes val where the data has no such folder; 0.2"},    \
	{                                                                                                              \
		"split-seed", "N", "decides which; 0"                                                                  \
	}

/* The packed data set of --data. If --data names one, path is that. Otherwise path is folder, which
 * is created and filled by the split options of the command line. Returns 0, or an exit status
 * after a message. */
int gn_cli_data(char path[PATH_MAX], const struct gn_cli *cli, const char *folder, const struct gn_cli_device *device);

#endif
