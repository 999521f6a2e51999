/* Devices by name, and the errors if no GPU can be used: the plugin's file in every wrong state. */
#include "backend/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <dlfcn.h>

#include <cmocka.h>

static void open_fails(const char *spec, enum gn_precision precision, enum gn_code code, const char *where,
                       const char *text)
{
	struct gn_device *device = NULL;
	struct gn_error err = {0};

	assert_int_equal(gn_device_open(&device, spec, 1, precision, &err), -1);
	assert_null(device);
	assert_int_equal(err.code, code);
	assert_string_equal(err.where, where);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void names_are_checked(void **state)
{
	static const char *const bad[] = {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1000", "cuda:0 ", "CPU"};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		open_fails(bad[i], GN_PRECISION_AUTO, GN_INVALID, "device", "is not a device");
	for (int p = GN_PRECISION_AUTO; p <= GN_PRECISION_BF16; p++)
		assert_int_equal(gn_precision_from_name(gn_precision_name((enum gn_precision)p)), p);
	assert_int_equal(gn_precision_from_name("int8"), -1);
}

static void a_cpu_computes_in_fp32(void **state)
{
	struct gn_device *device;
	struct gn_device_info info;

	(void)state;
	open_fails("cpu", GN_PRECISION_BF16, GN_UNSUPPORTED, "precision", "a CPU computes in fp32, not in bf16");
	assert_int_equal(gn_device_open(&device, "cpu", 1, GN_PRECISION_FP32, NULL), 0);
	gn_device_describe(device, &info);
	assert_string_equal(info.spec, "cpu");
	assert_string_equal(info.remark, "");
	assert_int_equal(info.precision, GN_PRECISION_FP32);
	assert_null(gn_device_table(device, GN_PRECISION_TF32));
	gn_device_close(device);
}

/* A GPU that is named but missing is an error; "auto" uses the CPU and keeps the reason. */
static void no_gpu_because(const char *text)
{
	struct gn_device *device;
	struct gn_device_info info;

	open_fails("cuda", GN_PRECISION_AUTO, GN_UNSUPPORTED, "device", text);
	open_fails("cuda:1", GN_PRECISION_AUTO, GN_UNSUPPORTED, "device", text);
	open_fails("auto", GN_PRECISION_BF16, GN_UNSUPPORTED, "precision", text);
	assert_int_equal(gn_device_open(&device, "auto", 1, GN_PRECISION_AUTO, NULL), 0);
	gn_device_describe(device, &info);
	assert_string_equal(info.spec, "cpu");
	assert_non_null(strstr(info.remark, text));
	gn_device_close(device);
}

static void the_plugin_may_be_anything(void **state)
{
	char path[] = "/tmp/gonio-plugin-XXXXXX", other[4096];
	int fd = mkstemp(path);
	Dl_info library;
	ssize_t n;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "not a library", 13), 13);
	close(fd);
	setenv("GONIO_CUDA_PLUGIN", "/nowhere/libgonio_cuda.so", 1);
	no_gpu_because("/nowhere/libgonio_cuda.so, is not there");
	setenv("GONIO_CUDA_PLUGIN", path, 1);
	no_gpu_because("cannot be loaded");
	/* some library that is none of ours */
	assert_true(dladdr((void *)(uintptr_t)&dlopen, &library) != 0);
	setenv("GONIO_CUDA_PLUGIN", library.dli_fname, 1);
	no_gpu_because("is not a CUDA backend of gonio");
	n = readlink("/proc/self/exe", other, sizeof other - 32);
	assert_true(n > 0);
	other[n] = '\0';
	snprintf(strrchr(other, '/'), 32, "/libgonio_other_version.so");
	setenv("GONIO_CUDA_PLUGIN", other, 1);
	no_gpu_because("belongs to another version of gonio");
	/* as if it were not set: looked for beside the program */
	setenv("GONIO_CUDA_PLUGIN", "", 1);
	no_gpu_because("is not installed: no libgonio_cuda.so in ");
	unsetenv("GONIO_CUDA_PLUGIN");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_are_checked),
	    cmocka_unit_test(a_cpu_computes_in_fp32),
	    cmocka_unit_test(the_plugin_may_be_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
