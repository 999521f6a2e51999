/*
 * Models of the libraries that gonio cannot run, and files with missing, duplicate or unknown
 * tensors (golden/NAME.refused.safetensors; see README.md): each must be an error that names the
 * tensor, and leave no file.
 */
#include "tests/support/golden_model.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int is_refused(const char *source, const char *out)
{
	struct gn_import_options options = {.heads = 1,
	                                    .activation = -1,
	                                    .norm_eps = NAN,
	                                    .mean = {NAN, NAN, NAN},
	                                    .std = {NAN, NAN, NAN},
	                                    .crop_pct = NAN};
	const char *name = strrchr(source, '/') + 1;
	struct gn_import_report report = {0};
	struct gn_error err = {0};

	if (gn_model_import(out, source, &options, &report, &err) == 0) {
		print_message("%s was taken: %d tensors mapped, %d ignored\n", name, report.mapped,
		              report.ignored_count);
		gn_import_report_release(&report);
		unlink(out);
		return 0;
	}
	print_message("%-36s %s: %s\n", name, err.where, err.text);
	/* what is no ViT at all has no one tensor to blame */
	if (!err.where[0] && !strstr(err.text, "the first tensors are:"))
		return 0;
	return (err.code == GN_UNSUPPORTED || err.code == GN_INVALID) && access(out, F_OK);
}

static void names_what_it_cannot_take(void **state)
{
	char pattern[512], out[256];
	glob_t found;
	int wrong = 0;

	golden_path(pattern, sizeof pattern, "*.refused.safetensors");
	snprintf(out, sizeof out, "%s/out.safetensors", (char *)*state);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_true(found.gl_pathc >= 31);
	for (size_t i = 0; i < found.gl_pathc; i++)
		if (!is_refused(found.gl_pathv[i], out)) {
			print_message("%s: not refused as it should be\n", found.gl_pathv[i]);
			wrong++;
		}
	globfree(&found);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_what_it_cannot_take),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
