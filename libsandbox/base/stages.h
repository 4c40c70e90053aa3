// Stage timers: how long each step of an operation took. A plain value without memory of its own,
// kept for the last operation of its kind; one clock_gettime per step.
#ifndef BASE_STAGES_H
#define BASE_STAGES_H

#include <stddef.h>
#include <stdint.h>

// Most steps of one operation.
#define STAGES_MAX 6

// A kind of operation and its steps in order, the first without a name ends them. A constant of the
// layer that does it. The names are part of what the metrics are called.
struct stage_plan {
    const char *operation;
    const char *names[STAGES_MAX + 1];
};

struct stages {
    const struct stage_plan *plan; // NULL: there was no such operation yet
    uint64_t begun, last;          // CLOCK_MONOTONIC in nanoseconds
    uint64_t took[STAGES_MAX];     // nanoseconds of each step; 0: not reached (or not needed)
};

// CLOCK_MONOTONIC in nanoseconds.
uint64_t stages_clock(void);
// An operation begins; what was there of an earlier one is forgotten.
void stages_begin(struct stages *s, const struct stage_plan *plan);
// Step number `stage` ends now; it has taken the time since the step that ended before it. Nothing
// happens if no operation has begun.
void stages_mark(struct stages *s, unsigned stage);
// Nanoseconds from the beginning to the last step that ended.
uint64_t stages_total(const struct stages *s);
// Number of steps of the plan.
size_t stages_count(const struct stage_plan *plan);

#endif
