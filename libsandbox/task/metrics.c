// What a task server shows.
#include <errno.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "task/internal.h"

// What one walk over all tasks counts.
struct counts {
    uint64_t states[PROCESS_STATE_MAX_], execs[PROCESS_STATE_MAX_];
    uint64_t paused, operations, waits;
};

static bool count_one(const char *key, void *value, void *arg)
{
    const struct task *t = value;
    const struct task_process *p;
    struct counts *n = arg;
    bool paused = t->paused && t->init.state == PROCESS_RUNNING;
    n->paused += paused;
    n->states[t->init.state] += !paused;
    n->operations += t->n_ops;
    n->waits += t->init.n_waiters;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        n->execs[p->state]++;
        n->waits += p->n_waiters;
    }
    return true;
}

static void add_tasks(struct metrics_page *p, const struct task_server *s)
{
    struct counts n = {0};
    map_each(s->tasks, count_one, &n);
    for (unsigned i = 0; i < PROCESS_STATE_MAX_; i++)
        metrics_add(p, METRIC_CONTAINERS,
                    METRICS_LABELS({"state", process_state_name((enum process_state)i)}),
                    n.states[i]);
    metrics_add(p, METRIC_CONTAINERS, METRICS_LABELS({"state", "paused"}), n.paused);
    // An exec is never NEW.
    for (unsigned i = PROCESS_CREATED; i < PROCESS_STATE_MAX_; i++)
        metrics_add(p, METRIC_EXECS,
                    METRICS_LABELS({"state", process_state_name((enum process_state)i)}),
                    n.execs[i]);
    metrics_add_operations(p, task_timing_plans, s->timings, TASK_TIMING_MAX_);
    metrics_add_stages(p, task_timing_plans, s->timings, TASK_TIMING_MAX_);
    metrics_add(p, METRIC_OPERATIONS_OPEN, METRICS_LABELS({"of", "container"}), n.operations);
    metrics_add(p, METRIC_PARKED_CALLS, METRICS_LABELS({"for", "process_exit"}), n.waits);
}

static void add_events(struct metrics_page *p, const struct task_events *e)
{
    metrics_add(p, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, task_events_pending(e));
    metrics_add(p, METRIC_EVENTS_QUEUED_BYTES, METRICS_NO_LABELS, task_events_pending_bytes(e));
    metrics_add(p, METRIC_EVENTS_RESENT, METRICS_NO_LABELS, task_events_resent(e));
    metrics_add(p, METRIC_EVENTS_DROPPED, METRICS_NO_LABELS, task_events_dropped(e));
}

int task_server_metrics(const struct task_server *s, struct buf *out)
{
    const struct api_service *services[ARRAY_SIZE(s->services)];
    struct metrics_page p;
    for (size_t i = 0; i < ARRAY_SIZE(services); i++)
        services[i] = &s->services[i];
    metrics_page_init(&p, out);
    metrics_add(&p, METRIC_BUILD_INFO,
                METRICS_LABELS({"program", "task_server"}, {"version", s->version}), 1);
    api_services_metrics(&p, services, ARRAY_SIZE(services));
    if (s->rpc)
        metrics_add(&p, METRIC_CONNECTIONS, METRICS_LABELS({"protocol", "ttrpc"}),
                    ttrpc_server_usage(s->rpc).connections);
    add_tasks(&p, s);
    add_events(&p, s->events);
    http_server_metrics(s->metrics, &p);
    metrics_add_process(&p);
    return p.failed;
}
