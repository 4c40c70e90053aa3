#include "rpc/acceptor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "event/event.h"

// Peers accepted in one turn of the loop.
#define ACCEPT_ROUNDS 64
// Seconds.
#define PAUSE_FIRST 0.001
#define PAUSE_MAX   1.0

static void leave_alone(struct acceptor *a)
{
    if (a->pause == 0.)
        log_warn("%s: cannot accept connections for the moment: %s", a->protocol, strerror(errno));
    a->pause = a->pause == 0. ? PAUSE_FIRST : a->pause * 2;
    if (a->pause > PAUSE_MAX)
        a->pause = PAUSE_MAX;
    ev_io_stop(a->loop, &a->io);
    event_timer_arm(a->loop, &a->again, a->pause);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
    struct acceptor *a = container_of(w, struct acceptor, io);
    for (int i = 0; i < ACCEPT_ROUNDS && !a->held && a->fd >= 0; i++) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            a->pause = 0.;
            a->accepted(a, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            leave_alone(a);
            return;
        } else if (errno == EAGAIN) {
            return;
        } // else it is this peer's own failure
    }
}

static void on_again(struct ev_loop *loop, ev_timer *w, int events)
{
    struct acceptor *a = container_of(w, struct acceptor, again);
    ev_io_start(loop, &a->io);
}

void acceptor_start(struct acceptor *a, struct ev_loop *loop, int fd, const char *protocol,
                    void (*accepted)(struct acceptor *a, int fd))
{
    *a = (struct acceptor){.loop = loop, .protocol = protocol, .accepted = accepted, .fd = fd};
    ev_timer_init(&a->again, on_again, 0., 0.);
    ev_io_init(&a->io, on_readable, fd, EV_READ);
    ev_io_start(loop, &a->io);
}

void acceptor_hold(struct acceptor *a)
{
    a->held = true;
    ev_io_stop(a->loop, &a->io);
    ev_timer_stop(a->loop, &a->again);
}

void acceptor_resume(struct acceptor *a)
{
    if (!a->held || a->fd < 0)
        return;
    a->held = false;
    ev_io_start(a->loop, &a->io);
}

void acceptor_close(struct acceptor *a)
{
    ev_io_stop(a->loop, &a->io);
    ev_timer_stop(a->loop, &a->again);
    close_fd(&a->fd);
}
