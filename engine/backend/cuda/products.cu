/*
 * Matrix products by cuBLASLt.
 *
 * The library counts columns first: our row-major out[rows, cols] is its D of cols x rows, the
 * right operand its A, the left one its B, both in the order in which they lie.
 *
 * For each shape its heuristic is asked once and its first answer kept, never one chosen by timing,
 * so that runs repeat; reductions over split depths may use the workspace but not the output in
 * place, whose order of additions is not fixed.
 *
 * What the library takes: with bf16 and tf32, pointers and leading dimensions that are multiples of
 * 16 bytes. Anything else (a width that is no multiple of 8, a head of 10 or 37 classes) is copied
 * into aligned scratch memory, tile by tile where it is large.
 *
 * Bound by operations where rows, cols and depth are some hundreds or more, which all products of a
 * ViT's blocks are.
 */
#include "backend/cuda/cuda.h"

#include <stdlib.h>

#define CHOICES 1024 /* shapes remembered; a run has some dozens */
#define TILE       2048 /* rows and columns of a tile of what has to be copied: as floats it fills a scratch slot */
#define TILE_DEPTH 2048 /* depth of a tile where the sum may go in steps */

/* All that the library's choice depends on. */
struct shape {
	int rows, cols, depth;
	uint32_t left_ld, right_ld, ld;
	uint16_t finish, alignment;
	bool left_transposed, right_transposed, out_float, add, in_place;
};

struct choice {
	struct shape shape;
	bool taken, found;
	cublasLtMatmulAlgo_t algorithm;
};

struct gn_cuda_products {
	cublasLtHandle_t handle;
	int count;
	struct choice choices[CHOICES];
};

/* ---------------------------------------------------------------- life cycle ------------------------------------- */

int gn_cuda_products_open(struct gn_ctx *ctx, struct gn_error *err)
{
	ctx->products = (struct gn_cuda_products *)calloc(1, sizeof *ctx->products);
	if (!ctx->products)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a device context");
	if (!GN_CUBLAS(ctx, cublasLtCreate(&ctx->products->handle)))
		return gn_cuda_report(ctx, err);
	return 0;
}

void gn_cuda_products_close(struct gn_ctx *ctx)
{
	if (!ctx->products)
		return;
	if (ctx->products->handle)
		cublasLtDestroy(ctx->products->handle);
	free(ctx->products);
	ctx->products = NULL;
}

/* ---------------------------------------------------------------- one call of the library ------------------------ */

/* The library's descriptions of one product. */
struct call {
	cublasLtMatmulDesc_t what;
	cublasLtMatrixLayout_t a, b, d;
	cublasLtMatmulPreference_t preference;
};

static cudaDataType_t act_type(const struct gn_ctx *ctx)
{
	return ctx->precision == GN_PRECISION_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static size_t element_size(const struct gn_ctx *ctx)
{
	return ctx->precision == GN_PRECISION_BF16 ? 2 : 4;
}

static void release_call(struct call *c)
{
	if (c->preference)
		cublasLtMatmulPreferenceDestroy(c->preference);
	if (c->d)
		cublasLtMatrixLayoutDestroy(c->d);
	if (c->b)
		cublasLtMatrixLayoutDestroy(c->b);
	if (c->a)
		cublasLtMatrixLayoutDestroy(c->a);
	if (c->what)
		cublasLtMatmulDescDestroy(c->what);
}

static cublasLtEpilogue_t epilogue_of(enum gn_finish finish, bool aux)
{
	switch (finish) {
	case GN_FINISH_BIAS:
		return CUBLASLT_EPILOGUE_BIAS;
	case GN_FINISH_GELU:
		return aux ? CUBLASLT_EPILOGUE_GELU_AUX : CUBLASLT_EPILOGUE_GELU;
	case GN_FINISH_GELU_BIAS:
		return aux ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS;
	case GN_FINISH_DGELU:
		return CUBLASLT_EPILOGUE_DGELU;
	case GN_FINISH_ROW_SUMS: /* the left operand is the library's B */
		return CUBLASLT_EPILOGUE_BGRADB;
	default:
		return CUBLASLT_EPILOGUE_DEFAULT;
	}
}

#define SET(ctx, what, attribute, value)                                                                               \
	GN_CUBLAS(ctx, cublasLtMatmulDescSetAttribute(what, attribute, &(value), sizeof(value)))

static bool describe_finish(struct gn_ctx *ctx, struct call *c, const struct gn_product *p, const void *bias)
{
	cublasLtEpilogue_t epilogue = epilogue_of(p->finish, p->aux != NULL);
	const void *vector = p->finish == GN_FINISH_ROW_SUMS ? p->sums : bias;
	cudaDataType_t type = p->out_float ? CUDA_R_32F : act_type(ctx);
	int64_t ld = (int64_t)p->ld;

	if (!SET(ctx, c->what, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue))
		return false;
	if (vector && (!SET(ctx, c->what, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector) ||
	               !SET(ctx, c->what, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type)))
		return false;
	return !p->aux || (SET(ctx, c->what, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p->aux) &&
	                   SET(ctx, c->what, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, ld));
}

/*
 * A row-major rows x cols operand as the library sees it: cols x rows, or as it lies where it is
 * transposed.
 */
static bool layout(struct gn_ctx *ctx, cublasLtMatrixLayout_t *out, cudaDataType_t type, int rows, int cols,
                   const struct gn_operand *o)
{
	uint64_t high = (uint64_t)(o->transposed ? rows : cols), wide = (uint64_t)(o->transposed ? cols : rows);
	return GN_CUBLAS(ctx, cublasLtMatrixLayoutCreate(out, type, high, wide, (int64_t)o->ld));
}

static bool describe(struct gn_ctx *ctx, struct call *c, const struct gn_product *p, const void *bias)
{
	cublasComputeType_t compute =
	    ctx->precision == GN_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
	cublasOperation_t a = p->right.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
	                  b = p->left.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
	cudaDataType_t type = act_type(ctx);
	struct gn_operand out = {p->out, p->ld, false};

	return GN_CUBLAS(ctx, cublasLtMatmulDescCreate(&c->what, compute, CUDA_R_32F)) &&
	       SET(ctx, c->what, CUBLASLT_MATMUL_DESC_TRANSA, a) && SET(ctx, c->what, CUBLASLT_MATMUL_DESC_TRANSB, b) &&
	       describe_finish(ctx, c, p, bias) && layout(ctx, &c->a, type, p->depth, p->cols, &p->right) &&
	       layout(ctx, &c->b, type, p->rows, p->depth, &p->left) &&
	       layout(ctx, &c->d, p->out_float ? CUDA_R_32F : type, p->rows, p->cols, &out);
}

/* Asks the library for its first choice. Not found is no failure. */
static void ask(struct gn_ctx *ctx, struct call *c, struct choice *choice)
{
	cublasLtMatmulHeuristicResult_t result;
	uint64_t workspace = ctx->scratch_bytes[GN_SCRATCH_LIBRARY];
	uint32_t alignment = choice->shape.alignment,
	         reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* none, or by way of the workspace in float32 */
	static const cublasLtMatmulPreferenceAttributes_t alignments[] = {
	    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
	    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
	int answers = 0;
	bool ok =
	    GN_CUBLAS(ctx, cublasLtMatmulPreferenceCreate(&c->preference)) &&
	    GN_CUBLAS(ctx, cublasLtMatmulPreferenceSetAttribute(c->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
	                                                        &workspace, sizeof workspace)) &&
	    GN_CUBLAS(ctx,
	              cublasLtMatmulPreferenceSetAttribute(c->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
	                                                   &reductions, sizeof reductions));

	for (size_t i = 0; ok && i < sizeof alignments / sizeof alignments[0]; i++)
		ok = GN_CUBLAS(ctx, cublasLtMatmulPreferenceSetAttribute(c->preference, alignments[i], &alignment,
		                                                         sizeof alignment));
	choice->found = ok &&
	                cublasLtMatmulAlgoGetHeuristic(ctx->products->handle, c->what, c->a, c->b, c->d, c->d,
	                                               c->preference, 1, &result, &answers) == CUBLAS_STATUS_SUCCESS &&
	                answers > 0 && result.state == CUBLAS_STATUS_SUCCESS;
	if (choice->found)
		choice->algorithm = result.algo;
}

static bool same_shape(const struct shape *a, const struct shape *b)
{
	return a->rows == b->rows && a->cols == b->cols && a->depth == b->depth && a->left_ld == b->left_ld &&
	       a->right_ld == b->right_ld && a->ld == b->ld && a->finish == b->finish && a->alignment == b->alignment &&
	       a->left_transposed == b->left_transposed && a->right_transposed == b->right_transposed &&
	       a->out_float == b->out_float && a->add == b->add && a->in_place == b->in_place;
}

/* The remembered choice for a shape, or an empty place for it. A full table forgets everything. */
static struct choice *find_choice(struct gn_cuda_products *products, const struct shape *s)
{
	uint32_t hash = 2166136261U;
	const uint32_t parts[] = {(uint32_t)s->rows, (uint32_t)s->cols, (uint32_t)s->depth,
	                          s->left_ld,        s->right_ld,       s->ld,
	                          s->finish,         s->out_float,      s->add};

	if (products->count > CHOICES / 2) {
		for (int i = 0; i < CHOICES; i++)
			products->choices[i].taken = false;
		products->count = 0;
	}
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		hash = (hash ^ parts[i]) * 16777619U;
	for (uint32_t at = hash % CHOICES;; at = (at + 1) % CHOICES) {
		struct choice *choice = &products->choices[at];
		if (!choice->taken || same_shape(&choice->shape, s))
			return choice;
	}
}

/* ---------------------------------------------------------------- products of aligned operands ------------------- */

/* The bias where the library may read it. */
static const void *prepare_bias(struct gn_ctx *ctx, const struct gn_product *p)
{
	if (p->finish != GN_FINISH_BIAS && p->finish != GN_FINISH_GELU_BIAS)
		return NULL;
	if (gn_aligned16(p->bias))
		return p->bias;
	GN_CUDA(ctx, cudaMemcpyAsync(ctx->scratch[GN_SCRATCH_BIAS], p->bias,
	                             (size_t)p->cols * (p->out_float ? sizeof(float) : element_size(ctx)),
	                             cudaMemcpyDeviceToDevice, ctx->stream));
	return ctx->scratch[GN_SCRATCH_BIAS];
}

static bool all_aligned16(const struct gn_ctx *ctx, const struct gn_product *p)
{
	size_t size = ctx->precision == GN_PRECISION_BF16 ? 2 : 4, out_size = p->out_float ? 4 : size;
	return gn_aligned16(p->left.data) && gn_aligned16(p->right.data) && gn_aligned16(p->out) &&
	       gn_aligned16(p->add) && gn_aligned16(p->aux) && p->left.ld * size % 16 == 0 &&
	       p->right.ld * size % 16 == 0 && p->ld * out_size % 16 == 0;
}

static struct shape shape_of(const struct gn_ctx *ctx, const struct gn_product *p)
{
	struct shape s = {};
	s.rows = p->rows;
	s.cols = p->cols;
	s.depth = p->depth;
	s.left_ld = (uint32_t)p->left.ld;
	s.right_ld = (uint32_t)p->right.ld;
	s.ld = (uint32_t)p->ld;
	s.finish = (uint16_t)epilogue_of(p->finish, p->aux != NULL);
	s.alignment = all_aligned16(ctx, p) ? 16 : 4;
	s.left_transposed = p->left.transposed;
	s.right_transposed = p->right.transposed;
	s.out_float = p->out_float;
	s.add = p->add != NULL;
	s.in_place = p->add == p->out;
	return s;
}

/*
 * The library does not do this, which it may say after its heuristic had an answer. Nothing was
 * queued.
 */
static bool refused(cublasStatus_t status)
{
	return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;
}

/*
 * Queues a product whose operands the library takes as they are. False: it has no algorithm for it.
 */
static bool product_aligned(struct gn_ctx *ctx, const struct gn_product *p)
{
	struct shape shape = shape_of(ctx, p);
	struct choice *choice = find_choice(ctx->products, &shape);
	struct call c = {};
	const float one = 1, beta = p->add ? 1 : 0;
	bool ok;

	if (choice->taken && !choice->found)
		return false;
	ok = describe(ctx, &c, p, prepare_bias(ctx, p));
	if (ok && !choice->taken) {
		choice->shape = shape;
		ask(ctx, &c, choice);
		choice->taken = true;
		ctx->products->count++;
	}
	if (ok && choice->found) {
		cublasStatus_t status = cublasLtMatmul(
		    ctx->products->handle, c.what, &one, p->right.data, c.a, p->left.data, c.b, &beta,
		    p->add ? p->add : p->out, c.d, p->out, c.d, &choice->algorithm, ctx->scratch[GN_SCRATCH_LIBRARY],
		    ctx->scratch_bytes[GN_SCRATCH_LIBRARY], ctx->stream);

		if (p->finish != GN_FINISH_NONE && refused(status))
			choice->found = false;
		else
			gn_cuda_note_product(ctx, status, "cublasLtMatmul", __FILE__, __LINE__);
	}
	release_call(&c);
	return !ok || choice->found; /* after a failure there is nothing left to try */
}

/* ---------------------------------------------------------------- products of others ----------------------------- */

static int smaller(int a, int b)
{
	return a < b ? a : b;
}

/* Elements that rows of n elements stand apart in scratch memory. */
static size_t padded(size_t n, size_t size)
{
	return (n * size + 15) / 16 * 16 / size;
}

/*
 * Rows or columns of a tile of this depth that scratch memory has room for, a multiple of 16 bytes'
 * elements.
 */
static int tile_side(const struct gn_ctx *ctx, int depth)
{
	size_t unit = 16 / element_size(ctx),
	       room = ctx->scratch_bytes[GN_SCRATCH_A] / element_size(ctx) / padded((size_t)depth, element_size(ctx));
	gn_assert(room >= unit); /* depths are at most 2^20: gn_arch_check */
	return smaller(TILE, (int)(room < TILE ? room / unit * unit : TILE));
}

/* The part of an operand from (row, col) on, aligned: as it lies, or copied into scratch memory. */
static struct gn_operand tile_of(struct gn_ctx *ctx, const struct gn_operand *o, enum gn_cuda_slot slot, int row,
                                 int col, int rows, int cols)
{
	size_t size = element_size(ctx),
	       skip = o->transposed ? (size_t)col * o->ld + (size_t)row : (size_t)row * o->ld + (size_t)col;
	struct gn_operand tile = {(const char *)o->data + skip * size, o->ld, o->transposed};
	int lines = o->transposed ? cols : rows, width = o->transposed ? rows : cols;

	if (gn_aligned16(tile.data) && tile.ld * size % 16 == 0)
		return tile;
	tile.ld = padded((size_t)width, size);
	gn_cuda_copy_rows(ctx, ctx->scratch[slot], tile.ld, (const char *)o->data + skip * size, o->ld, lines, width,
	                  (int)size);
	tile.data = ctx->scratch[slot];
	return tile;
}

/*
 * One tile of the output over one step of the depth: through scratch memory where the output is not
 * aligned.
 */
static bool product_tile(struct gn_ctx *ctx, const struct gn_product *p, int row, int col, int deep, int rows, int cols,
                         int depth)
{
	size_t size = p->out_float ? 4 : element_size(ctx), at = ((size_t)row * p->ld + (size_t)col) * size;
	const char *add = deep ? (const char *)p->out + at : p->add ? (const char *)p->add + at : NULL;
	char *out = (char *)p->out + at;
	struct gn_product t = *p;
	bool direct = gn_aligned16(out) && gn_aligned16(add) && p->ld * size % 16 == 0;

	t.rows = rows;
	t.cols = cols;
	t.depth = depth;
	t.left = tile_of(ctx, &p->left, GN_SCRATCH_A, row, deep, rows, depth);
	t.right = tile_of(ctx, &p->right, GN_SCRATCH_B, deep, col, depth, cols);
	t.out = direct ? out : ctx->scratch[GN_SCRATCH_D];
	t.ld = direct ? p->ld : padded((size_t)cols, size);
	t.add = direct ? add : add ? t.out : NULL;
	if (!direct && add)
		gn_cuda_copy_rows(ctx, t.out, t.ld, add, p->ld, rows, cols, (int)size);
	if (!product_aligned(ctx, &t))
		return false;
	if (!direct)
		gn_cuda_copy_rows(ctx, out, p->ld, t.out, t.ld, rows, cols, (int)size);
	return true;
}

static bool product_tiled(struct gn_ctx *ctx, const struct gn_product *p)
{
	int depth = p->out_float ? smaller(p->depth, TILE_DEPTH) : p->depth, side = tile_side(ctx, depth);

	for (int row = 0; row < p->rows; row += side)
		for (int col = 0; col < p->cols; col += side)
			for (int deep = 0; deep < p->depth; deep += depth)
				if (!product_tile(ctx, p, row, col, deep, smaller(side, p->rows - row),
				                  smaller(side, p->cols - col), smaller(depth, p->depth - deep)))
					return false;
	return true;
}

bool gn_cuda_product(struct gn_ctx *ctx, const struct gn_product *p)
{
	bool whole = ctx->precision == GN_PRECISION_FP32 || all_aligned16(ctx, p), done;

	if (!whole && p->finish != GN_FINISH_NONE)
		return false; /* half of its tiles could be queued before the library refuses one */
	done = whole ? product_aligned(ctx, p) : product_tiled(ctx, p);
	if (!done && p->finish == GN_FINISH_NONE) {
		gn_fail(&ctx->error, GN_DEVICE, "device",
		        "cuBLASLt has no algorithm for a product of %d x %d x %d on %s", p->rows, p->cols, p->depth,
		        ctx->name);
		return true;
	}
	return done;
}
