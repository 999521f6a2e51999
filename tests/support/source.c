/* See source.h. */
#include "tests/support/source.h"

#include <stdlib.h>

const char *source_folder(void)
{
	const char *given = getenv("GN_SOURCE_DIR"); /* on a machine without a checkout: the folder of a bundle */

	return given && given[0] ? given : GN_SOURCE_DIR;
}
