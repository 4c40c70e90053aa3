#include "oci/resources.h"

#include <inttypes.h>
#include <string.h>

// A number that is there, 0 or more, or -1 for none.
static int read_number(json_object *o, const char *key, int64_t *ret, struct error *err)
{
    int64_t n = 0;
    if (json_get_int(o, key, &n, err) < 0)
        return -1;
    if (n < -1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: %" PRId64 " (want a number from 0 on, or -1 for no limit)", key, n);
    *ret = n;
    return 0;
}

static int read_memory(json_object *o, struct cgroup_limits *l, struct error *err)
{
    if (read_number(o, "limit", &l->memory, err) < 0 ||
        read_number(o, "swap", &l->memory_swap, err) < 0 ||
        read_number(o, "reservation", &l->memory_reservation, err) < 0)
        return error_wrap(err, "memory");
    if (l->memory_swap > 0 && l->memory_swap < l->memory)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "memory.swap: %" PRId64 " are memory and swap together, so not less than "
                         "memory.limit (%" PRId64 ")",
                         l->memory_swap, l->memory);
    return 0;
}

static int read_cpu(json_object *o, struct cgroup_limits *l, struct error *err)
{
    l->cpu_period = 100000; // the kernel's
    if (read_number(o, "shares", &l->cpu_shares, err) < 0 ||
        read_number(o, "quota", &l->cpu_quota, err) < 0 ||
        read_number(o, "period", &l->cpu_period, err) < 0 ||
        json_get_string(o, "cpus", &l->cpus, err) < 0 ||
        json_get_string(o, "mems", &l->mems, err) < 0)
        return error_wrap(err, "cpu");
    if (l->cpu_quota > 0 &&
        (l->cpu_period < CGROUP_PERIOD_MIN || l->cpu_period > CGROUP_PERIOD_MAX))
        return error_set(err, STATUS_INVALID_ARGUMENT, "cpu.period: want %d to %d microseconds",
                         CGROUP_PERIOD_MIN, CGROUP_PERIOD_MAX);
    l->cpus = l->cpus && l->cpus[0] ? l->cpus : NULL;
    l->mems = l->mems && l->mems[0] ? l->mems : NULL;
    return 0;
}

static int read_unified(json_object *o, struct oci_resources *r, struct error *err)
{
    json_object_object_foreach(o, key, value)
    {
        if (r->limits.n_unified == CGROUP_UNIFIED_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "unified: more than %d files",
                             CGROUP_UNIFIED_MAX);
        const char *text = NULL;
        if (json_get_string(o, key, &text, err) < 0)
            return error_wrap(err, "unified");
        if (text && value)
            r->unified[r->limits.n_unified++] = (struct cgroup_value){key, text};
    }
    r->limits.unified = r->unified;
    return 0;
}

int oci_resources_read(json_object *o, struct oci_resources *ret, struct error *err)
{
    json_object *memory = NULL, *cpu = NULL, *pids = NULL, *unified = NULL;
    *ret = (struct oci_resources){0};
    if (json_get_object(o, "memory", &memory, err) < 0 ||
        json_get_object(o, "cpu", &cpu, err) < 0 || json_get_object(o, "pids", &pids, err) < 0 ||
        json_get_object(o, "unified", &unified, err) < 0 ||
        (memory && read_memory(memory, &ret->limits, err) < 0) ||
        (cpu && read_cpu(cpu, &ret->limits, err) < 0) ||
        (unified && read_unified(unified, ret, err) < 0))
        return -1;
    if (pids && read_number(pids, "limit", &ret->limits.pids, err) < 0)
        return error_wrap(err, "pids");
    return 0;
}
