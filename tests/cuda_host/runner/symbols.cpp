// This program in memory and in its file.
#include <cstdio>

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbols.h"

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

static const char here = 0; // an address of this program

static int find_program(struct dl_phdr_info *info, size_t, void *out)
{
	program *found = static_cast<program *>(out);
	const uintptr_t mine = reinterpret_cast<uintptr_t>(&here);
	bool is_mine = false;

	found->base = info->dlpi_addr;
	found->count = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) &part = info->dlpi_phdr[i];
		const uintptr_t begin = info->dlpi_addr + part.p_vaddr;

		if (part.p_type != PT_LOAD && part.p_type != PT_GNU_RELRO)
			continue;
		if (mine >= begin && mine < begin + part.p_memsz)
			is_mine = true;
		if ((part.p_type == PT_GNU_RELRO || !(part.p_flags & PF_W)) && found->count < 16) {
			found->constants[found->count].begin = begin;
			found->constants[found->count++].end = begin + part.p_memsz;
		}
	}
	std::snprintf(found->path, sizeof found->path, "%s",
	              info->dlpi_name && info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe");
	return is_mine;
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

// One section of symbols. A file's local symbols follow its name.
static bool each_in_section(const unsigned char *file, const ElfW(Shdr) * sections, const ElfW(Shdr) & section,
                            bool (*found)(const gn_host_symbol &, void *), void *user)
{
	const ElfW(Sym) *symbols = reinterpret_cast<const ElfW(Sym) *>(file + section.sh_offset);
	const char *names = reinterpret_cast<const char *>(file + sections[section.sh_link].sh_offset);
	const char *source = "";

	for (size_t i = 0; i < section.sh_size / sizeof *symbols; i++) {
		const int type = ELF64_ST_TYPE(symbols[i].st_info);
		const bool local = ELF64_ST_BIND(symbols[i].st_info) == STB_LOCAL;

		if (type == STT_FILE)
			source = names + symbols[i].st_name;
		if (type != STT_OBJECT && type != STT_FUNC)
			continue;
		const gn_host_symbol symbol = {names + symbols[i].st_name, local ? source : "",
		                               this_program().base + symbols[i].st_value, symbols[i].st_size,
		                               type == STT_FUNC};
		if (!found(symbol, user))
			return false;
	}
	return true;
}

static void each_in_file(const unsigned char *file, size_t bytes, bool (*found)(const gn_host_symbol &, void *),
                         void *user)
{
	const ElfW(Ehdr) *head = reinterpret_cast<const ElfW(Ehdr) *>(file);
	const ElfW(Shdr) *sections = reinterpret_cast<const ElfW(Shdr) *>(file + head->e_shoff);

	if (head->e_shoff + (size_t)head->e_shnum * sizeof *sections > bytes)
		return;
	for (int i = 0; i < head->e_shnum; i++)
		if (sections[i].sh_type == SHT_SYMTAB && !each_in_section(file, sections, sections[i], found, user))
			return;
}

void gn_host_each_symbol(bool (*found)(const gn_host_symbol &, void *), void *user)
{
	const int fd = open(this_program().path, O_RDONLY | O_CLOEXEC);
	struct stat about;

	if (fd < 0)
		return;
	if (fstat(fd, &about) == 0 && (size_t)about.st_size > sizeof(ElfW(Ehdr))) {
		void *map = mmap(nullptr, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map != MAP_FAILED) {
			each_in_file(static_cast<const unsigned char *>(map), (size_t)about.st_size, found, user);
			munmap(map, (size_t)about.st_size);
		}
	}
	close(fd);
}
