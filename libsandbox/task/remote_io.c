#include "task/remote_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/services.h"
#include "api/stream.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

// Opens the stream and says which one it is.
static struct ttrpc_stream *open_stream(struct ttrpc_client *client, const char *id,
                                        const struct ttrpc_stream_events *events, void *arg,
                                        struct error *err)
{
    uint8_t init[STREAM_INIT_MAX];
    struct ttrpc_stream *st =
        ttrpc_stream_open(client, SERVICE_STREAMING, "Stream", NULL, 0, events, arg, err);
    if (!st)
        return NULL;
    if (ttrpc_stream_send(st, init, stream_init_encode(init, id)) == 0)
        return st;
    error_set(err, STATUS_UNAVAILABLE, "stream %s: the connection was lost", id);
    return ttrpc_stream_free(st);
}

// ---- output ---------------------------------------------------------------------------------

struct remote_out {
    struct ev_loop *loop;
    struct ttrpc_stream *stream; // NULL: over
    int fd;                      // -1: nobody takes what comes
    struct buf kept;             // what fd did not take
    size_t window;               // bytes that the peer may still send
    bool ended;                  // nothing more comes
    ev_io writable;
    ev_timer tell; // `over`
    void (*over)(void *arg);
    void *arg;
};

// The peer may send as much as there is room for, told in steps of half a window.
static void out_allow(struct remote_out *o)
{
    uint8_t update[STREAM_SMALL_MAX];
    size_t space = STREAM_WINDOW - o->kept.len;
    if (o->ended || space < o->window + STREAM_WINDOW / 2)
        return;
    uint32_t more = (uint32_t)(space - o->window);
    if (ttrpc_stream_send(o->stream, update, stream_update_encode(update, more)) == 0)
        o->window += more;
}

static void out_settle(struct remote_out *o)
{
    if (o->fd >= 0 && o->kept.len)
        ev_io_start(o->loop, &o->writable);
    else
        ev_io_stop(o->loop, &o->writable);
    if (!o->ended || o->kept.len) {
        out_allow(o);
        return;
    }
    close_fd(&o->fd);
    o->stream = ttrpc_stream_free(o->stream);
    ev_feed_event(o->loop, &o->tell, EV_TIMER);
}

// The peer does not keep to the protocol: nothing more is taken from it.
static void out_give_up(struct remote_out *o)
{
    ev_io_stop(o->loop, &o->writable);
    buf_free(&o->kept);
    o->ended = true;
}

// Nobody here takes it any more (a full disk): the process must not hang for that, so the rest is
// thrown away.
static void out_discard(struct remote_out *o, int errnum)
{
    log_warn("output of a process goes nowhere from here on: %s", strerror(errnum));
    ev_io_stop(o->loop, &o->writable);
    buf_free(&o->kept);
    close_fd(&o->fd);
}

// Writes what fd takes; returns how much.
static size_t out_write(struct remote_out *o, const uint8_t *data, size_t len)
{
    ssize_t n = o->fd < 0 ? (ssize_t)len : write(o->fd, data, len);
    if (n >= 0)
        return (size_t)n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    out_discard(o, errno);
    return len;
}

static void out_data(struct remote_out *o, const uint8_t *data, size_t len)
{
    if (len > o->window) {
        log_warn("output of a process: %zu bytes were sent, %zu were allowed; it ends here", len,
                 o->window);
        out_give_up(o);
        return;
    }
    o->window -= len;
    size_t n = o->kept.len ? 0 : out_write(o, data, len);
    if (n < len && buf_append(&o->kept, data + n, len - n) < 0)
        out_discard(o, ENOMEM);
}

static void out_message(const uint8_t *data, size_t len, void *arg)
{
    struct remote_out *o = arg;
    struct stream_message m;
    struct error err = {0};
    if (o->ended)
        return;
    if (stream_message_parse(data, len, &m, &err) < 0) {
        log_warn("output of a process: %s", err.text);
        out_give_up(o);
    } else {
        if (m.kind == STREAM_DATA)
            out_data(o, m.data, m.len);
        stream_message_done(&m);
    }
    out_settle(o);
}

static void out_ended(const struct error *err, void *arg)
{
    struct remote_out *o = arg;
    if (err)
        log_debug("output of a process: %s", err->text);
    if (o->ended)
        return;
    o->ended = true;
    out_settle(o);
}

static const struct ttrpc_stream_events out_events = {.message = out_message, .ended = out_ended};

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
    struct remote_out *o = container_of(w, struct remote_out, writable);
    size_t n = out_write(o, o->kept.data, o->kept.len);
    if (o->kept.len)
        buf_consume(&o->kept, n);
    if (!o->kept.len)
        buf_free(&o->kept);
    out_settle(o);
}

static void on_tell(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct remote_out *o = container_of(w, struct remote_out, tell);
    o->over(o->arg);
}

struct remote_out *remote_out_new(struct ev_loop *loop, struct ttrpc_client *client, const char *id,
                                  int fd, void (*over)(void *arg), void *arg, struct error *err)
{
    struct remote_out *o = calloc(1, sizeof(*o));
    int r = o ? set_nonblocking(fd) : -ENOMEM;
    if (r < 0) {
        close(fd);
        free(o);
        error_errno(err, r, "stream %s", id);
        return NULL;
    }
    *o = (struct remote_out){.loop = loop, .fd = fd, .over = over, .arg = arg};
    buf_init(&o->kept, STREAM_WINDOW);
    ev_io_init(&o->writable, on_writable, fd, EV_WRITE);
    ev_timer_init(&o->tell, on_tell, 0, 0);
    o->stream = open_stream(client, id, &out_events, o, err);
    if (!o->stream)
        return remote_out_free(o);
    out_allow(o);
    return o;
}

bool remote_out_is_over(const struct remote_out *o)
{
    return !o->stream;
}

struct remote_out *remote_out_free(struct remote_out *o)
{
    if (!o)
        return NULL;
    ev_io_stop(o->loop, &o->writable);
    ev_timer_stop(o->loop, &o->tell);
    ev_clear_pending(o->loop, &o->tell);
    ttrpc_stream_free(o->stream);
    close_fd(&o->fd);
    buf_free(&o->kept);
    free(o);
    return NULL;
}

// ---- input ----------------------------------------------------------------------------------

struct remote_in {
    struct ev_loop *loop;
    struct ttrpc_stream *stream;
    int fd;          // -1: at its end
    uint32_t credit; // bytes that the peer takes
    ev_io readable;
};

static void in_end(struct remote_in *i)
{
    ev_io_stop(i->loop, &i->readable);
    close_fd(&i->fd);
    ttrpc_stream_end(i->stream);
}

static void in_watch(struct remote_in *i)
{
    if (i->fd >= 0 && i->credit && ttrpc_stream_room(i->stream))
        ev_io_start(i->loop, &i->readable);
    else
        ev_io_stop(i->loop, &i->readable);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    // One for all: it holds nothing between two calls.
    static uint8_t bytes[STREAM_HEADER_MAX + STREAM_DATA_MAX];
    struct remote_in *i = container_of(w, struct remote_in, readable);
    uint8_t *data = bytes + STREAM_HEADER_MAX;
    size_t most = i->credit < STREAM_DATA_MAX ? i->credit : STREAM_DATA_MAX;
    ssize_t n = read(i->fd, data, most);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        in_end(i);
        return;
    }
    size_t header = stream_data_header(data, (size_t)n);
    i->credit -= (uint32_t)n;
    if (ttrpc_stream_send(i->stream, data - header, header + (size_t)n) < 0)
        in_end(i);
    else
        in_watch(i);
}

static void in_message(const uint8_t *data, size_t len, void *arg)
{
    struct remote_in *i = arg;
    struct stream_message m;
    struct error err = {0};
    if (stream_message_parse(data, len, &m, &err) < 0) {
        log_warn("input of a process: %s", err.text);
        in_end(i);
        return;
    }
    if (m.kind == STREAM_UPDATE)
        i->credit = m.update < INT32_MAX - i->credit ? i->credit + m.update : INT32_MAX;
    stream_message_done(&m);
    in_watch(i);
}

static void in_writable(void *arg)
{
    in_watch(arg);
}

// The process wants no more, or is gone.
static void in_ended(const struct error *err, void *arg)
{
    in_end(arg);
}

static const struct ttrpc_stream_events in_events = {
    .message = in_message, .writable = in_writable, .ended = in_ended};

struct remote_in *remote_in_new(struct ev_loop *loop, struct ttrpc_client *client, const char *id,
                                int fd, struct error *err)
{
    struct remote_in *i = calloc(1, sizeof(*i));
    int r = i ? set_nonblocking(fd) : -ENOMEM;
    if (r < 0) {
        close(fd);
        free(i);
        error_errno(err, r, "stream %s", id);
        return NULL;
    }
    *i = (struct remote_in){.loop = loop, .fd = fd};
    ev_io_init(&i->readable, on_readable, fd, EV_READ);
    i->stream = open_stream(client, id, &in_events, i, err);
    return i->stream ? i : remote_in_free(i);
}

struct remote_in *remote_in_free(struct remote_in *i)
{
    if (!i)
        return NULL;
    ev_io_stop(i->loop, &i->readable);
    ttrpc_stream_free(i->stream);
    close_fd(&i->fd);
    free(i);
    return NULL;
}
