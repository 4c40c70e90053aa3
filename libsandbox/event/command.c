// Running a program. The child tells through a pipe why it could not become the program; the exec
// closes that pipe. So a missing program is an error of command_start.
//
// The command is over when the process has been reaped. What its pipes hold at that moment is read,
// their end is not waited for: a grandchild may keep them open for as long as it likes. Output
// beyond the limit is read and dropped, so that the program never blocks on us.
//
// Killing always means the process group, and only before the process has been reaped: until then
// its number cannot belong to anybody else.
#include "event/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "event/child.h"
#include "event/event.h"

#define READ_CHUNK 8192
// Most that is read from one pipe in one go, and after the end of the process.
#define READ_ROUND_MAX (64 * 1024)
#define DRAIN_MAX      (1024 * 1024)

// An output that is captured.
struct capture {
    ev_io io;
    int fd; // -1: none, or at its end
    struct buf text;
};

struct command {
    struct ev_loop *loop;
    struct reaper *reaper;
    pid_t pid;
    command_fn fn;
    void *arg;
    ev_timer timer; // the time limit, then the grace after a kill
    bool killed, timed_out;
    struct capture out, err;
    ev_io in_io;
    int in_fd; // -1: no input, or all written
    struct buf in;
};

// The descriptors of a child, all above 2 so that putting them in place cannot overwrite another.
// -1 stands for /dev/null.
struct child_fds {
    int fd[3];
};

static void cleanup_child_fds(struct child_fds *fds)
{
    for (int i = 0; i < 3; i++)
        close_fd(&fds->fd[i]);
}

static void close_capture(struct command *c, struct capture *capture)
{
    ev_io_stop(c->loop, &capture->io);
    close_fd(&capture->fd);
}

static void close_input(struct command *c)
{
    ev_io_stop(c->loop, &c->in_io);
    close_fd(&c->in_fd);
}

static struct command *command_free(struct command *c)
{
    if (!c)
        return NULL;
    ev_timer_stop(c->loop, &c->timer);
    close_capture(c, &c->out);
    close_capture(c, &c->err);
    close_input(c);
    buf_free(&c->out.text);
    buf_free(&c->err.text);
    buf_free(&c->in);
    free(c);
    return NULL;
}

static void cleanup_command(struct command **c)
{
    command_free(*c);
}

// ---- output and input ---------------------------------------------------------------------------

// Keeps what fits; without memory the output is lost, not the command.
static void keep_output(struct buf *text, const char *data, size_t n)
{
    size_t room = text->max - text->len;
    (void)buf_append(text, data, n < room ? n : room);
}

// Reads what is there, at most `limit` bytes.
static void read_output(struct command *c, struct capture *capture, size_t limit)
{
    char chunk[READ_CHUNK];
    for (size_t done = 0; capture->fd >= 0 && done < limit;) {
        ssize_t n = read(capture->fd, chunk, sizeof chunk);
        if (n > 0) {
            keep_output(&capture->text, chunk, (size_t)n);
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            return;
        } else if (n == 0 || errno != EINTR) {
            close_capture(c, capture);
        }
    }
}

static void on_out(struct ev_loop *loop, ev_io *w, int revents)
{
    struct command *c = w->data;
    read_output(c, &c->out, READ_ROUND_MAX);
}

static void on_err(struct ev_loop *loop, ev_io *w, int revents)
{
    struct command *c = w->data;
    read_output(c, &c->err, READ_ROUND_MAX);
}

static void on_in(struct ev_loop *loop, ev_io *w, int revents)
{
    struct command *c = w->data;
    ssize_t n = write(c->in_fd, c->in.data, c->in.len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_consume(&c->in, (size_t)n);
    // A program that does not read its input is not an error of ours.
    if (n < 0 || c->in.len == 0)
        close_input(c);
}

// ---- the end ------------------------------------------------------------------------------------

static void finish(struct command *c, uint32_t code)
{
    read_output(c, &c->out, DRAIN_MAX);
    read_output(c, &c->err, DRAIN_MAX);
    const char *out = buf_cstr(&c->out.text), *err = buf_cstr(&c->err.text);
    struct command_result result = {
        .code = code,
        .timed_out = c->timed_out,
        .out = out ? out : "",
        .err = err ? err : "",
    };
    ev_timer_stop(c->loop, &c->timer);
    close_capture(c, &c->out);
    close_capture(c, &c->err);
    close_input(c);
    c->fn(&result, c->arg);
    command_free(c);
}

static void on_exit_info(const struct exit_info *info, void *arg)
{
    finish(arg, info->code);
}

static void kill_group(struct command *c)
{
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL); // should it have left its group
}

void command_kill(struct command *c)
{
    kill_group(c);
    if (c->killed)
        return;
    c->killed = true;
    ev_now_update(c->loop);
    event_timer_arm(c->loop, &c->timer, COMMAND_KILL_GRACE);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct command *c = w->data;
    if (!c->killed) {
        c->timed_out = true;
        command_kill(c);
        return;
    }
    reaper_unwatch(c->reaper, c->pid);
    finish(c, 128 + SIGKILL);
}

void command_abandon(struct command *c)
{
    if (!c)
        return;
    kill_group(c);
    reaper_unwatch(c->reaper, c->pid);
    command_free(c);
}

pid_t command_pid(const struct command *c)
{
    return c->pid;
}

// ---- the start ----------------------------------------------------------------------------------

// Moves a descriptor above 2. The old one is closed, also on failure.
static int move_up(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int saved = errno;
    close(fd);
    errno = saved;
    return up;
}

static int make_pipe(int *ours, int *theirs, int our_end)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ours = move_up(ends[our_end]);
    int r = *ours < 0 || fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    *theirs = move_up(ends[!our_end]);
    return r < 0 ? r : *theirs < 0 ? -errno : 0;
}

// What the child gets as descriptor i: a copy of the borrowed one, or the end of a pipe.
static int prepare_fd(int *child, int borrowed, bool piped, int *ours, int our_end)
{
    if (borrowed >= 0) {
        *child = fcntl(borrowed, F_DUPFD_CLOEXEC, 3);
        return *child < 0 ? -errno : 0;
    }
    return piped ? make_pipe(ours, child, our_end) : 0;
}

static int prepare_fds(struct command *c, const struct command_spec *spec, struct child_fds *fds)
{
    int r = prepare_fd(&fds->fd[0], spec->stdin_fd, spec->input != NULL, &c->in_fd, 1);
    if (r == 0)
        r = prepare_fd(&fds->fd[1], spec->stdout_fd, spec->capture_stdout, &c->out.fd, 0);
    if (r == 0)
        r = prepare_fd(&fds->fd[2], spec->stderr_fd, true, &c->err.fd, 0);
    return r;
}

// ---- the child ----------------------------------------------------------------------------------

static int put_fds_in_place(const struct child_fds *fds)
{
    for (int i = 0; i < 3; i++) {
        int fd = fds->fd[i] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : fds->fd[i];
        // The same number only where open found a gap below 3.
        if (fd < 0 || (fd == i ? fcntl(fd, F_SETFD, 0) : dup2(fd, i)) < 0)
            return -1;
    }
    return close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int prepare_child(const struct command_spec *spec, const struct child_fds *fds)
{
    int r = spec->enter ? spec->enter(spec->enter_arg) : 0;
    if (r < 0) {
        errno = -r;
        return -1;
    }
    if (setpgid(0, 0) < 0 || put_fds_in_place(fds) < 0 || (spec->cwd && chdir(spec->cwd) < 0) ||
        (spec->files && setrlimit(RLIMIT_NOFILE, spec->files) < 0))
        return -1;
    return 0;
}

_Noreturn static void become(const struct command_spec *spec, const struct child_fds *fds,
                             int report)
{
    char *const *env = spec->env ? (char *const *)spec->env : child_environment();
    if (env && prepare_child(spec, fds) == 0)
        execvpe(spec->argv[0], (char *const *)spec->argv, env);
    int e = errno;
    (void)!write(report, &e, sizeof(e));
    _exit(127);
}

// What the child says before the exec: 0 (nothing) or an errno (positive).
static int read_report(int fd)
{
    int e = 0;
    ssize_t n;
    do
        n = read(fd, &e, sizeof(e));
    while (n < 0 && errno == EINTR);
    return n == sizeof(e) ? e : 0;
}

// Returns 0 or an errno (positive).
static int spawn(struct command *c, const struct command_spec *spec, const struct child_fds *fds)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return errno;
    _cleanup_close_ int read_end = move_up(ends[0]), write_end = move_up(ends[1]);
    if (read_end < 0 || write_end < 0)
        return errno;
    c->pid = child_fork(spec->mortal);
    if (c->pid < 0)
        return errno;
    if (c->pid == 0)
        become(spec, fds, write_end);
    close_fd(&write_end);
    int e = read_report(read_end);
    while (e && waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return e;
}

static int spawn_failed(const struct command_spec *spec, int e, struct error *err)
{
    struct stat st;
    if (spec->cwd && stat(spec->cwd, &st) < 0)
        return error_errno(err, errno, "cannot run %s in %s", spec->argv[0], spec->cwd);
    return error_errno(err, e, "cannot run %s", spec->argv[0]);
}

static int check_spec(const struct command_spec *spec, struct error *err)
{
    if (!spec->argv || !spec->argv[0] || !spec->argv[0][0])
        return error_set(err, STATUS_INVALID_ARGUMENT, "command: no program is named");
    if (spec->input_len > COMMAND_INPUT_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: input is larger than %d bytes",
                         spec->argv[0], COMMAND_INPUT_MAX);
    if (spec->input && spec->stdin_fd >= 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: both input and stdin_fd are given",
                         spec->argv[0]);
    return 0;
}

static struct command *command_new(struct ev_loop *loop, struct reaper *reaper, command_fn fn,
                                   void *arg)
{
    struct command *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->reaper = reaper;
    c->fn = fn;
    c->arg = arg;
    c->in_fd = c->out.fd = c->err.fd = -1;
    buf_init(&c->out.text, COMMAND_OUTPUT_MAX);
    buf_init(&c->err.text, COMMAND_OUTPUT_MAX);
    buf_init(&c->in, COMMAND_INPUT_MAX);
    ev_init(&c->out.io, on_out);
    ev_init(&c->err.io, on_err);
    ev_init(&c->in_io, on_in);
    ev_init(&c->timer, on_timer);
    c->out.io.data = c->err.io.data = c->in_io.data = c->timer.data = c;
    return c;
}

static void start_watchers(struct command *c, double timeout)
{
    struct capture *captures[] = {&c->out, &c->err};
    for (size_t i = 0; i < ARRAY_SIZE(captures); i++)
        if (captures[i]->fd >= 0) {
            ev_io_set(&captures[i]->io, captures[i]->fd, EV_READ);
            ev_io_start(c->loop, &captures[i]->io);
        }
    if (c->in.len == 0)
        close_input(c);
    if (c->in_fd >= 0) {
        ev_io_set(&c->in_io, c->in_fd, EV_WRITE);
        ev_io_start(c->loop, &c->in_io);
    }
    if (timeout > 0) {
        ev_now_update(c->loop); // the limit counts from here, not from the start of this round
        event_timer_arm(c->loop, &c->timer, timeout);
    }
}

struct command *command_start(struct ev_loop *loop, struct reaper *reaper,
                              const struct command_spec *spec, command_fn fn, void *arg,
                              struct error *err)
{
    if (check_spec(spec, err) < 0)
        return NULL;
    _cleanup_(cleanup_command) struct command *c = command_new(loop, reaper, fn, arg);
    if (!c || buf_append(&c->in, spec->input, spec->input_len) < 0) {
        error_errno(err, ENOMEM, "cannot run %s", spec->argv[0]);
        return NULL;
    }
    _cleanup_(cleanup_child_fds) struct child_fds fds = {{-1, -1, -1}};
    int r = prepare_fds(c, spec, &fds);
    if (r < 0) {
        error_errno(err, r, "cannot run %s: its descriptors", spec->argv[0]);
        return NULL;
    }
    r = spawn(c, spec, &fds);
    if (r != 0) {
        spawn_failed(spec, r, err);
        return NULL;
    }
    r = reaper_watch_new(reaper, c->pid, on_exit_info, c);
    if (r < 0) {
        kill_group(c);
        error_errno(err, r, "cannot watch %s", spec->argv[0]);
        return NULL;
    }
    start_watchers(c, spec->timeout);
    return take_ptr(c);
}
