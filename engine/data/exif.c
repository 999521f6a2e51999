/*
 * The orientation of an EXIF block: tag 0x0112 of the first directory of a TIFF file (EXIF 2.32,
 * 4.6.2 and 4.6.4). All other tags are ignored. An invalid block means "as stored", as in every
 * viewer.
 */
#include "data/image.h"

#include <string.h>

struct tiff {
	const uint8_t *bytes;
	size_t size;
	bool big_endian;
};

/* The caller has checked that the bytes are there. */
static uint32_t tiff_u16(const struct tiff *t, size_t at)
{
	const uint8_t *p = t->bytes + at;

	return t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t tiff_u32(const struct tiff *t, size_t at)
{
	uint32_t first = tiff_u16(t, at), second = tiff_u16(t, at + 2);

	return t->big_endian ? first << 16 | second : second << 16 | first;
}

static int directory_orientation(const struct tiff *t, size_t at)
{
	enum { ENTRY = 12, ORIENTATION = 0x0112, SHORT = 3 };
	uint32_t count;

	if (at > t->size || t->size - at < 2)
		return 1;
	count = tiff_u16(t, at);
	at += 2;
	for (uint32_t i = 0; i < count && t->size - at >= ENTRY; i++, at += ENTRY) {
		uint32_t value;

		if (tiff_u16(t, at) != ORIENTATION)
			continue;
		value = tiff_u16(t, at + 8);
		if (tiff_u16(t, at + 2) != SHORT || tiff_u32(t, at + 4) != 1 || value < 1 || value > 8)
			return 1;
		return (int)value;
	}
	return 1;
}

int gn_exif_orientation(const uint8_t *bytes, size_t size)
{
	struct tiff t = {.bytes = bytes, .size = size};

	if (t.size >= 6 && !memcmp(t.bytes, "Exif\0\0", 6)) {
		t.bytes += 6;
		t.size -= 6;
	}
	if (t.size < 8)
		return 1;
	if (!memcmp(t.bytes, "MM\0*", 4))
		t.big_endian = true;
	else if (memcmp(t.bytes, "II*\0", 4) != 0)
		return 1;
	return directory_orientation(&t, tiff_u32(&t, 4));
}
