/*
 * Device memory that is allocated as one block and divided into pieces of multiples of 128 bytes.
 * The same code places the pieces twice. On an arena without memory it only counts and gets NULL;
 * after gn_arena_open it gets the memory that was counted.
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

/* The bytes of a piece in an allocation: a multiple of 128, and the guard before the next piece. */
static inline size_t gn_piece_span(const struct gn_backend *backend, size_t bytes)
{
	return bytes ? ((bytes + 127) & ~(size_t)127) + backend->guard : 0;
}

static inline void gn_piece_open(const struct gn_backend *backend, struct gn_ctx *ctx, void *memory, size_t bytes,
                                 bool fresh)
{
	if (backend->piece && bytes)
		backend->piece(ctx, memory, bytes, fresh);
}

/* An arena that counts. */
static inline void gn_arena_begin(struct gn_arena *arena, const struct gn_backend *backend, struct gn_ctx *ctx)
{
	*arena = (struct gn_arena){.backend = backend, .ctx = ctx};
}

/* The next piece of count * size bytes; NULL if the arena only counts, or for 0 bytes. */
static inline void *gn_arena_take(struct gn_arena *arena, size_t count, size_t size)
{
	size_t at = arena->used, bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2 || at > SIZE_MAX / 2 - bytes) {
		gn_assert(!arena->memory); /* the counted bytes fit in the address space */
		arena->used = SIZE_MAX / 2;
		return NULL;
	}
	arena->used = at + gn_piece_span(arena->backend, bytes);
	gn_assert(!arena->memory || arena->used <= arena->size);
	if (!arena->memory || !bytes)
		return NULL;
	gn_piece_open(arena->backend, arena->ctx, arena->memory + at, bytes, false);
	return arena->memory + at;
}

/* Allocates the counted bytes, zeroed, and begins again with the first piece. */
static inline int gn_arena_open(struct gn_arena *arena, struct gn_error *err)
{
	arena->size = arena->used ? arena->used : 128;
	arena->used = 0;
	arena->memory = arena->backend->alloc(arena->ctx, arena->size, err);
	return arena->memory ? 0 : -1;
}

static inline void gn_arena_release(struct gn_arena *arena)
{
	if (arena->memory)
		arena->backend->free(arena->ctx, arena->memory, arena->size);
	*arena = (struct gn_arena){0};
}

#endif
