#include "task/streams.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "api/services.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "event/event.h"

struct peer {
    struct streams *streams;
    struct rpc_stream *rpc;
    struct stream *stream;      // NULL: not claimed, and in `unclaimed`
    char id[STREAM_ID_MAX + 1]; // "": not named yet
    uint32_t credit;            // what it takes of our output
    uint32_t window;            // what it may send as input
    ev_timer patience;
    LIST_ENTRY(peer) link;
};

struct stream {
    struct streams *streams;
    char id[STREAM_ID_MAX + 1];
    const struct stream_user *user;
    void *arg;
    struct peer *peer; // NULL: none
    bool ended;        // by us
};

struct streams {
    struct ev_loop *loop;
    struct rpc_stream_method methods[2];
    struct map *parked;          // id -> peer that nobody has claimed
    struct map *claimed;         // id -> stream
    LIST_HEAD(, peer) unclaimed; // with those that are not named
    size_t n_unclaimed;
    bool draining, once;
};

// ---- ids ------------------------------------------------------------------------------------

static const char *const suffixes[] = {"-stdin", "-stdout", "-stderr"};

int stream_id_check(const char *id, const char *field, struct error *err)
{
    char owner[IDENT_MAX + 2]; // one more, so that a long one is refused
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        size_t len = strlen(id), tail = strlen(suffixes[i]);
        if (len < tail || strcmp(id + len - tail, suffixes[i]) != 0)
            continue;
        size_t n = len - tail < sizeof(owner) ? len - tail : sizeof(owner) - 1;
        memcpy(owner, id, n);
        owner[n] = '\0';
        return ident_check(owner, field, err);
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: a stream is called <container or exec>-stdin, -stdout or -stderr", field);
}

static bool is_input(const struct peer *p)
{
    return strcmp(p->id + strlen(p->id) - strlen(suffixes[0]), suffixes[0]) == 0;
}

// ---- peers ----------------------------------------------------------------------------------

static void peer_unpark(struct peer *p)
{
    struct streams *s = p->streams;
    ev_timer_stop(s->loop, &p->patience);
    if (p->id[0])
        map_remove(s->parked, p->id);
    LIST_REMOVE(p, link);
    s->n_unclaimed--;
}

// The rpc stream is over. Returns who had claimed it.
static struct stream *peer_free(struct peer *p)
{
    struct stream *st = p->stream;
    if (st)
        st->peer = NULL;
    else
        peer_unpark(p);
    free(p);
    return st;
}

static void peer_fail(struct peer *p, const struct error *err)
{
    log_debug("stream %s: %s", p->id[0] ? p->id : "without id", err->text);
    rpc_stream_fail(p->rpc, err);
    struct stream *st = peer_free(p);
    if (st)
        st->user->changed(st->arg);
}

static void on_patience(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct peer *p = container_of(w, struct peer, patience);
    struct error err = {0};
    if (p->id[0])
        error_set(&err, STATUS_DEADLINE_EXCEEDED,
                  "stream %s: no container or exec has used it in %.0f s", p->id,
                  STREAM_PARKED_SECONDS);
    else
        error_set(&err, STATUS_DEADLINE_EXCEEDED, "StreamInit: did not come in %.0f s",
                  STREAM_INIT_SECONDS);
    peer_fail(p, &err);
}

static void peer_wait(struct peer *p, double seconds)
{
    ev_timer_stop(p->streams->loop, &p->patience);
    event_timer_arm(p->streams->loop, &p->patience, seconds);
}

static void attach(struct stream *st, struct peer *p)
{
    p->stream = st;
    st->peer = p;
    if (st->ended)
        (void)rpc_stream_end(p->rpc); // it has not ended: half-closed peers are gone
}

// Another connection of containerd has come for the id: after its restart, maybe before we saw the
// end of the old one.
static void replace(struct stream *st, struct peer *p)
{
    struct error err = {0};
    struct peer *old = st->peer;
    if (old) {
        error_set(&err, STATUS_ABORTED, "stream %s: it was opened again", st->id);
        rpc_stream_fail(old->rpc, &err);
        peer_free(old);
    }
    peer_unpark(p);
    attach(st, p);
    if (!st->ended)
        st->user->changed(st->arg);
}

static int acknowledge(struct peer *p, struct error *err)
{
    uint8_t empty[STREAM_SMALL_MAX];
    if (rpc_stream_send(p->rpc, empty, stream_empty_encode(empty)) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "stream %s: too much waits for the peer on this connection", p->id);
    return 0;
}

static int name(struct peer *p, const char *id, struct error *err)
{
    struct streams *s = p->streams;
    if (stream_id_check(id, "StreamInit.id", err) < 0)
        return -1;
    if (map_get(s->parked, id))
        return error_set(err, STATUS_ALREADY_EXISTS, "stream %s is open already", id);
    if (map_add(s->parked, id, p) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream %s: out of memory", id);
    memcpy(p->id, id, strlen(id) + 1);
    if (acknowledge(p, err) < 0)
        return -1;
    struct stream *st = map_get(s->claimed, id);
    if (st)
        replace(st, p);
    else
        peer_wait(p, STREAM_PARKED_SECONDS);
    return 0;
}

static int take_data(struct peer *p, const struct stream_message *m, struct error *err)
{
    if (!is_input(p))
        return error_set(err, STATUS_INVALID_ARGUMENT, "stream %s: Data on a stream of output",
                         p->id);
    if (m->len > p->window)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "stream %s: %zu bytes of data where %u are allowed", p->id, m->len,
                         p->window);
    p->window -= (uint32_t)m->len;
    if (m->len)
        p->stream->user->data(m->data, m->len, p->stream->arg);
    return 0;
}

static int take_update(struct peer *p, const struct stream_message *m, struct error *err)
{
    if (is_input(p))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "stream %s: WindowUpdate on a stream of input", p->id);
    p->credit = m->update < INT_MAX - p->credit ? p->credit + m->update : INT_MAX;
    if (p->stream)
        p->stream->user->changed(p->stream->arg);
    return 0;
}

static int take_message(struct peer *p, const struct stream_message *m, struct error *err)
{
    if (!p->id[0])
        return m->kind == STREAM_INIT
                   ? name(p, m->id, err)
                   : error_set(err, STATUS_FAILED_PRECONDITION, "StreamInit must come first");
    switch (m->kind) {
    case STREAM_DATA:
        return take_data(p, m, err);
    case STREAM_UPDATE:
        return take_update(p, m, err);
    case STREAM_INIT:
        return error_set(err, STATUS_FAILED_PRECONDITION, "stream %s: a second StreamInit", p->id);
    case STREAM_EMPTY:
        break;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "stream %s: an Empty is our answer", p->id);
}

static void on_message(struct rpc_stream *rpc, const uint8_t *data, size_t len, void *arg)
{
    struct peer *p = arg;
    struct stream_message m;
    struct error err = {0};
    if (stream_message_parse(data, len, &m, &err) < 0) {
        peer_fail(p, &err);
        return;
    }
    int r = take_message(p, &m, &err);
    stream_message_done(&m);
    if (r < 0)
        peer_fail(p, &err);
}

static void on_half_closed(struct rpc_stream *rpc, void *arg)
{
    (void)rpc_stream_end(rpc); // both have ended: it is over
    struct stream *st = peer_free(arg);
    if (st)
        st->user->ended(st->arg);
}

static void on_writable(struct rpc_stream *rpc, void *arg)
{
    const struct peer *p = arg;
    if (p->stream)
        p->stream->user->changed(p->stream->arg);
}

static void on_closed(struct rpc_stream *rpc, const struct error *err, void *arg)
{
    const bool once = ((const struct peer *)arg)->streams->once;
    struct stream *st = peer_free(arg);
    if (st && err && !once)
        st->user->changed(st->arg);
    else if (st)
        st->user->ended(st->arg);
}

static const struct rpc_stream_events peer_events = {.message = on_message,
                                                     .half_closed = on_half_closed,
                                                     .writable = on_writable,
                                                     .closed = on_closed};

static int accepts(const struct streams *s, struct error *err)
{
    if (s->draining)
        return error_set(err, STATUS_UNAVAILABLE, "the task server is being stopped");
    if (s->n_unclaimed >= STREAM_PARKED_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "%zu streams are open that no container or exec uses", s->n_unclaimed);
    return 0;
}

static void on_open(struct rpc_stream *rpc, const uint8_t *payload, size_t len, void *ctx)
{
    struct streams *s = ctx;
    struct error err = {0};
    struct peer *p = accepts(s, &err) < 0 ? NULL : calloc(1, sizeof(*p));
    if (!p) {
        if (err.status == STATUS_OK)
            error_set(&err, STATUS_RESOURCE_EXHAUSTED, "no memory for the stream");
        rpc_stream_fail(rpc, &err);
        return;
    }
    *p = (struct peer){.streams = s, .rpc = rpc};
    ev_timer_init(&p->patience, on_patience, 0, 0);
    LIST_INSERT_HEAD(&s->unclaimed, p, link);
    s->n_unclaimed++;
    peer_wait(p, STREAM_INIT_SECONDS);
    rpc_stream_take(rpc, &peer_events, p);
}

// ---- streams --------------------------------------------------------------------------------

struct stream *stream_claim(struct streams *s, const char *id, const struct stream_user *user,
                            void *arg, struct error *err)
{
    struct peer *p = map_get(s->parked, id);
    if (map_get(s->claimed, id)) {
        error_set(err, STATUS_ALREADY_EXISTS, "stream %s is used by another process", id);
        return NULL;
    }
    if (!p) {
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "stream %s is not open; it must be opened before, and is kept for %.0f s", id,
                  STREAM_PARKED_SECONDS);
        return NULL;
    }
    struct stream *st = calloc(1, sizeof(*st));
    if (!st || map_add(s->claimed, id, st) < 0) {
        free(st);
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream %s: out of memory", id);
        return NULL;
    }
    *st = (struct stream){.streams = s, .user = user, .arg = arg};
    memcpy(st->id, id, strlen(id) + 1);
    peer_unpark(p);
    attach(st, p);
    return st;
}

struct stream *stream_release(struct stream *st)
{
    if (!st)
        return NULL;
    if (st->peer) {
        rpc_stream_drop(st->peer->rpc);
        peer_free(st->peer);
    }
    map_remove(st->streams->claimed, st->id);
    free(st);
    return NULL;
}

bool stream_connected(const struct stream *st)
{
    return st->peer != NULL;
}

size_t stream_room(struct stream *st)
{
    const struct peer *p = st->peer;
    if (!p || st->ended || !p->credit || !rpc_stream_room(p->rpc, STREAM_UNSENT_MAX))
        return 0;
    return p->credit < STREAM_DATA_MAX ? p->credit : STREAM_DATA_MAX;
}

void stream_send(struct stream *st, uint8_t *data, size_t len)
{
    size_t header = stream_data_header(data, len);
    st->peer->credit -= (uint32_t)len;
    // There was room. If the connection is about to close, this is lost with what is under way.
    (void)rpc_stream_send(st->peer->rpc, data - header, header + len);
}

void stream_allow(struct stream *st, size_t space)
{
    uint8_t update[STREAM_SMALL_MAX];
    struct peer *p = st->peer;
    if (!p || st->ended || space < p->window + STREAM_WINDOW / 2)
        return;
    uint32_t more = (uint32_t)space - p->window;
    // A peer that does not read gets it when it does: `changed` comes then.
    if (rpc_stream_send(p->rpc, update, stream_update_encode(update, more)) == 0)
        p->window += more;
}

void stream_end(struct stream *st)
{
    if (st->ended)
        return;
    st->ended = true;
    if (st->peer)
        (void)rpc_stream_end(st->peer->rpc); // it has not ended: half-closed peers are gone
}

// ---- all of them ----------------------------------------------------------------------------

struct streams *streams_new(struct ev_loop *loop)
{
    struct streams *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->loop = loop;
    s->methods[0] = (struct rpc_stream_method){
        .service = SERVICE_STREAMING, .method = "Stream", .open = on_open, .ctx = s};
    LIST_INIT(&s->unclaimed);
    s->parked = map_new();
    s->claimed = map_new();
    return s->parked && s->claimed ? s : streams_free(s);
}

void streams_set_once(struct streams *s)
{
    s->once = true;
}

struct streams *streams_free(struct streams *s)
{
    if (!s)
        return NULL;
    assert(!s->n_unclaimed && (!s->claimed || !map_size(s->claimed)));
    map_free(s->parked);
    map_free(s->claimed);
    free(s);
    return NULL;
}

const struct rpc_stream_method *streams_methods(const struct streams *s)
{
    return s->methods;
}

static bool drain_one(const char *id, void *value, void *arg)
{
    struct stream *st = value;
    if (st->peer)
        peer_fail(st->peer, arg);
    return true;
}

void streams_drain(struct streams *s)
{
    struct error err = {0};
    s->draining = true;
    error_set(&err, STATUS_UNAVAILABLE, "the task server is being stopped");
    while (!LIST_EMPTY(&s->unclaimed))
        peer_fail(LIST_FIRST(&s->unclaimed), &err);
    map_each(s->claimed, drain_one, &err);
}

size_t streams_parked(const struct streams *s)
{
    return s->n_unclaimed;
}
