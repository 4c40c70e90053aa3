#include "base/stages.h"

#include <time.h>

#define NS_PER_SECOND UINT64_C(1000000000)

uint64_t stages_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

void stages_begin(struct stages *s, const struct stage_plan *plan)
{
    *s = (struct stages){.plan = plan, .begun = stages_clock()};
    s->last = s->begun;
}

void stages_mark(struct stages *s, unsigned stage)
{
    if (!s->plan || stage >= STAGES_MAX)
        return;
    uint64_t now = stages_clock();
    s->took[stage] += now - s->last;
    s->last = now;
}

uint64_t stages_total(const struct stages *s)
{
    return s->last - s->begun;
}

size_t stages_count(const struct stage_plan *plan)
{
    size_t n = 0;
    while (n < STAGES_MAX && plan->names[n])
        n++;
    return n;
}
