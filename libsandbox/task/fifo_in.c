#include "task/fifo_in.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

// Most that is moved before the loop goes on.
#define FIFO_IN_STEP (64u * 1024)

struct fifo_in {
    struct ev_loop *loop;
    int from, to; // -1: it is over
    ev_io readable, writable;
};

static void stop(struct fifo_in *i)
{
    ev_io_stop(i->loop, &i->readable);
    ev_io_stop(i->loop, &i->writable);
    close_fd(&i->from);
    close_fd(&i->to);
}

static bool is_full(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 0;
}

// Waits for whichever of the two ends could not go on.
static void wait_for(struct fifo_in *i)
{
    bool full = is_full(i->to);
    ev_io_stop(i->loop, full ? &i->readable : &i->writable);
    ev_io_start(i->loop, full ? &i->writable : &i->readable);
}

static void step(struct fifo_in *i)
{
    ssize_t n = splice(i->from, NULL, i->to, NULL, FIFO_IN_STEP, SPLICE_F_NONBLOCK);
    if (n < 0 && errno == EAGAIN)
        wait_for(i);
    else if (n == 0 || (n < 0 && errno != EINTR))
        stop(i);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    step(container_of(w, struct fifo_in, readable));
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
    step(container_of(w, struct fifo_in, writable));
}

struct fifo_in *fifo_in_new(struct ev_loop *loop, int fifo, int *ret, struct error *err)
{
    int ends[2];
    struct fifo_in *i = calloc(1, sizeof(*i));
    if (!i || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        error_errno(err, i ? errno : ENOMEM, "pipe");
        free(i);
        close(fifo);
        return NULL;
    }
    *i = (struct fifo_in){.loop = loop, .from = fifo, .to = ends[1]};
    *ret = ends[0];
    ev_io_init(&i->readable, on_readable, i->from, EV_READ);
    ev_io_init(&i->writable, on_writable, i->to, EV_WRITE);
    return i;
}

void fifo_in_start(struct fifo_in *i)
{
    if (i->from >= 0 && !ev_is_active(&i->writable))
        ev_io_start(i->loop, &i->readable);
}

int fifo_in_give_up(struct fifo_in *i)
{
    int fifo = take_fd(&i->from);
    fifo_in_free(i);
    return fifo;
}

struct fifo_in *fifo_in_free(struct fifo_in *i)
{
    if (i)
        stop(i);
    free(i);
    return NULL;
}
