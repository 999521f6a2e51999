/* The limit on memory for decoding: the pictures inside never exceed it, except a single one that
 * is larger than the limit. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gonio.h"

enum { THREADS = 8, ROUNDS = 2000, LIMIT = 100 };

static struct gn_gate *gate;
static atomic_int inside, count, worst, crowded;

/* Sizes from 1 to 150: the largest ones go in alone. */
static void *visitor(void *user)
{
	unsigned state = (unsigned)(uintptr_t)user;

	for (int i = 0; i < ROUNDS; i++) {
		int bytes, now, others;

		state = state * 1664525u + 1013904223u;
		bytes = 1 + (int)(state >> 16) % 150;
		gn_gate_enter(gate, (uint64_t)bytes);
		now = atomic_fetch_add(&inside, bytes) + bytes;
		others = atomic_fetch_add(&count, 1);
		if (now > LIMIT && others > 0)
			atomic_fetch_add(&crowded, 1);
		if (now > atomic_load(&worst))
			atomic_store(&worst, now);
		atomic_fetch_sub(&count, 1);
		atomic_fetch_sub(&inside, bytes);
		gn_gate_leave(gate, (uint64_t)bytes);
	}
	return NULL;
}

static void the_limit_holds(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	assert_int_equal(gn_gate_new(&gate, LIMIT, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, visitor, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	print_message("at most %d inside\n", atomic_load(&worst));
	assert_int_equal(atomic_load(&crowded), 0);
	assert_true(atomic_load(&worst) <= 150);
	gn_gate_free(gate);
}

static void sizes_cannot_overflow(void **state)
{
	(void)state;
	assert_int_equal(gn_gate_new(&gate, UINT64_MAX, NULL), 0);
	gn_gate_enter(gate, UINT64_MAX - 1);
	gn_gate_enter(gate, 1);
	gn_gate_leave(gate, UINT64_MAX - 1);
	gn_gate_leave(gate, 1);
	gn_gate_free(gate);
	gn_gate_enter(NULL, 5); /* no gate, no limit */
	gn_gate_leave(NULL, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_limit_holds),
	    cmocka_unit_test(sizes_cannot_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
