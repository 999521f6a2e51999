/* Parses a command line by the command's tables: see cli.h. */
#include "server/cli/option_tables.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/common/json.h"
#include "server/common/words.h"

enum { NAME_SIZE = 64 };

/* What every command that computes takes. */
static const struct gn_cli_option device_options[] = {
    {"device", "auto|cpu|cuda:N", "where to compute; default auto"},
    {"threads", "N", "threads; default 0: all cores"},
    {"precision", "auto|fp32|tf32|bf16", "of the matrix products; default auto: the device's best"},
    {"max-pixels", "N", "pixels of the largest image that is decoded; default 100000000"},
};
static const struct gn_cli_option common_options[] = {
    {"json", NULL, "results and progress as lines of JSON on stdout"},
    {"help", NULL, "this text"},
};

static const struct gn_cli_option *find_in(const struct gn_cli_option *options, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

static const struct gn_cli_option *find_option(const struct gn_cli_command *command, const char *name)
{
	const struct gn_cli_option *found = find_in(command->options, command->option_count, name);

	if (!found && command->computes)
		found = find_in(device_options, sizeof device_options / sizeof device_options[0], name);
	return found ? found : find_in(common_options, sizeof common_options / sizeof common_options[0], name);
}

void gn_cli_each_option(const struct gn_cli_command *command,
                        void (*visit)(void *user, const struct gn_cli_option *option), void *user)
{
	for (int i = 0; i < command->option_count; i++)
		visit(user, &command->options[i]);
	for (size_t i = 0; command->computes && i < sizeof device_options / sizeof device_options[0]; i++)
		visit(user, &device_options[i]);
	for (size_t i = 0; i < sizeof common_options / sizeof common_options[0]; i++)
		visit(user, &common_options[i]);
}

bool gn_cli_hidden(const struct gn_cli_command *command, const char *field)
{
	for (int i = 0; command->hidden && command->hidden[i]; i++)
		if (!strcmp(command->hidden[i], field))
			return true;
	return false;
}

/* The field that --NAME stands for, or NULL. */
static const struct gn_field *find_field(const struct gn_cli_command *command, const char *name)
{
	char field[NAME_SIZE];

	snprintf(field, sizeof field, "%s", name);
	for (char *c = field; *c; c++)
		*c = *c == '-' ? '_' : *c;
	return gn_cli_hidden(command, field) ? NULL : gn_field_find(command->fields, command->field_count, field);
}

/* ---------------------------------------------------------------- parsing --------------------- */

/* The JSON that an option's text stands for; an object may be written out. */
static json_t *field_value(const struct gn_field *field, const char *text)
{
	json_t *value = NULL;
	char *end;
	double number;

	if (!strcmp(text, "null") && field->flags & GN_FIELD_NULLABLE)
		return json_null();
	if (field->type != GN_FIELD_SPECIAL)
		return gn_field_from_text(field, text);
	if (*text == '{')
		return gn_json_load(&value, text, strlen(text), NULL) ? json_string(text) : value;
	number = strtod(text, &end);
	return *text && !*end ? json_real(number) : json_string(text);
}

/* Parses one option. Returns -1 to continue, or the exit status. */
static int take_option(struct gn_cli *cli, const char *name, const char *text)
{
	const struct gn_cli_option *option = find_option(cli->command, name);
	const struct gn_field *field = option ? NULL : find_field(cli->command, name);

	if (field) {
		if (!*text)
			return gn_cli_usage(cli->command, "--%s needs a value", name);
		json_object_set_new(cli->fields, field->name, field_value(field, text));
		return -1;
	}
	cli->given[cli->given_count++] = (struct gn_cli_given){option->name, text};
	return -1;
}

/* Whether --NAME takes a value; -1: there is no such option. */
static int wants_value(const struct gn_cli_command *command, const char *name)
{
	const struct gn_cli_option *option = find_option(command, name);

	if (option)
		return option->value != NULL;
	return find_field(command, name) ? 1 : -1;
}

/* Parses the option at *at and moves *at past it. Returns -1 to continue, or the exit status. */
static int parse_option(struct gn_cli *cli, int argc, char **argv, int *at)
{
	struct gn_long_option option;
	const char *name = option.name;
	int value;

	gn_long_option(&option, argv[*at]);
	value = wants_value(cli->command, name);
	(*at)++;
	if (value < 0)
		return gn_cli_usage(cli->command, "there is no option --%s", name);
	if (value == 0 && option.value)
		return gn_cli_usage(cli->command, "--%s takes no value", name);
	if (!strcmp(name, "help")) {
		gn_cli_help(cli->command);
		return GN_CLI_DONE;
	}
	if (value == 0)
		return take_option(cli, name, "");
	if (option.value)
		return take_option(cli, name, option.value);
	if (*at == argc)
		return gn_cli_usage(cli->command, "--%s needs a value", name);
	return take_option(cli, name, argv[(*at)++]);
}

int gn_cli_parse(struct gn_cli *cli, const struct gn_cli_command *command, int argc, char **argv)
{
	bool options = true;
	int status;

	*cli = (struct gn_cli){.command = command, .fields = json_object()};
	cli->given = calloc((size_t)argc + 1, sizeof *cli->given);
	cli->words = calloc((size_t)argc + 1, sizeof *cli->words);
	if (!cli->given || !cli->words || !cli->fields)
		return gn_cli_failed(&(struct gn_error){.code = GN_NO_MEMORY, .text = "out of memory"});
	for (int at = 0; at < argc;) {
		if (options && !strcmp(argv[at], "-h"))
			return gn_cli_help(command), GN_CLI_DONE;
		if (options && !strcmp(argv[at], "--")) {
			options = false;
			at++;
		} else if (options && !strncmp(argv[at], "--", 2)) {
			status = parse_option(cli, argc, argv, &at);
			if (status >= 0)
				return status;
		} else {
			cli->words[cli->word_count++] = argv[at++];
		}
	}
	if (cli->word_count < command->words_min || cli->word_count > command->words_max)
		return gn_cli_usage(command, "%s",
		                    cli->word_count < command->words_min ? "something is missing"
		                                                         : "there are too many words");
	return -1;
}

void gn_cli_release(struct gn_cli *cli)
{
	free(cli->given);
	free(cli->words);
	json_decref(cli->fields);
}

/* ---------------------------------------------------------------- values ---------------------- */

const char *gn_cli_text(const struct gn_cli *cli, const char *name)
{
	for (int i = cli->given_count - 1; i >= 0; i--)
		if (!strcmp(cli->given[i].name, name))
			return cli->given[i].text;
	return NULL;
}

bool gn_cli_flag(const struct gn_cli *cli, const char *name)
{
	return gn_cli_text(cli, name) != NULL;
}

int gn_cli_all(const struct gn_cli *cli, const char *name, const char **out, int max)
{
	int count = 0;

	for (int i = 0; i < cli->given_count; i++) {
		if (strcmp(cli->given[i].name, name) != 0)
			continue;
		if (count < max)
			out[count] = cli->given[i].text;
		count++;
	}
	return count;
}

int gn_cli_integer(long *out, const struct gn_cli *cli, const char *name, long low, long high, long fallback)
{
	const char *text = gn_cli_text(cli, name);
	char *end;

	*out = fallback;
	if (!text)
		return 0;
	errno = 0;
	*out = strtol(text, &end, 10);
	if (errno || !*text || *end || *out < low || *out > high)
		return gn_cli_usage(cli->command, "--%s must be a whole number from %ld to %ld", name, low, high);
	return 0;
}

int gn_cli_real(double *out, const struct gn_cli *cli, const char *name, double low, double high, double fallback)
{
	const char *text = gn_cli_text(cli, name);
	char *end;

	*out = fallback;
	if (!text)
		return 0;
	*out = strtod(text, &end);
	if (!*text || *end || !(*out >= low && *out <= high))
		return gn_cli_usage(cli->command, "--%s must be a number from %g to %g", name, low, high);
	return 0;
}

/* ---------------------------------------------------------------- the device ------------------ */

int gn_cli_device(struct gn_cli_device *device, const struct gn_cli *cli)
{
	const char *name = gn_cli_text(cli, "device"), *precision = gn_cli_text(cli, "precision");

	device->name = name ? name : "auto";
	device->precision = precision ? precision : "auto";
	if (gn_precision_from_name(device->precision) < 0)
		return gn_cli_usage(cli->command, "--precision must be auto, fp32, tf32 or bf16");
	if (gn_cli_integer(&device->threads, cli, "threads", 0, 1024, 0))
		return GN_CLI_USAGE;
	return gn_cli_integer(&device->max_pixels, cli, "max-pixels", 1024, 4000000000, 100000000);
}

int gn_cli_device_open(struct gn_device **out, const struct gn_cli_device *device, struct gn_error *err)
{
	return gn_device_open(out, device->name, (int)device->threads,
	                      (enum gn_precision)gn_precision_from_name(device->precision), err);
}

/* ---------------------------------------------------------------- messages -------------------- */

int gn_cli_usage(const struct gn_cli_command *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "gonio %s: ", command->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (gonio %s --help)\n", command->name);
	return GN_CLI_USAGE;
}

int gn_cli_failed(const struct gn_error *err)
{
	fprintf(stderr, "gonio: %s%s%s\n", err->where, err->where[0] ? ": " : "", err->text);
	return GN_CLI_FAILED;
}

void gn_cli_json(json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

	puts(text ? text : "null");
	(void)fflush(stdout);
	free(text);
	json_decref(value);
}

json_t *gn_cli_string(const char *text)
{
	json_t *value = json_string(text);

	return value ? value : json_string("(not UTF-8)");
}
