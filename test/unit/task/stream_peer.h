// containerd's side of one stream: a connection, the stream, and what came on it.
#ifndef TEST_STREAM_PEER_H
#define TEST_STREAM_PEER_H

#include <criterion/criterion.h>
#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/any.h"
#include "api/message.h"
#include "api/services.h"
#include "api/stream.h"
#include "api/streaming.pb-c.h"
#include "base/cleanup.h"
#include "rpc/listen.h"
#include "rpc/ttrpc.h"

struct stream_peer {
    struct ev_loop *loop;
    int fd;
    ev_io io;
    struct ttrpc_session session;
    uint32_t id;
    unsigned acknowledged;
    uint64_t allowed; // by WindowUpdates of the server
    size_t largest;   // Data
    struct buf got;
    bool ended, eof;
    struct error err; // of the stream
};

// Runs the loop until the condition holds; fails after 20 seconds.
#define until_in(loop_, condition)                                                                 \
    do {                                                                                           \
        double until_end_ = ev_time() + 20;                                                        \
        while (!(condition)) {                                                                     \
            cr_assert_lt(ev_time(), until_end_, "never: %s", #condition);                          \
            ev_run((loop_), EVRUN_NOWAIT);                                                         \
            usleep(200);                                                                           \
        }                                                                                          \
    } while (0)

static inline void run_in(struct ev_loop *loop, double seconds)
{
    for (double end = ev_time() + seconds; ev_time() < end; usleep(200))
        ev_run(loop, EVRUN_NOWAIT);
}

static inline void stream_peer_take(struct stream_peer *p, const Google__Any *any)
{
    struct stream_message m;
    struct error err = {0};
    if (any_is(any, ANY_EMPTY)) {
        p->acknowledged++;
        return;
    }
    size_t len;
    uint8_t *bytes = api_message_encode((const ProtobufCMessage *)any, &len);
    cr_assert_eq(stream_message_parse(bytes, len, &m, &err), 0, "%s", err.text);
    if (m.kind == STREAM_UPDATE)
        p->allowed += m.update;
    if (m.kind == STREAM_DATA && m.len)
        buf_append(&p->got, m.data, m.len);
    p->largest = m.len > p->largest ? m.len : p->largest;
    stream_message_done(&m);
    free(bytes);
}

static inline void stream_peer_data(struct ttrpc_session *s, uint32_t id, void *owner,
                                    const uint8_t *data, size_t len, bool end, void *arg)
{
    struct stream_peer *p = arg;
    struct error err = {0};
    if (data) {
        ProtobufCMessage *any = api_message_decode(&google__any__descriptor, data, len, &err);
        cr_assert(any, "%s", err.text);
        stream_peer_take(p, (const Google__Any *)any);
        api_message_free(any);
    }
    p->ended = p->ended || end;
}

static inline void stream_peer_over(struct ttrpc_session *s, uint32_t id, void *owner,
                                    const uint8_t *payload, size_t len, const struct error *err,
                                    void *arg)
{
    struct stream_peer *p = arg;
    cr_assert(err, "a stream ends by Data, not by an answer");
    p->err = *err;
}

static const struct ttrpc_events stream_peer_events = {.data = stream_peer_data,
                                                       .end = stream_peer_over};

static inline void stream_peer_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct stream_peer *p = container_of(w, struct stream_peer, io);
    static uint8_t data[65536];
    ssize_t n = recv(p->fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    p->eof = n <= 0;
    if (n <= 0)
        ev_io_stop(loop, w);
    else
        cr_assert_eq(ttrpc_session_recv(&p->session, data, (size_t)n), 0);
}

static inline void stream_peer_flush(struct stream_peer *p)
{
    size_t len;
    const uint8_t *out;
    while ((out = ttrpc_session_output(&p->session, &len))) {
        ssize_t n = send(p->fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            ev_run(p->loop, EVRUN_NOWAIT);
        else if (n < 0)
            return;
        else
            ttrpc_session_sent(&p->session, (size_t)n);
    }
}

static inline void stream_peer_send(struct stream_peer *p, const void *data, size_t len)
{
    (void)ttrpc_session_send(&p->session, p->id, data, len); // nothing, once the server has ended
    stream_peer_flush(p);
}

static inline void stream_peer_name(struct stream_peer *p, const char *id)
{
    Streaming__StreamInit init = STREAMING__STREAM_INIT__INIT;
    Google__Any any;
    size_t len;
    init.id = (char *)id;
    cr_assert_eq(any_pack(&any, ANY_STREAM_INIT, (const ProtobufCMessage *)&init), 0);
    uint8_t *bytes = api_message_encode((const ProtobufCMessage *)&any, &len);
    stream_peer_send(p, bytes, len);
    free(bytes);
    any_clear(&any);
}

// Opens a stream and, if `id` is not NULL, names it.
static inline void stream_peer_open(struct stream_peer *p, struct ev_loop *loop, const char *socket,
                                    const char *id)
{
    const struct ttrpc_request req = {
        .service = SERVICE_STREAMING, .method = "Stream", .flags = TTRPC_REMOTE_OPEN};
    struct error err = {0};
    *p = (struct stream_peer){.loop = loop};
    p->fd = rpc_connect_unix(socket, &err);
    cr_assert(p->fd >= 0, "%s", err.text);
    buf_init(&p->got, 64 << 20);
    ttrpc_session_init(&p->session, TTRPC_CLIENT, 4, &stream_peer_events, p);
    ev_io_init(&p->io, stream_peer_io, p->fd, EV_READ);
    ev_io_start(loop, &p->io);
    cr_assert_eq(ttrpc_session_request(&p->session, &req, NULL, &p->id), 0);
    stream_peer_flush(p);
    if (id)
        stream_peer_name(p, id);
}

// The same, and waits for the server's answer.
static inline void stream_peer_opened(struct stream_peer *p, struct ev_loop *loop,
                                      const char *socket, const char *id)
{
    stream_peer_open(p, loop, socket, id);
    until_in(loop, p->acknowledged || p->err.status);
    cr_assert_eq(p->err.status, STATUS_OK, "%s", p->err.text);
}

static inline void stream_peer_allow(struct stream_peer *p, uint32_t update)
{
    uint8_t bytes[STREAM_SMALL_MAX];
    stream_peer_send(p, bytes, stream_update_encode(bytes, update));
}

static inline void stream_peer_input(struct stream_peer *p, const void *data, size_t len)
{
    static uint8_t bytes[STREAM_HEADER_MAX + STREAM_DATA_MAX];
    memcpy(bytes + STREAM_HEADER_MAX, data, len);
    size_t header = stream_data_header(bytes + STREAM_HEADER_MAX, len);
    stream_peer_send(p, bytes + STREAM_HEADER_MAX - header, header + len);
}

// Also after the server's end, with which our session has forgotten the id.
static inline void stream_peer_end(struct stream_peer *p)
{
    const uint8_t end[TTRPC_HEADER_LEN] = {
        [7] = (uint8_t)p->id, TTRPC_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA};
    cr_assert_eq(send(p->fd, end, sizeof end, MSG_NOSIGNAL), (ssize_t)sizeof end);
}

static inline void stream_peer_close(struct stream_peer *p)
{
    ev_io_stop(p->loop, &p->io);
    close_fd(&p->fd);
    ttrpc_session_done(&p->session);
    buf_free(&p->got);
}

// ---- a server of streams and nothing else -------------------------------------------------------

#include "rpc/ttrpc_server.h"
#include "task/streams.h"

struct stream_place {
    char dir[64], path[96];
    struct ev_loop *loop;
    struct streams *streams;
    struct ttrpc_server *server;
};

static const struct rpc_service *const stream_no_services[] = {NULL};

static inline void stream_place_up(struct stream_place *w)
{
    struct error err = {0};
    signal(SIGPIPE, SIG_IGN);
    strcpy(w->dir, "/tmp/task-test.XXXXXX");
    cr_assert(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/s", w->dir);
    w->loop = ev_loop_new(EVFLAG_AUTO);
    w->streams = streams_new(w->loop);
    int fd = rpc_listen_unix(w->path, &err);
    cr_assert(fd >= 0, "%s", err.text);
    w->server = ttrpc_server_new(w->loop, fd, stream_no_services);
    ttrpc_server_set_streams(w->server, streams_methods(w->streams));
}

static inline void stream_place_down(struct stream_place *w)
{
    ttrpc_server_free(w->server);
    streams_free(w->streams);
    ev_loop_destroy(w->loop);
    unlink(w->path);
    cr_assert_eq(rmdir(w->dir), 0);
}

#endif
