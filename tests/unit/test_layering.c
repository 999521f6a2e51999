// Reads every #include line of the project, and the symbols of every object file, and fails when an
// arrow between rooms points the wrong way.
//
// A room may include from itself and from rooms of a lower level; rooms of one level do not know each
// other. So there can be no circle. Outside the engine only gonio.h is seen of it. The same levels
// hold for calls: gonio.h and api.h declare functions of many rooms, so that an include does not show
// which room is called. What a function pointer calls at run time is no arrow.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 1024 };

// Longest prefix first.
static const struct room {
	const char *prefix;
	int level;
} rooms[] = {
    {"engine/base/", 1},
    {"engine/backend/", 2},
    {"engine/data/", 3},
    {"engine/vit/", 3},
    {"engine/checkpoint/", 4}, // unpacks archives, which data reads
    {"engine/inference/", 4},
    {"engine/tune/", 5},
    {"engine/train/", 6},
    {"engine/bench/", 7},
    {"engine/", 0}, // gonio.h
    {"server/common/", 8},
    {"server/formats/", 9},
    {"server/store/", 9},
    {"server/classifier/", 10},
    {"server/worker/", 10},
    {"server/cli/", 11},
    {"server/jobs/", 11},
    {"server/http/", 11},
    {"server/service/", 12},
    {"api/classify/", 15},
    {"api/datasets/", 15},
    {"api/kserve/", 15},
    {"api/models/", 15},
    {"api/runs/", 16},   // shows a run's layers as models/ does
    {"api/sweeps/", 17}, // of runs
    {"api/routes.c", 18},
    {"api/main.c", 19},
    {"api/", 14},
    {"examples/", 20},
};

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static const struct room *room_of(const char *path)
{
	for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++)
		if (starts_with(path, rooms[i].prefix))
			return &rooms[i];
	return NULL;
}

// May `from` include `to`? Both are paths from the root of the source tree.
static bool arrow_allowed(const char *from, const char *to)
{
	const struct room *a = room_of(from), *b = room_of(to);

	if (!a || !b)
		return false;
	if (a == b)
		return true;
	if (!starts_with(from, "engine/") && starts_with(to, "engine/"))
		return strcmp(to, "engine/gonio.h") == 0;
	return a->level > b->level;
}

// The engine knows no HTTP and no SQL; JSON text is read and written by its checkpoint room alone.
static bool library_allowed(const char *from, const char *header)
{
	if (!starts_with(from, "engine/"))
		return true;
	if (starts_with(header, "microhttpd") || starts_with(header, "sqlite3"))
		return false;
	return !starts_with(header, "jansson") || starts_with(from, "engine/checkpoint/");
}

// Where a quoted include leads: beside the file, in the engine, or from the root. False: nowhere.
static bool resolve(char out[PATH_SIZE], const char *from, const char *name)
{
	const char *slash = strrchr(from, '/');
	const int folder = slash ? (int)(slash - from) + 1 : 0;
	const char *bases[] = {from, "engine/", ""};
	const int lengths[] = {folder, 7, 0};

	for (int i = 0; i < 3; i++) {
		char full[PATH_SIZE * 2];
		snprintf(out, PATH_SIZE, "%.*s%s", lengths[i], bases[i], name);
		snprintf(full, sizeof full, "%s/%s", GN_SOURCE_DIR, out);
		if (access(full, R_OK) == 0)
			return true;
	}
	return false;
}

static int check_line(const char *from, const char *line)
{
	char name[256], to[PATH_SIZE];

	if (sscanf(line, " # include <%255[^>]>", name) == 1) {
		if (library_allowed(from, name))
			return 0;
		print_error("%s must not include <%s>\n", from, name);
		return 1;
	}
	if (sscanf(line, " # include \"%255[^\"]\"", name) != 1)
		return 0;
	if (!resolve(to, from, name)) {
		print_error("%s includes \"%s\", which is nowhere\n", from, name);
		return 1;
	}
	if (arrow_allowed(from, to))
		return 0;
	print_error("%s must not include %s\n", from, to);
	return 1;
}

struct tally {
	int files, wrong;
};

static void check_file(void *user, const char *path)
{
	struct tally *tally = user;
	char full[PATH_SIZE * 2], line[1024];

	snprintf(full, sizeof full, "%s/%s", GN_SOURCE_DIR, path);
	FILE *file = fopen(full, "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		tally->wrong += check_line(path, line);
	fclose(file);
	tally->files++;
}

static bool is_source(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".h") == 0 || strcmp(dot, ".cu") == 0 ||
	               strcmp(dot, ".cuh") == 0);
}

// Calls action for every source file below a folder of the source tree.
static void for_each_source(const char *path, void (*action)(void *user, const char *path), void *user)
{
	char full[PATH_SIZE * 2], child[PATH_SIZE];
	struct dirent *entry;

	snprintf(full, sizeof full, "%s/%s", GN_SOURCE_DIR, path);
	DIR *folder = opendir(full);
	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		int length = snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
		assert_true(length > 0 && length < (int)sizeof child);
		if (entry->d_type == DT_DIR)
			for_each_source(child, action, user);
		else if (is_source(entry->d_name))
			action(user, child);
	}
	closedir(folder);
}

static void every_include_points_down(void **state)
{
	static const char *const folders[] = {"engine", "server", "api", "examples"};
	struct tally tally = {0};

	(void)state;
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
		for_each_source(folders[i], check_file, &tally);
	print_message("%d files read\n", tally.files);
	assert_true(tally.files > 20);
	assert_int_equal(tally.wrong, 0);
}

static void wrong_arrows_are_seen(void **state)
{
	(void)state;
	assert_true(arrow_allowed("engine/train/loop.c", "engine/tune/tuning.h"));
	assert_true(arrow_allowed("engine/vit/forward.c", "engine/backend/backend.h"));
	assert_true(arrow_allowed("engine/backend/cpu/gemm.c", "engine/gonio.h"));
	assert_true(arrow_allowed("api/runs/runs.c", "server/store/store.h"));
	assert_true(arrow_allowed("api/main.c", "server/service/service.h"));

	assert_false(arrow_allowed("engine/vit/forward.c", "engine/tune/tuning.h"));
	assert_false(arrow_allowed("engine/backend/cpu/gemm.c", "engine/vit/arch.h"));
	assert_false(arrow_allowed("engine/data/image.c", "engine/checkpoint/model.h"));
	assert_false(arrow_allowed("engine/vit/forward.c", "engine/data/image.h"));
	assert_false(arrow_allowed("server/store/store.c", "server/formats/events.h"));
	assert_false(arrow_allowed("server/jobs/supervisor.c", "server/http/handler.h"));
	assert_false(arrow_allowed("server/http/event_stream.c", "server/jobs/jobs.h"));
	assert_false(arrow_allowed("server/new_room/file.c", "server/store/store.h"));
	assert_false(arrow_allowed("api/models/models.c", "api/datasets/datasets.h"));
	assert_false(arrow_allowed("engine/gonio.h", "engine/backend/backend.h"));
	assert_false(arrow_allowed("engine/train/loop.c", "server/store/store.h"));
	assert_false(arrow_allowed("server/store/store.c", "engine/backend/backend.h"));
	assert_false(arrow_allowed("server/store/store.c", "api/routes.h"));
	assert_false(arrow_allowed("api/runs/runs.c", "tests/support/golden.h"));

	assert_false(library_allowed("engine/train/loop.c", "jansson.h"));
	assert_false(library_allowed("engine/data/index.c", "sqlite3.h"));
	assert_true(library_allowed("engine/checkpoint/safetensors.c", "jansson.h"));
	assert_true(library_allowed("server/store/store.c", "sqlite3.h"));

	assert_int_equal(check_line("engine/gonio.h", "#include \"no/such/file.h\"\n"), 1);
}

// ---------------------------------------------------------------- calls

struct symbol {
	char name[128];
	char file[256]; // of the source tree
	bool defined;
};

struct symbols {
	struct symbol *list;
	int count, objects;
};

// Where the object file of a source file lies: "engine/vit/pass.c" was compiled for the engine's library.
static void object_of(char object[PATH_SIZE], const char *source)
{
	const char *folder = "server/CMakeFiles/gonio_server.dir";
	const char *below = source;

	if (starts_with(source, "engine/")) {
		folder = "engine/CMakeFiles/gonio_engine.dir";
		below += strlen("engine/");
	} else if (starts_with(source, "server/")) {
		below += strlen("server/");
	} else if (strcmp(source, "api/main.c") == 0) {
		folder = "server/CMakeFiles/gonio.dir";
	}
	snprintf(object, PATH_SIZE, "%s/%s/%s%s.o", GN_BUILD_DIR, folder, starts_with(source, "api/") ? "__/" : "",
	         below);
}

static void read_object(struct symbols *symbols, const char *source)
{
	char object[PATH_SIZE], command[PATH_SIZE * 2], line[1024], name[128], kind;
	int read = 0;

	object_of(object, source);
	snprintf(command, sizeof command, "'%s' -P -g '%s'", GN_NM, object);
	FILE *nm = popen(command, "r"); // NOLINT(cert-env33-c): CMake's nm on a file of the build tree
	assert_non_null(nm);
	while (fgets(line, sizeof line, nm)) {
		assert_int_equal(sscanf(line, "%127s %c", name, &kind), 2);
		read++;
		if (!starts_with(name, "gn_"))
			continue;
		void *grown = realloc(symbols->list, (size_t)(symbols->count + 1) * sizeof *symbols->list);
		assert_non_null(grown);
		symbols->list = grown;
		struct symbol *symbol = &symbols->list[symbols->count++];
		snprintf(symbol->name, sizeof symbol->name, "%s", name);
		snprintf(symbol->file, sizeof symbol->file, "%s", source);
		symbol->defined = kind != 'U' && kind != 'w';
	}
	if (pclose(nm) != 0 || read == 0)
		fail_msg("no symbols of %s: %s", source, object);
	symbols->objects++;
}

static const struct symbol *definition_of(const struct symbols *symbols, const char *name)
{
	for (int i = 0; i < symbols->count; i++)
		if (symbols->list[i].defined && strcmp(symbols->list[i].name, name) == 0)
			return &symbols->list[i];
	return NULL;
}

// May a function of `from` call one of `to`?
static bool call_allowed(const char *from, const char *to)
{
	const struct room *a = room_of(from), *b = room_of(to);

	return a && b && (a == b || a->level > b->level);
}

static int check_call(const struct symbols *symbols, const struct symbol *call)
{
	const struct symbol *definition = definition_of(symbols, call->name);

	if (definition && call_allowed(call->file, definition->file))
		return 0;
	print_error("%s must not use %s of %s\n", call->file, call->name, definition ? definition->file : "no file");
	return 1;
}

static void read_objects(void *user, const char *path)
{
	const char *dot = strrchr(path, '.');

	// the CUDA backend is a plugin, loaded at run time
	if (strcmp(dot, ".c") == 0 && !starts_with(path, "engine/backend/cuda/"))
		read_object(user, path);
}

static void every_call_points_down(void **state)
{
	static const char *const folders[] = {"engine", "server", "api"};
	struct symbols symbols = {0};
	int calls = 0, wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
		for_each_source(folders[i], read_objects, &symbols);
	for (int i = 0; i < symbols.count; i++) {
		if (symbols.list[i].defined)
			continue;
		calls++;
		wrong += check_call(&symbols, &symbols.list[i]);
	}
	print_message("%d objects read, which use %d symbols\n", symbols.objects, calls);
	free(symbols.list);
	assert_true(symbols.objects > 150 && calls > 1000);
	assert_int_equal(wrong, 0);
}

static void wrong_calls_are_seen(void **state)
{
	struct symbol list[] = {{"gn_plan_make", "engine/tune/plan.c", true},
	                        {"gn_vit_forward", "engine/vit/forward.c", true},
	                        {"gn_plan_make", "engine/vit/forward.c", false},
	                        {"gn_vit_forward", "engine/tune/plan.c", false},
	                        {"gn_nowhere", "engine/tune/plan.c", false}};
	const struct symbols symbols = {list, 5, 2};

	(void)state;
	assert_int_equal(check_call(&symbols, &list[2]), 1);
	assert_int_equal(check_call(&symbols, &list[3]), 0);
	assert_int_equal(check_call(&symbols, &list[4]), 1);
	assert_false(call_allowed("api/models/views.c", "api/runs/runs.c"));
	assert_false(call_allowed("api/models/views.c", "api/datasets/datasets.c"));
	assert_false(call_allowed("server/store/store.c", "server/formats/events.c"));
	assert_true(call_allowed("server/store/store.c", "engine/base/files.c"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wrong_arrows_are_seen),
	    cmocka_unit_test(every_include_points_down),
	    cmocka_unit_test(wrong_calls_are_seen),
	    cmocka_unit_test(every_call_points_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
