// Putting the task server together.
#include "task/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/job.h"
#include "linux/mount_space.h"
#include "rpc/listen.h"
#include "task/internal.h"
#include "task/recovery.h"
#include "task/streams.h"

// How long a server that ends waits for containerd to take its last events.
#define FLUSH_SECONDS 1.0
#define FLUSH_STEP    0.02
// Longest that the kernel is waited for, for nothing but speed.
#define MOVE_SECONDS 10.0
// How long the kernel stays ready at least.
#define MOVE_FRESH_SECONDS 0.005

static void on_flush(struct ev_loop *loop, ev_timer *w, int revents);

static char *dup_or(const char *text, const char *otherwise)
{
    return strdup(text && text[0] ? text : otherwise);
}

static int copy_config(struct task_server *s, const struct task_config *c)
{
    char sandboxes[PATH_MAX];
    if (path_format(sandboxes, sizeof(sandboxes), "%s/sandboxes", c->dir) < 0)
        return -ENAMETOOLONG;
    s->dir = strdup(c->dir);
    s->sandboxes_dir = dup_or(c->sandboxes_dir, sandboxes);
    s->runtime = dup_or(c->runtime, "runc");
    s->runtime_root = dup_or(c->runtime_root, "/run/containerd/runc");
    s->engine = dup_or(c->engine, "wasmtime");
    s->debug_rootfs = dup_or(c->debug_rootfs, "");
    s->program = dup_or(c->program, "task server");
    s->version = dup_or(c->version, "");
    s->metrics_address = dup_or(c->metrics_address, "");
    s->shim = c->shim ? strdup(c->shim) : NULL;
    s->mountpoints = c->mountpoints ? strdup(c->mountpoints) : NULL;
    if (!s->dir || !s->sandboxes_dir || !s->runtime || !s->runtime_root || !s->engine ||
        !s->debug_rootfs || !s->program || !s->version || !s->metrics_address ||
        (c->shim && !s->shim) || (c->mountpoints && !s->mountpoints))
        return -ENOMEM;
    return 0;
}

static int make_dirs(struct task_server *s)
{
    static const char *const names[] = {"tasks", "quarantine", "console"};
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int r = path_format(path, sizeof(path), "%s/%s", s->dir, names[i]);
        if (r == 0)
            r = file_mkdir_all(path, 0700);
        if (r < 0)
            return r;
    }
    // Console sockets of a dead server are of no use to anybody.
    if (path_format(path, sizeof(path), "%s/console", s->dir) < 0)
        return -ENAMETOOLONG;
    (void)file_remove_tree_at(AT_FDCWD, path);
    return stdio_host_init(&s->stdio, s->loop, path);
}

static int page(struct buf *out, void *arg)
{
    return task_server_metrics(arg, out);
}

static void init_services(struct task_server *s, const struct rpc_service *more)
{
    static const char *const names[] = {SERVICE_TASK_V3, SERVICE_TASK_V2};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        api_service_init(&s->services[i], names[i], task_methods, s);
    api_service_init(&s->services[2], SERVICE_PODS, task_pods_methods, s);
    for (size_t i = 0; i < ARRAY_SIZE(s->services); i++)
        s->service_list[i] = &s->services[i].rpc;
    const struct inspect_source source = {.program = s->program,
                                          .version = s->version,
                                          .entries = s->tasks,
                                          .describe = task_describe,
                                          .events = s->followed};
    inspect_init(&s->inspect, &source);
    s->service_list[ARRAY_SIZE(s->services)] = &s->inspect.service.rpc;
    s->service_list[ARRAY_SIZE(s->services) + 1] = more;
    task_events_set_tap(s->events, task_follow, s->followed);
}

struct task_server *task_server_new(struct ev_loop *loop, struct reaper *reaper,
                                    const struct task_config *config, struct error *err)
{
    struct task_server *s = calloc(1, sizeof(*s));
    if (!s) {
        error_errno(err, ENOMEM, "task server");
        return NULL;
    }
    s->loop = loop;
    s->reaper = reaper;
    s->ops = config->ops;
    s->wasmedge_plugins = config->wasmedge_plugins;
    static const struct mount_space none = MOUNT_SPACE_NONE;
    s->mounts = config->mounts ? config->mounts : &none;
    if (config->files)
        s->files = *config->files;
    else
        (void)getrlimit(RLIMIT_NOFILE, &s->files);
    LIST_INIT(&s->ends);
    LIST_INIT(&s->guests);
    LIST_INIT(&s->stdio.orphans);
    s->stdio.loop = loop;
    ev_timer_init(&s->flush, on_flush, 0, FLUSH_STEP);
    int r = copy_config(s, config);
    if (r == 0)
        r = make_dirs(s);
    if (r < 0) {
        error_errno(err, r, "%s", config->dir);
        return task_server_free(s);
    }
    if (config->one_peer)
        streams_set_once(s->stdio.streams);
    s->tasks = map_new();
    s->events = task_events_new(loop, config->containerd_events);
    s->metrics = http_server_new(loop, page, s);
    s->followed = inspect_events_new(loop);
    s->cgroups = cgroup_host_open();
    s->systemd = access("/run/systemd/system", F_OK) == 0; // sd_booted(3)
    if (!s->tasks || !s->events || !s->metrics || !s->followed || !s->cgroups) {
        error_errno(err, s->cgroups ? ENOMEM : errno, "task server");
        return task_server_free(s);
    }
    init_services(s, config->more);
    return s;
}

// What others wait to see closed (output, stdin, the lock) must not be held open by a child that
// waits for the kernel.
static void close_all_but(int fd)
{
    if (fd > 3)
        (void)close_range(3, (unsigned)fd - 1, 0);
    (void)close_range((unsigned)fd + 1, ~0U, 0);
}

static int move_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct task_server *s = arg;
    int fd = cgroup_open_own_procs(s->cgroups);
    if (fd < 0)
        return 0; // then the wait comes later
    close_all_but(fd);
    (void)!write(fd, "0", 1);
    return 0;
}

static void move_over(const void *reply, size_t reply_len, const struct error *err, void *arg)
{
    struct task_server *s = arg;
    s->move = NULL;
    s->move_ended = ev_now(s->loop);
}

void task_expect_move(struct task_server *s)
{
    struct error ignored = {0};
    if (!s->move && ev_now(s->loop) - s->move_ended > MOVE_FRESH_SECONDS)
        s->move = job_start(s->loop, s->reaper, move_work, move_over, s, MOVE_SECONDS, &ignored);
}

int task_server_serve(struct task_server *s, int fd, struct error *err)
{
    s->rpc = ttrpc_server_new(s->loop, fd, s->service_list);
    if (!s->rpc) // which has closed fd
        return error_errno(err, ENOMEM, "server");
    ttrpc_server_set_streams(s->rpc, streams_methods(s->stdio.streams));
    return 0;
}

int task_server_listen(struct task_server *s, const char *path, struct error *err)
{
    int fd = rpc_listen_unix(path, err);
    if (fd < 0 || task_server_serve(s, fd, err) < 0)
        return -1;
    http_server_open(s->metrics, s->dir, "task-metrics.sock", s->metrics_address);
    return 0;
}

size_t task_server_count(const struct task_server *s)
{
    return map_size(s->tasks);
}

// The last events (TaskDelete) get a moment to reach containerd.
static void on_flush(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task_server *s = container_of(w, struct task_server, flush);
    if (task_events_pending(s->events) && --s->flushes > 0)
        return;
    ev_timer_stop(loop, w);
    s->drained(s->drained_arg);
}

static void answers_sent(void *arg)
{
    struct task_server *s = arg;
    s->flushes = FLUSH_SECONDS / FLUSH_STEP;
    ev_timer_start(s->loop, &s->flush);
}

void task_server_check_drained(struct task_server *s)
{
    if (!s->draining || s->drain_called || map_size(s->tasks))
        return;
    s->drain_called = true;
    streams_drain(s->stdio.streams);
    inspect_events_drain(s->followed);
    if (s->rpc)
        ttrpc_server_drain(s->rpc, answers_sent, s);
    else
        s->drained(s->drained_arg);
}

void task_server_drain(struct task_server *s, void (*drained)(void *arg), void *arg)
{
    s->draining = true;
    s->drained = drained;
    s->drained_arg = arg;
    task_forget_released(s); // nobody needs to delete them
    task_server_check_drained(s);
}

static bool free_task(const char *key, void *value, void *arg)
{
    struct task *t = value;
    struct map *tasks = arg;
    map_remove(tasks, key);
    t->stored = false;
    task_unref(t);
    return true;
}

struct task_server *task_server_free(struct task_server *s)
{
    if (!s)
        return NULL;
    s->recovery = task_recovery_free(s->recovery);
    ev_timer_stop(s->loop, &s->flush);
    job_abandon(s->move);
    task_pods_done(s);
    if (s->events)
        task_events_set_tap(s->events, NULL, NULL);
    s->followed = inspect_events_free(s->followed);
    if (s->tasks)
        map_each(s->tasks, free_task, s->tasks);
    http_server_free(s->metrics);
    ttrpc_server_free(s->rpc);
    stdio_host_done(&s->stdio);
    task_events_free(s->events);
    cgroup_host_free(s->cgroups);
    map_free(s->tasks);
    departed_done(&s->departed);
    free(s->dir);
    free(s->sandboxes_dir);
    free(s->runtime);
    free(s->runtime_root);
    free(s->engine);
    free(s->debug_rootfs);
    free(s->shim);
    free(s->mountpoints);
    free(s->program);
    free(s->version);
    free(s->metrics_address);
    free(s);
    return NULL;
}
