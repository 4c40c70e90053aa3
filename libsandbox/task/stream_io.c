#include "task/stream_io.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "event/event.h"

// ---- output ---------------------------------------------------------------------------------

struct stream_out {
    struct ev_loop *loop;
    struct stream *stream;
    int fd;         // -1: it has ended, and the peer has been told
    bool peer_over; // the peer has ended its side
    bool exited, silent;
    ev_io readable;
    ev_timer silence; // since the last byte after the end of the process
    void (*handed)(void *arg);
    void *arg;
};

static void out_watch(struct stream_out *o)
{
    if (o->fd >= 0 && stream_room(o->stream))
        ev_io_start(o->loop, &o->readable);
    else
        ev_io_stop(o->loop, &o->readable);
}

static void out_over(struct stream_out *o)
{
    ev_io_stop(o->loop, &o->readable);
    ev_timer_stop(o->loop, &o->silence);
    close_fd(&o->fd);
    stream_end(o->stream);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    // One for all: it holds nothing between two calls.
    static uint8_t bytes[STREAM_HEADER_MAX + STREAM_DATA_MAX];
    struct stream_out *o = container_of(w, struct stream_out, readable);
    size_t room = stream_room(o->stream);
    ssize_t n = room ? read(o->fd, bytes + STREAM_HEADER_MAX, room) : -1;
    if (room && n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        stream_send(o->stream, bytes + STREAM_HEADER_MAX, (size_t)n);
        if (o->exited)
            ev_timer_again(loop, &o->silence);
    } else if (room) {
        out_over(o);
    }
    out_watch(o);
}

static void on_silence(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct stream_out *o = container_of(w, struct stream_out, silence);
    if (!ev_is_active(&o->readable))
        return; // it is the peer who takes nothing
    ev_timer_stop(loop, w);
    o->silent = true;
    o->handed(o->arg);
}

static void out_changed(void *arg)
{
    struct stream_out *o = arg;
    o->peer_over = o->peer_over && !stream_connected(o->stream);
    out_watch(o);
}

static void out_ended(void *arg)
{
    struct stream_out *o = arg;
    o->peer_over = true;
    out_watch(o);
    o->handed(o->arg);
}

static const struct stream_user out_user = {.changed = out_changed, .ended = out_ended};

struct stream_out *stream_out_new(struct ev_loop *loop, struct streams *streams, const char *id,
                                  int fd, void (*handed)(void *arg), void *arg, struct error *err)
{
    struct stream_out *o = calloc(1, sizeof(*o));
    if (!o) {
        close(fd);
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream %s: out of memory", id);
        return NULL;
    }
    *o = (struct stream_out){.loop = loop, .fd = fd, .handed = handed, .arg = arg};
    ev_io_init(&o->readable, on_readable, fd, EV_READ);
    ev_timer_init(&o->silence, on_silence, 0, STREAM_SILENT_SECONDS);
    o->stream = stream_claim(streams, id, &out_user, o, err);
    if (!o->stream)
        return stream_out_free(o);
    out_watch(o);
    return o;
}

void stream_out_exited(struct stream_out *o)
{
    if (o->exited)
        return;
    o->exited = true;
    if (o->fd >= 0)
        ev_timer_again(o->loop, &o->silence);
}

bool stream_out_handed(const struct stream_out *o)
{
    return o->peer_over || o->silent;
}

struct stream_out *stream_out_free(struct stream_out *o)
{
    if (!o)
        return NULL;
    ev_io_stop(o->loop, &o->readable);
    ev_timer_stop(o->loop, &o->silence);
    close_fd(&o->fd);
    stream_release(o->stream);
    free(o);
    return NULL;
}

// ---- input ----------------------------------------------------------------------------------

struct stream_in {
    struct ev_loop *loop;
    struct stream *stream;
    int fd;          // -1: the process gets no more, what comes is thrown away
    bool over;       // nothing more comes: fd is closed when `kept` is empty
    struct buf kept; // what the pipe did not take
    ev_io writable;
    ev_timer close; // STREAM_CLOSE_SECONDS
};

static void in_stop(struct stream_in *i)
{
    ev_io_stop(i->loop, &i->writable);
    ev_timer_stop(i->loop, &i->close);
    close_fd(&i->fd);
    buf_free(&i->kept);
}

// Closes what is to be closed, and lets the peer send into what is free.
static void in_settle(struct stream_in *i)
{
    if (i->fd >= 0 && i->kept.len)
        ev_io_start(i->loop, &i->writable);
    else
        ev_io_stop(i->loop, &i->writable);
    if (i->over && !i->kept.len)
        in_stop(i);
    stream_allow(i->stream, STREAM_WINDOW - i->kept.len);
}

// Writes what the pipe takes; returns how much. A process that has closed its input takes
// everything: nobody learns that it was thrown away, as with any pipe that is closed later.
static size_t in_write(struct stream_in *i, const uint8_t *data, size_t len)
{
    ssize_t n = i->fd < 0 ? (ssize_t)len : write(i->fd, data, len);
    if (n >= 0)
        return (size_t)n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    in_stop(i);
    return len;
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
    struct stream_in *i = container_of(w, struct stream_in, writable);
    size_t n = in_write(i, i->kept.data, i->kept.len);
    buf_consume(&i->kept, n);
    if (!i->kept.len)
        buf_free(&i->kept);
    in_settle(i);
}

static void in_data(const uint8_t *data, size_t len, void *arg)
{
    struct stream_in *i = arg;
    size_t n = i->kept.len ? 0 : in_write(i, data, len);
    if (n < len && buf_append(&i->kept, data + n, len - n) < 0) {
        log_error("stdin of a process: no memory for %zu bytes, it ends here", len - n);
        in_stop(i);
        stream_end(i->stream);
        return;
    }
    in_settle(i);
}

static void in_changed(void *arg)
{
    in_settle(arg);
}

static void in_ended(void *arg)
{
    struct stream_in *i = arg;
    i->over = true;
    stream_end(i->stream); // for a peer that comes later
    in_settle(i);
}

static const struct stream_user in_user = {
    .data = in_data, .changed = in_changed, .ended = in_ended};

static void on_close_time(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct stream_in *i = container_of(w, struct stream_in, close);
    i->over = true;
    stream_end(i->stream);
    in_settle(i);
}

struct stream_in *stream_in_new(struct ev_loop *loop, struct streams *streams, const char *id,
                                int fd, struct error *err)
{
    struct stream_in *i = calloc(1, sizeof(*i));
    if (!i) {
        close(fd);
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "stream %s: out of memory", id);
        return NULL;
    }
    *i = (struct stream_in){.loop = loop, .fd = fd};
    buf_init(&i->kept, STREAM_WINDOW);
    ev_io_init(&i->writable, on_writable, fd, EV_WRITE);
    ev_timer_init(&i->close, on_close_time, 0, 0);
    i->stream = stream_claim(streams, id, &in_user, i, err);
    if (!i->stream)
        return stream_in_free(i);
    in_settle(i);
    return i;
}

void stream_in_close(struct stream_in *i)
{
    if (i->fd < 0 || i->over)
        return;
    if (stream_connected(i->stream)) {
        event_timer_arm(i->loop, &i->close, STREAM_CLOSE_SECONDS);
    } else {
        i->over = true;
        stream_end(i->stream);
        in_settle(i);
    }
}

void stream_in_exited(struct stream_in *i)
{
    in_stop(i);
    stream_end(i->stream);
}

struct stream_in *stream_in_free(struct stream_in *i)
{
    if (!i)
        return NULL;
    in_stop(i);
    stream_release(i->stream);
    free(i);
    return NULL;
}
