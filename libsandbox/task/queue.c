// The operations of a task, one after the other; shared ones side by side.
//
// A shared operation (the start of an exec) runs while no exclusive one runs and none waits ahead
// of it; an exclusive one runs alone. So a hanging exec delays Delete (which first cancels it), but
// neither other execs nor anything of another task.
#include "task/internal.h"

#include <stdlib.h>

// Runs what may run. Not recursive: an operation that ends inside its own run only marks the place.
static void dispatch(struct task *t)
{
    if (t->dispatching)
        return;
    t->dispatching = true;
    task_ref(t);
    struct task_op *op;
    while ((op = STAILQ_FIRST(&t->queue)) && !t->exclusive && !(op->exclusive && t->n_shared)) {
        STAILQ_REMOVE_HEAD(&t->queue, link);
        op->running = true;
        if (op->exclusive)
            t->exclusive = true;
        else
            t->n_shared++;
        op->run(op);
    }
    t->dispatching = false;
    task_unref(t);
}

struct task_op *task_op_start(struct task *t, struct task_process *p, struct rpc_call *call,
                              bool exclusive, void (*run)(struct task_op *op), void *data,
                              size_t len)
{
    struct task_op *op = t->n_ops < TASK_OPS_MAX ? calloc(1, sizeof(*op)) : NULL;
    if (!op) {
        if (call)
            rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
                           "container %s: no room for one more operation (at most %d)", t->id,
                           TASK_OPS_MAX);
        free(data);
        return NULL;
    }
    *op = (struct task_op){.task = task_ref(t),
                           .process = p,
                           .call = call,
                           .run = run,
                           .exclusive = exclusive,
                           .data = data,
                           .len = len};
    if (p)
        p->busy++;
    t->n_ops++;
    STAILQ_INSERT_TAIL(&t->queue, op, link);
    dispatch(t);
    return op;
}

static void op_free(struct task_op *op, const struct error *err)
{
    struct task *t = op->task;
    if (op->call && err)
        rpc_call_fail(op->call, err);
    else if (op->call)
        rpc_call_failf(op->call, STATUS_INTERNAL, "an operation on container %s ended unanswered",
                       t->id);
    if (op->process)
        op->process->busy--;
    t->n_ops--;
    free(op->data);
    free(op);
}

void task_op_end(struct task_op *op, const struct error *err)
{
    struct task *t = op->task;
    if (op->exclusive)
        t->exclusive = false;
    else
        t->n_shared--;
    op_free(op, err);
    dispatch(t);
    task_unref(t);
}

void task_ops_fail(struct task *t, const struct error *err)
{
    struct task_op *op;
    task_ref(t);
    while ((op = STAILQ_FIRST(&t->queue))) {
        STAILQ_REMOVE_HEAD(&t->queue, link);
        op_free(op, err);
        task_unref(t);
    }
    task_unref(t);
}
