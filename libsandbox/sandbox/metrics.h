// What a sandboxer shows of its sandboxes.
#ifndef SANDBOX_METRICS_H
#define SANDBOX_METRICS_H

#include "base/metrics.h"
#include "sandbox/sandbox.h"

// Adds sandboxes by state, timers, open operations and parked calls. One walk over all sandboxes.
void sandbox_metrics(struct metrics_page *p, const struct sandbox_manager *m);

#endif
