// The internal service for the sandboxer: end all containers of a sandbox.
//
// End kills every container of the sandbox, also one whose Create is under way, and answers when
// the end of each is known (TaskExit published, Waits answered) or after PODS_END_SECONDS. Killed
// containers hold nothing of the pod's any more; what the runtime keeps goes when they end
// (cleanup.c), the rootfs stays until containerd deletes them, or for a while (release.c).
#include "task/internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/internal.pb-c.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/ident.h"
#include "base/log.h"

// Longest that End waits for killed containers.
#define PODS_END_SECONDS 10.0

struct pods_end {
    struct task_server *server;
    struct rpc_call *call;
    char sandbox_id[IDENT_MAX + 1];
    uint32_t count;
    ev_timer late;
    LIST_ENTRY(pods_end) link;
};

struct scan {
    const char *sandbox_id;
    uint32_t exit_status;
    size_t live, killed;
    bool kill;
};

static void kill_ignored(void *arg, const struct error *err)
{
}

static void end_task(struct task *t, struct scan *scan)
{
    scan->killed++;
    t->forced_code = scan->exit_status ? (int64_t)scan->exit_status : -1;
    if (t->init.state == PROCESS_NEW) {
        t->cancelled = true;
        t->ops->cancel(&t->init);
    } else {
        t->ops->kill(&t->init, SIGKILL, true, (struct task_done){.fn = kill_ignored});
    }
}

static bool scan_task(const char *key, void *value, void *arg)
{
    struct task *t = value;
    struct scan *scan = arg;
    if (!t->sandbox_id || strcmp(t->sandbox_id, scan->sandbox_id) != 0)
        return true;
    if (scan->kill)
        task_release_later(t);
    if (t->init.state == PROCESS_STOPPED)
        return true;
    scan->live++;
    if (scan->kill && !t->init.exit_seen)
        end_task(t, scan);
    return true;
}

static void end_answer(struct pods_end *end, size_t live)
{
    Internal__EndResponse r = INTERNAL__END_RESPONSE__INIT;
    struct rpc_call *call = end->call;
    r.tasks = end->count;
    LIST_REMOVE(end, link);
    ev_timer_stop(end->server->loop, &end->late);
    if (live)
        rpc_call_failf(call, STATUS_DEADLINE_EXCEEDED,
                       "sandbox %s: %zu killed containers have not ended", end->sandbox_id, live);
    else
        api_reply(call, (const ProtobufCMessage *)&r);
    free(end);
}

static void end_late(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct pods_end *end = container_of(w, struct pods_end, late);
    struct scan scan = {.sandbox_id = end->sandbox_id};
    map_each(end->server->tasks, scan_task, &scan);
    end_answer(end, scan.live);
}

void task_pods_stopped(struct task_server *s)
{
    struct pods_end *end = LIST_FIRST(&s->ends);
    while (end) {
        struct pods_end *next = LIST_NEXT(end, link);
        struct scan scan = {.sandbox_id = end->sandbox_id};
        map_each(s->tasks, scan_task, &scan);
        if (!scan.live)
            end_answer(end, 0);
        end = next;
    }
}

void task_pods_done(struct task_server *s)
{
    while (!LIST_EMPTY(&s->ends))
        end_answer(LIST_FIRST(&s->ends), 1);
}

static void on_end(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const Internal__EndRequest *req = (const Internal__EndRequest *)msg;
    struct task_server *s = ctx;
    struct error err = {0};
    if (ident_check(req->sandbox_id, "sandbox_id", &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    struct pods_end *end = calloc(1, sizeof(*end));
    if (!end) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    end->server = s;
    end->call = call;
    snprintf(end->sandbox_id, sizeof(end->sandbox_id), "%s", req->sandbox_id);
    ev_timer_init(&end->late, end_late, PODS_END_SECONDS, 0);
    ev_timer_start(s->loop, &end->late);
    struct scan scan = {
        .sandbox_id = req->sandbox_id, .exit_status = req->exit_status & 0xff, .kill = true};
    map_each(s->tasks, scan_task, &scan);
    log_info("sandbox %s ends: %zu containers killed", end->sandbox_id, scan.killed);
    end->count = (uint32_t)scan.live;
    LIST_INSERT_HEAD(&s->ends, end, link);
    if (!scan.live)
        end_answer(end, 0);
}

static void on_info(struct rpc_call *call, const ProtobufCMessage *msg, void *ctx)
{
    const struct task_server *s = ctx;
    Internal__InfoResponse r = INTERNAL__INFO_RESPONSE__INIT;
    r.pid = (int32_t)getpid();
    r.version = s->version;
    r.tasks = (uint32_t)task_server_count(s);
    api_reply(call, (const ProtobufCMessage *)&r);
}

const struct api_method task_pods_methods[] = {
    API_METHOD("End", internal__end_request, internal__end_response, on_end),
    API_METHOD("Info", internal__info_request, internal__info_response, on_info),
    {0},
};
