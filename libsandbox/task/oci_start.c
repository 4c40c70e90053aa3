// Start without a process of the runtime, where that is possible.
//
// After `runc create` the init of the container blocks in opening the FIFO exec.fifo in the
// container's state directory for writing. `runc start` opens it for reading, by which init goes
// on, writes one byte, closes, runs the hooks that run in the container and executes its program;
// then `runc start` removes the FIFO, by whose presence runc knows a created container from a
// running one (opencontainers/runc, libcontainer/container_linux.go and standard_init_linux.go).
// That is done here, which saves a process. See docs/decisions/start-by-fifo.md.
//
// Only for a runtime that is called runc: programs of other names may have a part of their own in
// `start`, and crun's FIFO of the same name works the other way round (it keeps no state.json).
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/event.h"
#include "task/oci_internal.h"

struct oci_start {
    struct task *task; // counted
    char path[PATH_MAX];
    int fd;
    ev_io ready;
    ev_timer deadline;
    bool told; // init has written: it goes on
    struct task_done done;
};

static struct oci_task *engine_of(const struct task *t)
{
    return t->engine;
}

static void start_end(struct oci_start *s, const struct error *err)
{
    struct task *t = s->task;
    struct task_done done = s->done;
    ev_io_stop(t->server->loop, &s->ready);
    ev_timer_stop(t->server->loop, &s->deadline);
    close_fd(&s->fd);
    if (!err && unlink(s->path) < 0)
        log_warn("container %s: %s: %s", t->id, s->path, strerror(errno));
    engine_of(t)->starting = NULL;
    free(s);
    done.fn(done.arg, err);
    task_unref(t);
}

static void start_fail(struct oci_start *s, enum status status, const char *why)
{
    struct error err = {0};
    error_set(&err, status, "container %s: %s", s->task->id, why);
    start_end(s, &err);
}

// Init's end of the FIFO is closed.
static bool is_hung_up(int fd)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

// Init writes one byte; more would be somebody else's.
static ssize_t read_once(struct oci_start *s)
{
    char drain[64];
    ssize_t n = read(s->fd, drain, sizeof(drain));
    if (n > 0)
        s->told = true;
    return n < 0 ? -errno : n;
}

// Over when init has closed its end.
static void on_ready(struct ev_loop *loop, ev_io *w, int revents)
{
    struct oci_start *s = container_of(w, struct oci_start, ready);
    ssize_t r = read_once(s);
    if (r > 0 || r == -EAGAIN || r == -EINTR || (r == 0 && !is_hung_up(s->fd)))
        return;
    if (s->told)
        start_end(s, NULL);
    else
        start_fail(s, STATUS_FAILED_PRECONDITION, "its first process ended before it was started");
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct oci_start *s = container_of(w, struct oci_start, deadline);
    start_fail(s, STATUS_DEADLINE_EXCEEDED, "its first process does not go on");
}

static bool is_runc(const char *binary)
{
    const char *slash = strrchr(binary, '/');
    return strcmp(slash ? slash + 1 : binary, "runc") == 0;
}

// The FIFO of a container that runc has created; -1: there is none.
static int open_fifo(const struct task *t, char path[PATH_MAX])
{
    struct stat st;
    const char *root = engine_of(t)->rt.root;
    if (!is_runc(engine_of(t)->rt.binary))
        return -1;
    if (path_format(path, PATH_MAX, "%s/%s/state.json", root, t->id) < 0 || access(path, F_OK) < 0)
        return -1;
    if (path_format(path, PATH_MAX, "%s/%s/exec.fifo", root, t->id) < 0 || lstat(path, &st) < 0 ||
        !S_ISFIFO(st.st_mode))
        return -1;
    return open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
}

bool oci_start_direct(struct task *t, struct task_done done)
{
    struct oci_start *s = calloc(1, sizeof(*s));
    if (!s)
        return false; // the runtime says why
    s->fd = open_fifo(t, s->path);
    if (s->fd < 0) {
        free(s);
        return false;
    }
    s->task = task_ref(t);
    s->done = done;
    ev_io_init(&s->ready, on_ready, s->fd, EV_READ);
    ev_timer_init(&s->deadline, on_deadline, 0, 0);
    ev_io_start(t->server->loop, &s->ready);
    event_timer_arm(t->server->loop, &s->deadline, OCI_COMMAND_SECONDS);
    engine_of(t)->starting = s;
    return true;
}

void oci_start_exited(struct oci_start *s)
{
    (void)read_once(s);
    if (s->told)
        start_end(s, NULL);
    else
        start_fail(s, STATUS_FAILED_PRECONDITION, "its first process ended before it was started");
}

void oci_start_cancel(struct oci_start *s)
{
    start_fail(s, STATUS_CANCELLED, "its start was given up");
}
