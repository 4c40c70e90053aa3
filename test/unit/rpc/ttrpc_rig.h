// What the tests of the ttrpc server and client share: a loop that ticks, a socket path, a service
// whose calls can be kept, and a raw peer.
#ifndef TEST_TTRPC_RIG_H
#define TEST_TTRPC_RIG_H

#include <criterion/criterion.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "rpc/listen.h"
#include "rpc/ttrpc.h"
#include "rpc/ttrpc_server.h"

#define KEPT_MAX 2000

struct rig {
    struct ev_loop *loop;
    ev_timer tick;
    char dir[64], path[96];
    struct ttrpc_server *server;
    // the service
    struct rpc_call *kept[KEPT_MAX];
    int n_kept, cancelled;
};

static struct rig rig;

// Runs the loop until the condition holds; fails after ten seconds.
#define until(condition)                                                                           \
    do {                                                                                           \
        double until_end_ = ev_time() + 10;                                                        \
        while (!(condition)) {                                                                     \
            cr_assert_lt(ev_time(), until_end_, "never: %s", #condition);                          \
            ev_run(rig.loop, EVRUN_ONCE);                                                          \
        }                                                                                          \
    } while (0)

static inline void run_for(double seconds)
{
    for (double end = ev_time() + seconds; ev_time() < end;)
        ev_run(rig.loop, EVRUN_ONCE);
}

static inline void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
}

// ---- the service -------------------------------------------------------------------------------

static inline void echo(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    rpc_call_reply(call, payload, len);
}

static inline void metadata(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    char key[64];
    snprintf(key, sizeof key, "%.*s", (int)len, payload);
    const char *value = rpc_call_metadata(call, key);
    if (value)
        rpc_call_reply(call, (const uint8_t *)value, strlen(value));
    else
        rpc_call_failf(call, STATUS_NOT_FOUND, "no %s", key);
}

static inline void keep(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    cr_assert_lt(rig.n_kept, KEPT_MAX);
    rig.kept[rig.n_kept++] = call;
}

static inline void on_cancel(struct rpc_call *call, void *arg)
{
    for (int i = 0; i < rig.n_kept; i++) {
        if (rig.kept[i] == call)
            rig.kept[i] = NULL;
    }
    rig.cancelled++;
}

static inline void wait_method(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    rpc_call_on_cancel(call, on_cancel, NULL);
    keep(call, payload, len, ctx);
}

static inline void big(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    uint8_t *data = calloc(1, 3 << 20);
    rpc_call_reply(call, data, 3 << 20);
    free(data);
}

static inline void reply_kept(int i, const char *text)
{
    struct rpc_call *call = rig.kept[i];
    rig.kept[i] = NULL;
    rpc_call_reply(call, (const uint8_t *)text, strlen(text));
}

static const struct rpc_method methods[] = {
    {"Echo", echo},        {"Metadata", metadata}, {"Keep", keep},
    {"Wait", wait_method}, {"Big", big},           {NULL, NULL},
};
static const struct rpc_service service = {.name = "test.Service", .methods = methods};
static const struct rpc_service *const services[] = {&service, NULL};

// ---- set-up ------------------------------------------------------------------------------------

static inline void rig_serve(void)
{
    struct error err;
    int fd = rpc_listen_unix(rig.path, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    rig.server = ttrpc_server_new(rig.loop, fd, services);
    cr_assert_not_null(rig.server);
}

static inline void rig_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    rig.loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer_init(&rig.tick, on_tick, 0.002, 0.002);
    ev_timer_start(rig.loop, &rig.tick);
    strcpy(rig.dir, "/tmp/kuasar-rpc-XXXXXX");
    cr_assert_not_null(mkdtemp(rig.dir));
    snprintf(rig.path, sizeof rig.path, "%s/s", rig.dir);
    rig_serve();
}

static inline void rig_down(void)
{
    rig.server = ttrpc_server_free(rig.server);
    for (int i = 0; i < rig.n_kept; i++) {
        if (rig.kept[i])
            reply_kept(i, "");
    }
    unlink(rig.path);
    rmdir(rig.dir);
    ev_timer_stop(rig.loop, &rig.tick);
    ev_loop_destroy(rig.loop);
}

// ---- a raw peer --------------------------------------------------------------------------------

struct peer {
    int fd;
    bool eof;
    struct ttrpc_session session;
    struct buf log;
    int answers;
    ev_io io;
};

static inline void peer_end(struct ttrpc_session *s, uint32_t id, void *owner,
                            const uint8_t *payload, size_t len, const struct error *err, void *arg)
{
    struct peer *p = arg;
    p->answers++;
    if (err)
        buf_printf(&p->log, "%u:error %d;", id, (int)err->status);
    else if (len > 100)
        buf_printf(&p->log, "%u:%zu bytes;", id, len);
    else
        buf_printf(&p->log, "%u:%.*s;", id, (int)len, payload);
}

static inline void peer_data(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *data,
                             size_t len, bool end, void *arg)
{
    struct peer *p = arg;
    if (len > 100)
        buf_printf(&p->log, "%u<%zu bytes%s;", id, len, end ? " end" : "");
    else
        buf_printf(&p->log, "%u<%.*s%s;", id, (int)len, data ? data : (const uint8_t *)"",
                   end ? " end" : "");
}

static const struct ttrpc_events peer_events = {.data = peer_data, .end = peer_end};

static inline void peer_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct peer *p = container_of(w, struct peer, io);
    static uint8_t data[65536];
    ssize_t n = recv(p->fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        p->eof = true;
        ev_io_stop(loop, w);
        return;
    }
    cr_assert_eq(ttrpc_session_recv(&p->session, data, (size_t)n), 0);
}

static inline void peer_use(struct peer *p, int fd)
{
    memset(p, 0, sizeof *p);
    p->fd = fd;
    buf_init(&p->log, 1 << 20);
    ttrpc_session_init(&p->session, TTRPC_CLIENT, 5000, &peer_events, p);
    ev_io_init(&p->io, peer_io, fd, EV_READ);
    ev_io_start(rig.loop, &p->io);
}

static inline void peer_open(struct peer *p)
{
    struct error err;
    int fd = rpc_connect_unix(rig.path, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    peer_use(p, fd);
}

static inline void peer_close(struct peer *p)
{
    ev_io_stop(rig.loop, &p->io);
    close_fd(&p->fd);
    ttrpc_session_done(&p->session);
    buf_free(&p->log);
}

// Sends raw bytes; the loop runs while the socket is full.
static inline void peer_write(struct peer *p, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(p->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            cr_assert_eq(errno, EAGAIN, "send: %s", strerror(errno));
            ev_run(rig.loop, EVRUN_ONCE);
            continue;
        }
        at += n;
        len -= (size_t)n;
    }
}

static inline void peer_flush(struct peer *p)
{
    size_t len;
    const uint8_t *out = ttrpc_session_output(&p->session, &len);
    uint8_t *copy = malloc(len + 1);
    if (len)
        memcpy(copy, out, len);
    ttrpc_session_sent(&p->session, len);
    peer_write(p, copy, len);
    free(copy);
}

static inline uint32_t peer_send(struct peer *p, const struct ttrpc_request *req)
{
    uint32_t id = 0;
    cr_assert_eq(ttrpc_session_request(&p->session, req, NULL, &id), 0);
    peer_flush(p);
    return id;
}

static inline uint32_t peer_call(struct peer *p, const char *method, const char *payload)
{
    return peer_send(p, &(struct ttrpc_request){.service = "test.Service",
                                                .method = method,
                                                .payload = (const uint8_t *)payload,
                                                .payload_len = strlen(payload)});
}

static inline void peer_expect(struct peer *p, const char *want)
{
    double end = ev_time() + 10;
    while (strlen(want) > p->log.len && !p->eof && ev_time() < end)
        ev_run(rig.loop, EVRUN_ONCE);
    cr_assert_str_eq(buf_cstr(&p->log), want);
    buf_clear(&p->log);
}

#endif
