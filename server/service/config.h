/*
 * The configuration of `gonio serve`. One table (config.c) of name, environment variable, type,
 * bounds, default and help serves the command line, the environment and --help. The command line
 * has priority over the environment, and the environment over the default.
 */
#ifndef GN_SERVER_CONFIG_H
#define GN_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "gonio.h"
#include "server/common/log.h"

struct gn_config {
	char data[1024]; /* --data: the folder of all data */
	/* --listen: "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:80"; port 0 chooses a free one */
	char listen[128];
	char device[32]; /* --device: auto, cpu, cuda:N */
	/* --precision: of classification, and of jobs that request none */
	enum gn_precision precision;
	int64_t threads;     /* --threads: of the engine; 0 is all */
	int64_t max_runs;    /* --max-runs: workers at once */
	int64_t max_upload;  /* --max-upload: bytes of one request body */
	int64_t max_uploads; /* --max-uploads: that compute at once; others wait */
	int64_t max_pixels;  /* --max-pixels: of one image */
	int64_t max_image;   /* --max-image: bytes of one image's file */
	/* --decode-memory: bytes for decoding, in uploads and in requests each */
	int64_t decode_memory;
	int64_t max_entries;   /* --max-entries: of one archive */
	int64_t max_unpacked;  /* --max-unpacked: bytes of one archive's entries together */
	int64_t archive_ratio; /* --archive-ratio: bytes out per byte in */
	/* --work-seconds: on one entry of an archive, or one form of images */
	double work_seconds;
	/* --archive-memory: bytes for the window of gzip, xz or zstd */
	int64_t archive_memory;
	/* --disk-reserve: bytes that stay free; an upload that would use them gets 507 */
	int64_t disk_reserve;
	int64_t batch_max; /* --batch-max: images that are classified at once */
	/* --batch-wait-ms: how long the first image of a batch waits for others */
	double batch_wait_ms;
	/* --model-memory: bytes for models kept ready; 0 is a quarter of the device's memory */
	int64_t model_memory;
	char cors[256]; /* --cors: the one origin that browsers may call from; "" none */
	enum gn_log_format log_format;
	enum gn_log_level log_level;
	bool insecure; /* --insecure: allows an address that other machines can reach */
};

/* Fills *config from defaults, the environment and argv (the words after "serve"). On an error,
 * err->where names the option. gn_config_wants_help handles --help. */
int gn_config_parse(struct gn_config *config, int argc, char *const *argv, struct gn_error *err);
/* True when argv asks for --help or -h. */
bool gn_config_wants_help(int argc, char *const *argv);
/* Prints the table for people. */
void gn_config_help(FILE *out);

#endif
