// What the methods of the Task API do to a task that exists.
//
// All of it is queued: one after the other for one task, starts of execs side by side. (What works
// while a runtime hangs is in query.c.)
#include "task/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/events.pb-c.h"
#include "base/cleanup.h"
#include "base/ident.h"
#include "base/log.h"
#include "oci/resources.h"
#include "oci/spec.h"
#include "task/record.h"

static void fail_state(struct rpc_call *call, const struct task_process *p, const char *wanted)
{
    rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "%s %s of container %s is %s; %s",
                   p->exec_id[0] ? "exec" : "process", p->exec_id[0] ? p->exec_id : "init",
                   p->task->id, p->task->paused ? "paused" : process_state_name(p->state), wanted);
}

static void op_fail(struct task_op *op, const struct error *err)
{
    rpc_call_fail(op->call, err);
    op->call = NULL;
    task_op_end(op, NULL);
}

static void op_fail_state(struct task_op *op, const struct task_process *p, const char *wanted)
{
    fail_state(op->call, p, wanted);
    op->call = NULL;
    task_op_end(op, NULL);
}

static void op_reply(struct task_op *op, const ProtobufCMessage *msg)
{
    api_reply(op->call, msg);
    op->call = NULL;
}

static void reply_started(struct task_op *op, const struct task_process *p)
{
    Task__StartResponse r = TASK__START_RESPONSE__INIT;
    r.pid = (uint32_t)p->pid.pid;
    op_reply(op, (const ProtobufCMessage *)&r);
}

// ---- Start ----------------------------------------------------------------------------------

static void kill_ignored(void *arg, const struct error *err)
{
}

static void start_failed(struct task_op *op, const struct error *err)
{
    struct task *t = op->task;
    task_process_move(&t->init, PROCESS_CREATED);
    rpc_call_fail(op->call, err);
    op->call = NULL;
    if (t->init.exit_seen)
        task_process_settle(&t->init);
    else // what waits for its start will never be started
        t->ops->kill(&t->init, SIGKILL, true, (struct task_done){.fn = kill_ignored});
    task_op_end(op, NULL);
}

static void started(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task *t = op->task;
    task_timing_mark(t, TASK_TIMING_START, TASK_START_RUNTIME);
    if (err) {
        start_failed(op, err);
        return;
    }
    Events__TaskStart e = EVENTS__TASK_START__INIT;
    e.container_id = t->id;
    e.pid = (uint32_t)t->init.pid.pid;
    task_process_move(&t->init, PROCESS_RUNNING);
    task_events_publish(t->server->events, t->ns, "/tasks/start", ANY_TASK_START,
                        (const ProtobufCMessage *)&e);
    reply_started(op, &t->init);
    task_timing_end(t, TASK_TIMING_START, TASK_START_ANSWER);
    task_process_settle(&t->init);
    task_op_end(op, NULL);
}

static void start_run(struct task_op *op)
{
    struct task *t = op->task;
    if (t->init.state != PROCESS_CREATED || t->init.exit_seen) {
        op_fail_state(op, &t->init, "only a created container can be started");
        return;
    }
    task_process_move(&t->init, PROCESS_STARTING);
    task_timing_begin(t, TASK_TIMING_START);
    t->ops->start(t, (struct task_done){started, op});
}

void task_start(struct task *t, struct rpc_call *call)
{
    task_op_start(t, &t->init, call, true, start_run, NULL, 0);
}

// ---- execs ----------------------------------------------------------------------------------

static json_object *parse_process(const Task__ExecProcessRequest *req, struct error *err)
{
    if (!any_is(req->spec, ANY_OCI_PROCESS)) {
        error_set(err, STATUS_INVALID_ARGUMENT,
                  "spec: an OCI process (%s) is needed, this is %.80s", ANY_OCI_PROCESS,
                  req->spec ? req->spec->type_url : "empty");
        return NULL;
    }
    _cleanup_json_ json_object *process =
        json_parse(req->spec->value.data, req->spec->value.len, "spec", err);
    if (!process || oci_process_check(process, err) < 0)
        return NULL;
    json_object_object_add(process, "terminal", json_object_new_boolean(req->terminal));
    return take_ptr(process);
}

static int exec_check(struct task *t, const Task__ExecProcessRequest *req, struct error *err)
{
    const struct stdio_spec io = {
        .in = req->stdin, .out = req->stdout, .err = req->stderr, .terminal = req->terminal};
    if (ident_check(req->exec_id, "exec_id", err) < 0 || task_stdio_check(&io, err) < 0)
        return -1;
    if (t->init.state == PROCESS_STOPPED || t->init.exit_seen)
        return error_set(err, STATUS_FAILED_PRECONDITION, "container %s has ended", t->id);
    return 0;
}

static struct task_process *exec_new(struct task *t, const Task__ExecProcessRequest *req,
                                     struct error *err)
{
    if (exec_check(t, req, err) < 0)
        return NULL;
    _cleanup_json_ json_object *process = parse_process(req, err);
    struct task_process *p = process ? task_exec_add(t, req->exec_id, err) : NULL;
    if (!p)
        return NULL;
    p->terminal = req->terminal;
    p->spec = take_ptr(process);
    if (task_process_set_urls(p, req->stdin, req->stdout, req->stderr) < 0) {
        task_exec_remove(p);
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec %s: out of memory", req->exec_id);
        return NULL;
    }
    return p;
}

void task_exec(struct task *t, const Task__ExecProcessRequest *req, struct rpc_call *call)
{
    struct error err = {0};
    struct task_process *p = exec_new(t, req, &err);
    if (!p) {
        rpc_call_fail(call, &err);
        return;
    }
    task_expect_move(t->server);
    Events__TaskExecAdded e = EVENTS__TASK_EXEC_ADDED__INIT;
    e.container_id = t->id;
    e.exec_id = p->exec_id;
    task_events_publish(t->server->events, t->ns, "/tasks/exec-added", ANY_TASK_EXEC_ADDED,
                        (const ProtobufCMessage *)&e);
    api_reply_empty(call);
}

// The process did not come to be: its Waits end, State says STOPPED, Delete works.
static void exec_failed(struct task_op *op, const struct error *err)
{
    struct task_process *p = op->process;
    rpc_call_fail(op->call, err);
    op->call = NULL;
    p->io = task_stdio_free(p->io);
    json_object_put(take_ptr(p->spec));
    task_process_failed(p, 255);
    task_op_end(op, NULL);
}

static void exec_answer(struct task_op *op)
{
    struct task_process *p = op->process;
    struct task *t = op->task;
    Events__TaskExecStarted e = EVENTS__TASK_EXEC_STARTED__INIT;
    struct error err = {0};
    e.container_id = t->id;
    e.exec_id = p->exec_id;
    e.pid = (uint32_t)p->pid.pid;
    task_process_move(p, PROCESS_RUNNING);
    json_object_put(take_ptr(p->spec)); // as large as the peer likes, and not needed again
    if (task_record_store(t, &err) < 0)
        log_warn("container %s exec %s: %s", t->id, p->exec_id, err.text);
    task_events_publish(t->server->events, t->ns, "/tasks/exec-started", ANY_TASK_EXEC_STARTED,
                        (const ProtobufCMessage *)&e);
    reply_started(op, p);
    stages_mark(&p->starting, TASK_EXEC_ANSWER);
    t->timings[TASK_TIMING_EXEC] = p->starting;
    metrics_observe_stages(&t->server->timings[TASK_TIMING_EXEC], &p->starting);
}

static void exec_started(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task_process *p = op->process;
    struct task *t = op->task;
    struct error mine = {0};
    stages_mark(&p->starting, TASK_EXEC_RUNTIME);
    if (err) {
        exec_failed(op, err);
        return;
    }
    bool lost = task_stdio_attach(p->io, &mine) < 0;
    if (lost) {
        task_process_move(p, PROCESS_RUNNING);
        rpc_call_fail(op->call, &mine);
        op->call = NULL;
    } else {
        exec_answer(op);
    }
    if (lost || t->init.exit_seen)
        t->ops->kill(p, SIGKILL, false, (struct task_done){.fn = kill_ignored});
    task_process_settle(p);
    task_op_end(op, NULL);
}

static bool takes_execs(const struct task *t)
{
    return (t->init.state == PROCESS_RUNNING || t->init.state == PROCESS_CREATED) &&
           !t->init.exit_seen && !t->paused;
}

static void exec_start_run(struct task_op *op)
{
    struct task_process *p = op->process;
    struct task *t = op->task;
    struct error err = {0};
    if (p->state != PROCESS_CREATED) {
        op_fail_state(op, p, "an exec is started once");
        return;
    }
    task_process_move(p, PROCESS_STARTING);
    if (!takes_execs(t)) {
        error_set(&err, STATUS_FAILED_PRECONDITION, "container %s is %s", t->id,
                  t->paused           ? "paused"
                  : t->init.exit_seen ? "stopped"
                                      : process_state_name(t->init.state));
        exec_failed(op, &err);
        return;
    }
    stages_begin(&p->starting, &task_timing_plans[TASK_TIMING_EXEC]);
    struct stdio_spec io = task_process_stdio(p);
    io.columns = io.rows = 0;
    p->io = task_stdio_open(&t->server->stdio, &io, &err);
    if (p->io && p->stdin_over)
        task_stdio_close_stdin(p->io);
    stages_mark(&p->starting, TASK_EXEC_STDIO);
    if (!p->io)
        exec_failed(op, &err);
    else
        t->ops->exec_start(p, (struct task_done){exec_started, op});
}

void task_exec_start(struct task_process *p, struct rpc_call *call)
{
    task_op_start(p->task, p, call, false, exec_start_run, NULL, 0);
}

// ---- Delete ---------------------------------------------------------------------------------

static void delete_response(const struct task_process *p, Task__DeleteResponse *r,
                            Google__Timestamp *at)
{
    *r = (Task__DeleteResponse)TASK__DELETE_RESPONSE__INIT;
    r->pid = (uint32_t)p->pid.pid;
    r->exit_status = p->exit_code;
    if (p->exit_seen) {
        timestamp_set(at, p->exited_at);
        r->exited_at = at;
    }
}

// Its Wait may be on its way.
static void depart(const struct task_process *p)
{
    const struct task *t = p->task;
    if (p->state == PROCESS_STOPPED)
        departed_add(&t->server->departed, t->ns, t->id, p->exec_id, p->exit_code, &p->exited_at);
}

void task_exec_delete(struct task_process *p, struct rpc_call *call)
{
    Task__DeleteResponse r;
    Google__Timestamp at;
    if (p->busy || (p->state != PROCESS_CREATED && p->state != PROCESS_STOPPED)) {
        fail_state(call, p, "kill it first");
        return;
    }
    delete_response(p, &r, &at);
    api_reply(call, (const ProtobufCMessage *)&r);
    depart(p);
    task_exec_remove(p);
}

static void deleted(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task *t = op->task;
    const struct task_process *p = &t->init;
    Events__TaskDelete e = EVENTS__TASK_DELETE__INIT;
    Task__DeleteResponse r;
    Google__Timestamp at;
    if (err) {
        op_fail(op, err);
        return;
    }
    delete_response(p, &r, &at);
    e.container_id = e.id = t->id;
    e.pid = r.pid;
    e.exit_status = r.exit_status;
    e.exited_at = r.exited_at;
    task_events_publish(t->server->events, t->ns, "/tasks/delete", ANY_TASK_DELETE,
                        (const ProtobufCMessage *)&e);
    op_reply(op, (const ProtobufCMessage *)&r);
    depart(p);
    task_drop(t);
    task_op_end(op, NULL);
}

static void delete_run(struct task_op *op)
{
    struct task *t = op->task;
    if (t->init.state == PROCESS_RUNNING && !t->init.exit_seen)
        op_fail_state(op, &t->init, "kill it first");
    else
        task_cleanup(t, (struct task_done){deleted, op});
}

void task_delete(struct task *t, struct rpc_call *call)
{
    struct task_process *p;
    // Refused at once, not after what is queued.
    if (t->init.state == PROCESS_RUNNING && !t->init.exit_seen) {
        fail_state(call, &t->init, "kill it first");
        return;
    }
    task_ref(t);
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (p->state == PROCESS_STARTING)
            t->ops->cancel(p);
    }
    task_op_start(t, &t->init, call, true, delete_run, NULL, 0);
    task_unref(t);
}

// ---- Pause, Resume, Update ------------------------------------------------------------------

static void updated(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    if (err) {
        op_fail(op, err);
        return;
    }
    api_reply_empty(op->call);
    op->call = NULL;
    task_op_end(op, NULL);
}

static bool init_is_gone(const struct task *t)
{
    return t->init.exit_seen || t->init.state == PROCESS_STOPPED;
}

static void op_fail_gone(struct task_op *op)
{
    struct error err = {0};
    error_set(&err, STATUS_NOT_FOUND, "container %s: process already finished", op->task->id);
    op_fail(op, &err);
}

static void update_run(struct task_op *op)
{
    if (init_is_gone(op->task))
        op_fail_gone(op);
    else
        op->task->ops->update(op->task, op->data, op->len, (struct task_done){updated, op});
}

static int check_resources(const Google__Any *resources, struct error *err)
{
    if (!any_is(resources, ANY_OCI_RESOURCES))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "resources: OCI resources (%s) are needed, this is %.80s",
                         ANY_OCI_RESOURCES, resources ? resources->type_url : "empty");
    _cleanup_json_ json_object *parsed =
        json_parse(resources->value.data, resources->value.len, "resources", err);
    if (!parsed)
        return -1;
    if (!json_object_is_type(parsed, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "resources: must be an object");
    struct oci_resources r; // not every runtime looks at what it is given
    return oci_resources_read(parsed, &r, err) < 0 ? error_wrap(err, "resources") : 0;
}

void task_update(struct task *t, const Google__Any *resources, struct rpc_call *call)
{
    struct error err = {0};
    if (check_resources(resources, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    void *copy = malloc(resources->value.len);
    if (!copy) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "container %s: out of memory", t->id);
        return;
    }
    memcpy(copy, resources->value.data, resources->value.len);
    task_op_start(t, &t->init, call, true, update_run, copy, resources->value.len);
}

static void pause_publish(struct task *t)
{
    Events__TaskPaused paused = EVENTS__TASK_PAUSED__INIT;
    Events__TaskResumed resumed = EVENTS__TASK_RESUMED__INIT;
    paused.container_id = resumed.container_id = t->id;
    if (t->paused)
        task_events_publish(t->server->events, t->ns, "/tasks/paused", ANY_TASK_PAUSED,
                            (const ProtobufCMessage *)&paused);
    else
        task_events_publish(t->server->events, t->ns, "/tasks/resumed", ANY_TASK_RESUMED,
                            (const ProtobufCMessage *)&resumed);
}

static void pause_over(struct task_op *op, bool now_paused, const struct error *err)
{
    if (!err && !init_is_gone(op->task)) {
        op->task->paused = now_paused;
        pause_publish(op->task);
    }
    updated(op, err);
}

static void paused(void *arg, const struct error *err)
{
    pause_over(arg, true, err);
}

static void resumed(void *arg, const struct error *err)
{
    pause_over(arg, false, err);
}

static void pause_run(struct task_op *op)
{
    struct task *t = op->task;
    if (init_is_gone(t))
        op_fail_gone(op);
    else if (t->init.state != PROCESS_RUNNING || t->paused)
        op_fail_state(op, &t->init, "only a running container can be paused");
    else
        t->ops->pause(t, (struct task_done){paused, op});
}

static void resume_run(struct task_op *op)
{
    struct task *t = op->task;
    if (init_is_gone(t))
        op_fail_gone(op);
    else if (!t->paused)
        op_fail_state(op, &t->init, "only a paused container can be resumed");
    else
        t->ops->resume(t, (struct task_done){resumed, op});
}

void task_pause(struct task *t, struct rpc_call *call)
{
    task_op_start(t, &t->init, call, true, pause_run, NULL, 0);
}

void task_resume(struct task *t, struct rpc_call *call)
{
    task_op_start(t, &t->init, call, true, resume_run, NULL, 0);
}
