/* gonio's own model files: they are written, opened alone and as deltas on a chain of bases, and
 * are errors if they do not fit.
 */
#include "gonio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "tests/support/st_builder.h"

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	st_folder(folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	st_folder_remove(folder);
	return 0;
}

static const char *path_of(const char *name)
{
	static char paths[4][128];
	static int next;
	char *path = paths[next = (next + 1) % 4];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static struct gn_arch small(int classes)
{
	return (struct gn_arch){.image_size = 8,
	                        .patch_size = 4,
	                        .dim = 12,
	                        .depth = 2,
	                        .heads = 3,
	                        .mlp_dim = 20,
	                        .classes = classes,
	                        .registers = 2,
	                        .pool = GN_POOL_MEAN,
	                        .activation = GN_ACT_QUICK_GELU,
	                        .norm_eps = 1e-12f,
	                        .class_token = true,
	                        .pos_on_prefix = true,
	                        .layer_scale = true,
	                        .norm_after_pool = true,
	                        .qkv_bias = true,
	                        .patch_bias = true};
}

static struct gn_model *open_model(const char *name, const struct gn_model *base)
{
	struct gn_error err = {0};
	struct gn_model *model;

	if (gn_model_open(&model, path_of(name), base, &err))
		fail_msg("[%s] %s", err.where, err.text);
	return model;
}

static struct gn_model *write_random(const char *name, const struct gn_arch *arch, uint64_t seed)
{
	struct gn_error err = {0};

	if (gn_model_write_random(path_of(name), arch, seed, NULL, NULL, NULL, &err))
		fail_msg("[%s] %s", err.where, err.text);
	return open_model(name, NULL);
}

/* A delta of arch that holds the tensors whose names contain one of the parts, all filled with
 * value; base: what it says of its base. */
static int write_delta_of(const char *name, const struct gn_arch *arch, const char *const *parts, float value,
                          const char *const *labels, const char *base)
{
	static const struct gn_preprocess preprocess = {{0.1f, 0.2f, 0.3f}, {0.4f, 0.5f, 0.6f}, 0.875f, GN_BILINEAR};
	struct gn_layout layout;
	struct gn_error err = {0};
	const float **tensors;
	float *values;
	int result;

	assert_int_equal(gn_layout_init(&layout, arch, &err), 0);
	tensors = calloc((size_t)layout.count, sizeof *tensors);
	values = malloc(layout.floats * sizeof *values);
	assert_true(tensors && values);
	for (size_t i = 0; i < layout.floats; i++)
		values[i] = value;
	for (int i = 0; i < layout.count; i++)
		for (const char *const *part = parts; *part; part++)
			if (strstr(layout.tensors[i].name, *part))
				tensors[i] = values + layout.tensors[i].offset;
	result = gn_model_write(path_of(name),
	                        &(struct gn_model_parts){.arch = arch,
	                                                 .preprocess = &preprocess,
	                                                 .scheme = GN_SCHEME_DINOV2,
	                                                 .pos_resample = GN_POS_DINOV2,
	                                                 .layout = &layout,
	                                                 .tensors = tensors,
	                                                 .labels = labels,
	                                                 .label_count = labels ? arch->classes : 0,
	                                                 .base = base},
	                        &err);
	if (result)
		fail_msg("[%s] %s", err.where, err.text);
	free(values);
	free(tensors);
	gn_layout_release(&layout);
	return result;
}

static int write_delta(const char *name, const struct gn_arch *arch, const char *const *parts, float value,
                       const char *const *labels)
{
	return write_delta_of(name, arch, parts, value, labels, NULL);
}

static struct gn_error refuse(const char *name, const struct gn_model *base)
{
	struct gn_error err = {0};
	struct gn_model *model = NULL;

	assert_int_equal(gn_model_open(&model, path_of(name), base, &err), -1);
	assert_null(model);
	return err;
}

static void test_random_model(void **state)
{
	struct gn_arch arch = small(5);
	struct gn_model *a = write_random("a", &arch, 7), *b = write_random("b", &arch, 7),
	                *c = write_random("c", &arch, 8);

	(void)state;
	assert_memory_equal(&a->arch, &arch, sizeof arch);
	assert_int_equal(a->scheme, GN_SCHEME_GONIO);
	assert_int_equal(a->label_count, 0);
	for (int i = 0; i < a->layout.count; i++) {
		const struct gn_tensor *t = &a->layout.tensors[i];
		double largest = 0;

		assert_true(a->own[i]);
		assert_int_equal((uintptr_t)a->tensors[i] % 4, 0);
		assert_memory_equal(a->tensors[i], b->tensors[i], t->numel * sizeof(float));
		if (t->rank > 1)
			assert_true(memcmp(a->tensors[i], c->tensors[i], t->numel * sizeof(float)) != 0);
		for (size_t k = 0; k < t->numel; k++)
			largest = fmax(largest, fabs((double)a->tensors[i][k]));
		if (t->rank > 1)
			assert_true(largest > 0 && largest <= 0.04 + 1e-9);
		else if (strstr(t->name, "norm") && strstr(t->name, "weight"))
			assert_true(largest == 1);
		else if (strstr(t->name, "bias"))
			assert_true(largest == 0);
	}
	gn_model_close(a);
	gn_model_close(b);
	gn_model_close(c);
}

static void test_labels_survive(void **state)
{
	static const char *const labels[] = {"a\"b", "\xe2\x82\xac", "<script>", "", "tab\there"};
	struct gn_arch arch = small(5);
	struct gn_error err = {0};
	struct gn_model *m;

	(void)state;
	assert_int_equal(gn_model_write_random(path_of("labels"), &arch, 1, labels, NULL, NULL, &err), 0);
	m = open_model("labels", NULL);
	assert_int_equal(m->label_count, 5);
	for (int i = 0; i < 5; i++)
		assert_string_equal(m->labels[i], labels[i]);
	gn_model_close(m);
}

static void test_data_starts_at_a_multiple_of_128(void **state)
{
	struct gn_arch arch = small(5);
	struct gn_error err = {0};
	uint64_t length;
	char *bytes;
	size_t size;

	(void)state;
	assert_int_equal(gn_model_write_random(path_of("aligned"), &arch, 1, NULL, NULL, NULL, &err), 0);
	assert_int_equal(gn_file_read(&bytes, &size, path_of("aligned"), 1 << 22, &err), 0);
	memcpy(&length, bytes, 8);
	assert_int_equal((8 + length) % 128, 0);
	free(bytes);
}

static void test_delta_on_a_chain(void **state)
{
	static const char *const attention[] = {"attn.", "norm1", "ls1", "head.", NULL}, *const ffn[] = {"mlp.", NULL};
	static const char *const labels[] = {"x", "y", "z"};
	struct gn_arch five = small(5), three = small(3);
	struct gn_model *base = write_random("base", &five, 1), *middle, *top;

	(void)state;
	write_delta("middle", &three, attention, 0.25f, labels);
	middle = open_model("middle", base);
	assert_int_equal(middle->arch.classes, 3);
	assert_string_equal(middle->labels[2], "z");
	assert_true(middle->preprocess.crop_pct == 0.875f && middle->preprocess.interpolation == GN_BILINEAR);
	assert_true(middle->preprocess.mean[2] == 0.3f && middle->scheme == GN_SCHEME_DINOV2);
	write_delta("top", &three, ffn, 0.5f, NULL);
	top = open_model("top", middle);
	for (int i = 0; i < top->layout.count; i++) {
		const char *name = top->layout.tensors[i].name;
		int at = gn_layout_find_name(&base->layout, name);
		bool mlp = strstr(name, "mlp.") != NULL, own = false;

		for (const char *const *part = attention; *part; part++)
			own = own || strstr(name, *part);
		assert_int_equal(middle->own[i], own);
		assert_int_equal(top->own[i], mlp);
		if (mlp)
			assert_true(top->tensors[i][0] == 0.5f && middle->tensors[i] == base->tensors[at]);
		else if (own)
			assert_true(top->tensors[i] == middle->tensors[i] && top->tensors[i][0] == 0.25f);
		else /* the base's own pages */
			assert_true(top->tensors[i] == base->tensors[at]);
	}
	gn_model_close(top);
	gn_model_close(middle);
	gn_model_close(base);
}

static void test_deltas_that_do_not_fit(void **state)
{
	static const char *const attention[] = {"attn.", NULL}, *const head[] = {"head.", NULL};
	struct gn_arch five = small(5), three = small(3), larger = small(5), deeper = small(5), wider = small(5);
	struct gn_model *base = write_random("fit", &five, 1);
	struct gn_error err;

	(void)state;
	write_delta("alone", &five, attention, 1, NULL);
	err = refuse("alone", NULL);
	assert_string_equal(err.where, "cls_token");
	assert_int_equal(err.code, GN_INVALID);
	write_delta("headless", &three, attention, 1, NULL); /* another head must be in the delta */
	assert_string_equal(refuse("headless", base).where, "head.weight");
	larger.image_size = 12;
	write_delta("larger", &larger, head, 1, NULL); /* so must positions of another size */
	assert_string_equal(refuse("larger", base).where, "pos_embed");
	deeper.depth = 3;
	write_delta("deeper", &deeper, head, 1, NULL);
	assert_string_equal(refuse("deeper", base).where, "blocks.2.norm1.weight");
	wider.mlp_dim = 24;
	write_delta("wider", &wider, head, 1, NULL);
	assert_string_equal(refuse("wider", base).where, "blocks.0.mlp.fc1.weight");
	gn_model_close(base);
}

/* Two bases of the same shapes: a delta that names one is not taken for the other's. */
static void test_delta_names_its_base(void **state)
{
	static const char *const head[] = {"head.", NULL};
	struct gn_arch five = small(5);
	struct gn_model *base = write_random("named", &five, 1), *other = write_random("other", &five, 2),
	                *copy = write_random("copy", &five, 1), *m;
	char hash[65], second[65], of_delta[65];
	struct gn_error err;

	(void)state;
	assert_int_equal(gn_model_hash(hash, base, NULL), 0);
	assert_int_equal(strspn(hash, "0123456789abcdef"), 64);
	assert_int_equal(gn_model_hash(second, base, NULL), 0); /* known by now */
	assert_string_equal(second, hash);
	assert_int_equal(gn_model_hash(second, other, NULL), 0);
	assert_string_not_equal(second, hash);
	write_delta_of("tuned", &five, head, 1, NULL, hash);
	err = refuse("tuned", other);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, path_of("tuned"));
	hash[12] = second[12] = 0;
	assert_non_null(strstr(err.text, hash));
	assert_non_null(strstr(err.text, second));
	m = open_model("tuned", base);
	assert_int_equal(strncmp(m->base_hash, hash, 12), 0);
	gn_model_close(m);
	gn_model_close(open_model("tuned", copy)); /* what counts is the content */
	assert_int_equal(gn_model_open_known(&m, path_of("tuned"), other, NULL), 0);
	/* with the base's tensors, and with its own */
	assert_int_equal(gn_model_hash(of_delta, m, NULL), 0);
	assert_int_not_equal(strncmp(of_delta, second, 12), 0);
	gn_model_close(m);
	write_delta("unnamed", &five, head, 1, NULL); /* as former versions wrote it */
	m = open_model("unnamed", other);
	assert_string_equal(m->base_hash, "");
	gn_model_close(m);
	write_delta_of("odd", &five, head, 1, NULL, "0123");
	assert_string_equal(refuse("odd", base).where, "gonio.base");
	gn_model_close(copy);
	gn_model_close(other);
	gn_model_close(base);
}

static void test_delta_with_its_own_positions(void **state)
{
	static const char *const parts[] = {"head.", "pos_embed", NULL};
	struct gn_arch five = small(5), larger = small(5);
	struct gn_model *base = write_random("fixed", &five, 1), *m;

	(void)state;
	larger.image_size = 16;
	write_delta("moved", &larger, parts, 1, NULL);
	m = open_model("moved", base);
	assert_int_equal(m->arch.image_size, 16);
	gn_model_close(m);
	gn_model_close(base);
}

/* Files with good tensors and bad words about themselves. */
static void test_metadata_is_not_believed(void **state)
{
	static const struct {
		const char *metadata, *where;
	} cases[] = {
	    {NULL, "gonio.format"},
	    {"{\"gonio.format\":\"1\"}", "gonio.scheme"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"keras\"}", "gonio.scheme"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"timm\",\"gonio.pos_resample\":\"hf\"}", "gonio.architecture"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"timm\",\"gonio.pos_resample\":\"hf\",\"gonio.architecture\":"
	     "\"[]\"}",
	     "gonio.architecture"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"timm\",\"gonio.pos_resample\":\"hf\",\"gonio.architecture\":"
	     "\"{}\","
	     "\"gonio.preprocessing\":\"{}\"}",
	     "pool"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"timm\",\"gonio.pos_resample\":\"hf\",\"gonio.architecture\":"
	     "\"{\\\"dim\\\":-1}\","
	     "\"gonio.preprocessing\":\"{}\"}",
	     "dim"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"timm\",\"gonio.pos_resample\":\"hf\",\"gonio.architecture\":"
	     "\"{\\\"pool\\\":\\\"cls\\\",\\\"activation\\\":\\\"gelu\\\",\\\"depth\\\":2000000000}\",\"gonio."
	     "preprocessing\":\"{}\"}",
	     "image_size"},
	    {"{\"gonio.format\":\"1\",\"gonio.scheme\":\"timm\",\"gonio.pos_resample\":\"hf\",\"gonio.architecture\":"
	     "\"{\\\"pool\\\":\\\"cls\\\",\\\"activation\\\":\\\"gelu\\\",\\\"image_size\\\":16,"
	     "\\\"patch_size\\\":8,\\\"dim\\\":8,\\\"depth\\\":1,\\\"heads\\\":1,\\\"mlp_dim\\\":8,"
	     "\\\"registers\\\":0,\\\"class_token\\\":true,\\\"norm_eps\\\":1e-6}\","
	     "\"gonio.preprocessing\":\"{}\"}",
	     "classes"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct st_builder b = {0};
		struct gn_error err;

		st_add_timm(&b, NULL);
		st_write(&b, path_of("liar"), cases[i].metadata);
		err = refuse("liar", NULL);
		if (strcmp(err.where, cases[i].where))
			fail_msg("case %zu: [%s] %s", i, err.where, err.text);
	}
}

static void test_a_label_that_is_not_utf8(void **state)
{
	static const char *const labels[] = {"a", "\xff\xfe", "c"};
	struct gn_arch arch = small(3);
	struct gn_error err = {0};

	(void)state;
	assert_int_equal(gn_model_write_random(path_of("latin"), &arch, 1, labels, NULL, NULL, &err), -1);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, "labels");
	assert_int_equal(gn_model_write_random(path_of("latin"), &arch, 1, NULL, NULL, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_model),
	    cmocka_unit_test(test_labels_survive),
	    cmocka_unit_test(test_data_starts_at_a_multiple_of_128),
	    cmocka_unit_test(test_delta_on_a_chain),
	    cmocka_unit_test(test_deltas_that_do_not_fit),
	    cmocka_unit_test(test_delta_names_its_base),
	    cmocka_unit_test(test_delta_with_its_own_positions),
	    cmocka_unit_test(test_metadata_is_not_believed),
	    cmocka_unit_test(test_a_label_that_is_not_utf8),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
