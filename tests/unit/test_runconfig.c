// A run's JSON: defaults, learning rates by strategy, strategies, plans without a data set, and the
// way to the engine's struct.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/formats/strategy.h"

// Reads text; returns how many errors there are, the first one's pointer in *pointer.
static size_t read_text(struct gn_run_request *request, const char *text, bool for_plan, char pointer[128])
{
	json_t *object = json_loads(text, 0, NULL), *errors = json_array();
	size_t count;

	assert_non_null(object);
	gn_run_request_read(request, object, for_plan, errors);
	count = json_array_size(errors);
	snprintf(pointer, 128, "%s",
	         count ? json_string_value(json_object_get(json_array_get(errors, 0), "pointer")) : "");
	json_decref(errors);
	json_decref(object);
	return count;
}

static void test_defaults(void **state)
{
	struct gn_run_request r;
	char pointer[128];

	(void)state;
	assert_int_equal(
	    read_text(&r, "{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":\"attention\"}", false, pointer), 0);
	assert_int_equal(r.config.strategy.kind, GN_ATTENTION);
	assert_int_equal(r.config.epochs, 10);
	assert_int_equal(r.config.batch_size, 64);
	assert_int_equal(r.config.micro_batch_size, 0);
	assert_true(r.config.lr == 1e-4 && r.config.weight_decay == 0.05 && r.config.clip_norm == 1 &&
	            r.config.layer_decay == 1 && r.config.label_smoothing == 0 && r.config.warmup_steps == -1);
	assert_int_equal(r.config.optimizer, GN_ADAMW);
	assert_int_equal(r.config.schedule, GN_COSINE);
	assert_int_equal(r.config.augment, GN_AUGMENT_NONE);
	assert_int_equal(r.config.head, GN_HEAD_ZERO);
	assert_true(r.config.image_size == 0 && r.config.seed == 0 && r.config.eval_every_epochs == 1 &&
	            r.config.checkpoint_every_seconds == 60 && r.config.early_stop_epochs == 0);
	gn_run_request_release(&r);
}

static void test_rates_by_strategy(void **state)
{
	static const struct {
		const char *kind;
		double lr;
	} CASES[] = {{"full", 5e-5}, {"linear", 1e-3}, {"norm", 1e-3}, {"bias", 1e-3}, {"ffn", 1e-4}, {"odd", 1e-4}};
	struct gn_run_request r;
	char pointer[128], text[256];

	(void)state;
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		// lr stands before strategy in the text, and after it in the table
		snprintf(text, sizeof text,
		         "{\"lr\":null,\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{\"kind\":\"%s\"}}",
		         CASES[i].kind);
		assert_int_equal(read_text(&r, text, false, pointer), 0);
		assert_true(r.config.lr == CASES[i].lr);
		gn_run_request_release(&r);
	}
	read_text(&r, "{\"lr\":0.5,\"model\":\"m\",\"dataset\":\"d\",\"strategy\":\"full\"}", false, pointer);
	assert_true(r.config.lr == 0.5);
	gn_run_request_release(&r);
}

static void test_custom(void **state)
{
	struct gn_run_request r;
	char pointer[128];

	(void)state;
	assert_int_equal(read_text(&r,
	                           "{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{\"kind\":\"custom\",\"tune\":"
	                           "[\"blocks.{8..11}.attn\",\"head\"]}}",
	                           false, pointer),
	                 0);
	assert_int_equal(r.config.strategy.kind, GN_CUSTOM);
	assert_int_equal(r.config.strategy.pattern_count, 2);
	assert_string_equal(r.config.strategy.patterns[0], "blocks.{8..11}.attn");
	json_t *written = gn_run_request_write(&r), *tune;
	tune = json_object_get(json_object_get(written, "strategy"), "tune");
	assert_int_equal(json_array_size(tune), 2);
	json_decref(written);
	gn_run_request_release(&r);
}

#define ANGLE(members) "{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{\"kind\":\"angle\"," members "}}"

static void test_angle(void **state)
{
	struct gn_run_request r;
	char pointer[128], label[128];
	json_t *written;

	(void)state;
	assert_int_equal(
	    read_text(&r, ANGLE("\"from\":\"run_1\",\"order\":\"smallest\",\"attention_layers\":4,\"ffn_layers\":3"),
	              false, pointer),
	    0);
	assert_true(r.config.strategy.kind == GN_ANGLE && r.config.lr == 1e-4);
	assert_string_equal(r.from, "run_1");
	assert_true(r.guide.order == GN_SMALLEST && !r.guide.try_both_orders && r.guide.probe_epochs == 0);
	assert_true(r.guide.attention_layers == 4 && r.guide.ffn_layers == 3);
	written = gn_strategy_write(&r);
	gn_strategy_label(label, sizeof label, written);
	json_decref(written);
	assert_string_equal(label, "angle smallest 4+3");
	gn_run_request_release(&r);

	assert_int_equal(read_text(&r, ANGLE("\"probe\":{},\"order\":\"auto\",\"attention_layers\":0,\"ffn_layers\":1"),
	                           false, pointer),
	                 0);
	assert_true(r.guide.try_both_orders && r.guide.probe_epochs == 2 && r.guide.trial_epochs == 2 &&
	            r.guide.probe_lr == 5e-5);
	written = gn_strategy_write(&r);
	json_t *want =
	    json_loads("{\"kind\":\"angle\",\"probe\":{\"epochs\":2,\"lr\":5e-5,\"trial_epochs\":2},\"order\":\"auto\","
	               "\"attention_layers\":0,\"ffn_layers\":1}",
	               0, NULL);
	assert_true(json_equal(written, want));
	json_decref(want);
	json_decref(written);
	gn_run_request_release(&r);
}

static void test_taking_a_selection(void **state)
{
	json_t *selection =
	    json_loads("{\"layers\":[{\"name\":\"blocks.0.attn\"},{\"name\":\"blocks.1.mlp\"}]}", 0, NULL);
	struct gn_run_request r;
	char pointer[128];

	(void)state;
	read_text(&r, ANGLE("\"from\":\"run_1\",\"attention_layers\":1,\"ffn_layers\":1"), false, pointer);
	assert_int_equal(gn_strategy_take_selection(&r, selection), 0);
	assert_int_equal(r.config.strategy.layer_count, 2);
	assert_string_equal(r.config.strategy.layers[1], "blocks.1.mlp");
	gn_run_request_release(&r);
	json_decref(selection);
	read_text(&r, ANGLE("\"from\":\"run_1\",\"attention_layers\":1,\"ffn_layers\":1"), false, pointer);
	assert_int_equal(gn_strategy_take_selection(&r, NULL), -1);
	gn_run_request_release(&r);
}

static void test_errors(void **state)
{
	static const struct {
		const char *text, *pointer;
	} CASES[] = {
	    {"{\"model\":\"m\",\"dataset\":\"d\"}", "/strategy"},
	    {"{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":\"angle\"}", "/strategy"},
	    {"{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{}}", "/strategy/kind"},
	    {"{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{\"kind\":\"full\",\"k\":1}}", "/strategy/k"},
	    {"{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{\"kind\":\"custom\",\"tune\":[\"\"]}}",
	     "/strategy/tune/0"},
	    {"{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":\"full\",\"batch_size\":8,\"micro_batch_size\":9}",
	     "/micro_batch_size"},
	    {"{\"model\":\"m\",\"dataset\":\"d\",\"strategy\":\"full\",\"classes\":3}", "/classes"},
	    {ANGLE("\"from\":\"r\",\"ffn_layers\":1"), "/strategy/attention_layers"},
	    {ANGLE("\"from\":\"r\",\"attention_layers\":1.5,\"ffn_layers\":1"), "/strategy/attention_layers"},
	    {ANGLE("\"attention_layers\":1,\"ffn_layers\":1"), "/strategy"},
	    {ANGLE("\"from\":\"r\",\"probe\":{},\"attention_layers\":1,\"ffn_layers\":1"), "/strategy"},
	    {ANGLE("\"from\":\"r\",\"order\":\"auto\",\"attention_layers\":1,\"ffn_layers\":1"), "/strategy/order"},
	    {ANGLE("\"from\":\"r\",\"order\":\"big\",\"attention_layers\":1,\"ffn_layers\":1"), "/strategy/order"},
	    {ANGLE("\"probe\":{\"epochs\":0},\"attention_layers\":1,\"ffn_layers\":1"), "/strategy/probe/epochs"},
	    {ANGLE("\"probe\":3,\"attention_layers\":1,\"ffn_layers\":1"), "/strategy/probe"},
	    {ANGLE("\"probe\":{\"trial_epochs\":1},\"attention_layers\":1,\"ffn_layers\":1"),
	     "/strategy/probe/trial_epochs"},
	    {ANGLE("\"probe\":{},\"k\":1,\"attention_layers\":1,\"ffn_layers\":1"), "/strategy/k"},
	};
	struct gn_run_request r;
	char pointer[128];

	(void)state;
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		assert_true(read_text(&r, CASES[i].text, false, pointer) > 0);
		assert_string_equal(pointer, CASES[i].pointer);
		gn_run_request_release(&r);
	}
}

static void test_plan_without_data_set(void **state)
{
	struct gn_run_request r;
	char pointer[128];

	(void)state;
	assert_int_equal(read_text(&r, "{\"model\":\"m\",\"classes\":5,\"strategy\":\"full\"}", true, pointer), 0);
	assert_int_equal(r.classes, 5);
	assert_int_equal(r.train_images, 10000);
	assert_string_equal(r.dataset, "");
	gn_run_request_release(&r);
	assert_true(read_text(&r, "{\"model\":\"m\",\"strategy\":\"full\"}", true, pointer) > 0);
	assert_string_equal(pointer, "/dataset");
	gn_run_request_release(&r);
	assert_true(read_text(&r, "{\"model\":\"m\",\"dataset\":\"d\",\"classes\":5,\"strategy\":\"full\"}", true,
	                      pointer) > 0);
	assert_string_equal(pointer, "/dataset");
	gn_run_request_release(&r);
}

// What is stored is read again by the worker: nothing may change on the way.
static void test_written_and_read_again(void **state)
{
	json_t *object =
	    json_loads("{\"name\":\"n\",\"model\":\"m\",\"dataset\":\"d\",\"strategy\":{\"kind\":\"custom\",\"tune\":"
	               "[\"head\"]},\"lr\":0.1,\"seed\":9007199254740991,\"optimizer\":\"sgd\",\"warmup_steps\":0,"
	               "\"image_size\":64,\"early_stop_epochs\":3,\"threads\":2}",
	               0, NULL);
	json_t *errors = json_array(), *first, *second;
	struct gn_run_request one, two;

	(void)state;
	gn_run_request_read(&one, object, false, errors);
	first = gn_run_request_write(&one);
	gn_run_request_read(&two, first, false, errors);
	second = gn_run_request_write(&two);
	assert_int_equal(json_array_size(errors), 0);
	assert_true(json_equal(first, second));
	json_t *schema = gn_run_request_schema();
	assert_int_equal(json_object_size(first), json_object_size(json_object_get(schema, "properties")));
	json_decref(schema);
	assert_true(two.config.lr == 0.1 && two.config.seed == 9007199254740991 && two.config.optimizer == GN_SGD);
	assert_true(two.config.warmup_steps == 0 && two.config.image_size == 64 && two.threads == 2);
	assert_string_equal(two.config.strategy.patterns[0], "head");
	gn_run_request_release(&one);
	gn_run_request_release(&two);
	json_decref(first);
	json_decref(second);
	json_decref(errors);
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_rates_by_strategy),
	    cmocka_unit_test(test_custom),
	    cmocka_unit_test(test_angle),
	    cmocka_unit_test(test_taking_a_selection),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_plan_without_data_set),
	    cmocka_unit_test(test_written_and_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
