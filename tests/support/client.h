/* A small HTTP client over one loopback connection, and temporary folders, for the tests of the
 * service. */
#ifndef GN_TEST_CLIENT_H
#define GN_TEST_CLIENT_H

#include <stddef.h>

struct reply {
	int status;
	char *head; /* status line and headers */
	char *body; /* NUL-terminated */
	size_t bytes;
};
/* Connects to "127.0.0.1:PORT". */
int client_connect(const char *address);
/* Sends every byte; returns -1 when the server has closed. */
int client_send(int fd, const void *bytes, size_t size);
/* Reads one answer (Content-Length or chunked). head_request: no body follows. Fails the test on
 * anything else. */
void client_read(int fd, struct reply *reply, int head_request);
/* One request on a connection of its own. headers: lines with CRLF each, or "". */
void client_request(const char *address, const char *method, const char *path, const char *headers, const void *body,
                    size_t size, struct reply *reply);
/* The value of a header, or NULL; in a buffer that the next call overwrites. */
const char *client_header(const struct reply *reply, const char *name);
void client_release(struct reply *reply);

/* A new folder under /tmp; remove it with temporary_remove. */
void temporary_folder(char *path, size_t size);
void temporary_remove(const char *path);

#endif
