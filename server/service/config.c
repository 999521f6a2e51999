/*
 * The configuration: see config.h. `table` is the only place where an option is described; a new
 * option is a line there and a member of struct gn_config.
 */
#include "server/service/config.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server/common/address.h"
#include "server/common/words.h"

enum option_type {
	OPTION_TEXT,   /* char[size] */
	OPTION_COUNT,  /* int64_t */
	OPTION_BYTES,  /* int64_t; K, M, G, T are powers of 1024 */
	OPTION_REAL,   /* double */
	OPTION_CHOICE, /* int-sized enum; `choices` separated by | */
	OPTION_FLAG    /* bool; the environment takes 1, true, yes, 0, false, no */
};

struct option_row {
	const char *name; /* without the dashes; GONIO_NAME with _ for - in the environment */
	enum option_type type;
	size_t offset, size;
	double low, high; /* of numbers */
	const char *fallback;
	const char *choices; /* what --help shows for the value; of a choice, its values */
	const char *help;
};

#define MEMBER(m) offsetof(struct gn_config, m), sizeof(((struct gn_config *)0)->m)
#define TIB       1099511627776.0

static const struct option_row table[] = {
    {"data", OPTION_TEXT, MEMBER(data), 0, 0, NULL, "DIR", "data directory; created if missing (required)"},
    {"listen", OPTION_TEXT, MEMBER(listen), 0, 0, "127.0.0.1:8080", "ADDRESS:PORT",
     "numeric address and port; [::1]:8080 for IPv6; port 0 chooses a free one"},
    {"device", OPTION_TEXT, MEMBER(device), 0, 0, "auto", "auto|cpu|cuda:N", "where runs and classification compute"},
    {"precision", OPTION_CHOICE, MEMBER(precision), 0, 0, "auto", "auto|fp32|tf32|bf16",
     "of matrix products; auto: bf16 on a GPU; a CPU has fp32 only"},
    {"threads", OPTION_COUNT, MEMBER(threads), 0, 4096, "0", "N", "threads of the engine; 0 uses all cores"},
    {"max-runs", OPTION_COUNT, MEMBER(max_runs), 1, 64, "1", "N", "runs that train at the same time"},
    {"max-upload", OPTION_BYTES, MEMBER(max_upload), 1024, 1024 * TIB, "64G", "BYTES", "largest request body"},
    {"max-uploads", OPTION_COUNT, MEMBER(max_uploads), 1, 64, "8", "N", "uploads that compute at once; others wait"},
    {"max-pixels", OPTION_COUNT, MEMBER(max_pixels), 1024, 4e9, "100000000", "N", "pixels of the largest image"},
    {"max-image", OPTION_BYTES, MEMBER(max_image), 1024, 1 << 30, "64M", "BYTES", "largest file of one image"},
    {"decode-memory", OPTION_BYTES, MEMBER(decode_memory), 1 << 20, 1024 * TIB, "1G", "BYTES",
     "memory for decoding images: for uploads, and for requests"},
    {"max-entries", OPTION_COUNT, MEMBER(max_entries), 1, 1e9, "4000000", "N", "files in the largest archive"},
    {"max-unpacked", OPTION_BYTES, MEMBER(max_unpacked), 1024, 1024 * TIB, "64G", "BYTES",
     "unpacked bytes of one archive"},
    {"archive-ratio", OPTION_COUNT, MEMBER(archive_ratio), 1, 1000000, "200", "N",
     "bytes unpacked for each byte of an archive, after 64M"},
    {"work-seconds", OPTION_REAL, MEMBER(work_seconds), 0.1, 86400, "5", "S",
     "computing time for one file of an archive or one form of images; every 8M add a second"},
    {"archive-memory", OPTION_BYTES, MEMBER(archive_memory), 1 << 20, TIB, "136M", "BYTES",
     "memory for the window of an archive's gzip, xz or zstd"},
    {"disk-reserve", OPTION_BYTES, MEMBER(disk_reserve), 0, 1024 * TIB, "1G", "BYTES",
     "disk space that uploads leave free"},
    {"batch-max", OPTION_COUNT, MEMBER(batch_max), 1, 1024, "32", "N", "images that are classified at once"},
    {"batch-wait-ms", OPTION_REAL, MEMBER(batch_wait_ms), 0, 1000, "2", "MS",
     "how long the first image of a batch waits for others"},
    {"model-memory", OPTION_BYTES, MEMBER(model_memory), 0, 1024 * TIB, "0", "BYTES",
     "memory for models kept ready; 0 uses a quarter of the device's"},
    {"cors", OPTION_TEXT, MEMBER(cors), 0, 0, "", "ORIGIN",
     "the origin of other sites' pages that may call the API; none by default"},
    {"log-format", OPTION_CHOICE, MEMBER(log_format), 0, 0, "text", "text|json", "form of the log lines on stderr"},
    {"log-level", OPTION_CHOICE, MEMBER(log_level), 0, 0, "info", "error|warn|info|debug",
     "the least level that is logged"},
    {"insecure", OPTION_FLAG, MEMBER(insecure), 0, 0, "0", NULL, "allow an address that other machines can reach"},
};
enum { TABLE_ROWS = sizeof table / sizeof table[0] };

/* ---------------------------------------------------------------- values ----------------------------------------- */

static double suffix_factor(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *hit = *suffix ? strchr(letters, toupper((unsigned char)*suffix)) : NULL;

	if (!*suffix)
		return 1;
	if (!hit || suffix[1])
		return NAN;
	return pow(1024, (double)(hit - letters + 1));
}

static int set_number(struct gn_config *config, const struct option_row *row, const char *text, struct gn_error *err)
{
	char *slot = (char *)config + row->offset, *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (row->type == OPTION_BYTES)
		value *= suffix_factor(end);
	if (end == text || errno || (row->type != OPTION_BYTES && *end))
		value = NAN;
	if (!(value >= row->low && value <= row->high) || (row->type != OPTION_REAL && value != floor(value)))
		return gn_fail(err, GN_INVALID, row->name, "'%s' is not a %s from %.0f to %.0f", text,
		               row->type == OPTION_REAL ? "number" : "whole number", row->low, row->high);
	if (row->type == OPTION_REAL)
		*(double *)(void *)slot = value;
	else
		*(int64_t *)(void *)slot = (int64_t)value;
	return 0;
}

static int set_choice(struct gn_config *config, const struct option_row *row, const char *text, struct gn_error *err)
{
	const char *at = row->choices;
	size_t length = strlen(text);

	gn_assert(row->size == sizeof(int));
	for (int value = 0;; value++) {
		size_t n = strcspn(at, "|");
		if (n == length && memcmp(at, text, n) == 0) {
			memcpy((char *)config + row->offset, &value, sizeof value);
			return 0;
		}
		if (!at[n])
			return gn_fail(err, GN_INVALID, row->name, "'%s' is none of %s", text, row->choices);
		at += n + 1;
	}
}

static int set_flag(struct gn_config *config, const struct option_row *row, const char *text, struct gn_error *err)
{
	bool yes = !strcmp(text, "1") || !strcmp(text, "true") || !strcmp(text, "yes");

	if (!yes && strcmp(text, "0") != 0 && strcmp(text, "false") != 0 && strcmp(text, "no") != 0)
		return gn_fail(err, GN_INVALID, row->name, "'%s' is neither true nor false", text);
	*(bool *)((char *)config + row->offset) = yes;
	return 0;
}

static int set_value(struct gn_config *config, const struct option_row *row, const char *text, struct gn_error *err)
{
	size_t length = strlen(text);

	switch (row->type) {
	case OPTION_TEXT:
		if (length >= row->size)
			return gn_fail(err, GN_INVALID, row->name, "longer than %zu characters", row->size - 1);
		memcpy((char *)config + row->offset, text, length + 1);
		return 0;
	case OPTION_COUNT:
	case OPTION_BYTES:
	case OPTION_REAL:
		return set_number(config, row, text, err);
	case OPTION_CHOICE:
		return set_choice(config, row, text, err);
	case OPTION_FLAG:
		return set_flag(config, row, text, err);
	}
	return -1;
}

/* ---------------------------------------------------------------- sources ---------------------------------------- */

static int set_defaults(struct gn_config *config, struct gn_error *err)
{
	memset(config, 0, sizeof *config);
	for (int i = 0; i < TABLE_ROWS; i++)
		if (table[i].fallback && set_value(config, &table[i], table[i].fallback, err))
			return -1;
	return 0;
}

static int set_environment(struct gn_config *config, struct gn_error *err)
{
	for (int i = 0; i < TABLE_ROWS; i++) {
		char name[64] = "GONIO_";
		const char *value;
		size_t n = strlen(name);
		for (const char *c = table[i].name; *c && n < sizeof name - 1; c++)
			name[n++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
		name[n] = '\0';
		value = getenv(name);
		if (value && set_value(config, &table[i], value, err))
			return -1;
	}
	return 0;
}

static const struct option_row *find_option(const char *name)
{
	for (int i = 0; i < TABLE_ROWS; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static int set_arguments(struct gn_config *config, int argc, char *const *argv, struct gn_error *err)
{
	for (int i = 0; i < argc; i++) {
		struct gn_long_option option;
		const struct option_row *row = gn_long_option(&option, argv[i]) ? NULL : find_option(option.name);
		const char *value;

		if (!row)
			return gn_fail(err, GN_INVALID, "command line", "unknown option '%s' (see gonio serve --help)",
			               argv[i]);
		if (option.value)
			value = option.value;
		else if (row->type == OPTION_FLAG)
			value = "1";
		else if (i + 1 < argc)
			value = argv[++i];
		else
			return gn_fail(err, GN_INVALID, row->name, "wants a value");
		if (set_value(config, row, value, err))
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- the whole -------------------------------------- */

int gn_config_parse(struct gn_config *config, int argc, char *const *argv, struct gn_error *err)
{
	struct sockaddr_storage address;
	bool loopback;

	if (set_defaults(config, err) || set_environment(config, err) || set_arguments(config, argc, argv, err))
		return -1;
	if (!config->data[0])
		return gn_fail(err, GN_INVALID, "data", "--data DIR is required");
	if (gn_address_parse(&address, &loopback, config->listen, err))
		return -1;
	if (!loopback && !config->insecure)
		return gn_fail(
		    err, GN_INVALID, "listen",
		    "other machines can reach %s, and there is no authentication: add --insecure to allow it",
		    config->listen);
	return 0;
}

bool gn_config_wants_help(int argc, char *const *argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

void gn_config_help(FILE *out)
{
	fprintf(
	    out,
	    "usage: gonio serve --data DIR [options]\n\n"
	    "Every option is also an environment variable: --batch-max is GONIO_BATCH_MAX. Sizes take K, M, G, T.\n\n");
	for (int i = 0; i < TABLE_ROWS; i++) {
		char left[64];
		snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].choices ? " " : "",
		         table[i].choices ? table[i].choices : "");
		fprintf(out, "  %-34s %s", left, table[i].help);
		if (table[i].fallback && table[i].fallback[0] && table[i].type != OPTION_FLAG)
			fprintf(out, " [%s]", table[i].fallback);
		(void)fputc('\n', out);
	}
}
