// Theory of operation
//
// Each direction has one buffer. It is read only while it is empty, and written until the other
// side takes no more; so each watcher is either waiting to read or waiting to write, and a side
// that does not take its bytes holds up only its own direction.
//
// The master reports EIO (and polls as hung up, for ever) while no process has the terminal open.
// While our process lives that may change, so we look again every CONSOLE_REOPEN_SECONDS; when it
// has ended, EIO is the end.
#include "task/console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "event/event.h"
#include "task/stdio.h"

#define CONSOLE_REOPEN_SECONDS 0.5

// One direction.
struct flow {
    struct console *console;
    int from, to;
    bool over; // nothing more will be read
    uint8_t *buf;
    size_t start, len;
    ev_io readable, writable;
};

struct console {
    struct ev_loop *loop;
    char *dir;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int listener, master;
    bool copying, exited;
    struct flow in, out;
    ev_timer reopen, drain;
    void (*over)(void *arg);
    void *arg;
};

// ---- copying --------------------------------------------------------------------------------

static void flow_stop(struct flow *f)
{
    ev_io_stop(f->console->loop, &f->readable);
    ev_io_stop(f->console->loop, &f->writable);
}

static void stop_copying(struct console *c)
{
    flow_stop(&c->in);
    flow_stop(&c->out);
    ev_timer_stop(c->loop, &c->reopen);
    ev_timer_stop(c->loop, &c->drain);
    if (c->in.from >= 0)
        close_fd(&c->in.from);
    if (c->out.to >= 0)
        close_fd(&c->out.to);
    close_fd(&c->master);
    c->copying = false;
}

static void finish(struct console *c)
{
    void (*over)(void *) = c->over;
    void *arg = c->arg;
    stop_copying(c);
    if (over)
        over(arg); // may free c
}

// Writes what the buffer holds. False when the other side takes no more now.
static bool flow_write(struct flow *f)
{
    while (f->len) {
        ssize_t n = write(f->to, f->buf + f->start, f->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0) { // the other side is gone for good
            f->len = 0;
            break;
        }
        f->start += (size_t)n;
        f->len -= (size_t)n;
        if (f->console->exited)
            ev_timer_again(f->console->loop, &f->console->drain);
    }
    f->start = 0;
    return true;
}

// Reads into the empty buffer. Returns 0, -EAGAIN, or another negative errno at the end (-EPIPE).
static int flow_read(struct flow *f)
{
    ssize_t n;
    do {
        n = read(f->from, f->buf, STDIO_BUFFER_MAX);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    f->start = 0;
    f->len = (size_t)n;
    return n ? 0 : -EPIPE;
}

static void out_ended(struct console *c)
{
    ev_io_stop(c->loop, &c->out.readable);
    if (c->exited)
        finish(c);
    else
        event_timer_arm(c->loop, &c->reopen, CONSOLE_REOPEN_SECONDS);
}

// One step of a direction: at most one buffer, then the loop goes on.
static void flow_step(struct flow *f)
{
    struct console *c = f->console;
    int r = 0;
    if (!f->len && !f->over)
        r = flow_read(f);
    if (!flow_write(f)) {
        ev_io_stop(c->loop, &f->readable);
        ev_io_start(c->loop, &f->writable);
        return;
    }
    ev_io_stop(c->loop, &f->writable);
    if (r == 0 || r == -EAGAIN) {
        if (!f->over)
            ev_io_start(c->loop, &f->readable);
    } else if (f == &c->out) {
        out_ended(c);
    } else {
        f->over = true;
        ev_io_stop(c->loop, &f->readable);
    }
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    flow_step(container_of(w, struct flow, readable));
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
    flow_step(container_of(w, struct flow, writable));
}

static void on_reopen(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct console *c = container_of(w, struct console, reopen);
    ev_timer_stop(loop, w);
    flow_step(&c->out);
}

static void on_drain(struct ev_loop *loop, ev_timer *w, int revents)
{
    finish(container_of(w, struct console, drain));
}

static int flow_start(struct flow *f, int from, int to)
{
    f->from = from;
    f->to = to;
    f->buf = malloc(STDIO_BUFFER_MAX);
    if (!f->buf)
        return -ENOMEM;
    ev_io_set(&f->readable, from, EV_READ);
    ev_io_set(&f->writable, to, EV_WRITE);
    ev_io_start(f->console->loop, &f->readable);
    return 0;
}

// ---- the master -----------------------------------------------------------------------------

static int receive_fd(int conn)
{
    char byte[64];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    struct iovec iov = {.iov_base = byte, .iov_len = sizeof(byte)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    if (recvmsg(conn, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
        return -errno;
    int first = -1;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (first < 0)
                first = fd;
            else
                close(fd);
        }
    }
    return first >= 0 ? first : -EBADMSG;
}

static void remove_socket(struct console *c)
{
    close_fd(&c->listener);
    if (c->path[0])
        unlink(c->path);
    if (c->dir)
        rmdir(c->dir);
    c->path[0] = '\0';
}

static int receive_master(struct console *c, struct error *err)
{
    _cleanup_close_ int conn = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int fd = conn < 0 ? -errno : receive_fd(conn);
    if (fd < 0)
        return error_set(err, STATUS_INTERNAL,
                         "the runtime made no terminal: nothing came through its console socket "
                         "(%s)",
                         strerror(-fd));
    if (!isatty(fd) || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
        close(fd);
        return error_set(
            err, STATUS_INTERNAL,
            "the runtime sent something that is no terminal through its console socket");
    }
    c->master = fd;
    return 0;
}

int console_take(struct console *c, int in, int out, uint16_t columns, uint16_t rows,
                 struct error *err)
{
    int r = receive_master(c, err);
    remove_socket(c);
    if (r == 0 && (columns || rows))
        (void)console_resize(c, columns, rows);
    c->in.from = in;
    c->out.to = out;
    if (r == 0 && flow_start(&c->out, c->master, out) < 0)
        r = error_errno(err, ENOMEM, "terminal");
    if (r == 0 && in >= 0 && flow_start(&c->in, in, c->master) < 0)
        r = error_errno(err, ENOMEM, "terminal");
    c->copying = true;
    if (r < 0)
        stop_copying(c);
    return r;
}

int console_resize(struct console *c, uint16_t columns, uint16_t rows)
{
    const struct winsize size = {.ws_col = columns, .ws_row = rows};
    if (c->master < 0)
        return -ENOTTY;
    return ioctl(c->master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

void console_exited(struct console *c)
{
    if (!c->copying || c->exited)
        return;
    c->exited = true;
    flow_stop(&c->in);
    ev_timer_again(c->loop, &c->drain);
    // The rest, and then EIO, from the loop.
    if (ev_is_active(&c->reopen)) {
        ev_timer_stop(c->loop, &c->reopen);
        ev_io_start(c->loop, &c->out.readable);
    }
}

bool console_draining(const struct console *c)
{
    return c->copying && c->exited;
}

// ---- life -----------------------------------------------------------------------------------

static int make_socket(struct console *c, const char *dir)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char name[PATH_MAX];
    int r = path_format(name, sizeof(name), "%s/XXXXXX", dir);
    if (r < 0)
        return r;
    if (!mkdtemp(name)) // 0700
        return -errno;
    c->dir = strdup(name);
    if (!c->dir) {
        rmdir(name);
        return -ENOMEM;
    }
    r = path_format(c->path, sizeof(c->path), "%s/s", name);
    if (r < 0) {
        c->path[0] = '\0';
        return r;
    }
    memcpy(addr.sun_path, c->path, sizeof(addr.sun_path));
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listener < 0 || bind(c->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(c->listener, 1) < 0)
        return -errno;
    return 0;
}

static void flow_init(struct flow *f, struct console *c)
{
    f->console = c;
    f->from = f->to = -1;
    ev_io_init(&f->readable, on_readable, -1, EV_READ);
    ev_io_init(&f->writable, on_writable, -1, EV_WRITE);
}

struct console *console_new(struct ev_loop *loop, const char *dir, void (*over)(void *arg),
                            void *arg, struct error *err)
{
    struct console *c = calloc(1, sizeof(*c));
    if (!c) {
        error_errno(err, ENOMEM, "terminal");
        return NULL;
    }
    c->loop = loop;
    c->over = over;
    c->arg = arg;
    c->listener = c->master = -1;
    flow_init(&c->in, c);
    flow_init(&c->out, c);
    ev_timer_init(&c->reopen, on_reopen, 0, 0);
    ev_timer_init(&c->drain, on_drain, 0, STDIO_DRAIN_SECONDS);
    int r = make_socket(c, dir);
    if (r < 0) {
        error_errno(err, r, "console socket in %s", dir);
        return console_free(c);
    }
    return c;
}

const char *console_socket(const struct console *c)
{
    return c->path;
}

struct console *console_free(struct console *c)
{
    if (!c)
        return NULL;
    stop_copying(c);
    remove_socket(c);
    free(c->dir);
    free(c->in.buf);
    free(c->out.buf);
    free(c);
    return NULL;
}
