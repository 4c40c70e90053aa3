#include "task/guest_ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/guest.pb-c.h"
#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "net/loopback.h"
#include "rpc/acceptor.h"
#include "rpc/ttrpc_client.h"
#include "task/forward.h"

struct connection {
    struct guest_ports *ports;
    struct forward *forward;
    struct ttrpc_stream *stream;
    LIST_ENTRY(connection) link;
};

struct guest_ports {
    struct ev_loop *loop;
    struct net_loopback loopback;
    struct acceptor v4, v6;
    struct ttrpc_client *client;
    LIST_HEAD(, connection) connections;
    size_t n;
};

static void connection_free(struct connection *c)
{
    LIST_REMOVE(c, link);
    c->ports->n--;
    forward_free(c->forward);
    ttrpc_stream_free(c->stream);
    free(c);
}

static int stream_send(const uint8_t *data, size_t len, void *arg)
{
    return ttrpc_stream_send(((struct connection *)arg)->stream, data, len);
}

static bool stream_room(void *arg)
{
    return ttrpc_stream_room(((struct connection *)arg)->stream);
}

static void stream_over(void *arg)
{
    connection_free(arg);
}

static const struct forward_ops forward_ops = {
    .send = stream_send, .room = stream_room, .over = stream_over};

static void on_message(const uint8_t *data, size_t len, void *arg)
{
    (void)forward_message(((struct connection *)arg)->forward, data, len);
}

static void on_writable(void *arg)
{
    forward_writable(((struct connection *)arg)->forward);
}

static void on_ended(const struct error *err, void *arg)
{
    struct connection *c = arg;
    if (err)
        log_debug("port of a guest: %s", err->text);
    forward_closed(c->forward);
}

static const struct ttrpc_stream_events stream_events = {
    .message = on_message, .writable = on_writable, .ended = on_ended};

// What was connected to. False: it is no port.
static bool read_target(int fd, Guest__ForwardRequest *req)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t len = sizeof at;
    if (getsockname(fd, &at.any, &len) < 0)
        return false;
    req->ipv6 = at.any.sa_family == AF_INET6;
    req->port = ntohs(req->ipv6 ? at.v6.sin6_port : at.v4.sin_port);
    return req->port;
}

static struct ttrpc_stream *open_stream(struct guest_ports *p, const Guest__ForwardRequest *req,
                                        void *arg, struct error *err)
{
    size_t len = 0;
    _cleanup_free_ uint8_t *data = api_message_encode(&req->base, &len);
    if (data)
        return ttrpc_stream_open(p->client, SERVICE_GUEST_PORTS, "Forward", data, len,
                                 &stream_events, arg, err);
    error_errno(err, ENOMEM, "port");
    return NULL;
}

static void connect_to_guest(struct guest_ports *p, int fd_)
{
    _cleanup_close_ int fd = fd_;
    Guest__ForwardRequest req = GUEST__FORWARD_REQUEST__INIT;
    struct error err = {0};
    struct connection *c = p->n < GUEST_PORTS_CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c || !read_target(fd, &req)) {
        free(c);
        return;
    }
    c->ports = p;
    c->stream = open_stream(p, &req, c, &err);
    if (c->stream)
        c->forward = forward_new(p->loop, take_fd(&fd), &forward_ops, c);
    if (!c->forward) {
        log_warn("port %u of a guest: %s", (unsigned)req.port, err.text);
        ttrpc_stream_free(c->stream);
        free(c);
        return;
    }
    LIST_INSERT_HEAD(&p->connections, c, link);
    p->n++;
}

static void on_accepted_v4(struct acceptor *a, int fd)
{
    connect_to_guest(container_of(a, struct guest_ports, v4), fd);
}

static void on_accepted_v6(struct acceptor *a, int fd)
{
    connect_to_guest(container_of(a, struct guest_ports, v6), fd);
}

struct guest_ports *guest_ports_new(struct ev_loop *loop, const char *netns, const char *vsock,
                                    struct error *err)
{
    struct guest_ports *p = calloc(1, sizeof(*p));
    if (p)
        p->client = ttrpc_client_new_vsock(loop, vsock, GUEST_FORWARD_PORT, NULL, NULL);
    if (!p || !p->client) {
        free(p);
        error_errno(err, ENOMEM, "ports of a guest");
        return NULL;
    }
    p->loop = loop;
    LIST_INIT(&p->connections);
    if (net_loopback_take(netns, &p->loopback, err) < 0) {
        ttrpc_client_free(p->client);
        free(p);
        return NULL;
    }
    acceptor_start(&p->v4, loop, take_fd(&p->loopback.v4), "port", on_accepted_v4);
    if (p->loopback.v6 >= 0)
        acceptor_start(&p->v6, loop, take_fd(&p->loopback.v6), "port", on_accepted_v6);
    else
        p->v6.fd = -1;
    return p;
}

struct guest_ports *guest_ports_free(struct guest_ports *p)
{
    if (!p)
        return NULL;
    net_loopback_done(&p->loopback);
    acceptor_close(&p->v4);
    if (p->v6.fd >= 0)
        acceptor_close(&p->v6);
    while (!LIST_EMPTY(&p->connections))
        connection_free(LIST_FIRST(&p->connections));
    ttrpc_client_free(p->client);
    free(p);
    return NULL;
}
