// runc-task - serve containerd's Task API for all OCI containers of a node
//
// SYNOPSIS
//     runc-task [-v] [-h] [-d DIR] [-l SOCKET] [-c FILE] [--log-level LEVEL]
//               [--containerd-events SOCKET]
//
// One process serves containerd.task.v3.Task and containerd.task.v2.Task (ttrpc) on a unix socket
// for every pod of the runtime handler. It drives runc, crun, or any program that speaks like them.
// One instance per directory: a second one says "already running" and ends with 1.
//
// START  What a dead predecessor left behind is ended and removed first: containerd has already
// given up those containers. Then the socket appears and the service manager is told READY=1.
//
// END  The containers of a task server that ends are dead to containerd (exit code 255). So SIGTERM
// and SIGINT end it at once only if it has no container. Otherwise it says how many run, takes no
// new ones, and ends when the last one has been deleted; a second signal ends it at once and gives
// the containers up (its successor kills what is left of them). SIGHUP does nothing.
//
// FILES  DIR/task.sock (--listen), DIR/task-metrics.sock, DIR/task.lock,
// DIR/tasks/NAMESPACE/ID.json (journal), DIR/quarantine (records that could not be read),
// DIR/console, DIR/sandboxes/ID/pod.json (written by the sandboxer).
//
// CONFIGURATION  The sandboxer's file (TOML): runtime, runtime_root, containerd_events,
// task_metrics_address are for us.
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/event.h"
#include "options.h"
#include "task/ops.h"
#include "task/server.h"
#include "task/settings.h"

#define SHIM_NAME "containerd-shim-kuasar-runc-v1"

struct daemon {
    struct ev_loop *loop;
    struct task_server *server;
    const char *listen;
    int status;
};

// The lock's descriptor (held until the end of the process), or -1.
static int take_lock(const char *dir)
{
    char path[PATH_MAX];
    int r = file_mkdir_all(dir, 0700);
    if (r == 0)
        r = path_format(path, sizeof(path), "%s/task.lock", dir);
    if (r < 0) {
        log_error("%s: %s", dir, strerror(-r));
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    log_error("%s: %s", path,
              fd >= 0 && errno == EWOULDBLOCK ? "another runc-task is already running"
                                              : strerror(errno));
    close_fd(&fd);
    return -1;
}

// *ret_files: the limit that was ours before, and is the containers'.
static void prepare_process(struct rlimit *ret_files)
{
    // Nothing but standard input, output and error is for us; their absence must not let a socket
    // become one of them.
    if (close_range(3, ~0U, 0) < 0)
        log_warn("close_range: %s", strerror(errno));
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR);
    }
    umask(0022);
    // For runtimes written in Go, which live for milliseconds: their threads and the collection of
    // their garbage cost more than they give. (runc hands the first on to its first stage in the
    // container, the others to nobody; hooks see them.)
    (void)setenv("GOMAXPROCS", "1", 0);
    (void)setenv("GOGC", "off", 0);
    (void)setenv("GOMEMLIMIT", "64MiB", 0);
    (void)getrlimit(RLIMIT_NOFILE, ret_files);
    const struct rlimit raised = {.rlim_cur = ret_files->rlim_max, .rlim_max = ret_files->rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) < 0)
        log_warn("descriptor limit: %s", strerror(errno));
    int r = file_write_value_at(AT_FDCWD, "/proc/self/oom_score_adj", "-999");
    if (r < 0)
        log_warn("oom_score_adj stays as it is: %s", strerror(-r));
}

// The stub beside our own program; NULL if there is none.
static const char *find_shim(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    size_t room = (size_t)(path + PATH_MAX - slash - 1);
    if (sizeof(SHIM_NAME) > room)
        return NULL;
    memcpy(slash + 1, SHIM_NAME, sizeof(SHIM_NAME));
    return access(path, X_OK) == 0 ? path : NULL;
}

static void drained(void *arg)
{
    ev_break(((struct daemon *)arg)->loop, EVBREAK_ALL);
}

static void stop(void *arg)
{
    struct daemon *d = arg;
    size_t n = task_server_count(d->server);
    (void)event_notify("STOPPING=1");
    if (n)
        log_warn("%zu containers still run; send SIGTERM twice to give them up", n);
    task_server_drain(d->server, drained, d);
}

static void recovered(void *arg)
{
    struct daemon *d = arg;
    struct error err = {0};
    if (task_server_listen(d->server, d->listen, &err) < 0) {
        log_error("%s", err.text);
        d->status = 1;
        ev_break(d->loop, EVBREAK_ALL);
        return;
    }
    log_info("serving on %s", d->listen);
    (void)event_notify("READY=1");
}

static int serve(const struct options *o, const struct settings *settings,
                 const struct rlimit *files)
{
    char shim[PATH_MAX], sock[PATH_MAX];
    struct error err = {0};
    struct daemon d = {.loop = ev_loop_new(EVFLAG_AUTO), .listen = o->listen};
    struct event_signals signals;
    const struct task_config config = {.dir = o->dir,
                                       .runtime = settings->runtime,
                                       .runtime_root = settings->runtime_root,
                                       .containerd_events =
                                           o->events ? o->events : settings->containerd_events,
                                       .shim = find_shim(shim),
                                       .program = "runc-task",
                                       .version = KUASAR_VERSION "-" KUASAR_COMMIT,
                                       .metrics_address = settings->task_metrics_address,
                                       .files = files,
                                       .ops = &task_oci_ops};
    if (!d.listen && path_format(sock, sizeof(sock), "%s/task.sock", o->dir) == 0)
        d.listen = sock;
    struct reaper *reaper = d.loop ? reaper_new(d.loop) : NULL;
    if (reaper)
        d.server = task_server_new(d.loop, reaper, &config, &err);
    if (!d.server || task_server_recover(d.server, recovered, &d) < 0) {
        log_error("start: %s", err.text[0] ? err.text : "out of memory");
        d.status = 1;
    } else {
        event_signals_start(&signals, d.loop, stop, &d);
        ev_run(d.loop, 0);
        event_signals_done(&signals);
    }
    task_server_free(d.server);
    reaper_free(reaper);
    if (d.loop)
        ev_loop_destroy(d.loop);
    return d.status;
}

static int read_settings(const struct options *o, struct settings *settings, struct error *err)
{
    const char *path = o->config ? o->config : DEFAULT_CONFIG;
    if (settings_init(settings, err) < 0)
        return -1;
    return settings_load(settings, path, o->config != NULL, err);
}

int main(int argc, char **argv)
{
    struct options o;
    _cleanup_(settings_done) struct settings settings = {0};
    struct error err = {0};
    int status = options_read(argc, argv, &o);
    if (status >= 0)
        return status;
    log_setup("runc-task", o.level);
    struct rlimit files = {0};
    prepare_process(&files);
    if (read_settings(&o, &settings, &err) < 0) {
        log_error("%s", err.text);
        return 1;
    }
    _cleanup_close_ int lock = take_lock(o.dir);
    if (lock < 0)
        return 1;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
        log_error("subreaper: %s", strerror(errno));
        return 1;
    }
    return serve(&o, &settings, &files);
}
