#include "task/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/stream.h"
#include "base/buf.h"
#include "base/cleanup.h"

struct forward {
    struct ev_loop *loop;
    const struct forward_ops *ops;
    void *arg;
    int fd;
    ev_io readable, writable;
    ev_timer tell;   // `over`
    struct buf kept; // what the socket did not take
    size_t window;   // bytes that the peer may still send
    uint32_t credit; // bytes that it takes
    bool sent_end;   // the socket is at its end, and the peer knows
    bool peer_ended; // nothing more comes
    bool shut;       // the socket has been told
    bool closed;     // the stream is over: only the socket still takes what is kept
};

static void finish(struct forward *f)
{
    ev_io_stop(f->loop, &f->readable);
    ev_io_stop(f->loop, &f->writable);
    buf_free(&f->kept);
    close_fd(&f->fd);
    ev_feed_event(f->loop, &f->tell, EV_TIMER);
}

static void on_tell(struct ev_loop *loop, ev_timer *w, int revents)
{
    const struct forward *f = container_of(w, struct forward, tell);
    f->ops->over(f->arg);
}

static void allow(struct forward *f)
{
    uint8_t update[STREAM_SMALL_MAX];
    size_t space = STREAM_WINDOW - f->kept.len;
    if (f->peer_ended || space < f->window + STREAM_WINDOW / 2)
        return;
    uint32_t more = (uint32_t)(space - f->window);
    if (f->ops->send(update, stream_update_encode(update, more), f->arg) == 0)
        f->window += more;
}

// Watches what is to be watched, passes the peer's end on, and notices its own.
static void settle(struct forward *f)
{
    if (f->fd < 0)
        return;
    if (f->peer_ended && !f->kept.len && !f->shut) {
        (void)shutdown(f->fd, SHUT_WR);
        f->shut = true;
    }
    if (f->shut && f->sent_end) {
        finish(f);
        return;
    }
    if (f->kept.len)
        ev_io_start(f->loop, &f->writable);
    else
        ev_io_stop(f->loop, &f->writable);
    if (!f->sent_end && f->credit && !f->closed && f->ops->room(f->arg))
        ev_io_start(f->loop, &f->readable);
    else
        ev_io_stop(f->loop, &f->readable);
    allow(f);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    // One for all: it holds nothing between two calls.
    static uint8_t bytes[STREAM_HEADER_MAX + STREAM_DATA_MAX];
    struct forward *f = container_of(w, struct forward, readable);
    uint8_t *data = bytes + STREAM_HEADER_MAX;
    ssize_t n = read(f->fd, data, f->credit < STREAM_DATA_MAX ? f->credit : STREAM_DATA_MAX);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        finish(f);
        return;
    }
    if (n == 0) {
        uint8_t empty[STREAM_SMALL_MAX];
        f->sent_end = true;
        if (f->ops->send(empty, stream_empty_encode(empty), f->arg) < 0) {
            finish(f);
            return;
        }
    } else {
        size_t header = stream_data_header(data, (size_t)n);
        f->credit -= (uint32_t)n;
        if (f->ops->send(data - header, header + (size_t)n, f->arg) < 0) {
            finish(f);
            return;
        }
    }
    settle(f);
}

// How much the socket takes, or -1: it is broken.
static ssize_t put(const struct forward *f, const uint8_t *data, size_t len)
{
    ssize_t n = send(f->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
    struct forward *f = container_of(w, struct forward, writable);
    ssize_t n = put(f, f->kept.data, f->kept.len);
    if (n < 0) {
        finish(f);
        return;
    }
    buf_consume(&f->kept, (size_t)n);
    if (!f->kept.len)
        buf_free(&f->kept);
    settle(f);
}

static bool take_data(struct forward *f, const uint8_t *data, size_t len)
{
    if (len > f->window || f->peer_ended)
        return false;
    f->window -= len;
    ssize_t n = f->kept.len ? 0 : put(f, data, len);
    return n >= 0 && ((size_t)n == len || buf_append(&f->kept, data + n, len - (size_t)n) == 0);
}

bool forward_message(struct forward *f, const uint8_t *data, size_t len)
{
    struct stream_message m;
    struct error ignored = {0};
    if (f->fd < 0)
        return true; // it is on its way out
    bool good = stream_message_parse(data, len, &m, &ignored) == 0;
    if (good) {
        if (m.kind == STREAM_DATA)
            good = take_data(f, m.data, m.len);
        else if (m.kind == STREAM_UPDATE)
            f->credit = m.update < INT32_MAX - f->credit ? f->credit + m.update : INT32_MAX;
        else
            f->peer_ended = true;
        stream_message_done(&m);
    }
    if (good)
        settle(f);
    else
        finish(f);
    return good;
}

void forward_writable(struct forward *f)
{
    settle(f);
}

void forward_closed(struct forward *f)
{
    f->closed = true;
    if (f->fd >= 0 && !(f->peer_ended && f->sent_end))
        finish(f);
}

struct forward *forward_new(struct ev_loop *loop, int fd, const struct forward_ops *ops, void *arg)
{
    struct forward *f = calloc(1, sizeof(*f));
    if (!f) {
        close(fd);
        return NULL;
    }
    *f = (struct forward){.loop = loop, .ops = ops, .arg = arg, .fd = fd};
    buf_init(&f->kept, STREAM_WINDOW);
    ev_io_init(&f->readable, on_readable, fd, EV_READ);
    ev_io_init(&f->writable, on_writable, fd, EV_WRITE);
    ev_timer_init(&f->tell, on_tell, 0, 0);
    settle(f);
    return f;
}

struct forward *forward_free(struct forward *f)
{
    if (!f)
        return NULL;
    ev_io_stop(f->loop, &f->readable);
    ev_io_stop(f->loop, &f->writable);
    ev_timer_stop(f->loop, &f->tell);
    ev_clear_pending(f->loop, &f->tell);
    buf_free(&f->kept);
    close_fd(&f->fd);
    free(f);
    return NULL;
}
