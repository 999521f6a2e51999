// The launches that a program makes, each different one once, as lines of JSON: the kernel's
// mangled name and source file, grid, block, dynamic shared memory, the arguments' bytes, and where
// among these are device pointers: [argument, offset, which], the same number for pointers that are
// equal. In the bytes a pointer is its number and its lowest byte, so that runs at other addresses
// give the same lines and alignment can still be seen.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "internal.h"
#include "symbols.h"

static FILE *log_file()
{
	static FILE *file = [] {
		const char *path = getenv("GONIO_CUDA_HOST_LAUNCHES");

		return path ? std::fopen(path, "ae") : nullptr;
	}();

	return file;
}

namespace
{
struct function {
	std::string name, source;
};
struct search {
	uintptr_t address;
	function found;
};
} // namespace

static bool match(const gn_host_symbol &symbol, void *user)
{
	search *wanted = static_cast<search *>(user);

	if (!symbol.is_function || symbol.address != wanted->address)
		return true;
	wanted->found = function{symbol.name, symbol.source};
	return false;
}

static const function &name_of(const void *address)
{
	static std::map<const void *, function> *known = new std::map<const void *, function>;
	auto entry = known->find(address);

	if (entry == known->end()) {
		search wanted = {reinterpret_cast<uintptr_t>(address), {}};

		gn_host_each_symbol(match, &wanted);
		entry = known->emplace(address, wanted.found).first;
	}
	return entry->second;
}

// A launch's pointers in the order of its arguments.
struct pointers {
	std::vector<uint64_t> known;
	std::string places;

	uint64_t number(uint64_t address)
	{
		auto at = std::find(known.begin(), known.end(), address);

		if (at == known.end())
			at = known.insert(at, address);
		return (uint64_t)(at - known.begin()) + 1;
	}
};

static std::string bytes_text(const gn_host_argument &argument, size_t index, pointers *pointers)
{
	std::vector<unsigned char> bytes(argument.bytes);
	std::string text;
	char two[3], place[64];

	std::memcpy(bytes.data(), argument.value, argument.bytes);
	for (size_t i = 0; i + sizeof(uint64_t) <= bytes.size(); i += sizeof(uint64_t)) {
		uint64_t word;

		std::memcpy(&word, bytes.data() + i, sizeof word);
		if (!gn_host_is_device(reinterpret_cast<const void *>(word)))
			continue;
		uint64_t number = pointers->number(word);
		std::snprintf(place, sizeof place, "%s[%zu,%zu,%llu]", pointers->places.empty() ? "" : ",", index, i,
		              (unsigned long long)number);
		pointers->places += place;
		word = number << 40 | (word & 0xff);
		std::memcpy(bytes.data() + i, &word, sizeof word);
	}
	for (unsigned char byte : bytes) {
		std::snprintf(two, sizeof two, "%02x", byte);
		text += two;
	}
	return text;
}

void gn_host_log_launch(const gn_host_kernel &kernel)
{
	static std::set<std::string> *written = new std::set<std::string>;
	const dim3 &grid = kernel.grid, &block = kernel.block;
	size_t index = 0;
	pointers pointers;
	char shape[160];

	if (!log_file())
		return;
	const function &function = name_of(kernel.function);
	std::snprintf(shape, sizeof shape, "\"grid\":[%u,%u,%u],\"block\":[%u,%u,%u],\"shared\":%zu,\"arguments\":[",
	              grid.x, grid.y, grid.z, block.x, block.y, block.z, kernel.shared);
	std::string line = "{\"kernel\":\"" + function.name + "\",\"source\":\"" + function.source + "\"," + shape;
	for (const gn_host_argument &argument : kernel.list(kernel.arguments))
		line += (line.back() == '[' ? "\"" : ",\"") + bytes_text(argument, index++, &pointers) + "\"";
	line += "],\"pointers\":[" + pointers.places + "]}\n";
	if (written->insert(line).second) {
		std::fputs(line.c_str(), log_file());
		std::fflush(log_file());
	}
}
