// The socket side of a ttrpc server: accept, read, write, deadlines, and the bookkeeping of
// requests.
//
// Objects: the server has connections, a connection has requests (unary calls and streams). A
// request whose peer is gone and whose method will still end it stays with the server alone (`conn`
// NULL); one that outlives the server is on its own (`server` NULL) and is freed when it ends.
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
// A peer that does not read: above OUTPUT_HIGH of unsent bytes its requests are not read any more,
// until less than OUTPUT_LOW are left. Answers to what was open already may still pile up, up to
// the session's own limit, where it is closed. Over the limit for all connections together, a
// connection is closed that holds more than its equal share; so those that behave survive those
// that do not, and the sum stays below twice the limit.
//
// A peer that does not finish a frame is closed after the frame timeout. The time does not run
// while it is us who do not read.
//
// Fairness: one read of READ_MAX bytes per connection and turn; libev reports the rest again.
#include "rpc/ttrpc_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "rpc/ttrpc.h"

#define READ_MAX    65536
#define OUTPUT_HIGH (1024 * 1024)
#define OUTPUT_LOW  (256 * 1024)
// Connections accepted in one turn.
#define ACCEPT_MAX 64
// Pause after an accept that failed for want of something: doubled up to the longest.
#define ACCEPT_PAUSE_FIRST 0.001
#define ACCEPT_PAUSE_MAX   1.0

struct conn {
    struct ttrpc_server *server;
    int fd;
    bool dirty;  // on the server's dirty list
    bool failed; // to be closed by the io callback
    bool closing;
    bool starved; // a stream was refused with -EAGAIN
    ev_io io;
    ev_timer frame_timer;
    uint64_t frame; // that frame_timer runs for
    size_t charged; // part of the server's `memory`
    struct ttrpc_session session;
    LIST_HEAD(, request) requests;
    LIST_ENTRY(conn) link;
    TAILQ_ENTRY(conn) dirty_link;
};

// What calls and streams have in common; their first member.
struct request {
    struct ttrpc_server *server; // NULL: it is gone
    struct conn *conn;           // NULL: the peer is gone
    uint32_t id;
    bool stream;
    size_t charged;
    ev_timer deadline;
    LIST_ENTRY(request) in_conn;
    LIST_ENTRY(request) in_server;
};

struct server_call {
    struct request req;
    struct rpc_call call;
    size_t metadata_len;
    char metadata[]; // key NUL value NUL …
};

struct rpc_stream {
    struct request req;
    const struct rpc_stream_events *events; // NULL: not taken yet
    void *arg;
    bool ended; // our side
    bool peer_ended;
    bool starved; // waits for `writable`
};

struct ttrpc_server {
    struct ev_loop *loop;
    const struct rpc_service *const *services;
    const struct rpc_stream_method *streams;
    struct ttrpc_server_limits limits;
    int listen_fd;
    double pause; // the last one; 0 after a success
    bool full;    // the connection limit was hit
    ev_io accept_io;
    ev_timer accept_timer;
    ev_prepare flush;
    ev_timer drain_timer;
    void (*drained)(void *arg);
    void *drained_arg;
    struct ttrpc_server_usage usage;
    LIST_HEAD(, conn) conns;
    TAILQ_HEAD(, conn) dirty;
    LIST_HEAD(, request) requests; // all
};

// ---- accounting --------------------------------------------------------------------------------

static void conn_account(struct conn *c)
{
    size_t now = ttrpc_session_memory(&c->session);
    c->server->usage.memory += now - c->charged;
    c->charged = now;
}

static size_t conn_unsent(const struct conn *c)
{
    size_t len;
    ttrpc_session_output(&c->session, &len);
    return len;
}

// After bytes came or output was added.
static void conn_touch(struct conn *c)
{
    struct ttrpc_server *s = c->server;
    if (c->closing)
        return;
    conn_account(c);
    if (c->session.broken || (s->usage.memory > s->limits.memory &&
                              c->charged > s->limits.memory / s->usage.connections))
        c->failed = true;
    if (c->dirty || (!c->failed && !conn_unsent(c)))
        return;
    c->dirty = true;
    TAILQ_INSERT_TAIL(&s->dirty, c, dirty_link);
    ev_prepare_start(s->loop, &s->flush);
}

// ---- requests ----------------------------------------------------------------------------------

static void drain_check(struct ttrpc_server *s)
{
    if (s->drained && !s->usage.requests)
        ev_timer_start(s->loop, &s->drain_timer);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents);

static void request_init(struct request *r, struct conn *c, const struct ttrpc_request *msg,
                         bool stream, size_t charged)
{
    struct ttrpc_server *s = c->server;
    *r = (struct request){
        .server = s, .conn = c, .id = msg->id, .stream = stream, .charged = charged};
    s->usage.requests++;
    s->usage.request_memory += charged;
    LIST_INSERT_HEAD(&c->requests, r, in_conn);
    LIST_INSERT_HEAD(&s->requests, r, in_server);
    ttrpc_session_find(&c->session, msg->id)->owner = r;

    double after = msg->timeout_nano > 0 ? (double)msg->timeout_nano / 1e9 : 0.;
    ev_timer_init(&r->deadline, on_deadline, after, 0.);
    if (msg->timeout_nano)
        ev_timer_start(s->loop, &r->deadline);
}

// The peer is gone: the id means nothing any more.
static void request_detach(struct request *r)
{
    if (!r->conn)
        return;
    LIST_REMOVE(r, in_conn);
    r->conn = NULL;
    ev_timer_stop(r->server->loop, &r->deadline);
}

// The end of a call or stream.
static void request_free(struct request *r)
{
    struct ttrpc_server *s = r->server;
    if (s) {
        request_detach(r);
        LIST_REMOVE(r, in_server);
        s->usage.requests--;
        s->usage.request_memory -= r->charged;
        drain_check(s);
    }
    free(r);
}

// Sends the final answer of a request whose peer may be gone.
static void request_answer(struct request *r, const uint8_t *data, size_t len,
                           const struct error *err)
{
    struct conn *c = r->conn;
    if (!c || c->closing)
        return;
    if (err)
        ttrpc_session_fail(&c->session, r->id, err);
    else
        ttrpc_session_reply(&c->session, r->id, data, len);
    conn_touch(c);
}

static void call_end(struct rpc_call *call, const uint8_t *data, size_t len,
                     const struct error *err)
{
    struct server_call *sc = container_of(call, struct server_call, call);
    request_answer(&sc->req, data, len, err);
    request_free(&sc->req);
}

static const char *call_metadata(struct rpc_call *call, const char *key)
{
    struct server_call *sc = container_of(call, struct server_call, call);
    const char *end = sc->metadata + sc->metadata_len;
    for (const char *k = sc->metadata; k < end;) {
        const char *value = k + strlen(k) + 1;
        if (!strcmp(k, key))
            return value;
        k = value + strlen(value) + 1;
    }
    return NULL;
}

static const struct rpc_call_transport call_transport = {.end = call_end,
                                                         .metadata = call_metadata};

// Closes the stream's id with an error, unless our end has gone out already.
static void stream_cut(struct rpc_stream *st, const struct error *err)
{
    if (!st->ended)
        request_answer(&st->req, NULL, 0, err);
    else if (st->req.conn)
        ttrpc_session_forget(&st->req.conn->session, st->req.id);
}

// Tells the stream's user that it is over, and frees it.
static void stream_close(struct rpc_stream *st, const struct error *err)
{
    const struct rpc_stream_events *events = st->events;
    if (events && events->closed)
        events->closed(st, err, st->arg);
    request_free(&st->req);
}

// The peer is gone.
static void request_abandon(struct request *r, const struct error *err)
{
    request_detach(r);
    if (r->stream)
        stream_close((struct rpc_stream *)r, err);
    else if (rpc_call_cancel(&((struct server_call *)r)->call))
        request_free(r);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct request *r = container_of(w, struct request, deadline);
    struct error err;
    error_set(&err, STATUS_DEADLINE_EXCEEDED, "the deadline of the request has passed");
    if (!r->stream) {
        if (!rpc_call_cancel(&((struct server_call *)r)->call))
            return;
        request_answer(r, NULL, 0, &err);
        request_free(r);
    } else {
        stream_cut((struct rpc_stream *)r, &err);
        stream_close((struct rpc_stream *)r, &err);
    }
}

static void refuse(struct conn *c, uint32_t id, enum status status, const char *what)
{
    struct error err;
    error_set(&err, status, "%s", what);
    ttrpc_session_fail(&c->session, id, &err);
}

static void start_call(struct conn *c, const struct ttrpc_request *msg, size_t metadata_len)
{
    const struct rpc_service *service =
        rpc_service_find(c->server->services, msg->service, strlen(msg->service));
    if (!service) {
        struct error err;
        error_set(&err, STATUS_UNIMPLEMENTED, "service %s is not implemented", msg->service);
        ttrpc_session_fail(&c->session, msg->id, &err);
        return;
    }
    size_t size = sizeof(struct server_call) + metadata_len;
    struct server_call *sc = malloc(size);
    if (!sc) {
        refuse(c, msg->id, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    request_init(&sc->req, c, msg, false, size);
    sc->call = (struct rpc_call){.transport = &call_transport};
    sc->metadata_len = metadata_len;
    char *to = sc->metadata;
    for (size_t i = 0; i < msg->metadata_len; i++) {
        to = stpcpy(to, msg->metadata[i].key) + 1;
        to = stpcpy(to, msg->metadata[i].value) + 1;
    }
    rpc_service_dispatch(service, &sc->call, msg->method, msg->payload, msg->payload_len);
}

static void start_stream(struct conn *c, const struct ttrpc_request *msg)
{
    const struct rpc_stream_method *m = c->server->streams;
    while (m && m->service && (strcmp(m->service, msg->service) || strcmp(m->method, msg->method)))
        m++;
    if (!m || !m->service) {
        struct error err;
        error_set(&err, STATUS_UNIMPLEMENTED, "stream method %s of service %s is not implemented",
                  msg->method, msg->service);
        ttrpc_session_fail(&c->session, msg->id, &err);
        return;
    }
    struct rpc_stream *st = calloc(1, sizeof *st);
    if (!st) {
        refuse(c, msg->id, STATUS_RESOURCE_EXHAUSTED, "no memory for the stream");
        return;
    }
    uint32_t id = msg->id;
    request_init(&st->req, c, msg, true, sizeof *st);
    st->peer_ended = msg->flags & TTRPC_REMOTE_CLOSED;
    m->open(st, msg->payload, msg->payload_len, m->ctx);

    struct ttrpc_open *o = ttrpc_session_find(&c->session, id);
    if (o && o->owner == st && !st->events) {
        refuse(c, id, STATUS_UNIMPLEMENTED, "the stream was not taken");
        request_free(&st->req);
    }
}

static void on_request(struct ttrpc_session *session, const struct ttrpc_request *msg, void *arg)
{
    struct conn *c = arg;
    struct ttrpc_server *s = c->server;
    size_t metadata_len = 0;

    for (size_t i = 0; i < msg->metadata_len; i++)
        metadata_len += strlen(msg->metadata[i].key) + strlen(msg->metadata[i].value) + 2;
    if (s->usage.requests >= s->limits.requests_total)
        refuse(c, msg->id, STATUS_RESOURCE_EXHAUSTED,
               "too many requests are open on all connections together");
    else if (s->usage.request_memory + metadata_len > s->limits.memory)
        refuse(c, msg->id, STATUS_RESOURCE_EXHAUSTED,
               "open requests hold too much memory on all connections together");
    else if (msg->flags)
        start_stream(c, msg);
    else
        start_call(c, msg, metadata_len);
}

static void on_data(struct ttrpc_session *session, uint32_t id, void *owner, const uint8_t *data,
                    size_t len, bool end, void *arg)
{
    struct rpc_stream *st = owner;
    if (!st)
        return;
    if (data && st->events->message) {
        st->events->message(st, data, len, st->arg);
        // The user may have ended the stream.
        struct ttrpc_open *o = ttrpc_session_find(session, id);
        if (!o || o->owner != st)
            return;
    }
    if (!end)
        return;
    st->peer_ended = true;
    if (st->ended) {
        ttrpc_session_forget(session, id);
        stream_close(st, NULL);
    } else if (st->events->half_closed) {
        st->events->half_closed(st, st->arg);
    }
}

// A stream that an oversized frame has ended.
static void on_end(struct ttrpc_session *session, uint32_t id, void *owner, const uint8_t *payload,
                   size_t len, const struct error *err, void *arg)
{
    struct rpc_stream *st = owner;
    if (st)
        stream_close(st, err);
}

static const struct ttrpc_events session_events = {
    .request = on_request, .data = on_data, .end = on_end};

// ---- streams -----------------------------------------------------------------------------------

void rpc_stream_take(struct rpc_stream *st, const struct rpc_stream_events *events, void *arg)
{
    st->events = events;
    st->arg = arg;
}

int rpc_stream_send(struct rpc_stream *st, const uint8_t *data, size_t len)
{
    struct conn *c = st->req.conn;
    if (!c || c->closing || c->failed || st->ended)
        return -EPIPE;
    if (conn_unsent(c) > OUTPUT_HIGH) {
        st->starved = c->starved = true;
        return -EAGAIN;
    }
    int r = ttrpc_session_send(&c->session, st->req.id, data, len);
    conn_touch(c);
    return c->session.broken ? -EPIPE : r;
}

bool rpc_stream_end(struct rpc_stream *st)
{
    struct conn *c = st->req.conn;
    if (c && !c->closing && !st->ended) {
        ttrpc_session_send_end(&c->session, st->req.id);
        conn_touch(c);
    }
    st->ended = true;
    if (!st->peer_ended)
        return false;
    rpc_stream_drop(st);
    return true;
}

void rpc_stream_fail(struct rpc_stream *st, const struct error *err)
{
    stream_cut(st, err);
    request_free(&st->req);
}

void rpc_stream_drop(struct rpc_stream *st)
{
    struct conn *c = st->req.conn;
    if (c && !c->closing) {
        if (!st->ended)
            ttrpc_session_send_end(&c->session, st->req.id);
        ttrpc_session_forget(&c->session, st->req.id);
        conn_touch(c);
    }
    request_free(&st->req);
}

// Tells the streams that wait for room, one after the other, as long as there is some.
static void conn_feed_streams(struct conn *c)
{
    struct request *r, *next;
    if (!c->starved || conn_unsent(c) > OUTPUT_LOW)
        return;
    c->starved = false;
    // `writable` may end its own stream and no other of this connection's.
    for (r = LIST_FIRST(&c->requests); r; r = next) {
        next = LIST_NEXT(r, in_conn);
        struct rpc_stream *st = (struct rpc_stream *)r;
        if (!r->stream || !st->starved)
            continue;
        st->starved = false;
        if (st->events->writable)
            st->events->writable(st, st->arg);
    }
}

// ---- connections -------------------------------------------------------------------------------

// Reads while the peer reads; writes while there is something the socket did not take.
static void conn_watch(struct conn *c)
{
    size_t unsent = conn_unsent(c);
    bool reading = c->io.events & EV_READ;
    int events = unsent || c->starved ? EV_WRITE : 0;
    if (unsent <= (reading ? OUTPUT_HIGH : OUTPUT_LOW))
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
        ev_timer_set(&c->frame_timer, c->server->limits.frame_timeout, 0.);
        ev_timer_start(c->server->loop, &c->frame_timer);
    } else if (!waiting) {
        ev_timer_stop(c->server->loop, &c->frame_timer);
    }
}

// Sends what the socket takes. Returns false if the connection is dead.
static bool conn_flush(struct conn *c)
{
    size_t len;
    const uint8_t *data;
    while ((data = ttrpc_session_output(&c->session, &len))) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM;
        ttrpc_session_sent(&c->session, (size_t)n);
        if ((size_t)n < len)
            break;
    }
    conn_account(c);
    return true;
}

static void accept_resume(struct ttrpc_server *s)
{
    // One warning per rush.
    if (s->usage.connections <= s->limits.connections / 2)
        s->full = false;
    if (s->listen_fd >= 0 && !ev_is_active(&s->accept_timer))
        ev_io_start(s->loop, &s->accept_io);
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
    if (c->dirty)
        TAILQ_REMOVE(&s->dirty, c, dirty_link);
    LIST_REMOVE(c, link);
    close(c->fd);
    while ((r = LIST_FIRST(&c->requests)))
        request_abandon(r, &err);
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
    conn_touch(c);
    return true;
}

static void on_conn_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct conn *c = container_of(w, struct conn, io);
    if (!c->failed && (revents & EV_WRITE) && !conn_flush(c)) {
        conn_close(c, "the peer has closed the connection");
        return;
    }
    if (!c->failed)
        conn_feed_streams(c);
    if (!c->failed && (revents & EV_READ) && (w->events & EV_READ) && !conn_read(c))
        return;
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
        if (c->failed)
            conn_close_failed(c);
        else if (conn_flush(c))
            conn_watch(c);
        else
            conn_close(c, "the peer has closed the connection");
    }
    ev_prepare_stop(loop, w);
}

static void on_frame_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct conn *c = container_of(w, struct conn, frame_timer);
    log_debug("ttrpc: closing a connection with an unfinished frame");
    conn_close(c, "the peer did not finish a frame in time");
}

// ---- accepting ---------------------------------------------------------------------------------

static bool peer_allowed(const struct ttrpc_server *s, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    if (cred.uid == s->limits.uid)
        return true;
    log_warn("ttrpc: refused a connection of uid %u: only uid %u may connect", (unsigned)cred.uid,
             (unsigned)s->limits.uid);
    return false;
}

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
    ttrpc_session_init(&c->session, TTRPC_SERVER, s->limits.requests, &session_events, c);
    LIST_INIT(&c->requests);
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->usage.connections++;
    ev_timer_init(&c->frame_timer, on_frame_timeout, 0., 0.);
    ev_io_init(&c->io, on_conn_io, fd, EV_READ);
    ev_io_start(s->loop, &c->io);
}

// Out of descriptors or memory: the queue keeps the peers for a while.
static void accept_pause(struct ttrpc_server *s)
{
    if (s->pause == 0.)
        log_warn("ttrpc: cannot accept connections: %s", strerror(errno));
    s->pause = s->pause == 0. ? ACCEPT_PAUSE_FIRST : s->pause * 2;
    if (s->pause > ACCEPT_PAUSE_MAX)
        s->pause = ACCEPT_PAUSE_MAX;
    ev_io_stop(s->loop, &s->accept_io);
    ev_timer_set(&s->accept_timer, s->pause, 0.);
    ev_timer_start(s->loop, &s->accept_timer);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int revents)
{
    struct ttrpc_server *s = container_of(w, struct ttrpc_server, accept_io);
    for (int i = 0; i < ACCEPT_MAX; i++) {
        if (s->usage.connections >= s->limits.connections) {
            if (!s->full)
                log_warn("ttrpc: %zu connections are open, no more are accepted until one ends",
                         s->usage.connections);
            s->full = true;
            ev_io_stop(loop, w);
            return;
        }
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno != EAGAIN)
                accept_pause(s);
            return;
        }
        s->pause = 0.;
        if (peer_allowed(s, fd))
            conn_new(s, fd);
        else
            close(fd);
    }
}

static void on_accept_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct ttrpc_server *s = container_of(w, struct ttrpc_server, accept_timer);
    ev_io_start(loop, &s->accept_io);
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
    s->listen_fd = listen_fd;
    s->limits = (struct ttrpc_server_limits){.connections = TTRPC_SERVER_CONNECTIONS_MAX,
                                             .requests = TTRPC_SERVER_REQUESTS_MAX,
                                             .requests_total = TTRPC_SERVER_REQUESTS_TOTAL_MAX,
                                             .memory = TTRPC_SERVER_MEMORY_MAX,
                                             .frame_timeout = TTRPC_SERVER_FRAME_TIMEOUT,
                                             .uid = geteuid()};
    TAILQ_INIT(&s->dirty);
    ev_timer_init(&s->accept_timer, on_accept_timer, 0., 0.);
    ev_timer_init(&s->drain_timer, on_drain_timer, 0., 0.);
    ev_prepare_init(&s->flush, on_flush);
    ev_set_priority(&s->flush, EV_MINPRI);
    ev_io_init(&s->accept_io, on_accept, listen_fd, EV_READ);
    ev_io_start(loop, &s->accept_io);
    return s;
}

static void accept_stop(struct ttrpc_server *s)
{
    ev_io_stop(s->loop, &s->accept_io);
    ev_timer_stop(s->loop, &s->accept_timer);
    close_fd(&s->listen_fd);
}

void ttrpc_server_drain(struct ttrpc_server *s, void (*drained)(void *arg), void *arg)
{
    accept_stop(s);
    s->drained = drained;
    s->drained_arg = arg;
    drain_check(s);
}

struct ttrpc_server *ttrpc_server_free(struct ttrpc_server *s)
{
    struct conn *c;
    struct request *r;
    if (!s)
        return NULL;
    accept_stop(s);
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
