// Tasks of a sandbox that has ended and that containerd does not delete: it was told of the pod's
// end, but it may be away, or may have forgotten them.
//
// TASK_RELEASE_SECONDS after the End of the sandbox what they hold on the host is given back, as by
// Delete: the runtime's state, the rootfs, the record. The exit code and what their FIFOs hold stay
// here for containerd, for TASK_RELEASED_MAX tasks; then the oldest is forgotten.
#include "base/cleanup.h"
#include "base/log.h"
#include "task/internal.h"

static bool forget(const char *key, void *value, void *arg)
{
    struct task *t = value;
    bool *one = arg;
    if (!t->released)
        return true;
    task_drop(t);
    return !*one;
}

void task_forget_released(struct task_server *s)
{
    bool one = false;
    map_each(s->tasks, forget, &one);
}

static void release_over(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task *t = op->task;
    struct task_server *s = t->server;
    bool one = true;
    t->releasing = false;
    if (!err && t->stored) {
        log_info("container %s: released, its sandbox %s has ended", t->id, t->sandbox_id);
        ev_timer_stop(s->loop, &t->release_timer);
        t->released = true;
        s->n_released++;
        if (s->draining)
            task_drop(t);
        else if (s->n_released > TASK_RELEASED_MAX)
            map_each(s->tasks, forget, &one);
    }
    task_op_end(op, NULL); // after an error the timer tries again
}

static void release_run(struct task_op *op)
{
    task_cleanup(op->task, (struct task_done){release_over, op});
}

void task_release_due(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task *t = container_of(w, struct task, release_timer);
    if (!t->stored || t->releasing || t->init.state != PROCESS_STOPPED)
        return;
    t->releasing = true;
    if (!task_op_start(t, &t->init, NULL, true, release_run, NULL, 0))
        t->releasing = false;
}

void task_release_later(struct task *t)
{
    if (!t->released)
        ev_timer_start(t->server->loop, &t->release_timer);
}
