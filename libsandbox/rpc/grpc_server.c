// Sockets for gRPC sessions.
//
// A connection is one libev watcher, one timer and one session. Everything happens in the
// connection's own two callbacks; a method that ends a call at another time only feeds an event to
// the watcher (session_wake), so a connection is never closed under somebody's feet.
//
// Fairness: a callback reads READ_SIZE bytes at most and writes WRITE_ROUNDS buffers at most, then
// the loop turns. While the peer does not take our bytes nothing is read from it: what it makes us
// answer stays bounded by one read. (Answers that wait for an HTTP/2 window are the session's
// matter and do not stop reading, since the window update must get through.) A peer that takes
// nothing for STALL_SECONDS is disconnected.
//
// The life of a connection can be longer than its socket's: calls whose methods take no
// cancellation keep it until they are over, with fd -1.
#include "rpc/grpc_server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "event/event.h"
#include "rpc/acceptor.h"
#include "rpc/grpc.h"
#include "rpc/listen.h"

#define READ_SIZE    (64 * 1024)
#define WRITE_SIZE   (32 * 1024)
#define WRITE_ROUNDS 8
#define STALL_MS     120000
// The same while draining: nobody waits long for a peer that does not read its last answers.
#define STALL_DRAIN_MS 5000

struct grpc_conn {
    struct grpc_server *server;
    LIST_ENTRY(grpc_conn) link;
    int fd; // -1: closed, waits for methods that still run
    pid_t peer;
    ev_io io;
    ev_timer timer;
    struct grpc_session *session;
    uint8_t *out; // WRITE_SIZE bytes while there is something to write
    size_t out_len, out_sent;
    uint64_t progress; // when the peer last took a byte, or there was one again
    bool busy;         // inside one of our callbacks
};

struct grpc_server {
    struct ev_loop *loop;
    struct acceptor acceptor;
    ev_timer settled; // calls `drained` from a clean stack
    const struct rpc_service *const *services;
    struct grpc_usage usage;
    LIST_HEAD(, grpc_conn) conns;
    unsigned open; // those with a socket
    bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
    uint8_t in[READ_SIZE];
};

static uint64_t clock_ms(void *arg)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

// ---- the end ---------------------------------------------------------------------------------

static void server_check_drained(struct grpc_server *s)
{
    if (s->draining && LIST_EMPTY(&s->conns) && !ev_is_active(&s->settled))
        ev_timer_start(s->loop, &s->settled);
}

static void on_settled(struct ev_loop *loop, ev_timer *w, int events)
{
    struct grpc_server *s = w->data;
    void (*drained)(void *) = s->drained;
    s->drained = NULL;
    if (drained)
        drained(s->drained_arg);
}

static void conn_free(struct grpc_conn *c)
{
    struct grpc_server *s = c->server;
    c->busy = true; // what methods do now wakes nobody
    grpc_session_free(c->session);
    ev_io_stop(s->loop, &c->io);
    ev_timer_stop(s->loop, &c->timer);
    if (c->fd >= 0) {
        close_fd(&c->fd);
        s->open--;
    }
    LIST_REMOVE(c, link);
    free(c->out);
    free(c);
}

// Closes the socket, and frees the connection unless methods still run.
static void conn_close(struct grpc_conn *c)
{
    struct grpc_server *s = c->server;
    const char *reason = grpc_session_reason(c->session);
    if (reason)
        log_warn("grpc: closed the connection of process %d: %s", (int)c->peer, reason);
    ev_io_stop(s->loop, &c->io);
    ev_timer_stop(s->loop, &c->timer);
    close_fd(&c->fd);
    s->open--;
    free(take_ptr(c->out));
    c->out_len = c->out_sent = 0;
    grpc_session_close(c->session);
    if (grpc_session_calls(c->session) == 0)
        conn_free(c);
    server_check_drained(s);
}

// ---- reading and writing ---------------------------------------------------------------------

// Fetches the next bytes to write once the last ones are gone. out_len is 0 when there are none.
// Returns 0, or -1 without memory.
static int conn_fill(struct grpc_conn *c)
{
    if (c->out_sent < c->out_len)
        return 0;
    if (!c->out && !(c->out = malloc(WRITE_SIZE)))
        return -1;
    c->out_sent = 0;
    c->out_len = grpc_session_send(c->session, c->out, WRITE_SIZE);
    c->progress = clock_ms(NULL);
    if (c->out_len == 0)
        free(take_ptr(c->out));
    return 0;
}

// Writes until the socket takes no more, nothing is left, or enough was done for one turn; out_len
// is 0 exactly when nothing is left. Returns 0, or -1 when the connection is dead.
static int conn_write(struct grpc_conn *c)
{
    for (int round = 0; round < WRITE_ROUNDS; round++) {
        if (conn_fill(c) < 0)
            return -1;
        if (c->out_len == 0)
            return 0;
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        c->out_sent += (size_t)n;
        c->progress = clock_ms(NULL);
    }
    return conn_fill(c);
}

// Reads one piece. Returns 0, or -1 when the connection is over (errors of the peer are logged).
static int conn_read(struct grpc_conn *c)
{
    struct grpc_server *s = c->server;
    ssize_t n = recv(c->fd, s->in, sizeof s->in, 0);
    if (n == 0)
        return -1;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    struct error err;
    if (grpc_session_receive(c->session, s->in, (size_t)n, &err) == 0)
        return 0;
    log_warn("grpc: closed the connection of process %d: %s", (int)c->peer, err.text);
    return -1;
}

static uint64_t stall_deadline(const struct grpc_conn *c)
{
    if (c->out_len == 0)
        return GRPC_NEVER;
    return c->progress + (c->server->draining ? STALL_DRAIN_MS : STALL_MS);
}

// Sets the watchers as the state of the connection asks for.
static void conn_rearm(struct grpc_conn *c)
{
    struct ev_loop *loop = c->server->loop;
    int events = c->out_len > 0 ? EV_WRITE : EV_READ;
    if (!ev_is_active(&c->io) || (c->io.events & (EV_READ | EV_WRITE)) != events) {
        ev_io_stop(loop, &c->io);
        ev_io_set(&c->io, c->fd, events);
        ev_io_start(loop, &c->io);
    }
    uint64_t when = grpc_session_deadline(c->session), stall = stall_deadline(c);
    if (stall < when)
        when = stall;
    uint64_t at = clock_ms(NULL);
    // libev: a repeat of 0 stops the timer.
    c->timer.repeat = when == GRPC_NEVER ? 0. : when > at ? (double)(when - at) / 1000. : 0.001;
    ev_timer_again(loop, &c->timer);
}

// The end of each callback: writes what has come up, then closes or waits for more.
static void conn_settle(struct grpc_conn *c, bool dead)
{
    if (!dead && conn_write(c) < 0)
        dead = true;
    if (!dead && c->out_len == 0 && grpc_session_finished(c->session))
        dead = true;
    if (dead)
        conn_close(c);
    else
        conn_rearm(c);
}

static void on_io(struct ev_loop *loop, ev_io *w, int events)
{
    struct grpc_conn *c = w->data;
    if (c->fd < 0) {
        // Woken by the last method that still ran.
        struct grpc_server *s = c->server;
        if (grpc_session_calls(c->session) == 0)
            conn_free(c);
        server_check_drained(s);
        return;
    }
    c->busy = true;
    bool dead = false;
    if (c->out_len > 0)
        dead = conn_write(c) < 0;
    if (!dead && c->out_len == 0 && events & EV_READ)
        dead = conn_read(c) < 0;
    c->busy = false;
    conn_settle(c, dead);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
    struct grpc_conn *c = w->data;
    struct error err;
    uint64_t at = clock_ms(NULL);
    bool dead = false;
    c->busy = true;
    if (at >= stall_deadline(c)) {
        log_warn("grpc: closed the connection of process %d: it reads nothing", (int)c->peer);
        dead = true;
    } else if (at >= grpc_session_deadline(c->session) &&
               grpc_session_expire(c->session, &err) < 0) {
        log_warn("grpc: closed the connection of process %d: %s", (int)c->peer, err.text);
        dead = true;
    }
    c->busy = false;
    conn_settle(c, dead);
}

static void session_wake(void *arg)
{
    struct grpc_conn *c = arg;
    if (!c->busy)
        ev_feed_event(c->server->loop, &c->io, EV_WRITE);
}

static uint64_t session_clock(void *arg)
{
    return clock_ms(arg);
}

// ---- accepting -------------------------------------------------------------------------------

// Takes over the descriptor.
static void conn_new(struct grpc_server *s, int fd, pid_t peer)
{
    struct grpc_conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->peer = peer;
    c->progress = clock_ms(NULL);
    ev_io_init(&c->io, on_io, fd, EV_READ);
    ev_timer_init(&c->timer, on_timer, 0., 0.);
    c->io.data = c->timer.data = c;
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->open++;
    struct grpc_session_config config = {
        .services = s->services,
        .usage = &s->usage,
        .clock = session_clock,
        .wake = session_wake,
        .arg = c,
    };
    c->session = grpc_session_new(&config);
    if (!c->session)
        conn_free(c);
    else
        conn_settle(c, false); // sends our SETTINGS
}

static void on_accepted(struct acceptor *a, int accepted)
{
    struct grpc_server *s = container_of(a, struct grpc_server, acceptor);
    _cleanup_close_ int fd = accepted;
    pid_t peer = 0;
    if (s->open >= GRPC_SERVER_CONNECTIONS_MAX)
        log_debug("grpc: refused a connection over the limit of %d", GRPC_SERVER_CONNECTIONS_MAX);
    else if (rpc_peer_allowed(fd, geteuid(), "grpc", &peer))
        conn_new(s, take_fd(&fd), peer);
}

struct grpc_server *grpc_server_new(struct ev_loop *loop, int listen_fd,
                                    const struct rpc_service *const *services)
{
    struct grpc_server *s = calloc(1, sizeof *s);
    if (!s) {
        close(listen_fd);
        return NULL;
    }
    s->loop = loop;
    s->services = services;
    LIST_INIT(&s->conns);
    ev_timer_init(&s->settled, on_settled, 0., 0.);
    s->settled.data = s;
    acceptor_start(&s->acceptor, loop, listen_fd, "grpc", on_accepted);
    return s;
}

void grpc_server_drain(struct grpc_server *s, void (*drained)(void *arg), void *arg)
{
    if (s->draining)
        return;
    s->draining = true;
    s->drained = drained;
    s->drained_arg = arg;
    acceptor_close(&s->acceptor);
    struct grpc_conn *c;
    LIST_FOREACH(c, &s->conns, link)
    {
        grpc_session_drain(c->session);
        c->progress = clock_ms(NULL);
        session_wake(c);
    }
    server_check_drained(s);
}

struct grpc_server *grpc_server_free(struct grpc_server *s)
{
    if (!s)
        return NULL;
    acceptor_close(&s->acceptor);
    ev_timer_stop(s->loop, &s->settled);
    struct grpc_conn *c;
    LIST_FOREACH(c, &s->conns, link)
    c->busy = true;
    while ((c = LIST_FIRST(&s->conns)))
        conn_free(c);
    free(s);
    return NULL;
}

unsigned grpc_server_connections(const struct grpc_server *s)
{
    return s->open;
}
