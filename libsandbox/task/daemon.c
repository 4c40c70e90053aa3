#include "task/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/instance.h"
#include "base/log.h"
#include "event/event.h"
#include "linux/confine.h"
#include "linux/mount_space.h"
#include "task/mountpoints.h"
#include "task/server.h"
#include "task/settings.h"

// ---- options ------------------------------------------------------------------------------------

// Strings are borrowed from argv.
struct options {
    const char *dir, *listen, *config, *events;
    enum log_level level;
};

static void usage(const struct task_daemon *kind, FILE *out)
{
    fprintf(out,
            "Usage: %s [options]\n"
            "%s\n\n"
            "  -d, --dir DIR                   state directory (default %s)\n"
            "  -l, --listen SOCKET             unix socket to serve on (default DIR/task.sock)\n"
            "  -c, --config FILE               configuration (default %s, if it exists)\n"
            "      --log-level LEVEL           trace, debug, info, warn or error (default info)\n"
            "      --containerd-events SOCKET  containerd's ttrpc socket (default: as configured)\n"
            "  -v, --version                   print the version\n"
            "  -h, --help                      print this text\n",
            kind->name, kind->summary, kind->dir, kind->config);
}

// Returns -1 to go on, else the exit status.
static int parse_options(const struct task_daemon *kind, int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"dir", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"config", required_argument, NULL, 'c'},
        {"log-level", required_argument, NULL, 'L'},
        {"containerd-events", required_argument, NULL, 'e'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "d:l:c:vh", longs, NULL)) >= 0) {
        switch (c) {
        case 'd':
            o->dir = optarg;
            break;
        case 'l':
            o->listen = strncmp(optarg, "unix://", 7) == 0 ? optarg + 7 : optarg;
            break;
        case 'c':
            o->config = optarg;
            break;
        case 'e':
            o->events = optarg;
            break;
        case 'L':
            if (log_level_parse(optarg, &o->level) == 0)
                break;
            fprintf(stderr, "%s: --log-level %s: not a level\n", kind->name, optarg);
            return 2;
        case 'v':
            printf("Version: %s\n", kind->version);
            return 0;
        case 'h':
            usage(kind, stdout);
            return 0;
        default:
            usage(kind, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: %s: unexpected argument\n", kind->name, argv[optind]);
        return 2;
    }
    return -1;
}

static int check_paths(const struct options *o, struct error *err)
{
    if (ident_path_check(o->dir, "--dir", err) < 0 ||
        (o->listen && ident_path_check(o->listen, "--listen", err) < 0) ||
        (o->events && ident_path_check(o->events, "--containerd-events", err) < 0))
        return -1;
    return 0;
}

static int read_options(const struct task_daemon *kind, int argc, char **argv, struct options *ret)
{
    struct error err = {0};
    *ret = (struct options){.dir = kind->dir, .level = LOG_LEVEL_INFO};
    int status = parse_options(kind, argc, argv, ret);
    if (status >= 0)
        return status;
    if (check_paths(ret, &err) == 0)
        return -1;
    fprintf(stderr, "%s: %s\n", kind->name, err.text);
    return 2;
}

// ---- running ------------------------------------------------------------------------------------

struct daemon {
    const struct task_daemon *kind;
    struct options options;
    struct settings settings;
    struct rlimit files; // RLIMIT_NOFILE as it was: the containers'
    struct mount_space mounts;
    struct ev_loop *loop;
    struct task_server *server;
    char shim[PATH_MAX], sock[PATH_MAX];
    int status;
};

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
    if (!getenv("GOGC") && !getenv("GOMEMLIMIT")) {
        (void)setenv("GOGC", "off", 1);
        (void)setenv("GOMEMLIMIT", "256MiB", 1); // from there on there is garbage
    }
    instance_raise_files(ret_files);
    int r = file_write_value_at(AT_FDCWD, "/proc/self/oom_score_adj", "-999");
    if (r < 0)
        log_warn("oom_score_adj stays as it is: %s", strerror(-r));
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
    const char *listen = d->options.listen ? d->options.listen : d->sock;
    if (task_server_listen(d->server, listen, &err) < 0) {
        log_error("%s", err.text);
        d->status = 1;
        ev_break(d->loop, EVBREAK_ALL);
        return;
    }
    log_info("serving on %s", listen);
    (void)event_notify("READY=1");
}

static const char *make_mountpoints(void)
{
    struct error err = {0};
    if (mountpoints_make(MOUNTPOINTS_DIR, &err) == 0)
        return MOUNTPOINTS_DIR;
    log_info("mount points are made in each container: %s", err.text);
    return NULL;
}

static struct task_server *make_server(struct daemon *d, struct reaper *reaper, struct error *err)
{
    const struct options *o = &d->options;
    const struct settings *s = &d->settings;
    const struct task_config config = {
        .dir = o->dir,
        .runtime = s->runtime,
        .runtime_root = s->runtime_root,
        .engine = s->engine,
        .debug_rootfs = s->debug_rootfs,
        .wasmedge_plugins = s->wasmedge_plugins,
        .containerd_events = o->events ? o->events : s->containerd_events,
        .mountpoints = make_mountpoints(),
        .shim = instance_find_beside(d->kind->shim, d->shim) ? d->shim : NULL,
        .program = d->kind->name,
        .version = d->kind->version,
        .metrics_address = s->task_metrics_address,
        .files = &d->files,
        .mounts = &d->mounts,
        .ops = d->kind->ops};
    if (path_format(d->sock, sizeof(d->sock), "%s/task.sock", o->dir) < 0) {
        error_set(err, STATUS_INVALID_ARGUMENT, "--dir: too long");
        return NULL;
    }
    return task_server_new(d->loop, reaper, &config, err);
}

static void serve(struct daemon *d)
{
    struct error err = {0};
    struct event_signals signals;
    d->loop = ev_loop_new(EVFLAG_AUTO);
    struct reaper *reaper = d->loop ? reaper_new(d->loop) : NULL;
    if (reaper)
        d->server = make_server(d, reaper, &err);
    if (!d->server || task_server_recover(d->server, recovered, d) < 0) {
        log_error("start: %s", err.text[0] ? err.text : "out of memory");
        d->status = 1;
    } else {
        event_signals_start(&signals, d->loop, stop, d);
        ev_run(d->loop, 0);
        event_signals_done(&signals);
    }
    task_server_free(d->server);
    reaper_free(reaper);
    if (d->loop)
        ev_loop_destroy(d->loop);
}

static int read_settings(struct daemon *d, struct error *err)
{
    const char *given = d->options.config, *path = given ? given : d->kind->config;
    if (settings_init(&d->settings, d->kind->dir, err) < 0 ||
        settings_load(&d->settings, path, given != NULL, d->kind->more, err) < 0)
        return -1;
    if (d->kind->check && d->kind->check(&d->settings, err) < 0)
        return error_wrap(err, "%s", path);
    return 0;
}

// The lock's descriptor, or -1 (told).
static int begin(struct daemon *d)
{
    struct error err = {0};
    int lock = -1;
    if (read_settings(d, &err) == 0)
        lock = instance_lock(d->options.dir, "task.lock", d->kind->name, &err);
    if (lock >= 0 && (mount_space_enter(d->options.dir, "sandboxer.lock", &d->mounts, &err) < 0 ||
                      confine_daemon(&err) < 0))
        close_fd(&lock);
    if (lock >= 0 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
        error_errno(&err, errno, "subreaper");
        close_fd(&lock);
    }
    if (lock < 0)
        log_error("%s", err.text);
    return lock;
}

int task_daemon_main(const struct task_daemon *kind, int argc, char **argv)
{
    struct daemon d = {.kind = kind, .mounts = MOUNT_SPACE_NONE, .status = 1};
    int status = read_options(kind, argc, argv, &d.options);
    if (status >= 0)
        return status;
    log_setup(kind->name, d.options.level);
    prepare_process(&d.files);
    _cleanup_close_ int lock = begin(&d);
    if (lock >= 0) {
        d.status = 0;
        serve(&d);
    }
    mount_space_done(&d.mounts);
    settings_done(&d.settings);
    return d.status;
}
