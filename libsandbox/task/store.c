// The tasks of a server, by namespace and id.
#include "task/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/ident.h"

const struct stage_plan task_timing_plans[TASK_TIMING_MAX_] = {
    [TASK_TIMING_CREATE] = {"container_create",
                            {"prepare", "record", "mount", "stdio", "runtime", "answer"}},
    [TASK_TIMING_START] = {"container_start", {"runtime", "answer"}},
    [TASK_TIMING_EXEC] = {"exec_start", {"stdio", "runtime", "answer"}},
    [TASK_TIMING_REMOVE] = {"container_remove", {"runtime"}},
    [TASK_TIMING_DELETE] = {"container_delete", {"runtime", "wait", "unmount", "record"}},
};

void task_timing_begin(struct task *t, enum task_timing timing)
{
    stages_begin(&t->timings[timing], &task_timing_plans[timing]);
}

void task_timing_mark(struct task *t, enum task_timing timing, unsigned stage)
{
    stages_mark(&t->timings[timing], stage);
}

void task_timing_end(struct task *t, enum task_timing timing, unsigned stage)
{
    task_timing_mark(t, timing, stage);
    if (t->timings[timing].plan)
        metrics_observe_stages(&t->server->timings[timing], &t->timings[timing]);
}

// "<namespace>/<id>": neither part can hold a slash.
#define KEY_MAX (2 * (IDENT_MAX + 1))

static void key_of(char key[KEY_MAX], const char *ns, const char *id)
{
    snprintf(key, KEY_MAX, "%s/%s", ns, id);
}

static void exec_time_over(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task *t = task_ref(container_of(w, struct task, exec_timer));
    if (t->init.state == PROCESS_STARTING)
        t->ops->cancel(&t->init);
    task_execs_give_up(t);
    task_unref(t);
}

static void stop_time_over(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task *t = container_of(w, struct task, stop_timer);
    struct task_done done = t->stopped;
    t->stopped = (struct task_done){0};
    struct error err = {0};
    error_set(&err, STATUS_DEADLINE_EXCEEDED, "process %d of container %s was killed and lives on",
              (int)t->init.pid.pid, t->id);
    if (done.fn)
        done.fn(done.arg, &err);
}

struct task *task_new(struct task_server *s, const char *ns, const char *id, const char *bundle)
{
    struct task *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->server = s;
    t->ops = s->ops;
    t->refs = 1;
    t->ns = strdup(ns);
    t->id = strdup(id);
    t->bundle = strdup(bundle);
    clock_gettime(CLOCK_REALTIME, &t->created_at);
    t->io_uid = (uid_t)-1;
    t->io_gid = (gid_t)-1;
    t->forced_code = -1;
    TAILQ_INIT(&t->execs);
    STAILQ_INIT(&t->queue);
    ev_timer_init(&t->exec_timer, exec_time_over, 0, 0);
    ev_timer_init(&t->stop_timer, stop_time_over, 0, 0);
    ev_timer_init(&t->release_timer, task_release_due, TASK_RELEASE_SECONDS, TASK_RELEASE_SECONDS);
    task_process_init(&t->init, t);
    t->init.exec_id = strdup("");
    t->init.state = PROCESS_NEW;
    if (!t->ns || !t->id || !t->bundle || !t->init.exec_id)
        return task_unref(t);
    return t;
}

void task_become(struct task *t, const struct task_ops *other, void *engine)
{
    t->ops = other;
    t->engine = engine;
}

struct task *task_ref(struct task *t)
{
    t->refs++;
    return t;
}

struct task *task_unref(struct task *t)
{
    if (!t || --t->refs > 0)
        return NULL;
    ev_timer_stop(t->server->loop, &t->exec_timer);
    ev_timer_stop(t->server->loop, &t->stop_timer);
    ev_timer_stop(t->server->loop, &t->release_timer);
    while (!TAILQ_EMPTY(&t->execs))
        task_exec_remove(TAILQ_FIRST(&t->execs));
    task_process_done(&t->init);
    if (t->engine)
        t->ops->close(t);
    free(t->ns);
    free(t->id);
    free(t->bundle);
    free(t->sandbox_id);
    free(t->name);
    free(t->cgroup);
    free(t);
    return NULL;
}

int task_store(struct task *t, struct error *err)
{
    struct map *tasks = t->server->tasks;
    char key[KEY_MAX];
    if (map_size(tasks) >= TASK_COUNT_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "there are already %d containers",
                         TASK_COUNT_MAX);
    key_of(key, t->ns, t->id);
    int r = map_add(tasks, key, t);
    if (r == -EEXIST)
        return error_set(err, STATUS_ALREADY_EXISTS, "container %s already exists in namespace %s",
                         t->id, t->ns);
    if (r < 0)
        return error_errno(err, r, "container %s", t->id);
    t->stored = true;
    task_ref(t);
    return 0;
}

void task_drop(struct task *t)
{
    if (!t->stored)
        return;
    struct task_server *s = t->server;
    char key[KEY_MAX];
    key_of(key, t->ns, t->id);
    map_remove(s->tasks, key);
    t->stored = false;
    s->n_released -= t->released;
    ev_timer_stop(s->loop, &t->release_timer);
    struct error err = {0};
    error_set(&err, STATUS_NOT_FOUND, "container %s was deleted", t->id);
    task_ops_fail(t, &err);
    task_unref(t);
    task_pods_stopped(s);
    task_server_check_drained(s);
}

struct task *task_find(struct task_server *s, const char *ns, const char *id)
{
    char key[KEY_MAX];
    key_of(key, ns, id);
    return map_get(s->tasks, key);
}
