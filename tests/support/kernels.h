/*
 * The kernel harness: runs every operation of the backend table against a naive referee in double
 * precision.
 *
 * Modes: test (values), grad (gradients against finite differences of the referee's forward pass),
 * perf (GFLOP/s and GB/s). A case requests its buffers, calls the operation inside KT_RUN, and
 * gives each output to kt_check or kt_gradient. Inputs have no alignment beyond 4 bytes; outputs
 * start as NaN. Bands of a known pattern around each buffer are checked at the end of the case.
 * Under AddressSanitizer the buffers have their exact size instead, so that reads are checked too.
 *
 * Where the backend's activations are bfloat16, inputs are bfloat16 values, so that the referee
 * starts from what the operation sees; tolerances then grow by what kt_slack says, for each
 * precision and operation.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include "backend/backend.h"

enum kt_mode { KT_TEST, KT_GRAD, KT_PERF };

struct kt_buffer;

/* bfloat16, rounded to the nearest, to even at a tie, and back. */
uint16_t kt_bf16(float x);
float kt_float(uint16_t bf16);

/* One running case. */
struct kt {
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	enum kt_mode mode;
	const char *op;
	char shape[96]; /* "M=61 N=77 K=53" */
	uint32_t random;
	int failures;
	double worst; /* largest error so far, as a fraction of its tolerance */
	struct kt_buffer *buffers;
	struct kt_clock {
		int runs;
		double flops, bytes, start, seconds;
	} clock;
};

/* An operation: its slot in the table, the letters of its sizes, the shapes to try. */
struct kt_op {
	const char *name;
	size_t slot;         /* offsetof(struct gn_backend, name) */
	const char *letters; /* one a size */
	const int (*shapes)[8];
	int shape_count;
	const int (*fast)[8]; /* shapes for perf */
	int fast_count;
	void (*run)(struct kt *t, const int *d); /* looks at t->mode where grad differs */
	bool gradients;                          /* run understands KT_GRAD */
};
#define KT_SLOT(member)  .name = #member, .slot = offsetof(struct gn_backend, member)
#define KT_SHAPES(array) .shapes = array, .shape_count = (int)(sizeof(array) / sizeof(array[0]))
#define KT_FAST(array)   .fast = array, .fast_count = (int)(sizeof(array) / sizeof(array[0]))

/* The operations, by file. */
extern const struct kt_op kt_products[], kt_attention[], kt_rows[], kt_tokens[], kt_training[], kt_memory[];
extern const int kt_products_count, kt_attention_count, kt_rows_count, kt_tokens_count, kt_training_count,
    kt_memory_count;
struct kt_group {
	const struct kt_op *ops;
	const int *count;
};
enum { KT_GROUPS = 6 };
extern const struct kt_group kt_groups[KT_GROUPS]; /* all of the above */

/* Buffers live until the case ends. Inputs: uniform in -size .. size. */
float *kt_input(struct kt *t, size_t n, double size);
/* to values of the activation type, as kt_input gives them */
void kt_round(const struct kt *t, float *x, size_t n);
float *kt_output(struct kt *t, size_t n);                  /* NaN */
float *kt_copy(struct kt *t, const float *from, size_t n); /* for in-place operations and sums */
double *kt_doubles(struct kt *t, size_t n);                /* zeros */
double *kt_widen(struct kt *t, const float *from, size_t n);
int kt_below(struct kt *t, int n); /* uniform in 0 .. n-1 */

/* for-loop over the operation's call: once, or in perf mode until the clock has enough. */
void kt_begin(struct kt *t, double flops, double bytes);
bool kt_more(struct kt *t);
#define KT_RUN(t, flops, bytes) for (kt_begin(t, flops, bytes); kt_more(t);)

/* What a precision may add to an output's error, relative to the size that kt_check takes, because
 * of the number types of its operands, of what lies between, and of the output. 0 in float32. */
double kt_slack(const struct kt *t, const char *what);
/*
 * got[n] against want[n]: every value finite, and |got - want| <= (ulps * 2^-24 + slack) * size,
 * where size is sizes[i], the sum of the absolute values that went into element i (at least 1e-30),
 * or, with sizes NULL, the largest |want|.
 */
void kt_check(struct kt *t, const char *what, const float *got, const double *want, const double *sizes, size_t n,
              double ulps);
/* Bits alike. */
void kt_check_same(struct kt *t, const char *what, const float *got, const float *want, size_t n);
/*
 * got[n], a gradient of loss() with respect to x[n]: a sample of its elements against central
 * differences. Error allowed: 2e-4, and the slack, of the largest gradient sampled, for rounding in
 * got and the third derivative; steps are of 1e-4.
 */
void kt_gradient(struct kt *t, const char *what, const float *got, double *x, size_t n, double (*loss)(void *user),
                 void *user);

/* Runs every group on a backend: as below. */
int kt_run_groups(struct gn_ctx *ctx, const struct gn_backend *backend, enum kt_mode mode, const char *op,
                  const char *shape, bool quiet);
/* Runs the operations that contain `op` on shapes that contain `shape` (NULL: all); returns the
 * number of failures. quiet: only failures. */
int kt_run_all(const struct kt_op *ops, int count, struct gn_ctx *ctx, const struct gn_backend *backend,
               enum kt_mode mode, const char *op, const char *shape, bool quiet);

/* Activations in double, and their derivatives. */
double kt_act(enum gn_activation activation, double x);
double kt_act_slope(enum gn_activation activation, double x);

#endif
