/*
 * Device memory taken in one piece and handed out in pieces of multiples of 128 bytes. The same placing code runs twice: on an arena
 * without memory it only counts (and gets NULL), after gn_arena_open it gets the memory that was counted.
 */
#ifndef GN_ARENA_H
#define GN_ARENA_H

#include "backend/backend.h"

struct gn_arena {
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	char *memory;
	size_t size, used;
};

/* The next piece of count * size bytes; NULL for an arena that counts, and for no bytes at all. */
static inline void *gn_arena_take(struct gn_arena *arena, size_t count, size_t size)
{
	size_t at = arena->used, bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2 || at > SIZE_MAX / 2 - bytes) {
		gn_assert(!arena->memory); /* what was counted fits the address space */
		arena->used = SIZE_MAX / 2;
		return NULL;
	}
	arena->used = at + ((bytes + 127) & ~(size_t)127);
	gn_assert(!arena->memory || arena->used <= arena->size);
	return arena->memory && bytes ? arena->memory + at : NULL;
}

/* Takes what was counted, zeroed, and starts again at its beginning. */
static inline int gn_arena_open(struct gn_arena *arena, const struct gn_backend *backend, struct gn_ctx *ctx,
                                struct gn_error *err)
{
	arena->backend = backend;
	arena->ctx = ctx;
	arena->size = arena->used ? arena->used : 128;
	arena->used = 0;
	arena->memory = backend->alloc(ctx, arena->size, err);
	return arena->memory ? 0 : -1;
}

static inline void gn_arena_release(struct gn_arena *arena)
{
	if (arena->memory)
		arena->backend->free(arena->ctx, arena->memory, arena->size);
	*arena = (struct gn_arena){0};
}

#endif
