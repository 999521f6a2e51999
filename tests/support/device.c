/* See device.h. */
#include "tests/support/device.h"

#include "backend/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

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

void device_hog_take(struct device_hog *hog, struct gn_device *device)
{
	const struct gn_backend *be = device->backend;

	*hog = (struct device_hog){.device = device};
	for (size_t bytes = (size_t)1 << 30; bytes >= 4096; bytes /= 2)
		for (;;) {
			struct gn_error err = {0};
			void *piece = be->alloc(device->ctx, bytes, &err);

			if (!piece) {
				assert_int_equal(err.code, GN_NO_MEMORY);
				break;
			}
			assert_in_range(hog->count, 0, sizeof hog->pieces / sizeof hog->pieces[0] - 1);
			hog->pieces[hog->count] = piece;
			hog->bytes[hog->count++] = bytes;
		}
	assert_true(hog->count > 0);
}

void device_hog_free(struct device_hog *hog)
{
	while (hog->count-- > 0)
		hog->device->backend->free(hog->device->ctx, hog->pieces[hog->count], hog->bytes[hog->count]);
}
