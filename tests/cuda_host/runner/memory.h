/* Device memory as the shadow and the copies see it. */
#ifndef GN_HOST_MEMORY_H
#define GN_HOST_MEMORY_H

#include "internal.h"

/* The range of addresses that all device memory comes from. */
const unsigned char *gn_host_arena();
size_t gn_host_arena_bytes();
size_t gn_host_memory_total();
/* Zero, as memory that was never touched; the whole pages of it are the system's again. */
void gn_host_give_back(void *from, size_t bytes);
/* Whose memory an address is, in words. */
void gn_host_describe(const void *address, char *out, size_t room);

#endif
