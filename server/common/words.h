/* The words of a command line. */
#ifndef GN_SERVER_WORDS_H
#define GN_SERVER_WORDS_H

struct gn_long_option {
	char name[64];     /* without the dashes; cut where it is longer, so that no option has it */
	const char *value; /* after the '='; NULL: the word has none. Borrowed from the word */
};
/* Takes "--NAME" or "--NAME=VALUE" apart. -1: the word is no option. */
int gn_long_option(struct gn_long_option *out, const char *word);

#endif
