/* --help of a command, from its tables. */
#include "server/cli/option_tables.h"

#include <stdio.h>
#include <string.h>

enum { COLUMN = 30, WIDTH = 100 };

/* Text from column `at` on, wrapped; further lines begin at COLUMN. Ends the line. */
static void print_wrapped(const char *text, int at)
{
	while (*text) {
		int word = (int)strcspn(text, " ");

		if (at > COLUMN && at + 1 + word > WIDTH) {
			printf("\n%*s", COLUMN, "");
			at = COLUMN;
		}
		printf("%s%.*s", at > COLUMN ? " " : "", word, text);
		at += word + (at > COLUMN);
		text += word;
		text += strspn(text, " ");
	}
	puts("");
}

/* "  --name VALUE" up to COLUMN, or on a line of its own. */
static void print_name(const char *name, const char *value)
{
	int n = printf("  --%s%s%s", name, value ? " " : "", value ? value : "");

	if (n >= COLUMN)
		printf("\n%*s", COLUMN, "");
	else
		printf("%*s", COLUMN - n, "");
}

static void print_option(void *user, const struct gn_cli_option *option)
{
	(void)user;
	print_name(option->name, option->value);
	print_wrapped(option->help, COLUMN);
}

static const char *field_placeholder(char out[200], const struct gn_field *field)
{
	size_t used = 0;

	switch (field->type) {
	case GN_FIELD_INT:
	case GN_FIELD_INT64:
		return "N";
	case GN_FIELD_CHOICE:
		for (int i = 0; field->choices[i] && used < 200; i++)
			used += (size_t)snprintf(out + used, 200 - used, "%s%s", i ? "|" : "", field->choices[i]);
		return out;
	case GN_FIELD_SPECIAL:
		return !strcmp(field->name, "lr") ? "X" : "NAME|JSON";
	default:
		return "X";
	}
}

static void print_field(const struct gn_field *field)
{
	char name[64], choices[200], help[400];
	bool number = field->type == GN_FIELD_INT || field->type == GN_FIELD_INT64 || field->type == GN_FIELD_NUMBER;
	size_t used;

	snprintf(name, sizeof name, "%s", field->name);
	for (char *c = name; *c; c++)
		*c = *c == '_' ? '-' : *c;
	used = (size_t)snprintf(help, sizeof help, "%s", field->help);
	if (field->flags & GN_FIELD_REQUIRED)
		snprintf(help + used, sizeof help - used, " Required.");
	else if (number && field->flags & GN_FIELD_NULLABLE)
		snprintf(help + used, sizeof help - used, " Unless said: null.");
	else if (number)
		snprintf(help + used, sizeof help - used, " Unless said: %g.", field->fallback);
	else if (field->type == GN_FIELD_CHOICE)
		snprintf(help + used, sizeof help - used, " Unless said: %s.", field->choices[(int)field->fallback]);
	print_name(name, field_placeholder(choices, field));
	print_wrapped(help, COLUMN);
}

void gn_cli_help(const struct gn_cli_command *command)
{
	const char *line = command->usage;

	while (*line) {
		int n = (int)strcspn(line, "\n");

		printf("%s gonio %s %.*s\n", line == command->usage ? "usage:" : "      ", command->name, n, line);
		line += n;
		line += *line == '\n';
	}
	printf("\n%s\n\n", command->text);
	gn_cli_each_option(command, print_option, NULL);
	for (int i = 0; i < command->field_count; i++)
		if (!gn_cli_hidden(command, command->fields[i].name))
			print_field(&command->fields[i]);
	printf("\nExit status: 0 done; 1 an input cannot be used; 2 the command line is wrong; 3 stopped by SIGINT or\n"
	       "SIGTERM, and the work so far is kept; 4 the work failed; 5 another process works in the folder.\n");
}
