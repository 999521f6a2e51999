/*
 * The subcommands that work on files, without the service. Each has one file in this folder. They
 * share parsing by table (options.c), help (help.c), the progress bar (view.c), models and data
 * sets from files (inputs.c, folder.c), and jobs in their own folders (job.c).
 *
 * Results go to stdout, everything else to stderr. With --json every line on stdout is a JSON
 * object.
 */
#ifndef GN_CLI_H
#define GN_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "gonio.h"
#include "server/common/fields.h"

/* Exit statuses of every subcommand; 0, 2, 3, 4 and 5 are those of a worker (job_folder.h). */
enum gn_cli_status {
	GN_CLI_DONE = 0,
	GN_CLI_FAILED = 1,     /* an input cannot be used; the reason is on stderr */
	GN_CLI_USAGE = 2,      /* the command line is wrong */
	GN_CLI_STOPPED = 3,    /* by SIGINT or SIGTERM; what was done is kept */
	GN_CLI_JOB_FAILED = 4, /* the work itself failed: DIR/result.json and stderr say why */
	GN_CLI_BUSY = 5        /* another process is at work in DIR */
};

/* ---------------------------------------------------------------- options --------------------- */

struct gn_cli_option {
	const char *name;  /* without the dashes */
	const char *value; /* the name of the value in --help; NULL: a flag */
	const char *help;
};
struct gn_cli_command {
	const char *name;
	const char *usage; /* the arguments, one line for each form */
	const char *text;  /* the description for --help */
	const struct gn_cli_option *options;
	int option_count;
	bool computes;                 /* also has the options of the device */
	const struct gn_field *fields; /* further options, one for each field; NULL: none */
	int field_count;
	const char *const *hidden; /* fields that are not options, NULL-terminated */
	int words_min, words_max;  /* number of arguments that are not options */
};

struct gn_cli {
	const struct gn_cli_command *command;
	struct gn_cli_given {
		const char *name, *text; /* text "" for a flag */
	} * given;                       /* in the order of the command line */
	int given_count;
	const char **words;
	int word_count;
	json_t *fields; /* an object of the given fields: "--batch-size 8" as "batch_size": 8 */
};
/* Parses the words after the command's name, which are borrowed from argv. Returns -1 if the
 * command continues. Otherwise returns the exit status, after printing --help, or after a message
 * on stderr. Release it in all cases. */
int gn_cli_parse(struct gn_cli *cli, const struct gn_cli_command *command, int argc, char **argv);
void gn_cli_release(struct gn_cli *cli);
/* The last value of an option, or NULL if it was not given. */
const char *gn_cli_text(const struct gn_cli *cli, const char *name);
bool gn_cli_flag(const struct gn_cli *cli, const char *name);
/* All values of an option in order, at most max. Returns how many were given. */
int gn_cli_all(const struct gn_cli *cli, const char *name, const char **out, int max);
/* *out = the option's number, or fallback if it was not given. Returns 0, or GN_CLI_USAGE after a
 * message if it is not a number from low to high. */
int gn_cli_integer(long *out, const struct gn_cli *cli, const char *name, long low, long high, long fallback);
int gn_cli_real(double *out, const struct gn_cli *cli, const char *name, double low, double high, double fallback);

/* Prints a message with a hint to --help; returns GN_CLI_USAGE. */
int gn_cli_usage(const struct gn_cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the error; returns GN_CLI_FAILED. */
int gn_cli_failed(const struct gn_error *err);
void gn_cli_help(const struct gn_cli_command *command);
/* One line of JSON on stdout; value is stolen. */
void gn_cli_json(json_t *value);
/* A JSON string; a text that is not UTF-8 is replaced by a remark. New reference. */
json_t *gn_cli_string(const char *text);

/* The values of --device, --threads and --precision. */
struct gn_cli_device {
	const char *name; /* "auto", ... */
	const char *precision;
	long threads, max_pixels;
};
/* 0, or GN_CLI_USAGE after a message. */
int gn_cli_device(struct gn_cli_device *device, const struct gn_cli *cli);
int gn_cli_device_open(struct gn_device **out, const struct gn_cli_device *device, struct gn_error *err);

#endif
