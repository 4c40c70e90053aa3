// Kill, Pids, Stats: answered at any time, also in the middle of another operation on the task.
#include "task/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/options.pb-c.h"
#include "base/cleanup.h"

static void answered(void *arg, const struct error *err)
{
    struct rpc_call *call = arg;
    if (err)
        rpc_call_fail(call, err);
    else
        api_reply_empty(call);
}

void task_kill(struct task_process *p, uint32_t signal, bool all, struct rpc_call *call)
{
    struct task *t = p->task;
    if (signal < 1 || signal > (uint32_t)SIGRTMAX)
        rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "signal: %u is none (1 to %d)", signal,
                       SIGRTMAX);
    else if (all && p != &t->init)
        rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
                       "all: only the whole container can be killed, not exec %s", p->exec_id);
    else if (p->exit_seen || p->state == PROCESS_STOPPED)
        rpc_call_failf(call, STATUS_NOT_FOUND, "container %s: process already finished", t->id);
    else if (!p->pid.pid)
        rpc_call_failf(call, STATUS_FAILED_PRECONDITION,
                       "%s of container %s has not been started: there is no process yet",
                       p->exec_id[0] ? p->exec_id : "init", t->id);
    else
        t->ops->kill(p, (int)signal, all, (struct task_done){answered, call});
}

void task_resize(struct task_process *p, uint32_t columns, uint32_t rows, struct rpc_call *call)
{
    const struct task *t = p->task;
    if (!p->terminal)
        rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "the process has no terminal");
    else if (columns > UINT16_MAX || rows > UINT16_MAX)
        rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "size %ux%u: too large", columns, rows);
    else
        t->ops->resize(p, columns, rows, (struct task_done){answered, call});
}

// A question to the kind of task; keeps the task while it is open.
struct query {
    struct task *task;
    struct rpc_call *call;
};

static struct query *query_new(struct task *t, struct rpc_call *call)
{
    struct query *q = malloc(sizeof(*q));
    if (q)
        *q = (struct query){.task = task_ref(t), .call = call};
    else
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "container %s: out of memory", t->id);
    return q;
}

static void query_free(struct query *q)
{
    task_unref(q->task);
    free(q);
}

struct pids_answer {
    Task__ProcessInfo info;
    Google__Any any;
};

static int pids_fill(struct pids_answer *a, const struct task_pid *pid)
{
    Options__ProcessDetails details = OPTIONS__PROCESS_DETAILS__INIT;
    a->info = (Task__ProcessInfo)TASK__PROCESS_INFO__INIT;
    a->info.pid = pid->pid;
    if (!pid->exec)
        return 0;
    details.exec_id = pid->exec->exec_id;
    a->info.info = &a->any;
    return any_pack(&a->any, ANY_PROCESS_DETAILS, (const ProtobufCMessage *)&details);
}

static void pids_reply(struct rpc_call *call, const struct task_pid *pids, size_t n)
{
    Task__PidsResponse r = TASK__PIDS_RESPONSE__INIT;
    // One more than needed: room for none is not a lack of memory.
    _cleanup_free_ struct pids_answer *answers = calloc(n + 1, sizeof(*answers));
    _cleanup_free_ Task__ProcessInfo **list = calloc(n + 1, sizeof(Task__ProcessInfo *));
    bool ok = answers && list;
    for (size_t i = 0; ok && i < n; i++) {
        ok = pids_fill(&answers[i], &pids[i]) == 0;
        list[i] = &answers[i].info;
    }
    r.n_processes = n;
    r.processes = list;
    if (ok)
        api_reply(call, (const ProtobufCMessage *)&r);
    else
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory for %zu process ids", n);
    for (size_t i = 0; answers && i < n; i++)
        any_clear(&answers[i].any);
}

// An empty list would tell containerd that the task was leaked: init stays in it until Delete.
static void pids_known(void *arg, const struct task_pid *pids, size_t n, const struct error *err)
{
    struct query *q = arg;
    const struct task *t = q->task;
    const struct task_pid init = {.pid = (uint32_t)t->init.pid.pid};
    struct task_pid *all = err ? NULL : malloc((n + 1) * sizeof(*all));
    bool seen = false;
    if (err || !all) {
        pids_reply(q->call, &init, init.pid ? 1 : 0);
    } else {
        for (size_t i = 0; i < n; i++)
            seen = seen || pids[i].pid == init.pid;
        all[0] = init;
        if (n)
            memcpy(all + 1, pids, n * sizeof(*all));
        if (seen || !init.pid)
            pids_reply(q->call, all + 1, n);
        else
            pids_reply(q->call, all, n + 1);
    }
    free(all);
    query_free(q);
}

void task_pids(struct task *t, struct rpc_call *call)
{
    struct query *q = query_new(t, call);
    if (q)
        t->ops->pids(t, (struct task_pids_done){pids_known, q});
}

static void stats_known(void *arg, const Google__Any *stats, const struct error *err)
{
    struct query *q = arg;
    Task__StatsResponse r = TASK__STATS_RESPONSE__INIT;
    r.stats = (Google__Any *)stats;
    if (err)
        rpc_call_fail(q->call, err);
    else
        api_reply(q->call, (const ProtobufCMessage *)&r);
    query_free(q);
}

void task_stats(struct task *t, struct rpc_call *call)
{
    struct query *q = query_new(t, call);
    if (q)
        t->ops->stats(t, (struct task_stats_done){stats_known, q});
}
