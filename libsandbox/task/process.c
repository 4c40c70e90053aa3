// Processes of a task: states, Waits, exits.
#include "task/internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/events.pb-c.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "event/event.h"
#include "task/record.h"

static const char *const state_names[] = {
    [PROCESS_NEW] = "new",         [PROCESS_CREATED] = "created", [PROCESS_STARTING] = "starting",
    [PROCESS_RUNNING] = "running", [PROCESS_STOPPED] = "stopped",
};
static_assert(ARRAY_SIZE(state_names) == PROCESS_STATE_MAX_, "a name for every state");

#define TO(state) (1u << (state))
static const unsigned state_moves[] = {
    [PROCESS_NEW] = TO(PROCESS_CREATED) | TO(PROCESS_STOPPED),
    [PROCESS_CREATED] = TO(PROCESS_STARTING) | TO(PROCESS_STOPPED),
    [PROCESS_STARTING] = TO(PROCESS_RUNNING) | TO(PROCESS_CREATED) | TO(PROCESS_STOPPED),
    [PROCESS_RUNNING] = TO(PROCESS_STOPPED),
    [PROCESS_STOPPED] = 0,
};
static_assert(ARRAY_SIZE(state_moves) == PROCESS_STATE_MAX_, "moves of every state");

static const Task__Status state_status[] = {
    [PROCESS_NEW] = TASK__STATUS__CREATED,      [PROCESS_CREATED] = TASK__STATUS__CREATED,
    [PROCESS_STARTING] = TASK__STATUS__CREATED, [PROCESS_RUNNING] = TASK__STATUS__RUNNING,
    [PROCESS_STOPPED] = TASK__STATUS__STOPPED,
};
static_assert(ARRAY_SIZE(state_status) == PROCESS_STATE_MAX_, "a status for every state");

const char *process_state_name(enum process_state state)
{
    return state < PROCESS_STATE_MAX_ ? state_names[state] : "?";
}

Task__Status task_process_status(const struct task_process *p)
{
    if (p->state == PROCESS_RUNNING && p->task->paused)
        return TASK__STATUS__PAUSED;
    return state_status[p->state];
}

static bool is_init(const struct task_process *p)
{
    return p == &p->task->init;
}

bool task_process_move(struct task_process *p, enum process_state to)
{
    if (!(state_moves[p->state] & TO(to))) {
        log_error("container %s process %s: refused to go from %s to %s", p->task->id,
                  is_init(p) ? "init" : p->exec_id, process_state_name(p->state),
                  process_state_name(to));
        return false;
    }
    log_debug("container %s process %s: %s -> %s", p->task->id, is_init(p) ? "init" : p->exec_id,
              process_state_name(p->state), process_state_name(to));
    p->state = to;
    return true;
}

void task_process_init(struct task_process *p, struct task *t)
{
    *p = (struct task_process){.task = t, .state = PROCESS_CREATED};
    TAILQ_INIT(&p->waiters);
}

int task_process_set_urls(struct task_process *p, const char *in, const char *out, const char *err)
{
    p->stdin_url = strdup(in);
    p->stdout_url = strdup(out);
    p->stderr_url = strdup(err);
    return p->stdin_url && p->stdout_url && p->stderr_url ? 0 : -ENOMEM;
}

struct stdio_spec task_process_stdio(const struct task_process *p)
{
    const struct task *t = p->task;
    return (struct stdio_spec){.in = p->stdin_url,
                               .out = p->stdout_url,
                               .err = p->stderr_url,
                               .terminal = p->terminal,
                               .elsewhere = t->ops->elsewhere,
                               .columns = t->columns,
                               .rows = t->rows,
                               .uid = t->io_uid,
                               .gid = t->io_gid};
}

// ---- Waits ----------------------------------------------------------------------------------

static void wait_reply(uint32_t code, struct timespec exited_at, struct rpc_call *call)
{
    Google__Timestamp at;
    Task__WaitResponse r = TASK__WAIT_RESPONSE__INIT;
    timestamp_set(&at, exited_at);
    r.exit_status = code;
    r.exited_at = &at;
    api_reply(call, (const ProtobufCMessage *)&r);
}

static void wait_answer(const struct task_process *p, struct rpc_call *call)
{
    wait_reply(p->exit_code, p->exited_at, call);
}

bool task_process_departed(struct task_server *s, const char *ns, const char *id,
                           const char *exec_id, struct rpc_call *call)
{
    const struct departed_exit *e = departed_find(&s->departed, ns, id, exec_id);
    if (e)
        wait_reply(e->code, e->at, call);
    return e;
}

static void waiter_remove(struct task_waiter *w)
{
    TAILQ_REMOVE(&w->process->waiters, w, link);
    w->process->n_waiters--;
    free(w);
}

static void wait_cancelled(struct rpc_call *call, void *arg)
{
    waiter_remove(arg);
}

void task_process_wait(struct task_process *p, struct rpc_call *call)
{
    if (p->state == PROCESS_STOPPED) {
        wait_answer(p, call);
        return;
    }
    struct task_waiter *w = p->n_waiters < TASK_WAITERS_MAX ? calloc(1, sizeof(*w)) : NULL;
    if (!w) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
                       "container %s: no room for one more Wait (at most %d a process)",
                       p->task->id, TASK_WAITERS_MAX);
        return;
    }
    *w = (struct task_waiter){.process = p, .call = call};
    TAILQ_INSERT_TAIL(&p->waiters, w, link);
    p->n_waiters++;
    rpc_call_on_cancel(call, wait_cancelled, w);
}

static void waits_end(struct task_process *p)
{
    struct task_waiter *w;
    while ((w = TAILQ_FIRST(&p->waiters))) {
        struct rpc_call *call = w->call;
        rpc_call_on_cancel(call, NULL, NULL);
        waiter_remove(w);
        wait_answer(p, call);
    }
}

void task_process_done(struct task_process *p)
{
    if (p->state != PROCESS_STOPPED) { // deleted before it ran, or never known to have ended
        p->exit_code = p->exit_seen ? p->exit_code : 255;
        if (!p->exit_seen)
            clock_gettime(CLOCK_REALTIME, &p->exited_at);
    }
    waits_end(p);
    if (p->task->engine)
        p->task->ops->release(p);
    p->io = task_stdio_free(p->io);
    json_object_put(p->spec);
    free(p->exec_id);
    free(p->stdin_url);
    free(p->stdout_url);
    free(p->stderr_url);
}

// ---- exits ----------------------------------------------------------------------------------

static void publish_exit(const struct task_process *p)
{
    struct task *t = p->task;
    Google__Timestamp at;
    Events__TaskExit e = EVENTS__TASK_EXIT__INIT;
    timestamp_set(&at, p->exited_at);
    e.container_id = t->id;
    e.id = is_init(p) ? t->id : p->exec_id;
    e.pid = (uint32_t)p->pid.pid;
    e.exit_status = p->exit_code;
    e.exited_at = &at;
    task_events_publish(t->server->events, t->ns, "/tasks/exit", ANY_TASK_EXIT,
                        (const ProtobufCMessage *)&e);
}

static void init_stopped(struct task *t)
{
    struct task_done done = t->stopped;
    t->stopped = (struct task_done){0};
    ev_timer_stop(t->server->loop, &t->stop_timer);
    ev_timer_stop(t->server->loop, &t->exec_timer);
    if (done.fn)
        done.fn(done.arg, NULL);
}

// So that a successor does not report this exit once more.
static void update_record(struct task *t)
{
    struct error err = {0};
    if (t->recorded && t->stored && task_record_store(t, &err) < 0)
        log_warn("%s", err.text);
}

static void process_stop(struct task_process *p, bool publish)
{
    struct task *t = task_ref(p->task);
    if (is_init(p) && t->forced_code >= 0)
        p->exit_code = (uint32_t)t->forced_code;
    task_process_move(p, PROCESS_STOPPED);
    if (publish)
        publish_exit(p);
    update_record(t);
    waits_end(p);
    if (is_init(p)) {
        init_stopped(t);
        task_pods_stopped(t->server);
        task_remove_early(t);
    } else {
        task_process_settle(&t->init);
    }
    task_unref(t);
}

// Is an exec still to be heard of?
static bool execs_live(const struct task *t)
{
    const struct task_process *p;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->state == PROCESS_STARTING || p->state == PROCESS_RUNNING)
            return true;
    }
    return false;
}

static void output_handed(void *arg)
{
    task_process_settle(arg);
}

void task_process_settle(struct task_process *p)
{
    const struct task *t = p->task;
    if (!p->exit_seen || p->state == PROCESS_STOPPED || p->state == PROCESS_STARTING)
        return;
    if (!task_stdio_exited(p->io, output_handed, p))
        return;
    if (is_init(p) && !t->exec_time_over && execs_live(t))
        return;
    process_stop(p, p->state != PROCESS_NEW);
}

static void ignore_done(void *arg, const struct error *err)
{
}

// Init is gone: nothing else of the container may go on. A Start of init that is under way is given
// time to say that it was one.
static void end_execs(struct task *t)
{
    const struct task_ops *ops = t->ops;
    const struct task_done ignore = {.fn = ignore_done};
    struct task_process *p;
    if (!t->private_pid)
        ops->kill(&t->init, SIGKILL, true, ignore);
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->state == PROCESS_STARTING)
            ops->cancel(p);
        else if (p->state == PROCESS_RUNNING)
            ops->kill(p, SIGKILL, false, ignore);
    }
    if (execs_live(t) || t->init.state == PROCESS_STARTING)
        event_timer_arm(t->server->loop, &t->exec_timer, TASK_EXEC_END_SECONDS);
}

void task_execs_give_up(struct task *t)
{
    struct task_process *p;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->exit_seen && p->state == PROCESS_RUNNING)
            process_stop(p, true);
    }
    t->exec_time_over = true;
    task_process_settle(&t->init);
}

void task_process_exited(struct task_process *p, uint32_t code, const struct timespec *at)
{
    if (p->exit_seen)
        return;
    struct task *t = task_ref(p->task);
    p->exit_seen = true;
    p->exit_code = code;
    p->exited_at = *at;
    if (is_init(p))
        end_execs(t);
    task_process_settle(p);
    task_unref(t);
}

void task_process_failed(struct task_process *p, uint32_t code)
{
    if (!p->exit_seen) {
        p->exit_seen = true;
        p->exit_code = code;
        clock_gettime(CLOCK_REALTIME, &p->exited_at);
    }
    process_stop(p, false);
}

void task_await_stop(struct task *t, double seconds, struct task_done done)
{
    const struct task_done ignore = {.fn = ignore_done};
    if (t->init.state == PROCESS_STOPPED || !t->init.pid.pid) {
        done.fn(done.arg, NULL);
        return;
    }
    t->stopped = done;
    event_timer_arm(t->server->loop, &t->stop_timer, seconds);
    if (!t->init.exit_seen)
        t->ops->kill(&t->init, SIGKILL, true, ignore);
}

void task_oom(struct task *t)
{
    Events__TaskOOM e = EVENTS__TASK_OOM__INIT;
    e.container_id = t->id;
    log_info("container %s: out of memory, the kernel killed in it", t->id);
    task_events_publish(t->server->events, t->ns, "/tasks/oom", ANY_TASK_OOM,
                        (const ProtobufCMessage *)&e);
}

// ---- execs ----------------------------------------------------------------------------------

static struct task_process *exec_find(struct task *t, const char *exec_id)
{
    struct task_process *p;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (strcmp(p->exec_id, exec_id) == 0)
            return p;
    }
    return NULL;
}

struct task_process *task_process_find(struct task *t, const char *exec_id)
{
    return exec_id && exec_id[0] ? exec_find(t, exec_id) : &t->init;
}

// containerd forgets the execs that run while it restarts and never deletes them: the oldest one
// that is over makes room.
static void forget_oldest_exec(struct task *t)
{
    struct task_process *p;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->state == PROCESS_STOPPED && !p->busy) {
            task_exec_remove(p);
            return;
        }
    }
}

struct task_process *task_exec_add(struct task *t, const char *exec_id, struct error *err)
{
    if (exec_find(t, exec_id)) {
        error_set(err, STATUS_ALREADY_EXISTS, "exec %s already exists in container %s", exec_id,
                  t->id);
        return NULL;
    }
    if (t->n_execs >= TASK_EXECS_MAX)
        forget_oldest_exec(t);
    if (t->n_execs >= TASK_EXECS_MAX) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "container %s already has %d execs", t->id,
                  TASK_EXECS_MAX);
        return NULL;
    }
    struct task_process *p = calloc(1, sizeof(*p));
    if (p)
        task_process_init(p, t);
    if (!p || !(p->exec_id = strdup(exec_id))) {
        free(p);
        error_errno(err, ENOMEM, "exec %s", exec_id);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&t->execs, p, link);
    t->n_execs++;
    return p;
}

void task_exec_remove(struct task_process *p)
{
    TAILQ_REMOVE(&p->task->execs, p, link);
    p->task->n_execs--;
    task_process_done(p);
    free(p);
}
