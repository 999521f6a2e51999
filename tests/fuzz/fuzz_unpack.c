/*
 * Any bytes as an archive of a checkpoint's folder. An error leaves no file, a success leaves a
 * file, and the texts end with a NUL.
 */
#include "gonio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct source {
	const uint8_t *bytes;
	size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t read_source(void *user, void *buffer, size_t size)
{
	struct source *source = user;
	size_t n = source->left < size ? source->left : size;

	if (n)
		memcpy(buffer, source->bytes, n);
	source->bytes += n;
	source->left -= n;
	return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source source = {data, size};
	const struct gn_archive_budget budget = {.total_bytes = 1 << 20};
	struct gn_unpack_options options = {.read = read_source, .user = &source, .budget = &budget};
	struct gn_unpacked found;
	char path[64];

	(void)gn_archive_sniff(data, size);
	snprintf(path, sizeof path, "/tmp/gonio-fuzz-unpack-%d", (int)getpid());
	unlink(path);
	if (gn_model_unpack(&found, path, &options, NULL)) {
		if (!access(path, F_OK))
			abort();
		return 0;
	}
	if (access(path, F_OK) || (found.config && strlen(found.config) > found.config_bytes) ||
	    (found.preprocessor && strlen(found.preprocessor) > found.preprocessor_bytes))
		abort();
	unlink(path);
	free(found.config);
	free(found.preprocessor);
	return 0;
}
