#include "sandbox/sizes.h"

#include <string.h>

#include "base/cleanup.h"

// Largest amount of memory that is believed.
#define MEMORY_MAX (INT64_C(1) << 60)
// The period that the kernel has where none is given.
#define PERIOD_DEFAULT 100000

// ---- fields -----------------------------------------------------------------------------------

// `none`: -1 says "no limit".
static const struct field {
    const char *name;
    size_t offset;
    int64_t min, max;
    bool none;
} fields[] = {
    {"cpu_period", offsetof(struct sandbox_resources, cpu_period), CGROUP_PERIOD_MIN,
     CGROUP_PERIOD_MAX, false},
    {"cpu_quota", offsetof(struct sandbox_resources, cpu_quota), CGROUP_QUOTA_MIN, INT64_C(1) << 40,
     true},
    {"cpu_shares", offsetof(struct sandbox_resources, cpu_shares), CGROUP_SHARES_MIN,
     CGROUP_SHARES_MAX, false},
    {"memory_limit_in_bytes", offsetof(struct sandbox_resources, memory_limit_in_bytes), 1,
     MEMORY_MAX, true},
};

static int64_t *value_of(struct sandbox_resources *r, const struct field *f)
{
    return (int64_t *)(void *)((char *)r + f->offset);
}

static int64_t value_in(const struct sandbox_resources *r, const struct field *f)
{
    return *(const int64_t *)(const void *)((const char *)r + f->offset);
}

static int check(const struct sandbox_resources *r, const char *name, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct field *f = &fields[i];
        int64_t value = value_in(r, f);
        if (value == 0 || (f->none && value == -1) || (value >= f->min && value <= f->max))
            continue;
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s.%s: %lld is not in %lld..%lld%s", name,
                         f->name, (long long)value, (long long)f->min, (long long)f->max,
                         f->none ? " (or -1: no limit)" : "");
    }
    return 0;
}

// ---- from CRI's message -----------------------------------------------------------------------

static void take_message(struct sandbox_resources *r, const Cri__LinuxContainerResources *m)
{
    if (m)
        *r = (struct sandbox_resources){.cpu_period = m->cpu_period,
                                        .cpu_quota = m->cpu_quota,
                                        .cpu_shares = m->cpu_shares,
                                        .memory_limit_in_bytes = m->memory_limit_in_bytes};
}

int sizes_from_config(struct sandbox_sizes *s, const Cri__PodSandboxConfig *config,
                      struct error *err)
{
    struct sandbox_sizes fresh = {.beyond = NULL};
    if (config && config->linux_) {
        take_message(&fresh.resources, config->linux_->resources);
        take_message(&fresh.overhead, config->linux_->overhead);
    }
    if (check(&fresh.resources, "linux.resources", err) < 0 ||
        check(&fresh.overhead, "linux.overhead", err) < 0)
        return -1;
    *s = fresh;
    return 0;
}

// ---- from and to JSON -------------------------------------------------------------------------

// Those that are given replace those that are there.
static int read_fields(struct sandbox_resources *r, json_object *o, const char *name,
                       struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        int64_t value = 0;
        if (json_get_int(o, fields[i].name, &value, err) < 0)
            return error_wrap(err, "%s", name);
        if (value)
            *value_of(r, &fields[i]) = value;
    }
    return check(r, name, err);
}

int resources_from_json(struct sandbox_resources *r, json_object *o, const char *name,
                        struct error *err)
{
    struct sandbox_resources fresh = {0};
    if (o && read_fields(&fresh, o, name, err) < 0)
        return -1;
    *r = fresh;
    return 0;
}

json_object *resources_to_json(const struct sandbox_resources *r)
{
    json_object *o = json_object_new_object();
    for (size_t i = 0; o && i < ARRAY_SIZE(fields); i++) {
        int64_t value = value_in(r, &fields[i]);
        json_object *v = value ? json_object_new_int64(value) : NULL;
        if (value && (!v || json_object_object_add(o, fields[i].name, v) < 0)) {
            json_object_put(v);
            json_object_put(o);
            return NULL;
        }
    }
    return o;
}

static bool is_given(json_object *v)
{
    switch (json_object_get_type(v)) {
    case json_type_string:
        return json_object_get_string_len(v) > 0;
    case json_type_array:
        return json_object_array_length(v) > 0;
    case json_type_object:
        return json_object_object_length(v) > 0;
    case json_type_int:
        return json_object_get_int64(v) != 0;
    default:
        return false;
    }
}

// Fields of LinuxContainerResources that are of single containers, or of no use here.
static const char *find_beyond(json_object *o)
{
    static const char *const names[] = {"cpuset_cpus", "cpuset_mems", "hugepage_limits", "unified",
                                        "memory_swap_limit_in_bytes"};
    json_object *v;
    for (size_t i = 0; o && i < ARRAY_SIZE(names); i++)
        if (json_object_object_get_ex(o, names[i], &v) && is_given(v))
            return names[i];
    return NULL;
}

int sizes_update(struct sandbox_sizes *s, json_object *updated, struct error *err)
{
    struct sandbox_sizes fresh = *s;
    json_object *resources = NULL, *overhead = NULL;
    if (!json_object_is_type(updated, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "must be an object");
    if (json_get_object(updated, "Resources", &resources, err) < 0 ||
        json_get_object(updated, "Overhead", &overhead, err) < 0)
        return -1;
    if ((resources && read_fields(&fresh.resources, resources, "Resources", err) < 0) ||
        (overhead && read_fields(&fresh.overhead, overhead, "Overhead", err) < 0))
        return -1;
    fresh.beyond = find_beyond(resources);
    if (!fresh.beyond)
        fresh.beyond = find_beyond(overhead);
    *s = fresh;
    return 0;
}

// ---- limits -----------------------------------------------------------------------------------

static int64_t at_most(int64_t value, int64_t max)
{
    return value > max ? max : value;
}

struct cgroup_limits sizes_limits(const struct sandbox_sizes *s)
{
    const struct sandbox_resources *r = &s->resources, *o = &s->overhead;
    struct cgroup_limits l = {
        .cpu_quota = r->cpu_quota, .cpu_shares = r->cpu_shares, .memory = r->memory_limit_in_bytes};
    l.cpu_period = r->cpu_period ? r->cpu_period : PERIOD_DEFAULT;
    if (l.cpu_shares)
        l.cpu_shares = at_most(l.cpu_shares + o->cpu_shares, CGROUP_SHARES_MAX);
    if (l.memory > 0 && o->memory_limit_in_bytes > 0)
        l.memory += o->memory_limit_in_bytes;
    if (l.cpu_quota > 0 && o->cpu_quota > 0)
        l.cpu_quota +=
            o->cpu_quota * l.cpu_period / (o->cpu_period ? o->cpu_period : PERIOD_DEFAULT);
    return l;
}
