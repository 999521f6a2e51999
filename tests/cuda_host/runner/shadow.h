/* Regions of memory that have a shadow: what each pair of bytes may be used for and who touched it
 * last. */
#ifndef GN_HOST_SHADOW_H
#define GN_HOST_SHADOW_H

#include "internal.h"

/* Two bytes, the size of a bfloat16, share their records; bytes have their own state. */
enum { GN_HOST_GRAIN = 2 };

/* State of a grain: accessible and written, for its low and its high byte. */
enum { GN_HOST_OPEN = 3, GN_HOST_WRITTEN = 12 };

struct gn_host_region {
	uintptr_t base;
	size_t bytes;
	/* [bytes / 2]; NULL: all of it is open (the dynamic shared memory, bounded by the
	 * launch) */
	uint8_t *state;
	uint64_t *writes; /* [bytes / 2] the last write */
	uint64_t *reads;  /* [bytes / 2] the last reads */
	bool shared;      /* a block's own: what others did there does not count */
};

struct gn_host_region *gn_host_device_region();
/* The region of the program's shared memory that an address is in, NULL for none. Static shared
 * memory is what static variables inside functions take in .bss: their extents come from the
 * program's symbol table. */
struct gn_host_region *gn_host_shared_region(uintptr_t address);

#endif
