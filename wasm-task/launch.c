#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/instance.h"
#include "base/log.h"
#include "cache.h"
#include "event/child.h"
#include "event/event.h"
#include "event/job.h"
#include "task/internal.h"
#include "worker/worker.h"

// Longest that keeping compiled code may take.
#define KEEP_SECONDS 60.0
// Descriptors up to here are the worker's own.
#define FIRST_FREE 16
_Static_assert(WORKER_FDS <= FIRST_FREE, "copies lie above all numbers that they are put on");
_Static_assert(sizeof(struct worker_ready) <= PIPE_BUF, "it comes whole or not at all");

struct launch {
    struct task_process *process;
    const char *engine, *cache; // borrowed
    pid_t starter; // the process that we have started, which may go on in another; 0: gone
    pid_t first;   // its number
    bool held;     // reaper_hold
    bool watched;  // the process's exit will be reported
    bool told;     // `module` has come
    int control, ready, go, code; // our ends of what it has (worker.h); -1: none any more
    ev_io on_control, on_ready;
    ev_timer deadline;
    struct task_done done; // fn NULL: called
    void (*exited)(struct task_process *p, uint32_t code, const struct timespec *at);
    char module[WORKER_NAME_MAX]; // "": nothing to be kept
};

static struct task_server *server_of(const struct launch *l)
{
    return l->process->task->server;
}

// ---- the end of it -----------------------------------------------------------------------------

static void starter_gone(struct launch *l)
{
    struct reaper *reaper = server_of(l)->reaper;
    if (l->starter)
        reaper_unwatch(reaper, l->starter);
    l->starter = 0;
    if (l->held)
        reaper_release(reaper);
    l->held = false;
}

static void control_stop(struct launch *l)
{
    ev_io_stop(server_of(l)->loop, &l->on_control);
    close_fd(&l->control);
}

// Nothing more is heard of it.
static void listen_stop(struct launch *l)
{
    control_stop(l);
    ev_io_stop(server_of(l)->loop, &l->on_ready);
    close_fd(&l->ready);
    close_fd(&l->code);
}

static void finish(struct launch *l, const struct error *err)
{
    struct ev_loop *loop = server_of(l)->loop;
    struct task_done done = l->done;
    listen_stop(l);
    ev_timer_stop(loop, &l->deadline);
    l->done = (struct task_done){0};
    if (err) {
        close_fd(&l->go);
        if (l->starter)
            (void)kill(l->starter, SIGKILL); // ours, and not reaped
        (void)process_signal(&l->process->pid, SIGKILL);
    }
    starter_gone(l);
    done.fn(done.arg, err);
}

// ---- what a worker says ------------------------------------------------------------------------

struct keeping {
    char dir[PATH_MAX], name[WORKER_NAME_MAX];
    int code;
};

static int keep_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct keeping *k = arg;
    return cache_keep(k->dir, k->name, k->code, err);
}

static void kept(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct keeping *k = arg;
    if (err)
        log_warn("compiled code is not kept: %s", err->text);
    close_fd(&k->code);
    free(k);
}

// For the next container of that module. Nothing waits for it.
static void keep_code(struct launch *l)
{
    struct task_server *s = server_of(l);
    struct error err = {0};
    struct keeping *k = calloc(1, sizeof(*k));
    if (!k)
        return;
    snprintf(k->dir, sizeof(k->dir), "%s", l->cache);
    memcpy(k->name, l->module, sizeof(k->name));
    k->code = take_fd(&l->code);
    if (!job_start(s->loop, s->reaper, keep_work, kept, k, KEEP_SECONDS, &err))
        kept(NULL, 0, &err, k);
}

// A name that is one, and is the engine's; or none, for a native program.
static bool is_module_name(const struct launch *l, const char name[WORKER_NAME_MAX])
{
    size_t n = strlen(l->engine);
    if (!memchr(name, 0, WORKER_NAME_MAX) || strchr(name, '/'))
        return false;
    return !name[0] || (strncmp(name, l->engine, n) == 0 && name[n] == '-');
}

static void on_exit_seen(const struct exit_info *info, void *arg)
{
    struct launch *l = arg;
    l->watched = false;
    l->exited(l->process, info->code, &info->at);
}

// The worker's process: the one that we have started, or the one in which that goes on.
static int adopt(struct launch *l, pid_t pid)
{
    struct reaper *reaper = server_of(l)->reaper;
    // Its number may be another's if it has ended and we have seen that.
    if (pid <= 1 || (pid == l->first && !l->starter))
        return -ESRCH;
    if (pid == l->starter) {
        reaper_unwatch(reaper, pid);
        l->starter = 0;
    }
    int r = reaper_watch(reaper, pid, on_exit_seen, l);
    if (r < 0)
        return r;
    l->watched = true;
    l->process->pid = (struct process_id){.pid = pid};
    return reaper_is_due(reaper, pid) ? 0 : process_identify(pid, &l->process->pid);
}

// One message, and who has sent it (0: unknown). There is no room for descriptors.
static ssize_t hear(int fd, void *buf, size_t size, pid_t *ret_from)
{
    struct iovec part = {.iov_base = buf, .iov_len = size};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control = {0};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    struct ucred from;
    *ret_from = 0;
    if (n < 0)
        return -errno;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS &&
        c->cmsg_len == CMSG_LEN(sizeof(from))) {
        memcpy(&from, CMSG_DATA(c), sizeof(from));
        *ret_from = from.pid;
    }
    return m.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

// Which module it has found: comes from a process that is only our program, once.
static void hear_module(struct launch *l)
{
    struct worker_module said = {0};
    pid_t from = 0;
    if (l->control < 0)
        return;
    ssize_t n = hear(l->control, &said, sizeof(said), &from);
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n == sizeof(said) && is_module_name(l, said.name)) {
        memcpy(l->module, said.name, sizeof(l->module));
        l->told = adopt(l, from) == 0; // else it is never ready
    }
    control_stop(l);
}

static void on_control(struct ev_loop *loop, ev_io *w, int revents)
{
    hear_module(container_of(w, struct launch, on_control));
}

// Its word is an enemy's, perhaps.
static void on_ready(struct ev_loop *loop, ev_io *w, int revents)
{
    struct launch *l = container_of(w, struct launch, on_ready);
    struct worker_ready said = {0};
    struct error err = {0};
    hear_module(l); // has been said before, if it has
    ssize_t n = read(l->ready, &said, sizeof(said));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    said.err.text[sizeof(said.err.text) - 1] = '\0';
    if (n != sizeof(said) || said.err.status < STATUS_OK || said.err.status >= STATUS_MAX_ ||
        (said.err.status == STATUS_OK && !l->told))
        error_set(&err, STATUS_INTERNAL, "wasm-worker ended before it was ready");
    else if (said.err.status != STATUS_OK)
        error_set(&err, said.err.status, "%s: %s", l->engine, said.err.text);
    else if (said.code && l->module[0])
        keep_code(l);
    finish(l, err.status ? &err : NULL);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct launch *l = container_of(w, struct launch, deadline);
    struct error err = {0};
    error_set(&err, STATUS_DEADLINE_EXCEEDED, "%s took more than %.0f s to get ready", l->engine,
              LAUNCH_SECONDS);
    finish(l, &err);
}

// If it has not gone on in another process, the end of its pipe tells that.
static void on_starter_exit(const struct exit_info *info, void *arg)
{
    ((struct launch *)arg)->starter = 0;
}

// ---- starting ----------------------------------------------------------------------------------

// What the worker gets, at the numbers of their indices; -1: nothing.
struct handed {
    int fds[WORKER_FDS];
};

static void handed_close(struct handed *h)
{
    for (size_t i = 0; i < ARRAY_SIZE(h->fds); i++)
        close_fd(&h->fds[i]);
}

static int hand(struct handed *h, enum worker_fd to, int *fd)
{
    h->fds[to] = fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_FREE);
    int r = h->fds[to] < 0 ? -errno : 0;
    close_fd(fd);
    return r;
}

// A pipe with one end for the worker and one for us, which does not block.
static int hand_pipe(struct handed *h, enum worker_fd to, int our_end, int *ret_ours)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = ends[our_end];
    int r = fcntl(ends[our_end], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    int given = hand(h, to, &ends[!our_end]);
    return r < 0 ? r : given;
}

static int hand_socket(struct handed *h, int *ret_ours)
{
    static const int on = 1;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_ours = ends[0];
    int r = setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ? -errno : 0;
    int given = hand(h, WORKER_CONTROL, &ends[1]);
    return r < 0 ? r : given;
}

// The largest code that there may be, of which nothing is there yet: so freeing it takes no longer
// than that.
static int make_code(int *ret)
{
    *ret = memfd_create("code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*ret < 0 || ftruncate(*ret, WORKER_CODE_MAX) < 0 ||
        fcntl(*ret, F_ADD_SEALS, F_SEAL_GROW) < 0)
        return -errno;
    return 0;
}

// Copies of what others have, above all numbers that they are put on.
static int hand_copy(struct handed *h, size_t to, int fd)
{
    if (fd < 0)
        return 0;
    h->fds[to] = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
    return h->fds[to] < 0 ? -errno : 0;
}

static int hand_all(struct handed *h, struct launch *l, const int extra[2])
{
    int stdio[3];
    for (size_t i = 0; i < ARRAY_SIZE(h->fds); i++)
        h->fds[i] = -1;
    if (l->process == &l->process->task->init) // a module, which finds no /dev
        task_stdio_pass_stdin(l->process->io);
    task_stdio_fds(l->process->io, stdio);
    int r = hand_socket(h, &l->control);
    if (r == 0)
        r = hand_pipe(h, WORKER_READY, 0, &l->ready);
    if (r == 0)
        r = hand_pipe(h, WORKER_GO, 1, &l->go);
    if (r == 0)
        r = make_code(&l->code);
    if (r == 0)
        r = hand_copy(h, WORKER_CODE, l->code);
    for (size_t i = 0; i < 2 && r == 0; i++)
        r = hand_copy(h, WORKER_EXTRA + i, extra[i]);
    for (size_t i = 0; i < ARRAY_SIZE(stdio) && r == 0; i++)
        r = hand_copy(h, i, stdio[i]);
    return r;
}

// In the child: only async-signal-safe calls.
_Noreturn static void run_worker(const char *program, char *const argv[], const struct handed *h,
                                 const struct rlimit *files)
{
    static char *const env[] = {NULL};
    for (size_t i = 0; i < ARRAY_SIZE(h->fds); i++) {
        if (h->fds[i] < 0) {
            (void)close((int)i);
            if (i <= STDERR_FILENO && open("/dev/null", O_RDWR) < 0)
                _exit(125);
        } else if (dup2(h->fds[i], (int)i) < 0) {
            _exit(125);
        }
    }
    (void)close_range(ARRAY_SIZE(h->fds), ~0U, 0);
    (void)setsid();
    (void)setrlimit(RLIMIT_NOFILE, files);
    execve(program, argv, env);
    _exit(125);
}

static int start(struct launch *l, const struct launch_spec *spec, struct error *err)
{
    struct task_server *s = server_of(l);
    char program[PATH_MAX], *argv[LAUNCH_ARGS_MAX + 1] = {(char *)"wasm-worker"};
    struct handed handed;
    if (!instance_find_beside("wasm-worker", program))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "wasm-worker is not installed beside wasm-task");
    for (size_t i = 0; i < LAUNCH_ARGS_MAX && spec->args[i]; i++)
        argv[i + 1] = (char *)spec->args[i];
    int r = hand_all(&handed, l, spec->extra);
    pid_t pid = r < 0 ? -1 : spec->first ? child_fork_first() : child_fork(true);
    if (pid == 0)
        run_worker(program, argv, &handed, &s->files);
    r = r < 0 ? r : pid < 0 ? -errno : reaper_watch_new(s->reaper, pid, on_starter_exit, l);
    handed_close(&handed);
    if (r < 0) {
        if (pid > 0)
            kill(pid, SIGKILL);
        return error_errno(err, r, "start wasm-worker");
    }
    l->starter = l->first = pid;
    reaper_hold(s->reaper);
    l->held = true;
    return 0;
}

struct launch *launch_start(struct task_process *p, const struct launch_spec *spec,
                            void (*exited)(struct task_process *p, uint32_t code,
                                           const struct timespec *at),
                            struct task_done done, struct error *err)
{
    struct launch *l = calloc(1, sizeof(*l));
    if (!l) {
        error_errno(err, ENOMEM, "wasm-worker");
        return NULL;
    }
    *l = (struct launch){.process = p,
                         .engine = spec->engine,
                         .cache = spec->cache,
                         .control = -1,
                         .ready = -1,
                         .go = -1,
                         .code = -1,
                         .exited = exited};
    ev_io_init(&l->on_control, on_control, -1, EV_READ);
    ev_io_init(&l->on_ready, on_ready, -1, EV_READ);
    ev_timer_init(&l->deadline, on_deadline, 0, 0);
    if (start(l, spec, err) < 0)
        return launch_free(l);
    l->done = done;
    ev_io_set(&l->on_control, l->control, EV_READ);
    ev_io_start(server_of(l)->loop, &l->on_control);
    ev_io_set(&l->on_ready, l->ready, EV_READ);
    ev_io_start(server_of(l)->loop, &l->on_ready);
    event_timer_arm(server_of(l)->loop, &l->deadline, LAUNCH_SECONDS);
    return l;
}

int launch_go(struct launch *l, struct error *err)
{
    static const char go = WORKER_RUN;
    ssize_t n = write(l->go, &go, 1);
    close_fd(&l->go);
    return n == 1 ? 0
                  : error_set(err, STATUS_FAILED_PRECONDITION,
                              "its first process ended before it was started");
}

void launch_cancel(struct launch *l)
{
    struct error err = {0};
    if (!l->done.fn)
        return;
    error_set(&err, STATUS_CANCELLED, "the start was given up");
    finish(l, &err);
}

struct launch *launch_free(struct launch *l)
{
    if (!l)
        return NULL;
    struct task_server *s = server_of(l);
    listen_stop(l);
    ev_timer_stop(s->loop, &l->deadline);
    if (l->watched)
        reaper_unwatch(s->reaper, l->process->pid.pid);
    starter_gone(l);
    close_fd(&l->go);
    free(l);
    return NULL;
}
