/* The symbol table of the program or plugin that the runner is linked into, read from its file. */
#ifndef GN_HOST_SYMBOLS_H
#define GN_HOST_SYMBOLS_H

#include <cstddef>
#include <cstdint>

struct gn_host_symbol {
	const char *name;   /* as the compiler mangled it */
	const char *source; /* of a local symbol: the file it comes from; "" otherwise */
	uintptr_t address;
	size_t bytes;
	bool is_function;
};

/* Calls found for every function and variable, until it returns false. Nothing happens where the
 * file has no symbol table. */
void gn_host_each_symbol(bool (*found)(const gn_host_symbol &symbol, void *user), void *user);
/* Whether the address lies in the program's read-only data. */
bool gn_host_is_constant(uintptr_t address);

#endif
