// A ttrpc client: one connection at a time, made when a call needs it.
//
// A call's number is (generation << 32 | stream id); the generation counts connections, so a number
// is never used twice. An open call is found by its id in the session's table. When the connection
// ends the calls move to a private list first and are failed from there, because their functions
// may make new calls (on a new connection), forget others or free the client.
//
// Functions are called from the loop only, but for ttrpc_client_free, which says so. A write that
// fails during ttrpc_client_call is left to the io callback.
#include "rpc/ttrpc_client.h"

#include <errno.h>
#include <stdbool.h>
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
// Longest timeout in seconds that is sent along (what int64 nanoseconds hold, rounded down).
#define TIMEOUT_MAX 9e9

struct client_call {
    struct ttrpc_client *client;
    uint64_t number;
    ev_timer timer;
    ttrpc_reply_fn fn;
    void *arg;
    TAILQ_ENTRY(client_call) link; // in `failing`
};

TAILQ_HEAD(call_list, client_call);

struct ttrpc_client {
    struct ev_loop *loop;
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    int fd; // -1: not connected
    uint32_t generation;
    ev_io io;
    struct ttrpc_session session; // initialised while connected
    struct call_list failing;
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

static void on_end(struct ttrpc_session *session, uint32_t id, void *owner, const uint8_t *payload,
                   size_t len, const struct error *err, void *arg)
{
    call_finish(owner, payload, len, err);
}

static const struct ttrpc_events session_events = {.end = on_end};

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
        TAILQ_REMOVE(&c->failing, call, link);
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

static void watch(struct ttrpc_client *c)
{
    size_t len;
    ttrpc_session_output(&c->session, &len);
    int events = EV_READ | (len ? EV_WRITE : 0);
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
    while ((data = ttrpc_session_output(&c->session, &len))) {
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

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct ttrpc_client *c = container_of(w, struct ttrpc_client, io);
    uint8_t data[READ_MAX];
    int r = revents & EV_WRITE ? flush(c) : 0;

    // Read also after a failed write: answers may lie in the socket.
    ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
    if (n > 0) {
        receive(c, data, (size_t)n);
        return;
    }
    if (n == 0)
        connection_lost(c, "the peer closed it");
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

int ttrpc_client_connect(struct ttrpc_client *c, struct error *err)
{
    if (c->freed)
        return error_set(err, STATUS_CANCELLED, "the client of %s was closed", c->path);
    if (c->fd >= 0)
        return 0;
    c->fd = rpc_connect_unix(c->path, err);
    if (c->fd < 0)
        return -1;
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
    call->client = c;
    call->number = (uint64_t)c->generation << 32 | id;
    call->fn = fn;
    call->arg = arg;
    ev_timer_init(&call->timer, on_timeout, timeout, timeout);
    if (timeout > 0) {
        ev_now_update(c->loop);
        ev_timer_start(c->loop, &call->timer);
    }
    // A dead connection is the loop's to find: it stays readable.
    if (flush(c) < 0)
        ev_feed_event(c->loop, &c->io, EV_READ | EV_WRITE);
    watch(c);
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
