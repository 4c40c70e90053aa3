// Serves one page (the metrics) by HTTP/1.1 on listening sockets. (The protocol: rpc/http.h.)
#ifndef RPC_HTTP_SERVER_H
#define RPC_HTTP_SERVER_H

#include <ev.h>

#include "base/metrics.h"

// Most connections of a listening socket at a time; one more is told so and closed at once. (Each
// socket has its own: whoever may connect to a port cannot block the unix socket.)
#define HTTP_SERVER_CONNECTIONS_MAX 64
// Seconds from the beginning of a connection to its end: for a peer that asks or reads slowly.
#define HTTP_SERVER_SECONDS 10.0
// Most bytes of answers that wait for slow readers. (What a socket takes at once does not count;
// that is a usual page.) Over it requests are answered 503.
#define HTTP_SERVER_UNSENT_MAX (8u * 1024 * 1024)
// Seconds for which a page is given to further peers of a TCP port: everybody on the machine may
// ask there, and a page takes work that all pods wait for.
#define HTTP_SERVER_PAGE_SECONDS 1.0
// Listening sockets of one server: a unix socket and a TCP port.
#define HTTP_SERVER_LISTENERS_MAX 2

struct http_server;

// Makes the page when it is asked for. Returns 0 or a negative errno (the answer is 503 then).
typedef int (*http_page_fn)(struct buf *out, void *arg);

// A server without a socket; it does nothing while nobody asks. NULL without memory.
struct http_server *http_server_new(struct ev_loop *loop, http_page_fn page, void *arg);
// Opens the socket <dir>/<name>, whose peers must have our uid, and, unless `address` is empty, a
// loopback TCP port (rpc_listen_loopback). What cannot be opened is logged: metrics are no reason
// not to serve.
void http_server_open(struct http_server *s, const char *dir, const char *name,
                      const char *address);
// Takes over a listening non-blocking socket. `check_uid`: a unix socket.
void http_server_listen(struct http_server *s, int fd, bool check_uid);
// Closes everything. Accepts NULL. Returns NULL.
struct http_server *http_server_free(struct http_server *s);

// Open connections and bytes that wait for readers.
unsigned http_server_connections(const struct http_server *s);
size_t http_server_unsent(const struct http_server *s);
// Adds METRIC_SCRAPES_REFUSED. Accepts NULL.
void http_server_metrics(const struct http_server *s, struct metrics_page *p);
// For tests: HTTP_SERVER_SECONDS, to be changed before the loop runs.
void http_server_set_seconds(struct http_server *s, double seconds);

#endif
