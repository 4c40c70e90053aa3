#include "task/port_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/guest.pb-c.h"
#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "task/forward.h"

// Unsent bytes above which nothing is read from a program.
#define UNSENT_MAX (128u * 1024)

struct ports {
    struct ev_loop *loop;
    size_t n;
    const struct rpc_service *services[1];
    struct rpc_stream_method methods[2];
};

struct connection {
    struct ports *ports;
    struct rpc_stream *rpc; // NULL: it is over
    struct forward *forward;
};

static void connection_free(struct connection *c)
{
    c->ports->n--;
    if (c->rpc)
        rpc_stream_drop(c->rpc);
    forward_free(c->forward);
    free(c);
}

// ---- the stream, for the forward
// ------------------------------------------------------------------

static int stream_send(const uint8_t *data, size_t len, void *arg)
{
    struct connection *c = arg;
    return c->rpc ? rpc_stream_send(c->rpc, data, len) : -EPIPE;
}

static bool stream_room(void *arg)
{
    struct connection *c = arg;
    return c->rpc && rpc_stream_room(c->rpc, UNSENT_MAX);
}

static void stream_over(void *arg)
{
    connection_free(arg);
}

static const struct forward_ops forward_ops = {
    .send = stream_send, .room = stream_room, .over = stream_over};

// ---- what comes by it
// -------------------------------------------------------------------------------

static void on_message(struct rpc_stream *rpc, const uint8_t *data, size_t len, void *arg)
{
    (void)forward_message(((struct connection *)arg)->forward, data, len);
}

static void on_half_closed(struct rpc_stream *rpc, void *arg)
{
    forward_closed(((struct connection *)arg)->forward);
}

static void on_writable(struct rpc_stream *rpc, void *arg)
{
    forward_writable(((struct connection *)arg)->forward);
}

static void on_closed(struct rpc_stream *rpc, const struct error *err, void *arg)
{
    struct connection *c = arg;
    c->rpc = NULL;
    forward_closed(c->forward);
}

static const struct rpc_stream_events events = {.message = on_message,
                                                .half_closed = on_half_closed,
                                                .writable = on_writable,
                                                .closed = on_closed};

// ---- connecting
// -------------------------------------------------------------------------------------

// Connects. The loopback answers at once, but for a program that is slow to accept: -EINPROGRESS is
// no error then. Returns the socket or a negative errno.
static int dial_one(bool ipv6, uint16_t port)
{
    const struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int failed = 0;
    socklen_t len = sizeof failed;
    _cleanup_close_ int fd =
        socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = ipv6 ? connect(fd, (const struct sockaddr *)&v6, sizeof v6)
                 : connect(fd, (const struct sockaddr *)&v4, sizeof v4);
    if (r < 0 && errno != EINPROGRESS)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) == 0 && failed)
        return -failed;
    return take_fd(&fd);
}

// Who connects to "localhost" on the host gets through with its first address, whether the guest
// listens there or on the other.
static int dial(const Guest__ForwardRequest *req, struct error *err)
{
    int fd = dial_one(req->ipv6, (uint16_t)req->port);
    if (fd == -ECONNREFUSED)
        fd = dial_one(!req->ipv6, (uint16_t)req->port);
    return fd < 0 ? error_errno(err, fd, "port %u of the guest", (unsigned)req->port) : fd;
}

static int take_request(const uint8_t *payload, size_t len, struct error *err)
{
    Guest__ForwardRequest *req = (Guest__ForwardRequest *)api_message_decode(
        &guest__forward_request__descriptor, payload, len, err);
    if (!req)
        return -1;
    int fd = req->port >= 1 && req->port <= UINT16_MAX
                 ? dial(req, err)
                 : error_set(err, STATUS_INVALID_ARGUMENT, "port: %u is none", (unsigned)req->port);
    api_message_free(&req->base);
    return fd;
}

// Takes over the descriptor.
static int connection_new(struct ports *p, struct rpc_stream *rpc, int fd, struct error *err)
{
    struct connection *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return error_errno(err, ENOMEM, "port");
    }
    *c = (struct connection){.ports = p, .rpc = rpc};
    c->forward = forward_new(p->loop, fd, &forward_ops, c);
    if (!c->forward) {
        free(c);
        return error_errno(err, ENOMEM, "port");
    }
    rpc_stream_take(rpc, &events, c);
    p->n++;
    return 0;
}

static void on_open(struct rpc_stream *rpc, const uint8_t *payload, size_t len, void *ctx)
{
    struct ports *p = ctx;
    struct error err = {0};
    int fd = p->n < PORT_SERVER_CONNECTIONS_MAX
                 ? take_request(payload, len, &err)
                 : error_set(&err, STATUS_RESOURCE_EXHAUSTED, "%zu connections are open", p->n);
    if (fd < 0 || connection_new(p, rpc, fd, &err) < 0)
        rpc_stream_fail(rpc, &err);
}

struct ttrpc_server *port_server_new(struct ev_loop *loop, int listening)
{
    static struct ports p;
    p = (struct ports){.loop = loop};
    p.methods[0] = (struct rpc_stream_method){
        .service = SERVICE_GUEST_PORTS, .method = "Forward", .open = on_open, .ctx = &p};
    struct ttrpc_server *s = ttrpc_server_new(loop, listening, p.services);
    if (s)
        ttrpc_server_set_streams(s, p.methods);
    return s;
}
