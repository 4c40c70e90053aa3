// A gRPC client for tests: an nghttp2 client session back to back with the session under test, a
// clock that stands still until it is set, and a service with a method of each kind.
#ifndef TEST_GRPC_PEER_H
#define TEST_GRPC_PEER_H

#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "rpc/grpc_internal.h"

#if NGHTTP2_VERSION_NUM >= 0x013c00
#define peer_submit_request nghttp2_submit_request2
#else
#define peer_submit_request nghttp2_submit_request
#endif

#define PEER_REPLIES 64
#define PEER_PARKED  40000

// What came back on one stream. `shape` has a letter per frame: H headers, D data, T trailers with
// the end of the stream, E headers with the end of the stream, R reset.
struct peer_reply {
    int32_t stream;
    char shape[64];
    size_t frames;
    char headers[2048]; // "name: value\n" for every field
    uint8_t *data;
    size_t room;
    size_t len;
    uint32_t reset;
    bool closed;
};

struct peer_body {
    const uint8_t *data;
    size_t len, sent;
    bool open; // no END_STREAM at the end
};

struct peer {
    struct grpc_session *server;
    struct grpc_usage usage;
    uint64_t now;
    unsigned wakes;
    nghttp2_session *client;
    size_t chunk; // bytes per piece in either direction
    bool dead;    // the session asked to be closed
    struct error err;
    struct peer_reply replies[PEER_REPLIES];
    size_t reply_count;
    struct peer_body bodies[PEER_REPLIES];
    size_t body_count;
    int goaways;
    int32_t goaway_last[4];
    uint32_t goaway_code;
    unsigned ping_acks;
    nghttp2_settings_entry settings[16];
    size_t setting_count;
    // The service.
    struct rpc_call *parked[PEER_PARKED];
    size_t parked_count;
    unsigned runs, cancels;
    uint8_t seen[512];
    size_t seen_len;
};

// ---- the service -----------------------------------------------------------------------------

static inline void peer_echo(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    struct peer *p = ctx;
    p->runs++;
    p->seen_len = len;
    memcpy(p->seen, data, len < sizeof p->seen ? len : sizeof p->seen);
    rpc_call_reply(call, data, len);
}

static inline void peer_cancelled(struct rpc_call *call, void *arg)
{
    struct peer *p = arg;
    p->cancels++;
    for (size_t i = 0; i < p->parked_count; i++)
        if (p->parked[i] == call)
            p->parked[i] = p->parked[--p->parked_count];
}

static inline void peer_park(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    struct peer *p = ctx;
    p->runs++;
    p->parked[p->parked_count++] = call;
}

static inline void peer_wait(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    peer_park(call, data, len, ctx);
    rpc_call_on_cancel(call, peer_cancelled, ctx);
}

static inline void peer_meta(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    char key[128] = "";
    memcpy(key, data, len < sizeof key - 1 ? len : sizeof key - 1);
    const char *value = rpc_call_metadata(call, key);
    if (value)
        rpc_call_reply(call, (const uint8_t *)value, strlen(value));
    else
        rpc_call_failf(call, STATUS_NOT_FOUND, "no metadata %s", key);
}

static inline void peer_fail(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    rpc_call_failf(call, STATUS_ALREADY_EXISTS, "100%% \"caf\xc3\xa9\"\n");
}

static inline const struct rpc_service *const *peer_services(struct peer *p)
{
    static const struct rpc_method methods[] = {{"Echo", peer_echo}, {"Wait", peer_wait},
                                                {"Slow", peer_park}, {"Meta", peer_meta},
                                                {"Fail", peer_fail}, {NULL, NULL}};
    static struct rpc_service service = {.name = "t.T", .methods = methods};
    static const struct rpc_service *const services[] = {&service, NULL};
    service.ctx = p;
    return services;
}

// ---- the client ------------------------------------------------------------------------------

static inline struct peer_reply *peer_reply(struct peer *p, int32_t stream)
{
    for (size_t i = 0; i < p->reply_count; i++)
        if (p->replies[i].stream == stream)
            return &p->replies[i];
    if (p->reply_count == PEER_REPLIES)
        return NULL;
    p->replies[p->reply_count].stream = stream;
    return &p->replies[p->reply_count++];
}

static inline void peer_shape(struct peer_reply *r, char c)
{
    if (r && r->frames < sizeof r->shape - 1)
        r->shape[r->frames++] = c;
}

static inline int peer_on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct peer *p = arg;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS: {
        struct peer_reply *r = peer_reply(p, frame->hd.stream_id);
        bool first = frame->headers.cat == NGHTTP2_HCAT_RESPONSE;
        peer_shape(r, first ? (end ? 'E' : 'H') : (end ? 'T' : '?'));
        break;
    }
    case NGHTTP2_DATA:
        peer_shape(peer_reply(p, frame->hd.stream_id), end ? '!' : 'D');
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
            p->setting_count = frame->settings.niv;
            memcpy(p->settings, frame->settings.iv,
                   frame->settings.niv * sizeof *frame->settings.iv);
        }
        break;
    case NGHTTP2_PING:
        p->ping_acks += frame->hd.flags & NGHTTP2_FLAG_ACK ? 1 : 0;
        break;
    case NGHTTP2_GOAWAY:
        if (p->goaways < 4)
            p->goaway_last[p->goaways] = frame->goaway.last_stream_id;
        p->goaways++;
        p->goaway_code = frame->goaway.error_code;
        break;
    case NGHTTP2_RST_STREAM: {
        struct peer_reply *r = peer_reply(p, frame->hd.stream_id);
        peer_shape(r, 'R');
        if (r)
            r->reset = frame->rst_stream.error_code;
        break;
    }
    default:
        break;
    }
    return 0;
}

static inline int peer_on_header(nghttp2_session *h2, const nghttp2_frame *frame,
                                 const uint8_t *name, size_t name_len, const uint8_t *value,
                                 size_t value_len, uint8_t flags, void *arg)
{
    struct peer_reply *r = peer_reply(arg, frame->hd.stream_id);
    if (r) {
        size_t len = strlen(r->headers);
        snprintf(r->headers + len, sizeof r->headers - len, "%s: %s\n", (const char *)name,
                 (const char *)value);
    }
    return 0;
}

static inline int peer_on_data(nghttp2_session *h2, uint8_t flags, int32_t stream,
                               const uint8_t *data, size_t len, void *arg)
{
    struct peer_reply *r = peer_reply(arg, stream);
    if (r) {
        if (r->len + len > r->room) { // doubled: a sanitizer copies at each realloc
            r->room = 2 * (r->len + len);
            r->data = realloc(r->data, r->room);
        }
        memcpy(r->data + r->len, data, len);
        r->len += len;
    }
    return 0;
}

static inline int peer_on_close(nghttp2_session *h2, int32_t stream, uint32_t code, void *arg)
{
    struct peer_reply *r = peer_reply(arg, stream);
    if (r)
        r->closed = true;
    return 0;
}

static inline uint64_t peer_clock(void *arg)
{
    return ((struct peer *)arg)->now;
}

static inline void peer_wake(void *arg)
{
    ((struct peer *)arg)->wakes++;
}

static inline nghttp2_session *peer_client_new(struct peer *p)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session *client;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, peer_on_frame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, peer_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, peer_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, peer_on_close);
    nghttp2_option_new(&option);
    nghttp2_option_set_peer_max_concurrent_streams(option, 100000);
    nghttp2_session_client_new2(&client, callbacks, p, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return client;
}

static inline void peer_init(struct peer *p)
{
    p->now = 1000000;
    p->chunk = 1 << 20;
    struct grpc_session_config config = {.services = peer_services(p),
                                         .usage = &p->usage,
                                         .clock = peer_clock,
                                         .wake = peer_wake,
                                         .arg = p};
    p->server = grpc_session_new(&config);
    cr_assert(p->server);
    p->client = peer_client_new(p);
    cr_assert_eq(nghttp2_submit_settings(p->client, NGHTTP2_FLAG_NONE, NULL, 0), 0);
}

// A peer with a finished handshake. Free it with peer_free.
static inline struct peer *peer_new(void);

// Gives bytes to the session under test in pieces.
static inline void peer_give(struct peer *p, const uint8_t *data, size_t len)
{
    while (len > 0 && !p->dead) {
        size_t n = len < p->chunk ? len : p->chunk;
        // An exact copy, so that a sanitizer sees reads past the end.
        uint8_t *copy = malloc(n);
        memcpy(copy, data, n);
        p->dead = grpc_session_receive(p->server, copy, n, &p->err) < 0;
        free(copy);
        data += n;
        len -= n;
    }
}

static inline bool peer_take(struct peer *p)
{
    uint8_t out[4096];
    size_t n = grpc_session_send(p->server, out, p->chunk < sizeof out ? p->chunk : sizeof out);
    if (n > 0)
        cr_assert_geq(grpc_h2_receive(p->client, out, n), 0);
    return n > 0;
}

// Moves bytes both ways until there are none.
static inline void peer_pump(struct peer *p)
{
    for (bool moved = true; moved && !p->dead;) {
        const uint8_t *data;
        moved = false;
        grpc_ssize n;
        while ((n = grpc_h2_send(p->client, &data)) > 0) {
            peer_give(p, data, (size_t)n);
            moved = true;
        }
        while (!p->dead && peer_take(p))
            moved = true;
    }
}

static inline struct peer *peer_new(void)
{
    struct peer *p = calloc(1, sizeof *p);
    cr_assert(p);
    peer_init(p);
    peer_pump(p);
    return p;
}

static inline void peer_free(struct peer *p)
{
    grpc_session_free(p->server);
    cr_assert_eq(p->usage.calls, 0);
    cr_assert_eq(p->usage.received, 0);
    cr_assert_eq(p->usage.pending, 0);
    nghttp2_session_del(p->client);
    for (size_t i = 0; i < p->reply_count; i++)
        free(p->replies[i].data);
    free(p);
}

static inline grpc_ssize peer_read_body(nghttp2_session *h2, int32_t stream, uint8_t *out,
                                        size_t size, uint32_t *flags, nghttp2_data_source *source,
                                        void *arg)
{
    struct peer_body *b = source->ptr;
    size_t n = b->len - b->sent < size ? b->len - b->sent : size;
    if (n == 0 && b->open)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(out, b->data + b->sent, n);
    b->sent += n;
    if (b->sent == b->len && !b->open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (grpc_ssize)n;
}

static inline nghttp2_nv peer_nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)name,
                        .value = (uint8_t *)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

// Sends a request as containerd does. `extra` are pairs of further fields, NULL at the end, and
// replace fields of the same name; a NULL value leaves the field out. `body` must live on. Returns
// the stream.
static inline int32_t peer_request(struct peer *p, const char *path, const void *body, size_t len,
                                   bool open, const char *const *extra)
{
    nghttp2_nv nv[300] = {peer_nv(":method", "POST"),
                          peer_nv(":scheme", "http"),
                          peer_nv(":path", path),
                          peer_nv(":authority", "localhost"),
                          peer_nv("content-type", "application/grpc"),
                          peer_nv("user-agent", "grpc-go/1.80.0"),
                          peer_nv("te", "trailers")};
    size_t n = 7;
    for (; extra && *extra; extra += 2) {
        size_t at = 0;
        while (at < 7 && strcmp((char *)nv[at].name, extra[0]) != 0)
            at++;
        nv[at < 7 ? at : n++] = peer_nv(extra[0], extra[1]);
    }
    struct peer_body *b = &p->bodies[p->body_count++ % PEER_REPLIES];
    *b = (struct peer_body){.data = body, .len = len, .open = open};
    grpc_data_provider provider = {.source.ptr = b, .read_callback = peer_read_body};
    int32_t stream =
        peer_submit_request(p->client, NULL, nv, n, len > 0 || open ? &provider : NULL, NULL);
    cr_assert_gt(stream, 0);
    return stream;
}

// A unary call with one message, up to its answer if there is one yet.
static inline struct peer_reply *peer_call(struct peer *p, const char *path, const void *message,
                                           size_t len, const char *const *extra)
{
    uint8_t *body = malloc(len + 5);
    body[0] = 0;
    for (int i = 0; i < 4; i++)
        body[1 + i] = (uint8_t)(len >> (24 - 8 * i));
    memcpy(body + 5, message, len);
    int32_t stream = peer_request(p, path, body, len + 5, false, extra);
    peer_pump(p);
    free(body);
    return peer_reply(p, stream);
}

// Lets time pass to a moment and acts on it.
static inline void peer_at(struct peer *p, uint64_t when)
{
    p->now = when;
    if (!p->dead && grpc_session_deadline(p->server) <= when)
        p->dead = grpc_session_expire(p->server, &p->err) < 0;
    peer_pump(p);
}

#define cr_expect_reply(r, form, fields)                                                           \
    do {                                                                                           \
        cr_expect_str_eq((r)->shape, form);                                                        \
        cr_expect_str_eq((r)->headers, fields);                                                    \
        cr_expect((r)->closed);                                                                    \
    } while (0)

#endif
