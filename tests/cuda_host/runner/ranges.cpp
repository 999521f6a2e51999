// NVTX: each range's name as a line of the file that GONIO_CUDA_HOST_RANGES names, "+" before it where it begins and "-" where it ends.
#include <nvtx3/nvToolsExt.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

static thread_local std::vector<std::string> *open_ranges;

static void write_line(char sign, const std::string &name)
{
	const char *path = getenv("GONIO_CUDA_HOST_RANGES");
	FILE *file = path ? std::fopen(path, "ae") : nullptr;

	if (!file)
		return;
	std::fprintf(file, "%c%s\n", sign, name.c_str());
	std::fclose(file);
}

int nvtxRangePushA(const char *name)
{
	if (!open_ranges)
		open_ranges = new std::vector<std::string>;
	write_line('+', name);
	open_ranges->push_back(name);
	return static_cast<int>(open_ranges->size()) - 1;
}

int nvtxRangePop(void)
{
	if (!open_ranges || open_ranges->empty()) {
		write_line('-', "nothing is open");
		return -1;
	}
	write_line('-', open_ranges->back());
	open_ranges->pop_back();
	if (!open_ranges->empty())
		return static_cast<int>(open_ranges->size());
	delete open_ranges;
	open_ranges = nullptr;
	return 0;
}
