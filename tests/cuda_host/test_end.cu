// What the runner does beside running: the list of launches, and the end of a process with
// something left open.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/wait.h>
#include <unistd.h>

#include "tests.h"

static char list[] = "/tmp/cuda_host_end_XXXXXX";

template <typename type> static __global__ void set(type *out, const type *in, int n)
{
	if ((int)threadIdx.x < n)
		out[threadIdx.x] = in ? in[threadIdx.x] : (type)1;
}

static void launches_are_listed_once(void **)
{
	float *data = device_floats(64, true);
	char text[2000] = "";

	for (int i = 0; i < 3; i++)
		GN_LAUNCH((set<float>), 1, dim3(32, 1), 16, 0, data, data + 32, 3);
	GN_LAUNCH((set<float>), 1, 32, 0, 0, data + 1, (const float *)nullptr, 4);
	CHECK(cudaDeviceSynchronize());
	CHECK(cudaFree(data));
	FILE *file = std::fopen(list, "r");
	assert_non_null(file);
	text[std::fread(text, 1, sizeof text - 1, file)] = '\0';
	std::fclose(file);
	// Pointers are numbered, with the lowest byte as it was; the rest of the arguments as
	// bytes. Beside them: argument, offset, number.
	assert_string_equal(text, "{\"kernel\":\"_Z3setIfEvPT_PKS0_i\",\"source\":\"test_end.cu\",\"grid\":[1,1,1],"
	                          "\"block\":[32,1,1],\"shared\":16,"
	                          "\"arguments\":[\"0000000000010000\",\"8000000000020000\",\"03000000\"],"
	                          "\"pointers\":[[0,0,1],[1,0,2]]}\n"
	                          "{\"kernel\":\"_Z3setIfEvPT_PKS0_i\",\"source\":\"test_end.cu\",\"grid\":[1,1,1],"
	                          "\"block\":[32,1,1],\"shared\":0,"
	                          "\"arguments\":[\"0400000000010000\",\"0000000000000000\",\"04000000\"],"
	                          "\"pointers\":[[0,0,1]]}\n");
}

static int status_of_child(bool leak)
{
	const pid_t child = fork();
	int status = 0;

	if (child == 0) {
		if (!std::freopen("/dev/null", "w", stderr))
			_exit(1);
		if (leak)
			device_floats(1, false);
		std::exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WEXITSTATUS(status);
}

static void a_leak_fails_the_process(void **)
{
	assert_int_equal(status_of_child(false), 0);
	assert_int_equal(status_of_child(true), 86);
}

int main()
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(launches_are_listed_once),
	    cmocka_unit_test(a_leak_fails_the_process),
	};

	if (mkstemp(list) < 0)
		return 1;
	setenv("GONIO_CUDA_HOST_LAUNCHES", list, 1);
	const int failed = cmocka_run_group_tests(tests, nullptr, nullptr);
	unlink(list);
	return failed;
}
