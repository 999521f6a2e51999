/*
 * Fibres: the threads of a block on one CPU thread. A switch saves the registers that a call must
 * preserve and changes stacks, nothing else: no system call, no signal mask, a few nanoseconds.
 */
#ifndef GN_HOST_FIBER_H
#define GN_HOST_FIBER_H

#include <cstddef>
#include <cstdint>

enum { GN_FIBER_MAX = 1024, GN_FIBER_STACK = 128 << 10 };

/* Saves where the caller is in *from and goes on at `to`: a place saved by another switch, or one
 * made by prepare. */
extern "C" void gn_fiber_switch(void **from, void *to);

/* A place at which `entry` begins on stack number `index`. entry never returns. */
void *gn_fiber_prepare(int index, void (*entry)());

/* Where the stacks lie; all of them side by side, each with a guard page below. */
uintptr_t gn_fiber_stacks();
size_t gn_fiber_stacks_bytes();
/* Where the memory of stack number `index` begins. */
uintptr_t gn_fiber_stack(int index);

#endif
