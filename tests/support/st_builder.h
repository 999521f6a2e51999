/*
 * Makes small safetensors files for tests: name a tensor, give its shape, and it is filled with
 * values that depend on the name, so that a tensor in the wrong place is detected.
 */
#ifndef ST_BUILDER_H
#define ST_BUILDER_H

#include "gonio.h"

struct st_builder {
	char *header; /* JSON so far, without the braces */
	uint8_t *data;
	size_t header_size, data_size;
};

/* Adds a tensor of dtype F32. values may be NULL. The shape ends with 0. */
void st_add(struct st_builder *b, const char *name, const float *values, const int64_t *shape);
#define ST_ADD(b, name, ...) st_add(b, name, NULL, (const int64_t[]){__VA_ARGS__, 0})
/* The value that element i of a tensor without values has. */
float st_value(const char *name, size_t i);
/* Writes the file and releases the builder. metadata: a JSON object as text, or NULL. */
void st_write(struct st_builder *b, const char *path, const char *metadata);
/* A new folder under /tmp, and its removal with the plain files in it. */
void st_folder(char folder[64]);
void st_folder_remove(const char *folder);
/* How many files a folder holds. */
int st_folder_count(const char *folder);

/* A whole ViT in timm's names, width 8, two blocks of hidden width 16, patch 2, image 4, 3 classes;
 * heads: 2. skip: a name to leave out, or NULL. */
void st_add_timm(struct st_builder *b, const char *skip);
/* Import options that say nothing but the number of heads. */
struct gn_import_options st_options(int heads);

#endif
