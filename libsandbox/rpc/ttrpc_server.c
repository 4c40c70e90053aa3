// The socket side of a ttrpc server: accept, read, write, and the limits of all of it.
//
// Objects: the server has connections, a connection has requests (ttrpc_request.c).
//
// Closing: a connection is closed only by the loop (its io and timer callbacks, the flush below) or
// by ttrpc_server_free, never from inside something that a method called. Whoever finds it unusable
// elsewhere marks it (`failed`) and leaves it to the flush.
//
// Writing: answers are appended to the session's output; the connection is put on the dirty list,
// which is flushed once per turn of the loop, before it sleeps (ev_prepare). So the answers of one
// turn leave in one write. What the socket does not take is sent when it becomes writable. The
// flush has the lowest priority: nothing that could add output runs between it and the sleep.
//
// A peer that does not read: above OUTPUT_HIGH of unsent bytes its requests are not read any more
// (and those that were read are held by the session), until less than OUTPUT_LOW are left. Answers
// to what was open already may still pile up, up to the session's own limit, where it is closed.
// Over the limit for all connections together, a connection is closed that holds more than its
// equal share; so those that behave survive those that do not, and the sum stays below twice the
// limit.
//
// A peer that does not finish a frame is closed after the frame timeout. The time does not run
// while it is us who do not read.
//
// A peer that takes nothing any more (it has closed its end): what it sent before is still read,
// and what is for it is thrown away. (containerd ends a stdin like that, behind its last bytes.)
//
// Fairness: one read of READ_MAX bytes per connection and turn; libev reports the rest again.
#include "rpc/ttrpc_server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "event/event.h"
#include "rpc/listen.h"

#define READ_MAX TTRPC_RECV_MAX
// Bytes that one send may give a vsock socket. Linux makes one packet of a send, of several pieces
// above 32 KiB (since 6.17), and devices of rust-vmm's virtio-vsock (its packet.rs) take one piece:
// the rest would be lost.
#define VSOCK_SEND_MAX (16u * 1024)

// ---- accounting --------------------------------------------------------------------------------

static void conn_account(struct conn *c)
{
    size_t now = ttrpc_session_memory(&c->session);
    c->server->usage.memory += now - c->charged;
    c->charged = now;
}

size_t ttrpc_conn_unsent(const struct conn *c)
{
    size_t len;
    ttrpc_session_output(&c->session, &len);
    return len;
}

void ttrpc_conn_touch(struct conn *c)
{
    struct ttrpc_server *s = c->server;
    if (c->closing)
        return;
    conn_account(c);
    if (c->session.broken || (s->usage.memory > s->limits.memory &&
                              c->charged > s->limits.memory / s->usage.connections))
        c->failed = true;
    if (c->dirty || (!c->failed && !ttrpc_conn_unsent(c)))
        return;
    c->dirty = true;
    TAILQ_INSERT_TAIL(&s->dirty, c, dirty_link);
    ev_prepare_start(s->loop, &s->flush);
}
// ---- connections -------------------------------------------------------------------------------

// Reads while the peer reads; writes while there is something the socket did not take, or somebody
// waits for it to have room.
static void conn_watch(struct conn *c)
{
    size_t unsent = ttrpc_conn_unsent(c);
    bool reading = c->io.events & EV_READ;
    bool held = c->session.held;
    int events = unsent || c->starved || held ? EV_WRITE : 0;
    if (!held && unsent <= (reading ? OUTPUT_HIGH : OUTPUT_LOW))
        events |= EV_READ;
    if (events != (c->io.events & (EV_READ | EV_WRITE))) {
        ev_io_stop(c->server->loop, &c->io);
        ev_io_set(&c->io, c->fd, events);
        ev_io_start(c->server->loop, &c->io);
    }

    // The frame timer runs while a frame is unfinished and we read.
    bool waiting = (events & EV_READ) && ttrpc_session_partial(&c->session);
    if (waiting && (!ev_is_active(&c->frame_timer) || c->frame != c->session.frames)) {
        c->frame = c->session.frames;
        ev_timer_stop(c->server->loop, &c->frame_timer);
        event_timer_arm(c->server->loop, &c->frame_timer, c->server->limits.frame_timeout);
    } else if (!waiting) {
        ev_timer_stop(c->server->loop, &c->frame_timer);
    }
}

// Sends what the socket takes; all of it goes nowhere if the peer takes nothing any more.
static void conn_flush(struct conn *c)
{
    size_t len;
    const uint8_t *data;
    while ((data = ttrpc_session_output(&c->session, &len))) {
        if (len > c->server->send_max)
            len = c->server->send_max;
        ssize_t n = c->deaf ? (ssize_t)len : send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
            break;
        if (n < 0) {
            c->deaf = true;
            continue;
        }
        ttrpc_session_sent(&c->session, (size_t)n);
        if ((size_t)n < len)
            break;
    }
    conn_account(c);
}

static void accept_resume(struct ttrpc_server *s)
{
    // One warning per rush.
    if (s->usage.connections <= s->limits.connections / 2)
        s->full = false;
    acceptor_resume(&s->acceptor);
}

// Ends a connection: its calls are cancelled, its streams closed. (Their functions may end other
// requests of this connection, which then find it closing.)
static void conn_close(struct conn *c, const char *why)
{
    struct ttrpc_server *s = c->server;
    struct request *r;
    struct error err;

    error_set(&err, STATUS_UNAVAILABLE, "%s", why);
    c->closing = true;
    ev_io_stop(s->loop, &c->io);
    ev_timer_stop(s->loop, &c->frame_timer);
    ev_timer_stop(s->loop, &c->linger);
    if (c->dirty)
        TAILQ_REMOVE(&s->dirty, c, dirty_link);
    LIST_REMOVE(c, link);
    close(c->fd);
    while ((r = LIST_FIRST(&c->requests)))
        ttrpc_request_abandon(r, &err);
    s->usage.memory -= c->charged;
    s->usage.connections--;
    ttrpc_session_done(&c->session);
    free(c);
    accept_resume(s);
}

static void conn_close_failed(struct conn *c)
{
    log_debug("ttrpc: closing a connection: %s",
              c->session.broken ? strerror(-c->session.broken) : "it holds too much memory");
    conn_close(c, "the connection was closed: too much waited for the peer");
}

// Takes what one read gives. False: the connection was closed.
static bool conn_read(struct conn *c)
{
    uint8_t data[READ_MAX];
    ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        conn_close(c, "the peer has closed the connection");
        return false;
    }
    ttrpc_session_recv(&c->session, data, (size_t)n);
    ttrpc_conn_touch(c);
    return true;
}

static void on_conn_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct conn *c = container_of(w, struct conn, io);
    if (!c->failed && (revents & EV_WRITE))
        conn_flush(c);
    if (!c->failed)
        ttrpc_feed_streams(c);
    if (!c->failed && c->session.held && ttrpc_conn_unsent(c) <= OUTPUT_LOW) {
        ttrpc_session_recv(&c->session, NULL, 0);
        ttrpc_conn_touch(c);
    } else if (!c->failed && (revents & EV_READ) && (w->events & EV_READ) && !conn_read(c)) {
        return;
    }
    if (c->failed)
        conn_close_failed(c);
    else
        conn_watch(c);
}

static void on_flush(struct ev_loop *loop, ev_prepare *w, int revents)
{
    struct ttrpc_server *s = container_of(w, struct ttrpc_server, flush);
    struct conn *c;
    while ((c = TAILQ_FIRST(&s->dirty))) {
        TAILQ_REMOVE(&s->dirty, c, dirty_link);
        c->dirty = false;
        if (c->failed) {
            conn_close_failed(c);
        } else {
            conn_flush(c);
            conn_watch(c);
        }
    }
    ev_prepare_stop(loop, w);
}

static void on_frame_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct conn *c = container_of(w, struct conn, frame_timer);
    log_debug("ttrpc: closing a connection with an unfinished frame");
    conn_close(c, "the peer did not finish a frame in time");
}

// Once more if something still waits to be sent or read.
static void on_linger(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct conn *c = container_of(w, struct conn, linger);
    if (ttrpc_conn_unsent(c) || ttrpc_session_partial(&c->session)) {
        ttrpc_conn_linger(c);
        return;
    }
    log_debug("ttrpc: closing a connection whose streams are over");
    conn_close(c, "the streams of the connection are over");
}

void ttrpc_conn_linger(struct conn *c)
{
    ev_timer_stop(c->server->loop, &c->linger);
    if (c->closing || c->called || !LIST_EMPTY(&c->requests))
        return;
    event_timer_arm(c->server->loop, &c->linger, c->server->limits.stream_linger);
}

// ---- accepting ---------------------------------------------------------------------------------

// Takes over the descriptor.
static void conn_new(struct ttrpc_server *s, int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    ttrpc_session_init(&c->session, TTRPC_SERVER, s->limits.requests, &ttrpc_server_events, c);
    LIST_INIT(&c->requests);
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->usage.connections++;
    ev_timer_init(&c->frame_timer, on_frame_timeout, 0., 0.);
    ev_timer_init(&c->linger, on_linger, 0., 0.);
    ev_io_init(&c->io, on_conn_io, fd, EV_READ);
    ev_io_start(s->loop, &c->io);
}

static void check_full(struct ttrpc_server *s)
{
    if (s->usage.connections < s->limits.connections)
        return;
    if (!s->full)
        log_warn("ttrpc: %zu connections are open, no more are accepted until one ends",
                 s->usage.connections);
    s->full = true;
    acceptor_hold(&s->acceptor);
}

static void on_accepted(struct acceptor *a, int fd)
{
    struct ttrpc_server *s = container_of(a, struct ttrpc_server, acceptor);
    if (rpc_peer_allowed(fd, s->limits.uid, "ttrpc", NULL))
        conn_new(s, fd);
    else
        close(fd);
    check_full(s);
}

void ttrpc_drain_check(struct ttrpc_server *s)
{
    if (s->drained && !s->usage.requests)
        ev_timer_start(s->loop, &s->drain_timer);
}

// ---- the server --------------------------------------------------------------------------------

static void on_drain_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct ttrpc_server *s = container_of(w, struct ttrpc_server, drain_timer);
    void (*drained)(void *) = s->drained;
    if (s->usage.requests || !drained)
        return;
    s->drained = NULL;
    drained(s->drained_arg);
}

static bool is_vsock(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_VSOCK;
}

struct ttrpc_server *ttrpc_server_new(struct ev_loop *loop, int listen_fd,
                                      const struct rpc_service *const *services)
{
    struct ttrpc_server *s = calloc(1, sizeof *s);
    if (!s) {
        close(listen_fd);
        return NULL;
    }
    s->loop = loop;
    s->services = services;
    s->limits = (struct ttrpc_server_limits){.connections = TTRPC_SERVER_CONNECTIONS_MAX,
                                             .requests = TTRPC_SERVER_REQUESTS_MAX,
                                             .requests_total = TTRPC_SERVER_REQUESTS_TOTAL_MAX,
                                             .memory = TTRPC_SERVER_MEMORY_MAX,
                                             .frame_timeout = TTRPC_SERVER_FRAME_TIMEOUT,
                                             .stream_linger = TTRPC_SERVER_STREAM_LINGER,
                                             .uid = geteuid()};
    s->send_max = is_vsock(listen_fd) ? VSOCK_SEND_MAX : SIZE_MAX;
    TAILQ_INIT(&s->dirty);
    ev_timer_init(&s->drain_timer, on_drain_timer, 0., 0.);
    ev_prepare_init(&s->flush, on_flush);
    ev_set_priority(&s->flush, EV_MINPRI);
    acceptor_start(&s->acceptor, loop, listen_fd, "ttrpc", on_accepted);
    return s;
}

void ttrpc_server_drain(struct ttrpc_server *s, void (*drained)(void *arg), void *arg)
{
    acceptor_close(&s->acceptor);
    s->drained = drained;
    s->drained_arg = arg;
    ttrpc_drain_check(s);
}

struct ttrpc_server *ttrpc_server_free(struct ttrpc_server *s)
{
    struct conn *c;
    struct request *r;
    if (!s)
        return NULL;
    acceptor_close(&s->acceptor);
    s->drained = NULL;
    while ((c = LIST_FIRST(&s->conns))) {
        conn_flush(c);
        conn_close(c, "the server ends");
    }
    while ((r = LIST_FIRST(&s->requests))) {
        LIST_REMOVE(r, in_server);
        r->server = NULL;
    }
    ev_prepare_stop(s->loop, &s->flush);
    ev_timer_stop(s->loop, &s->drain_timer);
    free(s);
    return NULL;
}

void ttrpc_server_set_streams(struct ttrpc_server *s, const struct rpc_stream_method *table)
{
    s->streams = table;
}

struct ttrpc_server_limits *ttrpc_server_limits(struct ttrpc_server *s)
{
    return &s->limits;
}

struct ttrpc_server_usage ttrpc_server_usage(const struct ttrpc_server *s)
{
    return s->usage;
}
