// Fibres: stacks in one mapping, and the switch in the assembler of x86-64 and arm64.
#include "fiber.h"

#include <cstdio>
#include <cstdlib>

#include <sys/mman.h>

static const size_t guard = 16 << 10; // a whole number of pages on every machine
static const size_t slot = GN_FIBER_STACK + guard;

#if defined(__x86_64__)

// The System V ABI keeps rbx, rbp and r12 to r15 over a call. The rounding mode is never changed
// and so not saved.
__asm__(".text\n"
        ".globl gn_fiber_switch\n"
        ".hidden gn_fiber_switch\n"
        ".type gn_fiber_switch, @function\n"
        "gn_fiber_switch:\n"
        "	pushq %rbp\n"
        "	pushq %rbx\n"
        "	pushq %r12\n"
        "	pushq %r13\n"
        "	pushq %r14\n"
        "	pushq %r15\n"
        "	movq %rsp, (%rdi)\n"
        "	movq %rsi, %rsp\n"
        "	popq %r15\n"
        "	popq %r14\n"
        "	popq %r13\n"
        "	popq %r12\n"
        "	popq %rbx\n"
        "	popq %rbp\n"
        "	ret\n"
        ".size gn_fiber_switch, .-gn_fiber_switch\n");

// Six registers, then the entry as the return address. At the entry the stack is off by 8 from a
// multiple of 16, as after a call.
static void *first_frame(unsigned char *top, void (*entry)())
{
	void **sp = reinterpret_cast<void **>(top);

	*--sp = nullptr;
	*--sp = reinterpret_cast<void *>(entry);
	for (int i = 0; i < 6; i++)
		*--sp = nullptr;
	return sp;
}

#elif defined(__aarch64__)

// AAPCS64 keeps x19 to x29, the link register and the low halves of v8 to v15.
__asm__(".text\n"
        ".globl gn_fiber_switch\n"
        ".hidden gn_fiber_switch\n"
        ".type gn_fiber_switch, %function\n"
        "gn_fiber_switch:\n"
        "	sub sp, sp, #160\n"
        "	stp x19, x20, [sp, #0]\n"
        "	stp x21, x22, [sp, #16]\n"
        "	stp x23, x24, [sp, #32]\n"
        "	stp x25, x26, [sp, #48]\n"
        "	stp x27, x28, [sp, #64]\n"
        "	stp x29, x30, [sp, #80]\n"
        "	stp d8, d9, [sp, #96]\n"
        "	stp d10, d11, [sp, #112]\n"
        "	stp d12, d13, [sp, #128]\n"
        "	stp d14, d15, [sp, #144]\n"
        "	mov x9, sp\n"
        "	str x9, [x0]\n"
        "	mov sp, x1\n"
        "	ldp x19, x20, [sp, #0]\n"
        "	ldp x21, x22, [sp, #16]\n"
        "	ldp x23, x24, [sp, #32]\n"
        "	ldp x25, x26, [sp, #48]\n"
        "	ldp x27, x28, [sp, #64]\n"
        "	ldp x29, x30, [sp, #80]\n"
        "	ldp d8, d9, [sp, #96]\n"
        "	ldp d10, d11, [sp, #112]\n"
        "	ldp d12, d13, [sp, #128]\n"
        "	ldp d14, d15, [sp, #144]\n"
        "	add sp, sp, #160\n"
        "	ret\n"
        ".size gn_fiber_switch, .-gn_fiber_switch\n");

static void *first_frame(unsigned char *top, void (*entry)())
{
	void **frame = reinterpret_cast<void **>(top - 160);

	for (int i = 0; i < 20; i++)
		frame[i] = nullptr;
	frame[11] = reinterpret_cast<void *>(entry); // x30
	return frame;
}

#else
#error "the host runner switches fibres on x86-64 and arm64"
#endif

static unsigned char *stacks()
{
	static unsigned char *base = [] {
		void *map = mmap(nullptr, slot * GN_FIBER_MAX, PROT_READ | PROT_WRITE,
		                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (map == MAP_FAILED) {
			std::perror("host runner: stacks for fibres");
			std::abort();
		}
		for (size_t i = 0; i < GN_FIBER_MAX; i++)
			if (mprotect(static_cast<unsigned char *>(map) + i * slot, guard, PROT_NONE) != 0) {
				std::perror("host runner: guard pages of fibres");
				std::abort();
			}
		return static_cast<unsigned char *>(map);
	}();

	return base;
}

void *gn_fiber_prepare(int index, void (*entry)())
{
	return first_frame(stacks() + slot * (static_cast<size_t>(index) + 1), entry);
}

uintptr_t gn_fiber_stacks()
{
	return reinterpret_cast<uintptr_t>(stacks());
}

size_t gn_fiber_stacks_bytes()
{
	return slot * GN_FIBER_MAX;
}

uintptr_t gn_fiber_stack(int index)
{
	return gn_fiber_stacks() + slot * static_cast<size_t>(index) + guard;
}
