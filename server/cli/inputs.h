/* Models and data sets from files, for the subcommands. */
#ifndef GN_CLI_INPUTS_H
#define GN_CLI_INPUTS_H

#include <limits.h>

#include "server/cli/cli.h"
#include "server/common/kinds.h"

/* Options of commands that take foreign checkpoints. */
#define GN_CLI_FOREIGN_OPTIONS                                                                                         \
	{"config", "FILE", "config.json of a foreign checkpoint"},                                                     \
	    {"preprocessor", "FILE", "preprocessor_config.json of a foreign checkpoint"},                              \
	    {"labels", "FILE", "class names of a foreign checkpoint: a JSON array"},                                   \
	    {"mean", "R,G,B", "mean of the pixels (0..1) for a foreign checkpoint, over what its files say"},          \
	    {"std", "R,G,B", "standard deviation of the pixels (0..1), likewise"},                                     \
	{                                                                                                              \
		"heads", "N", "attention heads of a foreign checkpoint, where its tensors do not tell"                 \
	}

/* Files of gonio's own kind: a model, its base, the base's base, ... */
struct gn_cli_chain {
	char *paths[GN_CHAIN_MAX];
	int count;
};
/*
 * The chain of a checkpoint that was named on the command line, which may be
 *   - a file of gonio's own: as it is; a delta needs its bases,
 *   - any other safetensors file: imported into folder, with what the options say of it,
 *   - a folder with model.safetensors and, perhaps, config.json and preprocessor_config.json: the same,
 *   - the folder of a run or a soup: its result, with the bases that its job.json names.
 * bases[count] are further checkpoints: the model's base, its base, ... Release the chain in any case.
 */
int gn_cli_chain_open(struct gn_cli_chain *chain, const struct gn_cli *cli, const char *path, const char *const *bases,
                      int count, const char *folder, struct gn_error *err);
void gn_cli_chain_release(struct gn_cli_chain *chain);
/* Where the base of `chain` is a copy, byte for byte, of the base of `first`, lets it name that file. */
int gn_cli_chain_share(struct gn_cli_chain *chain, const struct gn_cli_chain *first, struct gn_error *err);

/* The two paths lead to equal bytes. */
bool gn_cli_same_file(const char *a, const char *b);

/* A new empty folder under $TMPDIR or /tmp. From now on signals set gn_cli_stop, so that the folder is taken away. */
int gn_cli_temporary(char folder[PATH_MAX], struct gn_error *err);

/* Options of commands that take pictures. */
#define GN_CLI_DATA_OPTIONS                                                                                            \
	{"data", "PATH",                                                                                               \
	 "the pictures: an archive (zip, tar, tar.gz, tar.xz, tar.zst) or a folder, laid out as CLASS/file or "        \
	 "train|val|test/CLASS/file, or a data set that is packed already (required)"},                                \
	    {"val-fraction", "X", "share of the pictures that becomes val where the data has no such folder; 0.2"},    \
	{                                                                                                              \
		"split-seed", "N", "decides which; 0"                                                                  \
	}

/* What --data names, as a packed data set: *path becomes PATH itself where that is one, else folder, which is created and filled. The
 * split options are read from the command line; a GN_CLI_USAGE of theirs is returned. 0, or an exit status after a message. */
int gn_cli_data(char path[PATH_MAX], const struct gn_cli *cli, const char *folder, const struct gn_cli_device *device);

#endif
