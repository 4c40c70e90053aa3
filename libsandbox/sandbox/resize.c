// A pod's new size (CRI: UpdatePodSandboxResources).
//
//   record has the new size ─► ops->resize, in a job ─► answer
//                                  failed ─► record has the old size again ─► error
//
// A sandboxer that is killed in between leaves a record that may be ahead of the world; the caller,
// which got no answer, asks again. A stop does not wait for a job of this kind: the cgroup goes
// away under it, which is an error for the caller.
#include "sandbox/sandbox.h"

#include <stdlib.h>

#include "api/message.h"
#include "base/log.h"
#include "event/job.h"

struct sandbox_resizing {
    struct job *job;
    struct rpc_call *call;
    struct sandbox_sizes before;
};

static int set_sizes(struct sandbox *s, const struct sandbox_sizes *sizes, struct error *err)
{
    struct sandbox_sizes before = s->record.sizes;
    s->record.sizes = *sizes;
    if (record_store(&s->record, s->dir, err) == 0)
        return 0;
    s->record.sizes = before;
    return -1;
}

static int resize_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    (void)reply;
    *reply_len = 0;
    struct sandbox *s = arg;
    return s->manager->ops->resize(s->manager, &s->record, &s->record.sizes, err);
}

static void resized(struct sandbox *s, const struct error *err)
{
    struct sandbox_resizing *r = s->resizing;
    struct error ignored = {0};
    s->resizing = NULL;
    if (!err) {
        log_info("sandbox %s: resized", s->record.id);
        api_reply_empty(r->call);
    } else {
        log_warn("sandbox %s: not resized: %s", s->record.id, err->text);
        if (set_sizes(s, &r->before, &ignored) < 0) {
            s->record.sizes = r->before;
            log_error("sandbox %s: %s", s->record.id, ignored.text);
        }
        rpc_call_fail(r->call, err);
    }
    free(r);
}

static void on_resized(const void *reply, size_t reply_len, const struct error *err, void *arg)
{
    (void)reply;
    (void)reply_len;
    struct sandbox *s = arg;
    s->resizing->job = NULL;
    resized(s, err);
}

static int check_state(const struct sandbox *s, struct error *err)
{
    if (s->record.state != SANDBOX_CREATED && s->record.state != SANDBOX_READY)
        return error_set(err, STATUS_FAILED_PRECONDITION, "sandbox %s: cannot be resized, it is %s",
                         s->record.id, sandbox_state_name(s->record.state));
    if (s->resizing)
        return error_set(err, STATUS_UNAVAILABLE,
                         "sandbox %s: it is being resized already; try again", s->record.id);
    return 0;
}

void sandbox_resize(struct sandbox *s, struct rpc_call *call, const struct sandbox_sizes *sizes)
{
    struct sandbox_manager *m = s->manager;
    struct error err = {0};
    struct sandbox_resizing *r = calloc(1, sizeof *r);
    if (!r)
        error_set(&err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    if (!r || check_state(s, &err) < 0) {
        free(r);
        rpc_call_fail(call, &err);
        return;
    }
    *r = (struct sandbox_resizing){.call = call, .before = s->record.sizes};
    if (set_sizes(s, sizes, &err) < 0) {
        free(r);
        rpc_call_fail(call, &err);
        return;
    }
    s->resizing = r;
    if (!m->ops->resize)
        resized(s, NULL);
    else if (!(r->job = job_start(m->loop, m->reaper, resize_work, on_resized, s,
                                  SANDBOX_JOB_TIMEOUT, &err)))
        resized(s, &err);
}

void sandbox_resize_abandon(struct sandbox *s)
{
    struct sandbox_resizing *r = s->resizing;
    if (!r)
        return;
    s->resizing = NULL;
    job_abandon(r->job);
    rpc_call_failf(r->call, STATUS_UNAVAILABLE, "sandbox %s: it ended meanwhile", s->record.id);
    free(r);
}
