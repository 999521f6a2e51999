// Archives that are made while they are read, and unpacked again: any size of piece, sources that
// fail.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/formats/archive_stream.h"
#include "tests/support/client.h"

enum { WEIGHTS = 300000, ROOM = 1 << 20 };

static size_t read_counting(void *user, uint64_t offset, void *buffer, size_t size)
{
	(void)user;
	for (size_t i = 0; i < size; i++)
		((uint8_t *)buffer)[i] = (uint8_t)((offset + i) % 251);
	return size;
}

static size_t read_text(void *user, uint64_t offset, void *buffer, size_t size)
{
	memcpy(buffer, (const char *)user + offset, size);
	return size;
}

static size_t read_half(void *user, uint64_t offset, void *buffer, size_t size)
{
	(void)user;
	return offset > WEIGHTS / 2 ? 0 : read_counting(NULL, offset, buffer, size);
}

static char config[] = "{\"a\":1}";
static const struct gn_pack_file FILES[] = {
    {"model.safetensors", WEIGHTS, read_counting, NULL},
    {"config.json", sizeof config - 1, read_text, config},
    {"preprocessor_config.json", 0, read_text, config},
};

// The whole archive, read in pieces of some size.
static size_t pack_all(uint8_t *out, enum gn_pack_kind kind, size_t piece)
{
	struct gn_pack *pack;
	size_t size = 0;
	ssize_t n;

	assert_int_equal(gn_pack_new(&pack, kind, FILES, 3, 1700000000, NULL), 0);
	while ((n = gn_pack_read(pack, out + size, piece)) > 0) {
		assert_true((size_t)n <= piece);
		size += (size_t)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(gn_pack_read(pack, out + size, piece), 0);
	gn_pack_free(pack);
	return size;
}

struct source {
	const uint8_t *bytes;
	size_t left;
};

static ssize_t read_source(void *user, void *buffer, size_t size)
{
	struct source *source = user;
	size_t n = source->left < size ? source->left : size;

	memcpy(buffer, source->bytes, n);
	source->bytes += n;
	source->left -= n;
	return (ssize_t)n;
}

static void check_unpacks(const uint8_t *bytes, size_t size, const char *folder)
{
	struct source source = {bytes, size};
	const struct gn_archive_budget budget = {.total_bytes = ROOM};
	const struct gn_unpack_options options = {.read = read_source, .user = &source, .budget = &budget};
	struct gn_unpacked found;
	struct gn_error err = {0};
	char path[200];

	snprintf(path, sizeof path, "%.150s/checkpoint", folder);
	assert_true(gn_archive_sniff(bytes, size < 512 ? size : 512));
	if (gn_model_unpack(&found, path, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	assert_string_equal(found.config, config);
	assert_int_equal(found.preprocessor_bytes, 0);
	assert_string_equal(found.preprocessor, "");
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	for (size_t i = 0; i < WEIGHTS; i++)
		assert_int_equal(fgetc(file), i % 251);
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	unlink(path);
	free(found.config);
	free(found.preprocessor);
}

static void test_any_piece_gives_the_same_archive(void **state)
{
	static const size_t pieces[] = {ROOM, 65536, 4096, 7};
	uint8_t *wanted = malloc(ROOM), *found = malloc(2 * (size_t)ROOM);
	char folder[128];

	(void)state;
	assert_true(wanted && found);
	temporary_folder(folder, sizeof folder);
	for (int kind = GN_PACK_ZIP; kind <= GN_PACK_TAR; kind++) {
		size_t size = pack_all(wanted, (enum gn_pack_kind)kind, ROOM);

		assert_true(size > WEIGHTS && size < WEIGHTS + 20000);
		for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
			assert_int_equal(pack_all(found, (enum gn_pack_kind)kind, pieces[i]), size);
			assert_memory_equal(found, wanted, size);
		}
		check_unpacks(wanted, size, folder);
	}
	temporary_remove(folder);
	free(wanted);
	free(found);
}

static void test_a_source_that_fails_breaks_it_off(void **state)
{
	const struct gn_pack_file file = {"model.safetensors", WEIGHTS, read_half, NULL};
	uint8_t *buffer = malloc(ROOM);
	struct gn_pack *pack;
	size_t size = 0;
	ssize_t n;

	(void)state;
	assert_non_null(buffer);
	assert_int_equal(gn_pack_new(&pack, GN_PACK_ZIP, &file, 1, 0, NULL), 0);
	while ((n = gn_pack_read(pack, buffer, ROOM)) > 0)
		size += (size_t)n;
	assert_int_equal(n, -1);
	assert_int_equal(gn_pack_read(pack, buffer, ROOM), -1);
	assert_true(size < WEIGHTS);
	gn_pack_free(pack);
	// one that is dropped in the middle
	assert_int_equal(gn_pack_new(&pack, GN_PACK_TAR, FILES, 3, 0, NULL), 0);
	assert_true(gn_pack_read(pack, buffer, 1000) > 0);
	gn_pack_free(pack);
	gn_pack_free(NULL);
	free(buffer);
}

static void test_what_is_an_archive(void **state)
{
	// a header of 0x04034b50 bytes
	static const uint8_t safetensors[] = "\x50\x4b\x03\x04\0\0\0\0{\"a\":1}";

	(void)state;
	assert_false(gn_archive_sniff(safetensors, sizeof safetensors));
	assert_false(gn_archive_sniff("", 0));
	assert_false(gn_archive_sniff("PK", 2));
	assert_true(gn_archive_sniff("PK\3\4", 4));
	assert_true(gn_archive_sniff("\x1f\x8b", 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_any_piece_gives_the_same_archive),
	    cmocka_unit_test(test_a_source_that_fails_breaks_it_off),
	    cmocka_unit_test(test_what_is_an_archive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
