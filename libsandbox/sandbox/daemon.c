#include "sandbox/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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
#include "rpc/grpc_health.h"
#include "rpc/grpc_server.h"
#include "rpc/http_server.h"
#include "rpc/listen.h"
#include "rpc/ttrpc_server.h"
#include "sandbox/controller.h"
#include "sandbox/inspect.h"
#include "sandbox/metrics.h"
#include "sandbox/task_peer.h"
#include "task/settings.h"

// How long the calls that are under way when it is stopped may take (systemd kills after 90).
#define DRAIN_SECONDS 10.

// ---- options ------------------------------------------------------------------------------------

struct options {
    const char *dir, *listen, *config, *log_level;
    bool config_given;
};

static void usage(const struct sandboxer *kind, FILE *out)
{
    fprintf(out,
            "usage: %s [options]\n"
            "  -d, --dir DIR          state directory (%s)\n"
            "  -l, --listen FILE      socket for containerd (%s)\n"
            "  -c, --config FILE      configuration (%s, if it exists)\n"
            "      --log-level LEVEL  trace, debug, info, warn or error (info)\n"
            "  -v, --version          print the version\n"
            "  -h, --help             print this\n",
            kind->name, kind->dir, kind->listen, kind->config);
}

// Returns -1 to go on, else the exit status.
static int parse_options(const struct sandboxer *kind, struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"dir", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"config", required_argument, NULL, 'c'},
        {"log-level", required_argument, NULL, 'L'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *o = (struct options){kind->dir, kind->listen, kind->config, "info", false};
    for (int c; (c = getopt_long(argc, argv, "d:l:c:vh", longs, NULL)) != -1;) {
        switch (c) {
        case 'd':
            o->dir = optarg;
            break;
        case 'l':
            o->listen = optarg;
            break;
        case 'c':
            o->config = optarg;
            o->config_given = true;
            break;
        case 'L':
            o->log_level = optarg;
            break;
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
        fprintf(stderr, "%s: unexpected argument \"%s\"\n", kind->name, argv[optind]);
        usage(kind, stderr);
        return 2;
    }
    return -1;
}

static int check_options(const struct options *o, struct error *err)
{
    enum log_level level;
    if (log_level_parse(o->log_level, &level) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--log-level: \"%s\" is none of trace, debug, info, warn, error",
                         o->log_level);
    log_setup(program_invocation_short_name, level);
    if (ident_path_check(o->dir, "--dir", err) < 0 ||
        ident_path_check(o->listen, "--listen", err) < 0 ||
        (o->config_given && ident_path_check(o->config, "--config", err) < 0))
        return -1;
    return 0;
}

// ---- running ------------------------------------------------------------------------------------

struct daemon {
    const struct sandboxer *kind;
    struct options options;
    struct settings settings;
    struct ev_loop *loop;
    struct reaper *reaper;
    struct event_signals signals;
    struct sandbox_config sandbox_config;
    struct task_peer_config task_config;
    char task_program[PATH_MAX], init_program[PATH_MAX], task_socket[PATH_MAX];
    const char *task_argv[12];
    struct task_peer *tasks;
    struct sandbox_manager manager;
    struct controller controller;
    struct grpc_health health;
    const struct rpc_service *services[3];
    struct grpc_server *server;
    struct http_server *metrics;
    struct inspect_events *events;
    struct inspect inspect;
    const struct rpc_service *inspect_services[2];
    struct ttrpc_server *inspect_server;
    ev_timer drain; // the longest that calls are waited for
    struct mount_space mounts;
    int lock_fd;
    struct rlimit files; // RLIMIT_NOFILE as it was
    int status;
};

static int metrics_page(struct buf *out, void *arg)
{
    const struct daemon *d = arg;
    const struct api_service *services[] = {&d->controller.service};
    struct metrics_page p;
    metrics_page_init(&p, out);
    metrics_add(&p, METRIC_BUILD_INFO,
                METRICS_LABELS({"program", "sandboxer"}, {"version", d->kind->version}), 1);
    api_services_metrics(&p, services, ARRAY_SIZE(services));
    metrics_add(&p, METRIC_CONNECTIONS, METRICS_LABELS({"protocol", "grpc"}),
                grpc_server_connections(d->server));
    sandbox_metrics(&p, &d->manager);
    http_server_metrics(d->metrics, &p);
    metrics_add_process(&p);
    return p.failed;
}

static void on_drained(void *arg)
{
    struct daemon *d = arg;
    ev_break(d->loop, EVBREAK_ALL);
}

static void on_drain_late(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    log_warn("calls that are not over are given up");
    on_drained(w->data);
}

// A requested end. Calls that are under way are answered first, but for Waits, which end with the
// sandbox.
static void on_stop(void *arg)
{
    struct daemon *d = arg;
    event_notify("STOPPING=1");
    log_info("ending; pods live on");
    if (!d->server) {
        on_drained(d);
        return;
    }
    event_timer_arm(d->loop, &d->drain, DRAIN_SECONDS);
    sandbox_manager_put_off(&d->manager);
    grpc_server_drain(d->server, on_drained, d);
}

// The socket for kuasar-ctl, beside the lock. Pods do not need it: a failure is only reported.
static void listen_for_inspection(struct daemon *d)
{
    char path[PATH_MAX];
    struct error err = {0};
    const struct inspect_source source = {.program = d->kind->name,
                                          .version = d->kind->version,
                                          .entries = d->manager.sandboxes,
                                          .describe = sandbox_describe,
                                          .events = d->events};
    int fd = -1;
    if (path_format(path, sizeof path, "%s/" SANDBOXER_INSPECT_SOCKET, d->options.dir) == 0)
        fd = rpc_listen_unix(path, &err);
    else
        error_set(&err, STATUS_INVALID_ARGUMENT, "--dir: too long");
    inspect_init(&d->inspect, &source);
    d->inspect_services[0] = &d->inspect.service.rpc;
    if (fd >= 0)
        d->inspect_server = ttrpc_server_new(d->loop, fd, d->inspect_services);
    if (!d->inspect_server)
        log_warn("kuasar-ctl cannot ask us: %s", fd < 0 ? err.text : "no memory");
}

static int listen_now(struct daemon *d, struct error *err)
{
    int fd = rpc_listen_unix(d->options.listen, err);
    if (fd < 0)
        return -1;
    d->services[0] = &d->controller.service.rpc;
    d->services[1] = &d->health.service;
    grpc_health_init(&d->health, d->services);
    d->server = grpc_server_new(d->loop, fd, d->services);
    if (!d->server) {
        close(fd);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the server");
    }
    http_server_open(d->metrics, d->options.dir, "sandboxer-metrics.sock",
                     d->settings.sandboxer_metrics_address);
    log_info("listening on %s", d->options.listen);
    event_notify("READY=1");
    return 0;
}

static void on_tasks_up(const struct error *tasks_err, void *arg)
{
    struct daemon *d = arg;
    struct error err = {0};
    // Without a task server pods can still be looked at and removed; Start says what is wrong.
    if (tasks_err)
        log_error("%s", tasks_err->text);
    if (listen_now(d, &err) < 0) {
        log_error("%s", err.text);
        d->status = 1;
        ev_break(d->loop, EVBREAK_ALL);
    }
}

static void prepare_task_server(struct daemon *d)
{
    const struct options *o = &d->options;
    size_t n = 0;
    bool beside = instance_find_beside(d->kind->task_program, d->task_program);
    d->task_argv[n++] = beside ? d->task_program : d->kind->task_program; // else by $PATH
    d->task_argv[n++] = "--dir";
    d->task_argv[n++] = o->dir;
    d->task_argv[n++] = "--listen";
    d->task_argv[n++] = d->task_socket;
    d->task_argv[n++] = "--log-level";
    d->task_argv[n++] = o->log_level;
    if (o->config_given) {
        d->task_argv[n++] = "--config";
        d->task_argv[n++] = o->config;
    }
    d->task_argv[n] = NULL;
    d->task_config = (struct task_peer_config){d->task_argv, d->task_socket, d->files, &d->mounts};
}

static void prepare_sandboxes(struct daemon *d)
{
    snprintf(d->init_program, sizeof d->init_program, "%s/pod-init", d->kind->libexec_dir);
    d->sandbox_config = (struct sandbox_config){
        .dir = d->options.dir,
        .init_program = d->init_program,
        .unprivileged_ports = d->settings.default_unprivileged_ports,
        .unprivileged_icmp = d->settings.default_unprivileged_icmp,
    };
}

static int start(struct daemon *d, struct error *err)
{
    d->lock_fd = instance_lock(d->options.dir, "sandboxer.lock", "sandboxer", err);
    if (d->lock_fd < 0 || mount_space_enter(d->options.dir, "task.lock", &d->mounts, err) < 0 ||
        confine_daemon(err) < 0)
        return -1;
    int r = mount_space_link(d->options.dir);
    if (r < 0) // the pods do without
        log_warn("%s/" MOUNT_SPACE_ROOT ": %s", d->options.dir, strerror(-r));
    if (path_format(d->task_socket, sizeof d->task_socket, "%s/task.sock", d->options.dir) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--dir: too long");
    prepare_task_server(d);
    prepare_sandboxes(d);
    // libev's default loop reaps children by itself; ours must not.
    d->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    d->reaper = d->loop ? reaper_new(d->loop) : NULL;
    d->tasks = d->reaper ? task_peer_new(d->loop, d->reaper, &d->task_config) : NULL;
    d->metrics = d->tasks ? http_server_new(d->loop, metrics_page, d) : NULL;
    if (!d->metrics)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cannot make the event loop");
    ev_timer_init(&d->drain, on_drain_late, 0., 0.);
    d->drain.data = d;
    event_signals_start(&d->signals, d->loop, on_stop, d);
    if (sandbox_manager_init(&d->manager, d->loop, d->reaper, d->kind->ops, &d->sandbox_config,
                             d->tasks, err) < 0)
        return -1;
    d->events = d->manager.events = inspect_events_new(d->loop);
    if (!d->events)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    if (sandbox_manager_recover(&d->manager, err) < 0)
        return -1;
    controller_init(&d->controller, &d->manager);
    listen_for_inspection(d);
    if (!task_peer_ensure(d->tasks, on_tasks_up, d))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

static void finish(struct daemon *d)
{
    http_server_free(d->metrics);
    grpc_server_free(d->server);
    d->manager.events = inspect_events_free(d->events);
    ttrpc_server_free(d->inspect_server);
    sandbox_manager_done(&d->manager);
    task_peer_free(d->tasks);
    if (d->loop) {
        ev_timer_stop(d->loop, &d->drain);
        event_signals_done(&d->signals);
    }
    reaper_free(d->reaper);
    if (d->loop)
        ev_loop_destroy(d->loop);
    settings_done(&d->settings);
    mount_space_done(&d->mounts);
    if (d->lock_fd >= 0)
        mount_space_unlink(d->options.dir);
    close_fd(&d->lock_fd);
}

int sandboxer_main(const struct sandboxer *kind, int argc, char **argv)
{
    struct daemon d = {.kind = kind, .mounts = MOUNT_SPACE_NONE, .lock_fd = -1};
    struct error err = {0};
    int r = parse_options(kind, &d.options, argc, argv);
    if (r >= 0)
        return r;
    if (check_options(&d.options, &err) < 0) {
        fprintf(stderr, "%s: %s\n", kind->name, err.text);
        return 2;
    }
    umask(0077);
    instance_raise_files(&d.files);
    if (settings_init(&d.settings, kind->dir, &err) < 0 ||
        settings_load(&d.settings, d.options.config, d.options.config_given, kind->more, &err) <
            0 ||
        start(&d, &err) < 0) {
        fprintf(stderr, "%s: %s\n", kind->name, err.text);
        d.status = 1;
    } else {
        ev_run(d.loop, 0);
    }
    finish(&d);
    return d.status;
}
