// A gRPC server on a real socket and a client of bare frames, both on one loop that the test turns.
#ifndef TEST_GRPC_WIRE_H
#define TEST_GRPC_WIRE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "rpc/grpc.h"
#include "rpc/grpc_server.h"
#include "rpc/listen.h"

enum {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST,
    FRAME_SETTINGS,
    FRAME_PING = 6,
    FRAME_GOAWAY,
    FRAME_WINDOW,
    FRAME_CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

struct wire {
    struct ev_loop *loop;
    struct grpc_server *server;
    struct rpc_service service;
    const struct rpc_service *services[2];
    char dir[64], path[96];
    unsigned runs, cancels, drained;
    struct rpc_call *parked[64];
    unsigned parked_count;
};

// ---- the server ------------------------------------------------------------------------------

static inline void wire_echo(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    ((struct wire *)ctx)->runs++;
    rpc_call_reply(call, data, len);
}

// Answers with 64 KiB.
static inline void wire_large(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    static const uint8_t large[65536];
    ((struct wire *)ctx)->runs++;
    rpc_call_reply(call, large, sizeof large);
}

static inline void wire_cancelled(struct rpc_call *call, void *arg)
{
    ((struct wire *)arg)->cancels++;
}

static inline void wire_wait(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    ((struct wire *)ctx)->runs++;
    rpc_call_on_cancel(call, wire_cancelled, ctx);
}

// Takes no cancellation.
static inline void wire_slow(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    struct wire *w = ctx;
    w->runs++;
    if (w->parked_count < 64)
        w->parked[w->parked_count++] = call;
    else
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "full");
}

static inline void wire_start(struct wire *w)
{
    static const struct rpc_method methods[] = {{"Echo", wire_echo},
                                                {"Large", wire_large},
                                                {"Wait", wire_wait},
                                                {"Slow", wire_slow},
                                                {NULL, NULL}};
    struct error err;
    *w = (struct wire){.loop = ev_loop_new(0), .dir = "/tmp/test-grpc-XXXXXX"};
    w->service = (struct rpc_service){.name = "t.T", .methods = methods, .ctx = w};
    w->services[0] = &w->service;
    cr_assert(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/s", w->dir);
    int fd = rpc_listen_unix(w->path, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    w->server = grpc_server_new(w->loop, fd, w->services);
    cr_assert(w->server);
}

static inline void wire_stop(struct wire *w)
{
    grpc_server_free(w->server);
    ev_loop_destroy(w->loop);
    unlink(w->path);
    rmdir(w->dir);
}

static inline void wire_turn(struct wire *w)
{
    for (int i = 0; i < 3; i++)
        ev_run(w->loop, EVRUN_NOWAIT);
}

static inline void wire_on_timeout(struct ev_loop *loop, ev_timer *t, int events)
{
    ev_break(loop, EVBREAK_ONE);
}

// Runs the loop for a while.
static inline void wire_run(struct wire *w, double seconds)
{
    ev_timer t;
    ev_timer_init(&t, wire_on_timeout, seconds, 0.);
    ev_now_update(w->loop);
    ev_timer_start(w->loop, &t);
    ev_run(w->loop, 0);
    ev_timer_stop(w->loop, &t);
}

// ---- the client ------------------------------------------------------------------------------

static inline int wire_connect(struct wire *w)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    wire_turn(w);
    return fd;
}

static inline void wire_frame(struct buf *b, int type, int flags, uint32_t stream,
                              const void *payload, size_t len)
{
    const uint8_t head[9] = {
        (uint8_t)(len >> 16),    (uint8_t)(len >> 8),    (uint8_t)len,
        (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    cr_assert_eq(buf_append(b, head, sizeof head), 0);
    cr_assert_eq(buf_append(b, payload, len), 0);
}

// A literal header field without indexing.
static inline void wire_field(struct buf *b, const char *name, const char *value)
{
    const uint8_t lens[2] = {(uint8_t)strlen(name), (uint8_t)strlen(value)};
    buf_append(b, "", 1);
    buf_append(b, lens, 1);
    buf_append(b, name, lens[0]);
    buf_append(b, lens + 1, 1);
    buf_append(b, value, lens[1]);
}

static inline void wire_header_block(struct buf *b, const char *path)
{
    buf_init(b, 65536);
    buf_append(b, "\x83\x86", 2); // :method POST, :scheme http
    wire_field(b, ":path", path);
    wire_field(b, ":authority", "localhost");
    wire_field(b, "content-type", "application/grpc");
    wire_field(b, "te", "trailers");
}

static inline void wire_headers(struct buf *b, uint32_t stream, const char *path)
{
    struct buf block;
    wire_header_block(&block, path);
    wire_frame(b, FRAME_HEADERS, END_HEADERS, stream, block.data, block.len);
    buf_free(&block);
}

// A whole unary request with a short message.
static inline void wire_request(struct buf *b, uint32_t stream, const char *path,
                                const char *message)
{
    uint8_t data[64] = {0, 0, 0, 0, (uint8_t)strlen(message)};
    memcpy(data + 5, message, strlen(message));
    wire_headers(b, stream, path);
    wire_frame(b, FRAME_DATA, END_STREAM, stream, data, 5 + strlen(message));
}

static inline void wire_greeting(struct buf *b)
{
    buf_init(b, 1 << 22);
    buf_append(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    wire_frame(b, FRAME_SETTINGS, 0, 0, NULL, 0);
}

// Sends what the socket takes. Returns the number of bytes, or -1 when the server has closed.
static inline ssize_t wire_send(int fd, const void *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

// Reads what there is and adds it to `in`. Returns false when the server has closed.
static inline bool wire_receive(int fd, struct buf *in)
{
    uint8_t data[65536];
    for (;;) {
        ssize_t n = recv(fd, data, sizeof data, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        cr_assert_eq(buf_append(in, data, (size_t)n), 0);
    }
}

// Sends everything, turning the loop and reading meanwhile. Returns false when the server closed.
static inline bool wire_send_all(struct wire *w, int fd, const struct buf *b, struct buf *in)
{
    for (size_t sent = 0; sent < b->len;) {
        ssize_t n = wire_send(fd, b->data + sent, b->len - sent);
        wire_turn(w);
        if (!wire_receive(fd, in) || n < 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

// Frames of a type that have arrived; the first of them in *ret_first (may be NULL).
static inline unsigned wire_count(const struct buf *in, int type, const uint8_t **ret_first)
{
    unsigned count = 0;
    for (size_t at = 0; at + 9 <= in->len;) {
        const uint8_t *f = in->data + at;
        if (f[3] == type && count++ == 0 && ret_first)
            *ret_first = f;
        at += 9 + ((size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2]);
    }
    return count;
}

// A call on a connection that has sent its greeting. Returns true when the answer is the message.
static inline bool wire_call(struct wire *w, int fd, uint32_t stream, const char *message)
{
    struct buf out, in;
    const uint8_t *data = NULL;
    buf_init(&out, 1 << 20);
    buf_init(&in, 1 << 20);
    wire_request(&out, stream, "/t.T/Echo", message);
    bool ok = wire_send_all(w, fd, &out, &in);
    for (int i = 0; ok && i < 20 && wire_count(&in, FRAME_DATA, NULL) == 0; i++) {
        wire_turn(w);
        ok = wire_receive(fd, &in);
    }
    ok = ok && wire_count(&in, FRAME_DATA, &data) == 1 &&
         memcmp(data + 14, message, strlen(message)) == 0;
    buf_free(&out);
    buf_free(&in);
    return ok;
}

// A connection with its greeting sent.
static inline int wire_client(struct wire *w)
{
    struct buf out, in;
    int fd = wire_connect(w);
    wire_greeting(&out);
    buf_init(&in, 1 << 16);
    cr_assert(wire_send_all(w, fd, &out, &in));
    buf_free(&out);
    buf_free(&in);
    return fd;
}

// Is the server open for others?
static inline bool wire_serves(struct wire *w)
{
    int fd = wire_client(w);
    bool ok = wire_call(w, fd, 1, "ok");
    close(fd);
    wire_turn(w);
    return ok;
}

#endif
