// A ttrpc client: one connection at a time, made when a call needs it.
//
// A call's number is (generation << 32 | stream id); the generation counts connections, so a number
// is never used twice. An open call is found by its id in the session's table. When the connection
// ends the calls move to a private list first and are failed from there, because their functions
// may make new calls (on a new connection), forget others or free the client.
//
// A stream is a call whose record its user owns. It is over when its id has gone from the table
// (`number` is 0 then).
//
// Functions are called from the loop only, but for ttrpc_client_free, which says so. A write that
// fails during ttrpc_client_call is left to the io callback.
#include "rpc/ttrpc_client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "rpc/listen.h"
#include "rpc/ttrpc.h"

#define READ_MAX 65536
// Longest answer to CONNECT: "OK ", a port, a line break.
#define GREETING_MAX 32
// Longest timeout in seconds that is sent along (what int64 nanoseconds hold, rounded down).
#define TIMEOUT_MAX 9e9

struct client_call {
    struct ttrpc_client *client;
    uint64_t number;
    ev_timer timer;
    ttrpc_reply_fn fn; // NULL: it is a stream
    void *arg;
    TAILQ_ENTRY(client_call) link; // in `failing`
};

struct ttrpc_stream {
    struct client_call call;
    const struct ttrpc_stream_events *events;
    bool ended;      // our side
    bool starved;    // waits for `writable`
    bool delivering; // the client is handing on a message (and is there)
};

TAILQ_HEAD(call_list, client_call);

struct ttrpc_client {
    struct ev_loop *loop;
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    uint32_t vsock_port; // 0: the path is the server's own
    int fd;              // -1: not connected
    bool greeting;       // CONNECT is to be answered
    char greeted[GREETING_MAX];
    size_t n_greeted;
    uint32_t generation;
    ev_io io;
    struct ttrpc_session session; // initialised while connected
    struct call_list failing;
    bool starved;                    // a stream waits for room
    struct ttrpc_stream *delivering; // its message is being handed on; NULL: it was freed
    void (*closed)(void *arg);
    void *arg;
    unsigned busy;  // depth of callbacks of ours; the client is freed behind the last
    bool receiving; // inside ttrpc_session_recv: the session must not go away
    bool freed;
};

static void enter(struct ttrpc_client *c)
{
    c->busy++;
}

static void leave(struct ttrpc_client *c)
{
    if (!--c->busy && c->freed)
        free(c);
}

// Calls the function of a call that is in no list any more, and frees the call.
static void call_finish(struct client_call *call, const uint8_t *data, size_t len,
                        const struct error *err)
{
    ttrpc_reply_fn fn = call->fn;
    void *arg = call->arg;
    ev_timer_stop(call->client->loop, &call->timer);
    free(call);
    fn(data, len, err, arg);
}

static struct ttrpc_stream *stream_of(struct client_call *call)
{
    return call->fn ? NULL : container_of(call, struct ttrpc_stream, call);
}

// The stream is over; its user may free it.
static void stream_over(struct ttrpc_stream *st, const struct error *err)
{
    st->call.number = 0;
    st->events->ended(err, st->call.arg);
}

static void on_end(struct ttrpc_session *session, uint32_t id, void *owner, const uint8_t *payload,
                   size_t len, const struct error *err, void *arg)
{
    struct ttrpc_stream *st = stream_of(owner);
    struct error mine = {0};
    if (!st) {
        call_finish(owner, payload, len, err);
        return;
    }
    if (!err)
        error_set(&mine, STATUS_INTERNAL, "the peer answered a stream as if it were a call");
    stream_over(st, err ? err : &mine);
}

static void on_data(struct ttrpc_session *session, uint32_t id, void *owner, const uint8_t *data,
                    size_t len, bool end, void *arg)
{
    struct ttrpc_client *c = arg;
    struct ttrpc_stream *st = stream_of(owner);
    if (!st)
        return; // no call has Data
    c->delivering = st;
    st->delivering = true;
    if (data && len)
        st->events->message(data, len, st->call.arg);
    if (!c->delivering)
        return;
    c->delivering = NULL;
    st->delivering = false;
    if (!end)
        return;
    if (!ttrpc_session_find(session, id))
        st->call.number = 0; // we had ended before
    st->events->ended(NULL, st->call.arg);
}

static const struct ttrpc_events session_events = {.data = on_data, .end = on_end};

// Ends the connection, if there is one; its calls go to `failing`. Calls nobody.
static void disconnect(struct ttrpc_client *c)
{
    if (c->fd < 0)
        return;
    ev_io_stop(c->loop, &c->io);
    close_fd(&c->fd);
    for (size_t i = 0; i < c->session.n_open; i++) {
        struct client_call *call = c->session.open[i].owner;
        TAILQ_INSERT_TAIL(&c->failing, call, link);
    }
    // Nothing more is taken from the bytes that are being read; on_io does the rest.
    c->session.n_open = 0;
    c->session.broken = -ECANCELED;
    if (!c->receiving)
        ttrpc_session_done(&c->session);
}

static void fail_all(struct ttrpc_client *c, const struct error *err)
{
    struct client_call *call;
    while ((call = TAILQ_FIRST(&c->failing))) {
        struct ttrpc_stream *st = stream_of(call);
        TAILQ_REMOVE(&c->failing, call, link);
        if (st)
            stream_over(st, err);
        else
            call_finish(call, NULL, 0, err);
    }
}

// The peer or an error has ended the connection.
static void connection_lost(struct ttrpc_client *c, const char *why)
{
    struct error err;
    error_set(&err, STATUS_UNAVAILABLE, "connection to %s was lost: %s", c->path, why);
    disconnect(c);
    enter(c);
    fail_all(c, &err);
    if (!c->freed && c->closed)
        c->closed(c->arg);
    leave(c);
}

static size_t unsent(const struct ttrpc_client *c)
{
    size_t len;
    ttrpc_session_output(&c->session, &len);
    return len;
}

static void watch(struct ttrpc_client *c)
{
    int events = EV_READ | ((unsent(c) || c->starved) && !c->greeting ? EV_WRITE : 0);
    if (events == (c->io.events & (EV_READ | EV_WRITE)))
        return;
    ev_io_stop(c->loop, &c->io);
    ev_io_set(&c->io, c->fd, events);
    ev_io_start(c->loop, &c->io);
}

// Sends what the socket takes. Returns 0 or the negative errno of a dead connection.
static int flush(struct ttrpc_client *c)
{
    size_t len;
    const uint8_t *data;
    while (!c->greeting && (data = ttrpc_session_output(&c->session, &len))) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return -errno;
        ttrpc_session_sent(&c->session, (size_t)n);
    }
    return 0;
}

static void receive(struct ttrpc_client *c, const uint8_t *data, size_t len)
{
    enter(c);
    c->receiving = true;
    int r = ttrpc_session_recv(&c->session, data, len);
    c->receiving = false;
    if (c->freed)
        ttrpc_session_done(&c->session);
    else if (r < 0)
        connection_lost(c, strerror(-r));
    else
        watch(c);
    leave(c);
}

// Takes the answer to CONNECT from the front of what has come. Returns how many bytes it took, or
// -1: it was none.
static ssize_t greet(struct ttrpc_client *c, const uint8_t *data, size_t len)
{
    static const char good[] = "OK ";
    for (size_t i = 0; i < len; i++) {
        if (c->n_greeted == sizeof c->greeted)
            return -1;
        c->greeted[c->n_greeted++] = (char)data[i];
        if (data[i] != '\n')
            continue;
        c->greeting = false;
        return c->n_greeted > strlen(good) && memcmp(c->greeted, good, strlen(good)) == 0
                   ? (ssize_t)i + 1
                   : -1;
    }
    return (ssize_t)len;
}

static void received(struct ttrpc_client *c, const uint8_t *data, size_t len)
{
    bool greeting = c->greeting;
    ssize_t taken = greeting ? greet(c, data, len) : 0;
    if (taken < 0) {
        connection_lost(c, "it is no vsock device");
        return;
    }
    if (greeting && !c->greeting && flush(c) < 0)
        ev_feed_event(c->loop, &c->io, EV_READ | EV_WRITE);
    receive(c, data + taken, len - (size_t)taken);
}

// Lets the streams go on that wait for room. (Each may end others, and the connection.)
static void feed_streams(struct ttrpc_client *c)
{
    if (unsent(c) > TTRPC_CLIENT_UNSENT_MAX)
        return;
    c->starved = false;
    enter(c);
    for (size_t i = 0; !c->freed && c->fd >= 0 && i < c->session.n_open; i++) {
        struct ttrpc_stream *st = stream_of(c->session.open[i].owner);
        if (!st || !st->starved)
            continue;
        if (unsent(c) > TTRPC_CLIENT_UNSENT_MAX) { // one before it has filled it again
            c->starved = true;
            break;
        }
        st->starved = false;
        st->events->writable(st->call.arg);
        i = (size_t)-1; // the table may be another
    }
    if (!c->freed && c->fd >= 0)
        watch(c);
    leave(c);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct ttrpc_client *c = container_of(w, struct ttrpc_client, io);
    uint8_t data[READ_MAX];
    int r = revents & EV_WRITE ? flush(c) : 0;
    if (revents & EV_WRITE && r == 0) {
        enter(c);
        feed_streams(c);
        bool gone = c->freed || c->fd < 0;
        leave(c);
        if (gone)
            return;
    }

    // Read also after a failed write: answers may lie in the socket.
    ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
    if (n > 0) {
        received(c, data, (size_t)n);
        return;
    }
    if (n == 0)
        connection_lost(c, c->greeting ? "nobody listens in the guest" : "the peer closed it");
    else if (errno != EAGAIN && errno != EINTR)
        connection_lost(c, strerror(errno));
    else if (r < 0)
        connection_lost(c, strerror(-r));
    else
        watch(c);
}

struct ttrpc_client *ttrpc_client_new(struct ev_loop *loop, const char *path,
                                      void (*closed)(void *arg), void *arg)
{
    struct ttrpc_client *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->fd = -1;
    c->closed = closed;
    c->arg = arg;
    TAILQ_INIT(&c->failing);
    if (path_format(c->path, sizeof c->path, "%s", path) < 0) {
        free(c);
        return NULL;
    }
    return c;
}

struct ttrpc_client *ttrpc_client_new_vsock(struct ev_loop *loop, const char *path, uint32_t port,
                                            void (*closed)(void *arg), void *arg)
{
    struct ttrpc_client *c = ttrpc_client_new(loop, path, closed, arg);
    if (c)
        c->vsock_port = port;
    return c;
}

struct ttrpc_client *ttrpc_client_free(struct ttrpc_client *c)
{
    struct error err;
    if (!c)
        return NULL;
    error_set(&err, STATUS_CANCELLED, "the client of %s was closed", c->path);
    c->freed = true;
    disconnect(c);
    enter(c);
    fail_all(c, &err);
    leave(c);
    return NULL;
}

// The socket is new and takes so few bytes.
static int ask_for_port(const struct ttrpc_client *c, struct error *err)
{
    char line[GREETING_MAX];
    int n = snprintf(line, sizeof line, "CONNECT %u\n", (unsigned)c->vsock_port);
    if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
        return 0;
    return error_set(err, STATUS_UNAVAILABLE, "%s takes nothing: %s", c->path, strerror(errno));
}

int ttrpc_client_connect(struct ttrpc_client *c, struct error *err)
{
    if (c->freed)
        return error_set(err, STATUS_CANCELLED, "the client of %s was closed", c->path);
    if (c->fd >= 0)
        return 0;
    c->fd = rpc_connect_unix(c->path, err);
    if (c->fd < 0)
        return -1;
    c->greeting = c->vsock_port;
    c->n_greeted = 0;
    if (c->greeting && ask_for_port(c, err) < 0) {
        close_fd(&c->fd);
        return -1;
    }
    c->generation++;
    if (!c->generation)
        c->generation = 1;
    ttrpc_session_init(&c->session, TTRPC_CLIENT, TTRPC_CLIENT_CALLS_MAX, &session_events, c);
    ev_io_init(&c->io, on_io, c->fd, EV_READ);
    ev_io_start(c->loop, &c->io);
    return 0;
}

// Takes an open call out of wherever it is. NULL if the number means none.
static struct client_call *call_take(struct ttrpc_client *c, uint64_t number)
{
    uint32_t id = (uint32_t)number;
    struct client_call *call;
    if (c->fd >= 0 && number >> 32 == c->generation) {
        struct ttrpc_open *o = ttrpc_session_find(&c->session, id);
        call = o ? o->owner : NULL;
        ttrpc_session_forget(&c->session, id);
        return call;
    }
    TAILQ_FOREACH(call, &c->failing, link)
    {
        if (call->number == number) {
            TAILQ_REMOVE(&c->failing, call, link);
            return call;
        }
    }
    return NULL;
}

static void on_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct client_call *call = container_of(w, struct client_call, timer);
    struct ttrpc_client *c = call->client;
    struct error err;
    error_set(&err, STATUS_DEADLINE_EXCEEDED, "no answer from %s within %.3g s", c->path,
              w->repeat);
    call_take(c, call->number);
    enter(c);
    call_finish(call, NULL, 0, &err);
    leave(c);
}

static int request_fill(struct ttrpc_request *req, const char *const *metadata, double timeout,
                        struct error *err)
{
    if (timeout > 0)
        req->timeout_nano = (int64_t)((timeout < TIMEOUT_MAX ? timeout : TIMEOUT_MAX) * 1e9);
    if (timeout > 0 && !req->timeout_nano)
        req->timeout_nano = 1;
    req->metadata_len = 0;
    for (; metadata && metadata[0]; metadata += 2) {
        if (req->metadata_len == TTRPC_METADATA_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "more than %d metadata entries",
                             TTRPC_METADATA_MAX);
        req->metadata[req->metadata_len++] = (struct ttrpc_pair){metadata[0], metadata[1]};
    }
    return 0;
}

// Sends what the socket takes now. A dead connection is the loop's to find: it stays readable.
static void send_soon(struct ttrpc_client *c)
{
    if (flush(c) < 0)
        ev_feed_event(c->loop, &c->io, EV_READ | EV_WRITE);
    watch(c);
}

static int request_refused(struct ttrpc_client *c, int r, struct error *err)
{
    switch (r) {
    case -EMSGSIZE:
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "request exceeds the maximum message size of %d", TTRPC_FRAME_MAX);
    case -EBUSY:
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%d calls to %s are open, no more are allowed", TTRPC_CLIENT_CALLS_MAX,
                         c->path);
    case -ENOBUFS:
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%s does not read: too much waits to be sent", c->path);
    case -EOVERFLOW:
        return error_set(err, STATUS_UNAVAILABLE,
                         "connection to %s has used all its stream ids: try again when the open "
                         "calls have ended",
                         c->path);
    default:
        return error_errno(err, r, "cannot send a request to %s", c->path);
    }
}

// Opens the call in the session; on a connection without ids and without calls, on a new one.
static int session_request(struct ttrpc_client *c, const struct ttrpc_request *req,
                           struct client_call *call, uint32_t *ret_id, struct error *err)
{
    int r = ttrpc_session_request(&c->session, req, call, ret_id);
    if (r == -EOVERFLOW && !c->session.n_open && !c->receiving) {
        disconnect(c);
        if (ttrpc_client_connect(c, err) < 0)
            return -1;
        r = ttrpc_session_request(&c->session, req, call, ret_id);
    }
    return r < 0 ? request_refused(c, r, err) : 0;
}

uint64_t ttrpc_client_call(struct ttrpc_client *c, const char *service, const char *method,
                           const uint8_t *payload, size_t len, double timeout,
                           const char *const *metadata, ttrpc_reply_fn fn, void *arg,
                           struct error *err)
{
    struct ttrpc_request req = {
        .service = service, .method = method, .payload = payload, .payload_len = len};
    if (request_fill(&req, metadata, timeout, err) < 0 || ttrpc_client_connect(c, err) < 0)
        return 0;
    struct client_call *call = calloc(1, sizeof *call);
    if (!call) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a call to %s", c->path);
        return 0;
    }
    uint32_t id;
    if (session_request(c, &req, call, &id, err) < 0) {
        free(call);
        return 0;
    }
    *call = (struct client_call){
        .client = c, .number = (uint64_t)c->generation << 32 | id, .fn = fn, .arg = arg};
    ev_timer_init(&call->timer, on_timeout, timeout, timeout);
    if (timeout > 0) {
        ev_now_update(c->loop);
        ev_timer_start(c->loop, &call->timer);
    }
    send_soon(c);
    return call->number;
}

void ttrpc_client_forget(struct ttrpc_client *c, uint64_t number)
{
    struct client_call *call = call_take(c, number);
    if (!call)
        return;
    ev_timer_stop(c->loop, &call->timer);
    free(call);
}

// ---- streams -----------------------------------------------------------------------------------

struct ttrpc_stream *ttrpc_stream_open(struct ttrpc_client *c, const char *service,
                                       const char *method, const uint8_t *payload, size_t len,
                                       const struct ttrpc_stream_events *events, void *arg,
                                       struct error *err)
{
    const struct ttrpc_request req = {.flags = TTRPC_REMOTE_OPEN,
                                      .service = service,
                                      .method = method,
                                      .payload = payload,
                                      .payload_len = len};
    if (ttrpc_client_connect(c, err) < 0)
        return NULL;
    struct ttrpc_stream *st = calloc(1, sizeof *st);
    if (!st) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a stream to %s", c->path);
        return NULL;
    }
    uint32_t id;
    if (session_request(c, &req, &st->call, &id, err) < 0) {
        free(st);
        return NULL;
    }
    st->call =
        (struct client_call){.client = c, .number = (uint64_t)c->generation << 32 | id, .arg = arg};
    ev_timer_init(&st->call.timer, on_timeout, 0, 0);
    st->events = events;
    send_soon(c);
    return st;
}

// Is the connection that it was opened on still there?
static bool stream_lives(const struct ttrpc_stream *st)
{
    const struct ttrpc_client *c = st->call.client;
    return st->call.number && c->fd >= 0 && st->call.number >> 32 == c->generation;
}

bool ttrpc_stream_room(struct ttrpc_stream *st)
{
    if (!stream_lives(st))
        return false;
    struct ttrpc_client *c = st->call.client;
    st->starved = unsent(c) > TTRPC_CLIENT_UNSENT_MAX;
    if (st->starved) {
        c->starved = true;
        watch(c);
    }
    return !st->starved;
}

int ttrpc_stream_send(struct ttrpc_stream *st, const uint8_t *data, size_t len)
{
    if (st->ended || !stream_lives(st))
        return -EPIPE;
    struct ttrpc_client *c = st->call.client;
    int r = ttrpc_session_send(&c->session, (uint32_t)st->call.number, data, len);
    send_soon(c);
    return r == -EMSGSIZE || r == 0 ? r : -EPIPE;
}

void ttrpc_stream_end(struct ttrpc_stream *st)
{
    if (st->ended)
        return;
    st->ended = true;
    if (!stream_lives(st))
        return;
    struct ttrpc_client *c = st->call.client;
    (void)ttrpc_session_send_end(&c->session, (uint32_t)st->call.number);
    if (!ttrpc_session_find(&c->session, (uint32_t)st->call.number))
        st->call.number = 0;
    send_soon(c);
}

struct ttrpc_stream *ttrpc_stream_free(struct ttrpc_stream *st)
{
    if (!st)
        return NULL;
    ttrpc_stream_end(st);
    if (st->delivering)
        st->call.client->delivering = NULL;
    if (st->call.number) // else the client may be gone
        (void)call_take(st->call.client, st->call.number);
    free(st);
    return NULL;
}
