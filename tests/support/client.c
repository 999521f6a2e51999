/* See client.h. */
#include "tests/support/client.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/common/files.h"

int client_connect(const char *address)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct timeval limit = {20, 0};
	const char *colon = strrchr(address, ':');
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

int client_send(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
		if (n <= 0)
			return -1;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static char read_byte(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), 1);
	return c;
}

static void append(char **text, size_t *size, const char *bytes, size_t n)
{
	*text = realloc(*text, *size + n + 1);
	assert_non_null(*text);
	memcpy(*text + *size, bytes, n);
	*size += n;
	(*text)[*size] = '\0';
}

static void read_exactly(int fd, struct reply *reply, size_t n)
{
	char buffer[4096];

	while (n) {
		ssize_t got = recv(fd, buffer, n < sizeof buffer ? n : sizeof buffer, 0);
		assert_true(got > 0);
		append(&reply->body, &reply->bytes, buffer, (size_t)got);
		n -= (size_t)got;
	}
}

static size_t read_chunk_size(int fd)
{
	char line[32];
	size_t n = 0;

	while (n < sizeof line - 1 && (line[n] = read_byte(fd)) != '\n')
		n++;
	line[n] = '\0';
	return strtoul(line, NULL, 16);
}

void client_read(int fd, struct reply *reply, int head_request)
{
	size_t head = 0, n;
	const char *length;

	memset(reply, 0, sizeof *reply);
	append(&reply->body, &reply->bytes, "", 0);
	do {
		char c = read_byte(fd);
		append(&reply->head, &head, &c, 1);
	} while (head < 4 || memcmp(reply->head + head - 4, "\r\n\r\n", 4) != 0);
	assert_true(head > 12);
	reply->status = (int)strtol(reply->head + 9, NULL, 10);
	if (head_request || reply->status == 204 || reply->status == 304)
		return;
	length = client_header(reply, "Content-Length");
	if (length) {
		read_exactly(fd, reply, strtoul(length, NULL, 10));
		return;
	}
	while ((n = read_chunk_size(fd))) {
		read_exactly(fd, reply, n);
		read_byte(fd);
		read_byte(fd);
	}
	read_byte(fd);
	read_byte(fd);
}

void client_request(const char *address, const char *method, const char *path, const char *headers, const void *body,
                    size_t size, struct reply *reply)
{
	int fd = client_connect(address);
	char head[2048];
	int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: t\r\n%sContent-Length: %zu\r\n\r\n", method, path,
	                 headers, size);

	assert_true(n > 0 && (size_t)n < sizeof head);
	assert_int_equal(client_send(fd, head, (size_t)n), 0);
	if (size)
		client_send(fd, body, size);
	client_read(fd, reply, !strcmp(method, "HEAD"));
	close(fd);
}

const char *client_header(const struct reply *reply, const char *name)
{
	static _Thread_local char value[512];
	size_t n = strlen(name);

	for (const char *line = strchr(reply->head, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
		if (strncasecmp(line + 1, name, n) != 0 || line[1 + n] != ':')
			continue;
		line += n + 2 + strspn(line + n + 2, " ");
		snprintf(value, sizeof value, "%.*s", (int)strcspn(line, "\r\n"), line);
		return value;
	}
	return NULL;
}

void client_release(struct reply *reply)
{
	free(reply->head);
	free(reply->body);
	reply->head = reply->body = NULL;
}

void temporary_folder(char *path, size_t size)
{
	snprintf(path, size, "/tmp/gonio-test-XXXXXX");
	assert_non_null(mkdtemp(path));
}

void temporary_remove(const char *path)
{
	assert_int_equal(gn_tree_remove(path, NULL, NULL), 0);
}
