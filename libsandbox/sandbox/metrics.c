#include "sandbox/metrics.h"

#include "base/cleanup.h"

// What one walk over all sandboxes counts.
struct counts {
    uint64_t states[SANDBOX_STATE_MAX_];
    uint64_t jobs, waits, stops;
};

static bool count_one(const char *key, void *value, void *arg)
{
    (void)key;
    const struct sandbox *s = value;
    struct counts *n = arg;
    n->states[s->record.state]++;
    n->jobs += s->job || s->ending || s->resizing;
    n->waits += s->waits.n;
    n->stops += s->stops.n;
    return true;
}

void sandbox_metrics(struct metrics_page *p, const struct sandbox_manager *m)
{
    struct counts n = {0};
    map_each(m->sandboxes, count_one, &n);
    for (unsigned i = 0; i < SANDBOX_STATE_MAX_; i++)
        metrics_add(p, METRIC_SANDBOXES,
                    METRICS_LABELS({"state", sandbox_state_name((enum sandbox_state)i)}),
                    n.states[i]);
    metrics_add_operations(p, sandbox_timing_plans, m->timings, SANDBOX_TIMING_MAX_);
    metrics_add_stages(p, sandbox_timing_plans, m->timings, SANDBOX_TIMING_MAX_);
    metrics_add(p, METRIC_OPERATIONS_OPEN, METRICS_LABELS({"of", "sandbox"}), n.jobs);
    metrics_add(p, METRIC_PARKED_CALLS, METRICS_LABELS({"for", "sandbox_exit"}), n.waits);
    metrics_add(p, METRIC_PARKED_CALLS, METRICS_LABELS({"for", "sandbox_stop"}), n.stops);
}
