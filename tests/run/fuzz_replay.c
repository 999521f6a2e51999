// Feeds files to a fuzz target without libFuzzer: every file named on the command line, and every
// file of a folder. A crash or a sanitizer report fails the run; so does finding no file at all,
// which would test nothing.
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static int replay_file(const char *path, size_t size)
{
	// Exactly as large as the input, so that AddressSanitizer sees a read past its end.
	uint8_t *data = malloc(size ? size : 1);
	FILE *file = fopen(path, "rb");

	if (!data || !file || fread(data, 1, size, file) != size)
		fail(path);
	fclose(file);
	fprintf(stderr, "replay %s (%zu bytes)\n", path, size);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static int replay(const char *path)
{
	struct stat st;
	struct dirent **entries;
	int count = 0;

	if (stat(path, &st) != 0)
		fail(path);
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);

	int n = scandir(path, &entries, NULL, alphasort);
	if (n < 0)
		fail(path);
	for (int i = 0; i < n; i++) {
		char child[4096];
		int length = snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);

		if (entries[i]->d_name[0] != '.' && length < (int)sizeof child)
			count += replay(child);
		free(entries[i]);
	}
	free(entries);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%d inputs replayed\n", count);
	return count > 0 ? 0 : 1;
}
