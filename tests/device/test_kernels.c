/*
 * Every operation of a GPU's backend table, in one precision, against the float64 referee.
 *
 *   device_kernels DEVICE PRECISION [test|grad [OPERATION [SHAPE]]]
 *
 * Skipped (exit status 77) where the device cannot be had, unless GONIO_DEVICE_REQUIRED is set.
 */
#include "tests/support/device.h"
#include "tests/support/kernels_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	const char *op = argc > 4 ? argv[4] : NULL, *shape = argc > 5 ? argv[5] : NULL;
	bool values = argc < 4 || !strcmp(argv[3], "test"), gradients = argc < 4 || !strcmp(argv[3], "grad");
	struct gn_device *device = device_for_test(argc, argv);
	const struct gn_backend *table;
	struct gn_ctx *ctx = kt_device_open(&table, device);
	int failures = 0;

	if (values)
		failures += kt_run_groups(ctx, table, KT_TEST, op, shape, false);
	if (gradients)
		failures += kt_run_groups(ctx, table, KT_GRAD, op, shape, false);
	table->close(ctx);
	gn_device_close(device);
	if (failures)
		printf("%d failures\n", failures);
	return failures != 0;
}
