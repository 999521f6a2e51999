/* Any bytes as a side file of a checkpoint: the first byte says which, the rest is its text. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gn_import_options options = {
	    .activation = -1, .norm_eps = NAN, .mean = {NAN}, .std = {NAN}, .crop_pct = NAN};
	struct gn_error err = {0};
	struct gn_side side;
	const char *text;

	if (size == 0)
		return 0;
	text = (const char *)data + 1;
	size--;
	if (data[0] == 'c') {
		options.config_json = text;
		options.config_bytes = size;
	} else if (data[0] == 'p') {
		options.preprocessor_json = text;
		options.preprocessor_bytes = size;
	} else {
		options.labels_json = text;
		options.labels_bytes = size;
	}
	gn_side_init(&side);
	/* an error without a text, or a text without an error, is a fault of ours */
	if ((gn_side_read(&side, &options, &err) == 0) != (err.code == GN_OK && !*err.text))
		abort();
	gn_side_release(&side);
	return 0;
}
