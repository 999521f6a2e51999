// Forms from outside: the first byte chooses how the body is cut into pieces, a line with the
// Content-Type follows, then the body.
#include <stdint.h>
#include <stdlib.h>

#include "server/http/multipart.h"

struct source {
	const uint8_t *bytes;
	size_t size, piece;
};

static ssize_t source_read(void *user, void *buffer, size_t size)
{
	struct source *source = user;
	size_t n = source->size;

	if (n > size)
		n = size;
	if (n > source->piece)
		n = source->piece;
	if (n)
		memcpy(buffer, source->bytes, n);
	source->bytes += n;
	source->size -= n;
	return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line_end = size > 1 ? memchr(data + 1, '\n', size - 1) : NULL;
	struct source source;
	struct gn_form *form;
	struct gn_form_part part;
	char *type, buffer[512];
	size_t given = 0;

	if (!line_end)
		return 0;
	type = strndup((const char *)data + 1, (size_t)(line_end - data) - 1);
	if (!type)
		abort();
	source = (struct source){line_end + 1, size - (size_t)(line_end + 1 - data), (size_t)data[0] + 1};
	if (gn_form_new(&form, type, source_read, &source, NULL) == 0) {
		while (gn_form_next(form, &part, NULL) > 0) {
			ssize_t n = 0;
			given += strlen(part.name) + strlen(part.filename) + strlen(part.content_type);
			// every other part is left unread, which skips it
			while (part.name[0] != 's' && (n = gn_form_read(form, buffer, sizeof buffer, NULL)) > 0)
				given += (size_t)n;
			if (n < 0)
				break;
		}
		gn_form_free(form);
	}
	if (given > size)
		abort();
	free(type);
	return 0;
}
