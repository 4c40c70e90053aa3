// The Task service: finds what a request names and hands over. containerd.task.v2 and v3 are the
// same.
#include "task/internal.h"

#include <unistd.h>

#include "api/any.h"
#include "api/services.h"
#include "base/ident.h"

#define NAMESPACE_KEY "containerd-namespace-ttrpc"

// The namespace of a call; NULL: the call was failed.
static const char *namespace_of(struct rpc_call *call)
{
    struct error err = {0};
    const char *ns = rpc_call_metadata(call, NAMESPACE_KEY);
    if (!ns)
        error_set(&err, STATUS_INVALID_ARGUMENT, "metadata " NAMESPACE_KEY ": missing");
    else if (ident_check(ns, "metadata " NAMESPACE_KEY, &err) == 0)
        return ns;
    rpc_call_fail(call, &err);
    return NULL;
}

// NULL: the call was failed.
static struct task *find_task(struct rpc_call *call, const char *id, void *ctx)
{
    struct error err = {0};
    const char *ns = namespace_of(call);
    if (!ns)
        return NULL;
    if (ident_check(id, "id", &err) < 0) {
        rpc_call_fail(call, &err);
        return NULL;
    }
    struct task *t = task_find(ctx, ns, id);
    if (!t)
        rpc_call_failf(call, STATUS_NOT_FOUND, "container %s not found in namespace %s", id, ns);
    return t;
}

static struct task_process *find_process(struct rpc_call *call, const char *id, const char *exec_id,
                                         void *ctx)
{
    struct task *t = find_task(call, id, ctx);
    struct task_process *p = t ? task_process_find(t, exec_id) : NULL;
    if (t && !p)
        rpc_call_failf(call, STATUS_NOT_FOUND, "exec %.*s not found in container %s", IDENT_MAX,
                       exec_id, id);
    return p;
}

static void on_create(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__CreateTaskRequest *req = (const Task__CreateTaskRequest *)msg;
    struct error err = {0};
    const char *ns = namespace_of(call);
    if (!ns)
        return;
    if (ident_check(req->id, "id", &err) < 0)
        rpc_call_fail(call, &err);
    else
        task_create(ctx, ns, req, call);
}

static void on_start(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__StartRequest *req = (const Task__StartRequest *)msg;
    struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    if (p && p == &p->task->init)
        task_start(p->task, call);
    else if (p)
        task_exec_start(p, call);
}

static void on_delete(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__DeleteRequest *req = (const Task__DeleteRequest *)msg;
    struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    if (p && p == &p->task->init)
        task_delete(p->task, call);
    else if (p)
        task_exec_delete(p, call);
}

static void on_state(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__StateRequest *req = (const Task__StateRequest *)msg;
    const struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    Task__StateResponse r = TASK__STATE_RESPONSE__INIT;
    Google__Timestamp at;
    if (!p)
        return;
    r.id = p->task->id;
    r.exec_id = p->exec_id;
    r.bundle = p->task->bundle;
    r.pid = (uint32_t)p->pid.pid;
    r.status = task_process_status(p);
    r.stdin = p->stdin_url;
    r.stdout = p->stdout_url;
    r.stderr = p->stderr_url;
    r.terminal = p->terminal;
    if (p->state == PROCESS_STOPPED) {
        timestamp_set(&at, p->exited_at);
        r.exit_status = p->exit_code;
        r.exited_at = &at;
    }
    api_reply(call, (const ProtobufCMessage *)&r);
}

static void on_wait(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__WaitRequest *req = (const Task__WaitRequest *)msg;
    const char *ns = namespace_of(call);
    if (!ns)
        return;
    struct task *t = task_find(ctx, ns, req->id);
    if ((!t || !task_process_find(t, req->exec_id)) &&
        task_process_departed(ctx, ns, req->id, req->exec_id, call))
        return;
    struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    if (p)
        task_process_wait(p, call);
}

static void on_kill(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__KillRequest *req = (const Task__KillRequest *)msg;
    struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    if (p)
        task_kill(p, req->signal, req->all, call);
}

static void on_exec(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__ExecProcessRequest *req = (const Task__ExecProcessRequest *)msg;
    struct task *t = find_task(call, req->id, ctx);
    if (t)
        task_exec(t, req, call);
}

static void on_pids(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct task *t = find_task(call, ((const Task__PidsRequest *)msg)->id, ctx);
    if (t)
        task_pids(t, call);
}

static void on_stats(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct task *t = find_task(call, ((const Task__StatsRequest *)msg)->id, ctx);
    if (t)
        task_stats(t, call);
}

static void on_pause(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct task *t = find_task(call, ((const Task__PauseRequest *)msg)->id, ctx);
    if (t)
        task_pause(t, call);
}

static void on_resume(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    struct task *t = find_task(call, ((const Task__ResumeRequest *)msg)->id, ctx);
    if (t)
        task_resume(t, call);
}

static void on_update(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__UpdateTaskRequest *req = (const Task__UpdateTaskRequest *)msg;
    struct task *t = find_task(call, req->id, ctx);
    if (t)
        task_update(t, req->resources, call);
}

static void on_checkpoint(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    rpc_call_failf(call, STATUS_UNIMPLEMENTED, "Checkpoint: containers are not checkpointed");
}

static void on_resize(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__ResizePtyRequest *req = (const Task__ResizePtyRequest *)msg;
    struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    struct error err = {0};
    if (!p)
        return;
    if (p->task->ops->resize)
        task_resize(p, req->width, req->height, call);
    else if (task_stdio_resize(p->io, req->width, req->height, &err) < 0)
        rpc_call_fail(call, &err);
    else
        api_reply_empty(call);
}

static void on_close_io(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__CloseIORequest *req = (const Task__CloseIORequest *)msg;
    struct task_process *p = find_process(call, req->id, req->exec_id, ctx);
    if (!p)
        return;
    if (req->stdin) {
        p->stdin_over = true;
        task_stdio_close_stdin(p->io);
    }
    api_reply_empty(call);
}

// OK for unknown ids too: containerd only asks who is there.
static void on_connect(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Task__ConnectRequest *req = (const Task__ConnectRequest *)msg;
    Task__ConnectResponse r = TASK__CONNECT_RESPONSE__INIT;
    const char *ns = namespace_of(call);
    if (!ns)
        return;
    const struct task *t = ident_valid(req->id) ? task_find(ctx, ns, req->id) : NULL;
    r.shim_pid = (uint32_t)getpid();
    r.task_pid = t ? (uint32_t)t->init.pid.pid : 0;
    r.version = (char *)"v3";
    api_reply(call, (const ProtobufCMessage *)&r);
}

// Sent to a shared server too; it ends with the node, not with a container.
static void on_shutdown(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    api_reply_empty(call);
}

const struct api_method task_methods[] = {
    API_METHOD("State", task__state_request, task__state_response, on_state),
    API_METHOD("Create", task__create_task_request, task__create_task_response, on_create),
    API_METHOD("Start", task__start_request, task__start_response, on_start),
    API_METHOD("Delete", task__delete_request, task__delete_response, on_delete),
    API_METHOD("Pids", task__pids_request, task__pids_response, on_pids),
    API_METHOD("Pause", task__pause_request, google__empty, on_pause),
    API_METHOD("Resume", task__resume_request, google__empty, on_resume),
    API_METHOD("Checkpoint", task__checkpoint_task_request, google__empty, on_checkpoint),
    API_METHOD("Kill", task__kill_request, google__empty, on_kill),
    API_METHOD("Exec", task__exec_process_request, google__empty, on_exec),
    API_METHOD("ResizePty", task__resize_pty_request, google__empty, on_resize),
    API_METHOD("CloseIO", task__close_iorequest, google__empty, on_close_io),
    API_METHOD("Update", task__update_task_request, google__empty, on_update),
    API_METHOD("Wait", task__wait_request, task__wait_response, on_wait),
    API_METHOD("Stats", task__stats_request, task__stats_response, on_stats),
    API_METHOD("Connect", task__connect_request, task__connect_response, on_connect),
    API_METHOD("Shutdown", task__shutdown_request, google__empty, on_shutdown),
    {0},
};
