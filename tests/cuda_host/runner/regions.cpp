// Where shared memory and constants lie in the program that the runner is linked into.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "shadow.h"

// The linker's bounds of this program's or plugin's zeroed variables.
extern "C" {
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
}

static void *reserve(size_t bytes)
{
	void *map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED) {
		std::perror("host runner: address space for the shadow");
		std::abort();
	}
	return map;
}

static gn_host_region *make_region(uintptr_t base, size_t bytes, bool with_state, bool shared)
{
	gn_host_region *region = new gn_host_region;
	const size_t grains = bytes / GN_HOST_GRAIN + 1;

	region->base = base;
	region->bytes = bytes;
	region->state = with_state ? static_cast<uint8_t *>(reserve(grains)) : nullptr;
	region->writes = static_cast<uint64_t *>(reserve(grains * sizeof(uint64_t)));
	region->reads = static_cast<uint64_t *>(reserve(grains * sizeof(uint64_t)));
	region->shared = shared;
	return region;
}

gn_host_region *gn_host_device_region()
{
	static gn_host_region *region =
	    make_region(reinterpret_cast<uintptr_t>(gn_host_arena()), gn_host_arena_bytes(), true, false);

	return region;
}

// ---- the program's own segments ----

namespace
{
struct program {
	uintptr_t base; // added to the addresses in its file
	struct {
		uintptr_t begin, end;
	} constants[16];
	int count;
	char path[4096];
};
} // namespace

static int find_program(struct dl_phdr_info *info, size_t, void *out)
{
	program *found = static_cast<program *>(out);
	const uintptr_t mine = reinterpret_cast<uintptr_t>(__bss_start);
	bool here = false;

	found->base = info->dlpi_addr;
	found->count = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) &part = info->dlpi_phdr[i];
		const uintptr_t begin = info->dlpi_addr + part.p_vaddr;

		if (part.p_type != PT_LOAD && part.p_type != PT_GNU_RELRO)
			continue;
		if (mine >= begin && mine <= begin + part.p_memsz && part.p_type == PT_LOAD)
			here = true;
		if ((part.p_type == PT_GNU_RELRO || !(part.p_flags & PF_W)) && found->count < 16) {
			found->constants[found->count].begin = begin;
			found->constants[found->count++].end = begin + part.p_memsz;
		}
	}
	std::snprintf(found->path, sizeof found->path, "%s",
	              info->dlpi_name && info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe");
	return here;
}

static const program &this_program()
{
	static program *found = [] {
		program *fresh = new program;

		if (!dl_iterate_phdr(find_program, fresh))
			fresh->count = 0;
		return fresh;
	}();

	return *found;
}

bool gn_host_is_constant(uintptr_t address)
{
	const program &program = this_program();

	for (int i = 0; i < program.count; i++)
		if (address >= program.constants[i].begin && address < program.constants[i].end)
			return true;
	return false;
}

// ---- static shared memory ----

// Opens the bytes of each static variable of a function (_ZZ..., but not the guards _ZGV...).
static void open_statics(gn_host_region *region, const unsigned char *file, size_t bytes)
{
	const ElfW(Ehdr) *head = reinterpret_cast<const ElfW(Ehdr) *>(file);
	const ElfW(Shdr) *sections = reinterpret_cast<const ElfW(Shdr) *>(file + head->e_shoff);

	if (head->e_shoff + (size_t)head->e_shnum * sizeof *sections > bytes)
		return;
	for (int i = 0; i < head->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB)
			continue;
		const ElfW(Sym) *symbols = reinterpret_cast<const ElfW(Sym) *>(file + sections[i].sh_offset);
		const char *names = reinterpret_cast<const char *>(file + sections[sections[i].sh_link].sh_offset);
		const size_t count = sections[i].sh_size / sizeof *symbols;
		for (size_t k = 0; k < count; k++) {
			const uintptr_t at = this_program().base + symbols[k].st_value;

			if (ELF64_ST_TYPE(symbols[k].st_info) != STT_OBJECT ||
			    std::strncmp(names + symbols[k].st_name, "_ZZ", 3) != 0 || at < region->base ||
			    at - region->base + symbols[k].st_size > region->bytes)
				continue;
			for (uintptr_t byte = at; byte < at + symbols[k].st_size; byte++)
				region->state[(byte - region->base) / GN_HOST_GRAIN] |=
				    (uint8_t)(1 << (byte % GN_HOST_GRAIN));
		}
	}
}

static gn_host_region *make_statics()
{
	const uintptr_t begin = reinterpret_cast<uintptr_t>(__bss_start) & ~(uintptr_t)1;
	const uintptr_t end = reinterpret_cast<uintptr_t>(_end);
	gn_host_region *region = make_region(begin, end - begin, true, true);
	const int fd = open(this_program().path, O_RDONLY | O_CLOEXEC);
	struct stat about;

	if (fd < 0)
		return region;
	if (fstat(fd, &about) == 0 && (size_t)about.st_size > sizeof(ElfW(Ehdr))) {
		void *map = mmap(nullptr, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map != MAP_FAILED) {
			open_statics(region, static_cast<const unsigned char *>(map), (size_t)about.st_size);
			munmap(map, (size_t)about.st_size);
		}
	}
	close(fd);
	return region;
}

gn_host_region *gn_host_shared_region(uintptr_t address)
{
	static gn_host_region *dynamic =
	    make_region(reinterpret_cast<uintptr_t>(gn_host_shared_memory()), GN_HOST_SHARED_MAX, false, true);
	static gn_host_region *statics = make_statics();

	if (address - dynamic->base < dynamic->bytes)
		return dynamic;
	return address - statics->base < statics->bytes ? statics : nullptr;
}
