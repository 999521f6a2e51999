/* Numeric addresses: see address.h. */
#include "server/common/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool is_loopback4(uint32_t host_order)
{
	return host_order >> 24 == 127;
}

int gn_address_parse(struct sockaddr_storage *address, bool *loopback, const char *listen, struct gn_error *err)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	const char *colon = strrchr(listen, ':');
	char host[INET6_ADDRSTRLEN + 2], *end;
	size_t length = colon ? (size_t)(colon - listen) : 0;
	unsigned long port = colon && isdigit((unsigned char)colon[1]) ? strtoul(colon + 1, &end, 10) : 65536;

	if (!length || length >= sizeof host || port > 65535 || *end)
		return gn_fail(err, GN_INVALID, "listen", "'%s' is not ADDRESS:PORT", listen);
	memset(address, 0, sizeof *address);
	memcpy(host, listen, length);
	host[length] = '\0';
	if (host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*loopback = true;
		if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1) {
			*loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
			return 0;
		}
	} else if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*loopback = is_loopback4(ntohl(v4->sin_addr.s_addr));
		return 0;
	}
	return gn_fail(err, GN_INVALID, "listen", "'%s' is not a numeric address (127.0.0.1:8080, [::1]:8080)", listen);
}
