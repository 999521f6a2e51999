/* See names.h. */
#include "data/names.h"

#include <string.h>
#include <strings.h>

/* The length of the printable character at p, 0 if the bytes there are none: RFC 3629, without C0,
 * DEL and C1 controls. */
static size_t character_length(const unsigned char *p)
{
	uint32_t c = p[0], least;
	size_t length;

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f;
	if (c >= 0xc2 && c <= 0xdf) {
		length = 2;
		least = 0xa0;
		c &= 0x1f;
	} else if ((c & 0xf0) == 0xe0) {
		length = 3;
		least = 0x800;
		c &= 0x0f;
	} else if (c >= 0xf0 && c <= 0xf4) {
		length = 4;
		least = 0x10000;
		c &= 0x07;
	} else {
		return 0;
	}
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c >= least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? length : 0;
}

bool gn_name_escapes(const char *path)
{
	if (path[0] == '/')
		return true;
	while (*path) {
		size_t length = strcspn(path, "/");

		if (length == 2 && !memcmp(path, "..", 2))
			return true;
		path += length;
		path += *path == '/';
	}
	return false;
}

/* NULL, or why one component is not allowed. */
static const char *check_component(const char *name, size_t length)
{
	if (length > GN_NAME_MAX)
		return "a folder or file name of more than 1024 bytes";
	for (size_t i = 0, step; i < length; i += step) {
		step = character_length((const unsigned char *)name + i);
		if (!step)
			return "unsafe name: control characters, or not UTF-8";
	}
	return NULL;
}

const char *gn_name_clean(char *out, const char *path)
{
	size_t used = 0;

	if (strlen(path) > GN_PATH_MAX)
		return "a path of more than 4096 bytes";
	while (*path) {
		size_t length = strcspn(path, "/");
		bool empty = length == 0 || (length == 1 && path[0] == '.');
		const char *why = empty ? NULL : check_component(path, length);

		if (why)
			return why;
		if (!empty) {
			if (used)
				out[used++] = '/';
			memcpy(out + used, path, length);
			used += length;
		}
		path += length;
		path += *path == '/';
	}
	out[used] = '\0';
	return used ? NULL : "an entry without a name";
}

static bool component_is(const char *name, size_t length, const char *wanted)
{
	return length == strlen(wanted) && !strncasecmp(name, wanted, length);
}

bool gn_name_skipped(const char *path)
{
	while (*path) {
		size_t length = strcspn(path, "/");

		if (path[0] == '.' || component_is(path, length, "__MACOSX") ||
		    component_is(path, length, "Thumbs.db") || component_is(path, length, "desktop.ini"))
			return true;
		path += length;
		path += *path == '/';
	}
	return false;
}

bool gn_name_image(const char *path)
{
	static const char *const endings[] = {"jpg",  "jpeg", "jpe",  "jfif", "png", "webp", "gif", "bmp", "tif",
	                                      "tiff", "heic", "heif", "avif", "jp2", "jxl",  "ppm", "pgm"};
	const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');

	for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
		if (!strcasecmp(dot + 1, endings[i]))
			return true;
	return false;
}

void gn_name_show(char *out, size_t room, const char *path)
{
	size_t used = 0;

	while (*path) {
		size_t length = character_length((const unsigned char *)path), needed = length ? length : 4;

		if (used + needed >= room)
			break;
		if (length)
			memcpy(out + used, path, length);
		else
			snprintf(out + used, 5, "\\x%02x", (unsigned)(unsigned char)*path);
		used += needed;
		path += length ? length : 1;
	}
	out[used] = '\0';
}
