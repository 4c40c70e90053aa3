#include "task/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "event/event.h"
#include "task/console.h"
#include "task/fifo_in.h"
#include "task/stream_io.h"
#include "task/streams.h"

struct task_stdio {
    struct stdio_host *host;
    int given[3]; // what the process gets (or, with a terminal, what is copied to and from it)
    int keep[2];  // read handles of stdout and stderr
    int hold_in;  // write handle of stdin
    struct fifo_in *copied_in; // NULL: not from a FIFO
    struct stream_in *in;      // NULL: not by a stream
    struct stream_out *out[2]; // stdout and stderr
    bool started;              // the process has its ends
    bool exited;
    bool orphaned;          // drains by itself
    ev_timer admission;     // runs after the exit: blocked readers are let through
    double admission_delay; // seconds, the next time
    ev_timer handover;      // runs while an exit is held back
    void (*handed)(void *arg);
    void *handed_arg;
    uint16_t columns, rows;
    struct console *console;
    LIST_ENTRY(task_stdio) link;
};

// A form of URL: how one stream (0, 1, 2) of the process is opened. `open` sets io->given[n].
struct scheme {
    bool (*matches)(const char *url);
    int (*check)(const char *url, const char *field, struct error *err);
    int (*open)(struct task_stdio *io, int n, const char *url, struct error *err);
};

static const char *const fields[] = {"stdin", "stdout", "stderr"};

static void tell_if_handed(struct task_stdio *io);

// ---- nothing --------------------------------------------------------------------------------

static bool is_empty(const char *url)
{
    return !url[0];
}

static int check_nothing(const char *url, const char *field, struct error *err)
{
    return 0;
}

static int open_null(struct task_stdio *io, int n, const char *url, struct error *err)
{
    io->given[n] = open("/dev/null", (n ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    return io->given[n] < 0 ? error_errno(err, errno, "/dev/null") : 0;
}

// ---- FIFOs ----------------------------------------------------------------------------------

static bool is_path(const char *url)
{
    return url[0] == '/';
}

static int check_path(const char *url, const char *field, struct error *err)
{
    return ident_path_check(url, field, err);
}

// Opens the file behind a descriptor once more; FIFOs never block here.
static int reopen(int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int r = open(path, flags | O_NONBLOCK | O_CLOEXEC);
    return r < 0 ? -errno : r;
}

static int set_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_fifo(struct task_stdio *io, int n, const char *url, struct error *err)
{
    struct stat st;
    _cleanup_close_ int path = open(url, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (path < 0 || fstat(path, &st) < 0)
        return error_errno(err, errno, "%s %s", fields[n], url);
    if (!S_ISFIFO(st.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s %s: not a FIFO; for a log file give file://%s", fields[n], url, url);
    // The reading end first: a FIFO cannot be opened for writing without blocking before.
    int reader = reopen(path, O_RDONLY);
    int writer = reader < 0 ? -1 : reopen(path, O_WRONLY);
    if (n == 0) {
        io->given[0] = reader < 0 ? -1 : reader;
        io->hold_in = writer < 0 ? -1 : writer;
    } else {
        io->keep[n - 1] = reader < 0 ? -1 : reader;
        io->given[n] = writer < 0 ? -1 : writer;
    }
    int r = reader < 0 ? reader : writer < 0 ? writer : 0;
    return r < 0 ? error_errno(err, r, "%s %s", fields[n], url) : 0;
}

// What the process gets is the end of a pipe in place of the FIFO.
static int put_pipe_between(struct task_stdio *io, struct error *err)
{
    io->copied_in = fifo_in_new(io->host->loop, take_fd(&io->given[0]), &io->given[0], err);
    return io->copied_in ? 0 : error_wrap(err, "stdin");
}

// Lets readers through that are blocked in open(2): they find what the FIFO holds, then its end.
static void admit_readers(struct task_stdio *io)
{
    for (int n = 0; n < 2; n++) {
        int writer = io->keep[n] < 0 ? -1 : reopen(io->keep[n], O_WRONLY);
        if (writer >= 0)
            close(writer);
    }
}

static bool all_read(const struct task_stdio *io)
{
    for (int n = 0; n < 2; n++) {
        int len = 0;
        if (io->keep[n] >= 0 && ioctl(io->keep[n], FIONREAD, &len) == 0 && len > 0)
            return false;
    }
    return true;
}

// Who blocks in open(2) cannot be seen, so it is done again and again, more and more seldom.
static void on_admission(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task_stdio *io = container_of(w, struct task_stdio, admission);
    admit_readers(io);
    tell_if_handed(io);
    event_timer_arm(loop, w, io->admission_delay);
    if (io->admission_delay < STDIO_ADMISSION_SECONDS_MAX)
        io->admission_delay *= 2;
}

// ---- log files ------------------------------------------------------------------------------

static bool is_file(const char *url)
{
    return strncmp(url, "file://", 7) == 0;
}

static int check_file(const char *url, const char *field, struct error *err)
{
    return ident_path_check(url + 7, field, err);
}

static int open_file(struct task_stdio *io, int n, const char *url, struct error *err)
{
    char dir[PATH_MAX];
    const char *path = url + 7, *slash = strrchr(path, '/');
    if (n == 0)
        return open_null(io, n, url, err);
    int r = path_format(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
    if (r == 0 && dir[0])
        r = file_mkdir_all(dir, 0755);
    if (r < 0)
        return error_errno(err, r, "%s %s", fields[n], url);
    io->given[n] =
        open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    struct stat st;
    if (io->given[n] < 0 || fstat(io->given[n], &st) < 0)
        return error_errno(err, errno, "%s %s", fields[n], url);
    if (!S_ISREG(st.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION, "%s %s: not a regular file", fields[n],
                         url);
    return 0;
}

// ---- streams --------------------------------------------------------------------------------

#define STREAM_QUERY "?streaming_id="

static bool is_stream(const char *url)
{
    return strstr(url, STREAM_QUERY) != NULL;
}

static const char *stream_id(const char *url)
{
    return strstr(url, STREAM_QUERY) + strlen(STREAM_QUERY);
}

// The address is what the sandboxer gave containerd, who has come to us by it.
static int check_stream(const char *url, const char *field, struct error *err)
{
    const char *id = stream_id(url);
    if (strncmp(url, "ttrpc+unix://", 13) != 0)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: streams are served at ttrpc+unix:// addresses, not at %.200s", field,
                         url);
    if (stream_id_check(id, field, err) < 0)
        return -1;
    if (strcmp(strrchr(id, '-') + 1, field) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is another stream", field, id);
    return 0;
}

static bool streams_handed(const struct task_stdio *io)
{
    for (int n = 0; n < 2; n++) {
        if (io->out[n] && !stream_out_handed(io->out[n]))
            return false;
    }
    return true;
}

static void output_handed(void *arg)
{
    tell_if_handed(arg);
}

// Told by the loop, not from within what a connection has said.
static void tell_if_handed(struct task_stdio *io)
{
    if (ev_is_active(&io->handover) && streams_handed(io) && all_read(io))
        ev_feed_event(io->host->loop, &io->handover, EV_TIMER);
}

static void on_handover(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task_stdio *io = container_of(w, struct task_stdio, handover);
    ev_timer_stop(loop, w);
    io->handed(io->handed_arg);
}

static int open_by_stream(struct task_stdio *io, int n, const char *url, struct error *err)
{
    struct ev_loop *loop = io->host->loop;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(err, errno, "%s: pipe", fields[n]);
    io->given[n] = ends[n ? 1 : 0];
    if (n == 0)
        io->in = stream_in_new(loop, io->host->streams, stream_id(url), ends[1], err);
    else
        io->out[n - 1] = stream_out_new(loop, io->host->streams, stream_id(url), ends[0],
                                        output_handed, io, err);
    if (n == 0 ? !io->in : !io->out[n - 1])
        return error_wrap(err, "%s", fields[n]);
    return 0;
}

// ---- what is not served ---------------------------------------------------------------------

static bool is_other(const char *url)
{
    return true;
}

static int check_other(const char *url, const char *field, struct error *err)
{
    if (strstr(url, "://"))
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: URLs of the form %.*s:// (%.200s) are not served here", field,
                         (int)strcspn(url, ":"), url, url);
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: %.200s is neither an absolute path nor a URL", field, url);
}

static int open_other(struct task_stdio *io, int n, const char *url, struct error *err)
{
    return check_other(url, fields[n], err);
}

static const struct scheme schemes[] = {
    {is_empty, check_nothing, open_null}, {is_path, check_path, open_fifo},
    {is_file, check_file, open_file},     {is_stream, check_stream, open_by_stream},
    {is_other, check_other, open_other}, // last: takes everything
};

static const struct scheme *scheme_of(const char *url)
{
    const struct scheme *s = schemes;
    while (!s->matches(url))
        s++;
    return s;
}

// ---- opening --------------------------------------------------------------------------------

static const char *url_of(const struct stdio_spec *spec, int n)
{
    const char *urls[] = {spec->in, spec->out, spec->terminal ? NULL : spec->err};
    return urls[n] ? urls[n] : "";
}

int task_stdio_check(const struct stdio_spec *spec, struct error *err)
{
    for (int n = 0; n < 3; n++) {
        const char *url = url_of(spec, n);
        if (scheme_of(url)->check(url, fields[n], err) < 0)
            return -1;
    }
    return 0;
}

static int own(const struct stdio_spec *spec, const char *url, int fd)
{
    bool as_it_is = spec->uid == (uid_t)-1 || !url[0];
    return as_it_is || fchown(fd, spec->uid, spec->gid) == 0 ? 0 : -errno;
}

static int open_stream(struct task_stdio *io, const struct stdio_spec *spec, int n,
                       struct error *err)
{
    const char *url = url_of(spec, n);
    if (spec->terminal && (n == 2 || (n == 0 && !url[0])))
        return 0;
    if (scheme_of(url)->open(io, n, url, err) < 0)
        return -1;
    if (spec->terminal)
        return 0; // copied by us
    int r = own(spec, url, io->given[n]);
    if (r == 0 && n == 0 && is_path(url) && !spec->elsewhere) {
        if (put_pipe_between(io, err) < 0)
            return -1;
        r = own(spec, url, io->given[n]);
    }
    if (r == 0)
        r = set_blocking(io->given[n]);
    return r < 0 ? error_errno(err, r, "%s %s", fields[n], url) : 0;
}

static void console_over(void *arg)
{
    struct task_stdio *io = arg;
    io->console = console_free(io->console);
    if (io->orphaned)
        task_stdio_free(io);
}

struct task_stdio *task_stdio_open(struct stdio_host *h, const struct stdio_spec *spec,
                                   struct error *err)
{
    struct task_stdio *io = calloc(1, sizeof(*io));
    if (!io) {
        error_errno(err, ENOMEM, "stdio");
        return NULL;
    }
    *io = (struct task_stdio){.host = h,
                              .given = {-1, -1, -1},
                              .keep = {-1, -1},
                              .hold_in = -1,
                              .admission_delay = STDIO_ADMISSION_SECONDS,
                              .columns = spec->columns,
                              .rows = spec->rows};
    ev_timer_init(&io->admission, on_admission, 0, 0);
    ev_timer_init(&io->handover, on_handover, 0, 0);
    for (int n = 0; n < 3; n++) {
        if (open_stream(io, spec, n, err) < 0)
            return task_stdio_free(io);
    }
    if (spec->terminal && !spec->elsewhere) {
        io->console = console_new(h->loop, h->console_dir, console_over, io, err);
        if (!io->console)
            return task_stdio_free(io);
    }
    return io;
}

void task_stdio_pass_stdin(struct task_stdio *io)
{
    if (!io->copied_in)
        return;
    close_fd(&io->given[0]);
    io->given[0] = fifo_in_give_up(take_ptr(io->copied_in));
    (void)set_blocking(io->given[0]);
}

void task_stdio_fds(const struct task_stdio *io, int ret_fds[3])
{
    if (io->copied_in)
        fifo_in_start(io->copied_in);
    for (int n = 0; n < 3; n++)
        ret_fds[n] = io->console ? -1 : io->given[n];
}

const char *task_stdio_console(const struct task_stdio *io)
{
    return io->console ? console_socket(io->console) : NULL;
}

int task_stdio_attach(struct task_stdio *io, struct error *err)
{
    io->started = true;
    if (io->console)
        return console_take(io->console, take_fd(&io->given[0]), take_fd(&io->given[1]),
                            io->columns, io->rows, err);
    for (int n = 0; n < 3; n++)
        close_fd(&io->given[n]);
    return 0;
}

int task_stdio_resize(struct task_stdio *io, uint32_t columns, uint32_t rows, struct error *err)
{
    if (columns > UINT16_MAX || rows > UINT16_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "size %ux%u: too large", columns, rows);
    if (!io || !io->console)
        return error_set(err, STATUS_FAILED_PRECONDITION, "the process has no terminal");
    int r = console_resize(io->console, (uint16_t)columns, (uint16_t)rows);
    return r < 0 ? error_errno(err, r, "resize to %ux%u", columns, rows) : 0;
}

void task_stdio_close_stdin(struct task_stdio *io)
{
    if (!io)
        return;
    close_fd(&io->hold_in);
    if (io->in)
        stream_in_close(io->in);
}

static void process_ended(struct task_stdio *io)
{
    close_fd(&io->hold_in);
    io->copied_in = fifo_in_free(io->copied_in);
    if (io->console)
        console_exited(io->console);
    if (io->in)
        stream_in_exited(io->in);
    for (int n = 0; n < 2; n++) {
        if (io->out[n])
            stream_out_exited(io->out[n]);
    }
    if (io->keep[0] >= 0 || io->keep[1] >= 0)
        on_admission(io->host->loop, &io->admission, 0);
    if (io->started && !(streams_handed(io) && all_read(io)))
        event_timer_arm(io->host->loop, &io->handover,
                        streams_handed(io) ? STDIO_READ_SECONDS : STDIO_HANDOVER_SECONDS);
}

bool task_stdio_exited(struct task_stdio *io, void (*handed)(void *arg), void *arg)
{
    if (!io)
        return true;
    io->handed = handed;
    io->handed_arg = arg;
    if (!io->exited)
        process_ended(io);
    io->exited = true;
    return !ev_is_active(&io->handover);
}

// ---- the end --------------------------------------------------------------------------------

struct task_stdio *task_stdio_free(struct task_stdio *io)
{
    if (!io)
        return NULL;
    ev_timer_stop(io->host->loop, &io->handover);
    ev_timer_stop(io->host->loop, &io->admission);
    if (io->console && !io->orphaned && console_draining(io->console)) {
        io->orphaned = true;
        LIST_INSERT_HEAD(&io->host->orphans, io, link);
        return NULL;
    }
    if (io->orphaned)
        LIST_REMOVE(io, link);
    console_free(io->console);
    for (int n = 0; n < 3; n++)
        close_fd(&io->given[n]);
    admit_readers(io);
    for (int n = 0; n < 2; n++)
        close_fd(&io->keep[n]);
    for (int n = 0; n < 2; n++)
        stream_out_free(io->out[n]);
    stream_in_free(io->in);
    fifo_in_free(io->copied_in);
    close_fd(&io->hold_in);
    free(io);
    return NULL;
}

int stdio_host_init(struct stdio_host *h, struct ev_loop *loop, const char *dir)
{
    *h = (struct stdio_host){.loop = loop};
    LIST_INIT(&h->orphans);
    int r = file_mkdir_all(dir, 0700);
    if (r < 0)
        return r;
    h->console_dir = strdup(dir);
    h->streams = streams_new(loop);
    return h->console_dir && h->streams ? 0 : -ENOMEM;
}

void stdio_host_done(struct stdio_host *h)
{
    while (!LIST_EMPTY(&h->orphans))
        task_stdio_free(LIST_FIRST(&h->orphans));
    h->streams = streams_free(h->streams);
    free(h->console_dir);
    h->console_dir = NULL;
}
