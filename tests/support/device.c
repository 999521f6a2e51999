/* See device.h. */
#include "tests/support/device.h"

#include <stdio.h>
#include <stdlib.h>

struct gn_device *device_for_test(int argc, char **argv)
{
	int precision = argc > 2 ? gn_precision_from_name(argv[2]) : -1;
	struct gn_device *device;
	struct gn_device_info info;
	struct gn_error err = {0};

	if (precision < 0) {
		fprintf(stderr, "usage: %s DEVICE PRECISION ...\n", argv[0]);
		exit(2);
	}
	if (gn_device_open(&device, argv[1], 2, (enum gn_precision)precision, &err)) {
		printf("SKIPPED: %s\n", err.text);
		exit(getenv("GONIO_DEVICE_REQUIRED") ? 1 : 77);
	}
	gn_device_describe(device, &info);
	printf("%s, %s, %s\n", info.name, gn_precision_name(info.precision), info.software);
	return device;
}
