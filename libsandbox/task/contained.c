#include "task/contained.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/any.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "linux/cgroup_limits.h"
#include "task/internal.h"
#include "task/stats.h"

// ---- out of memory ------------------------------------------------------------------------------

static uint64_t count_kills(const struct task *t)
{
    return t->cgroup ? cgroup_oom_kills(t->server->cgroups, t->cgroup) : 0;
}

void contained_look_for_oom(struct contained *c)
{
    uint64_t n = count_kills(c->task);
    if (n <= c->oom_kills)
        return;
    c->oom_kills = n;
    task_oom(c->task);
}

static void on_oom(struct ev_loop *loop, ev_io *w, int revents)
{
    struct contained *c = container_of(w, struct contained, oom);
    char drain[4096];
    if (read(c->oom_fd, drain, sizeof(drain)) <= 0 && errno != EAGAIN && errno != EINTR)
        ev_io_stop(loop, w);
    contained_look_for_oom(c);
}

void contained_begin(struct contained *c)
{
    c->oom_kills = count_kills(c->task);
}

void contained_watch(struct contained *c)
{
    struct task *t = c->task;
    c->oom_fd = t->cgroup ? cgroup_oom_watch(t->server->cgroups, t->cgroup) : -1;
    if (c->oom_fd < 0)
        return;
    ev_io_set(&c->oom, c->oom_fd, EV_READ);
    ev_io_start(t->server->loop, &c->oom);
}

// ---- kill, pids -------------------------------------------------------------------------------

static int kill_what(struct task_process *p, int signal, bool all)
{
    struct task *t = p->task;
    if (!all || !t->cgroup)
        return process_signal(&p->pid, signal);
    int n = cgroup_signal_all(t->server->cgroups, t->cgroup, signal);
    if (n > 0)
        return 0;
    // The cgroup may be gone already (the container has ended and is being removed), or be made
    // unreadable from within: the process itself hears of it in any case.
    int r = process_signal(&p->pid, signal);
    return n < 0 && n != -ENOENT ? n : r;
}

void contained_kill(struct task_process *p, int signal, bool all, struct task_done done)
{
    struct task *t = p->task;
    struct error err = {0};
    int r = kill_what(p, signal, all);
    // A frozen process of cgroup v1 does not even die.
    if (r == 0 && signal == SIGKILL && t->paused && t->cgroup) {
        (void)cgroup_freeze(t->server->cgroups, t->cgroup, false);
        t->paused = false;
    }
    if (r == -ESRCH)
        error_set(&err, STATUS_NOT_FOUND, "container %s: process already finished", t->id);
    else if (r < 0)
        error_errno(&err, r, "signal %d to process %d of container %s", signal, (int)p->pid.pid,
                    t->id);
    done.fn(done.arg, r < 0 ? &err : NULL);
}

void contained_reap(struct task *t)
{
    struct task_process *p;
    int n = t->cgroup ? cgroup_signal_all(t->server->cgroups, t->cgroup, SIGKILL) : 0;
    if (n < 0)
        log_warn("container %s: cgroup %s: %s", t->id, t->cgroup, strerror(-n));
    if (t->init.pid.pid)
        (void)process_signal(&t->init.pid, SIGKILL);
    TAILQ_FOREACH(p, &t->execs, link)
    {
        (void)process_signal(&p->pid, SIGKILL);
    }
}

static const struct task_process *exec_of(const struct task *t, pid_t pid)
{
    const struct task_process *p;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->pid.pid == pid && p->state == PROCESS_RUNNING)
            return p;
    }
    return NULL;
}

void contained_pids(struct task *t, struct task_pids_done done)
{
    _cleanup_free_ pid_t *pids = NULL;
    size_t n = 0;
    struct error err = {0};
    int r = t->cgroup ? cgroup_pids(t->server->cgroups, t->cgroup, &pids, &n) : 0;
    _cleanup_free_ struct task_pid *list = calloc(n + 1, sizeof(*list));
    if (r < 0 || !list) {
        error_errno(&err, r < 0 ? r : ENOMEM, "pids of container %s", t->id);
        done.fn(done.arg, NULL, 0, &err);
        return;
    }
    for (size_t i = 0; i < n; i++)
        list[i] = (struct task_pid){.pid = (uint32_t)pids[i], .exec = exec_of(t, pids[i])};
    done.fn(done.arg, list, n, NULL);
}

// ---- numbers ------------------------------------------------------------------------------------

void contained_keep_stats(struct contained *c)
{
    const struct task *t = c->task;
    struct error err = {0};
    if (c->ended || !t->cgroup)
        return;
    c->ended = task_stats_of_cgroup(t->server->cgroups, t->cgroup, &c->last, &err) == 0;
}

void contained_stats(const struct contained *c, struct task_stats_done done)
{
    const struct task *t = c->task;
    Google__Any any = GOOGLE__ANY__INIT;
    struct error err = {0};
    if (c->ended) {
        done.fn(done.arg, &c->last, NULL);
        return;
    }
    int r = t->cgroup ? task_stats_of_cgroup(t->server->cgroups, t->cgroup, &any, &err)
                      : error_set(&err, STATUS_NOT_FOUND, "container %s has no cgroup", t->id);
    done.fn(done.arg, &any, r < 0 ? &err : NULL);
    if (r == 0)
        any_clear(&any);
}

int contained_check_memory(const struct task *t, const void *resources, size_t len,
                           struct error *err)
{
    struct error ignored = {0};
    json_object *memory = NULL;
    int64_t limit = 0;
    _cleanup_json_ json_object *o = json_parse(resources, len, "resources", &ignored);
    if (!o || json_get_object(o, "memory", &memory, &ignored) < 0 || !memory ||
        json_get_int(memory, "limit", &limit, &ignored) < 0 || !t->cgroup)
        return 0;
    return cgroup_memory_check(t->server->cgroups, t->cgroup, limit, "resources.memory.limit", err);
}

// ---- life --------------------------------------------------------------------------------------

void contained_init(struct contained *c, struct task *t)
{
    *c = (struct contained){.task = t, .oom_fd = -1, .last = GOOGLE__ANY__INIT};
    ev_io_init(&c->oom, on_oom, -1, EV_READ);
}

void contained_done(struct contained *c)
{
    ev_io_stop(c->task->server->loop, &c->oom);
    close_fd(&c->oom_fd);
    any_clear(&c->last);
}
