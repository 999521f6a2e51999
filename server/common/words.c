/* The words of a command line: see words.h. */
#include "server/common/words.h"

#include <stdio.h>
#include <string.h>

int gn_long_option(struct gn_long_option *out, const char *word)
{
	const char *equals;

	if (strncmp(word, "--", 2) != 0)
		return -1;
	word += 2;
	equals = strchr(word, '=');
	snprintf(out->name, sizeof out->name, "%.*s", equals ? (int)(equals - word) : (int)sizeof out->name - 1, word);
	out->value = equals ? equals + 1 : NULL;
	return 0;
}
