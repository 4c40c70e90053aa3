// The requests of a ttrpc server: unary calls and streams, from the session's events to the answer.
//
// A request is in two lists, its connection's and its server's, and its id is open in the session
// as long as `conn` is set. A call whose peer is gone and whose method will still end it is in the
// server's list alone (`conn` NULL); one that outlives the server is in none (`server` NULL). It is
// freed when it ends. Streams never outlive their connection: their user is told.
#include "rpc/ttrpc_server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct server_call {
    struct request req;
    struct rpc_call call;
    size_t metadata_len;
    char metadata[]; // key NUL value NUL …
};

// ---- requests ----------------------------------------------------------------------------------

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
    struct conn *c = r->conn;
    if (s) {
        request_detach(r);
        if (c && r->stream)
            ttrpc_conn_linger(c);
        LIST_REMOVE(r, in_server);
        s->usage.requests--;
        s->usage.request_memory -= r->charged;
        ttrpc_drain_check(s);
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
    ttrpc_conn_touch(c);
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
void ttrpc_request_abandon(struct request *r, const struct error *err)
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
    c->called = true;
    ttrpc_conn_linger(c);
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
    while (m && m->service &&
           (strcmp(m->service, msg->service) != 0 || strcmp(m->method, msg->method) != 0))
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
    ttrpc_conn_linger(c);
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

const struct ttrpc_events ttrpc_server_events = {
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
    if (ttrpc_conn_unsent(c) > OUTPUT_HIGH) {
        st->starved = c->starved = true;
        return -EAGAIN;
    }
    int r = ttrpc_session_send(&c->session, st->req.id, data, len);
    ttrpc_conn_touch(c);
    return c->session.broken ? -EPIPE : r;
}

bool rpc_stream_room(struct rpc_stream *st, size_t most)
{
    struct conn *c = st->req.conn;
    if (!c || c->closing || c->failed || st->ended)
        return false;
    if (ttrpc_conn_unsent(c) <= most)
        return true;
    st->starved = c->starved = true;
    return false;
}

bool rpc_stream_end(struct rpc_stream *st)
{
    struct conn *c = st->req.conn;
    if (c && !c->closing && !st->ended) {
        ttrpc_session_send_end(&c->session, st->req.id);
        ttrpc_conn_touch(c);
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
        ttrpc_conn_touch(c);
    }
    request_free(&st->req);
}

// Tells the streams that wait for room, one after the other, as long as there is some.
void ttrpc_feed_streams(struct conn *c)
{
    struct request *r, *next;
    if (!c->starved || ttrpc_conn_unsent(c) > OUTPUT_LOW)
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
