#include "linux/cgroup_limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/cgroup_internal.h"

// Most writes of one change.
#define STEPS_MAX (12 + CGROUP_UNIFIED_MAX)

// One write, and what was there before it.
struct step {
    const char *controller; // "": version 2's only hierarchy
    const char *file;
    char *value, *before;
};

struct plan {
    struct step steps[STEPS_MAX];
    size_t n;
    bool no_memory;
};

static void cleanup_plan(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->steps[i].value);
        free(p->steps[i].before);
    }
}

// ---- reading ----------------------------------------------------------------------------------

static int directory_open(const struct cgroup_host *h, const char *path, const char *controller)
{
    const struct cgroup_hierarchy *at =
        cgroup_hierarchy_find(h, controller[0] ? controller : "memory");
    return at ? cgroup_open(at, path) : -ENOENT;
}

// The first line of a cgroup's file, malloc'ed. Returns 0 or a negative errno.
static int file_read(const struct cgroup_host *h, const char *path, const char *controller,
                     const char *file, char **ret)
{
    _cleanup_close_ int fd = directory_open(h, path, controller);
    char *text = fd < 0 ? NULL : cgroup_read_text(fd, file);
    if (!text)
        return fd < 0 ? fd : -ENOENT;
    text[strcspn(text, "\n")] = '\0';
    *ret = text;
    return 0;
}

static int64_t number_read(const struct cgroup_host *h, const char *path, const char *controller,
                           const char *file)
{
    _cleanup_free_ char *text = NULL;
    return file_read(h, path, controller, file, &text) < 0 ? -1 : strtoll(text, NULL, 10);
}

static int file_write(const struct cgroup_host *h, const char *path, const char *controller,
                      const char *file, const char *value)
{
    _cleanup_close_ int fd = directory_open(h, path, controller);
    return fd < 0 ? fd : file_write_value_at(fd, file, value);
}

uint64_t cgroup_memory_in_use(const struct cgroup_host *h, const char *path)
{
    const struct cgroup_hierarchy *at = cgroup_hierarchy_find(h, "memory");
    _cleanup_close_ int fd = at ? cgroup_open(at, path) : -ENOENT;
    if (fd < 0)
        return 0;
    const char *file = cgroup_is_v2(h) ? "memory.current" : "memory.usage_in_bytes";
    const char *key = cgroup_is_v2(h) ? "inactive_file" : "total_inactive_file";
    _cleanup_free_ char *usage = cgroup_read_text(fd, file);
    _cleanup_free_ char *stat = cgroup_read_text(fd, "memory.stat");
    uint64_t used = usage ? strtoull(usage, NULL, 10) : 0;
    uint64_t cache = cgroup_stat_value(stat, key);
    return used > cache ? used - cache : 0;
}

unsigned cgroup_weight_of_shares(int64_t shares)
{
    if (shares <= CGROUP_SHARES_MIN)
        return 1;
    if (shares >= CGROUP_SHARES_MAX)
        return 10000;
    return (unsigned)(1 + (shares - 2) * 9999 / 262142);
}

// ---- planning ---------------------------------------------------------------------------------

static void add(struct plan *p, const char *controller, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void add(struct plan *p, const char *controller, const char *file, const char *fmt, ...)
{
    struct step *s = &p->steps[p->n];
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s->value, fmt, ap);
    va_end(ap);
    if (n < 0) {
        p->no_memory = true;
        return;
    }
    s->controller = controller;
    s->file = file;
    p->n++;
}

static void add_text(struct plan *p, const char *controller, const char *file, const char *text)
{
    if (text)
        add(p, controller, file, "%s", text);
}

// A number, or the word for none.
static void add_number(struct plan *p, const char *controller, const char *file, int64_t n,
                       const char *none)
{
    if (n < 0)
        add(p, controller, file, "%s", none);
    else if (n > 0)
        add(p, controller, file, "%" PRId64, n);
}

// What may be used of swap alone.
static void plan_swap_v2(struct plan *p, const struct cgroup_limits *l)
{
    if (l->memory_swap > 0 && l->memory > 0)
        add(p, "memory", "memory.swap.max", "%" PRId64,
            l->memory_swap > l->memory ? l->memory_swap - l->memory : 0);
    else
        add_number(p, "memory", "memory.swap.max", l->memory_swap, "max");
}

static void plan_v2(struct plan *p, const struct cgroup_limits *l)
{
    add_number(p, "memory", "memory.max", l->memory, "max");
    plan_swap_v2(p, l);
    add_number(p, "memory", "memory.low", l->memory_reservation, "max");
    if (l->cpu_shares)
        add(p, "cpu", "cpu.weight", "%u", cgroup_weight_of_shares(l->cpu_shares));
    if (l->cpu_quota < 0)
        add(p, "cpu", "cpu.max", "max");
    else if (l->cpu_quota)
        add(p, "cpu", "cpu.max", "%" PRId64 " %" PRId64, l->cpu_quota, l->cpu_period);
    for (size_t i = 0; i < l->n_unified; i++)
        add_text(p, "", l->unified[i].file, l->unified[i].value);
}

// Memory may not be more than memory and swap together, at no time.
static void plan_memory_v1(struct plan *p, const struct cgroup_host *h, const char *path,
                           const struct cgroup_limits *l)
{
    static const char swap[] = "memory.memsw.limit_in_bytes";
    int64_t now = l->memory_swap ? number_read(h, path, "memory", swap) : -1;
    bool swap_first = l->memory < 0 || (now >= 0 && l->memory > now);
    if (swap_first)
        add_number(p, "memory", swap, l->memory_swap, "-1");
    add_number(p, "memory", "memory.limit_in_bytes", l->memory, "-1");
    if (!swap_first)
        add_number(p, "memory", swap, l->memory_swap, "-1");
    add_number(p, "memory", "memory.soft_limit_in_bytes", l->memory_reservation, "-1");
}

// Quota and period are two files, and the kernel checks their ratio against those of parent and
// children at each write. So where the period changes there is no quota in between.
static void plan_v1(struct plan *p, const struct cgroup_host *h, const char *path,
                    const struct cgroup_limits *l)
{
    plan_memory_v1(p, h, path, l);
    add_number(p, "cpu", "cpu.shares", l->cpu_shares, "2");
    if (!l->cpu_quota)
        return;
    if (l->cpu_quota > 0 && number_read(h, path, "cpu", "cpu.cfs_period_us") != l->cpu_period) {
        add(p, "cpu", "cpu.cfs_quota_us", "-1");
        add(p, "cpu", "cpu.cfs_period_us", "%" PRId64, l->cpu_period);
    }
    add(p, "cpu", "cpu.cfs_quota_us", "%" PRId64, l->cpu_quota);
}

static void plan_limits(struct plan *p, const struct cgroup_host *h, const char *path,
                        const struct cgroup_limits *l)
{
    add_text(p, "cpuset", "cpuset.cpus", l->cpus);
    add_text(p, "cpuset", "cpuset.mems", l->mems);
    add_number(p, "pids", "pids.max", l->pids, "max");
    if (cgroup_is_v2(h))
        plan_v2(p, l);
    else
        plan_v1(p, h, path, l);
}

static int check_unified(const struct cgroup_host *h, const struct cgroup_limits *l,
                         struct error *err)
{
    if (l->n_unified && !cgroup_is_v2(h))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "unified: %s is a file of cgroup v2, this node has v1",
                         l->unified[0].file);
    if (l->n_unified > CGROUP_UNIFIED_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "unified: %zu files are more than %d",
                         l->n_unified, CGROUP_UNIFIED_MAX);
    for (size_t i = 0; i < l->n_unified; i++) {
        const char *file = l->unified[i].file, *dot = strchr(file, '.');
        // "cgroup.procs" and its like move processes.
        if (!dot || dot == file || strchr(file, '/') || strncmp(file, "cgroup.", 7) == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "unified: \"%.100s\" is no file of a controller", file);
        if (strlen(l->unified[i].value) > CGROUP_VALUE_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "unified: %.100s: too long", file);
    }
    return 0;
}

// What the memory limit is called towards who sets one of ours.
#define LIMIT_FIELD "memory limit"

// ---- doing ------------------------------------------------------------------------------------

static int refuse_memory(const char *field, int64_t limit, const char *path, uint64_t used,
                         struct error *err)
{
    return error_set(err, STATUS_FAILED_PRECONDITION,
                     "%s: %" PRId64 " bytes are less than cgroup %s uses (%" PRIu64 ")", field,
                     limit, path, used);
}

int cgroup_memory_check(const struct cgroup_host *h, const char *path, int64_t limit,
                        const char *field, struct error *err)
{
    uint64_t used = limit > 0 ? cgroup_memory_in_use(h, path) : 0;
    return limit <= 0 || used <= (uint64_t)limit ? 0 : refuse_memory(field, limit, path, used, err);
}

static int explain(const struct cgroup_host *h, const char *path, const struct step *s, int e,
                   struct error *err)
{
    if (e == -EBUSY && strcmp(s->controller, "memory") == 0)
        return refuse_memory(LIMIT_FIELD, strtoll(s->value, NULL, 10), path,
                             cgroup_memory_in_use(h, path), err);
    if (e == -ENOENT)
        return error_set(err, STATUS_FAILED_PRECONDITION, "cgroup %s has no %s", path, s->file);
    if (e == -EINVAL && strcmp(s->controller, "cpu") == 0)
        return error_set(
            err, STATUS_FAILED_PRECONDITION,
            "the kernel refuses %s for %s of cgroup %s: a cgroup above it has less, or "
            "one below it more",
            s->value, s->file, path);
    return error_errno(err, e, "cannot write %s to %s of cgroup %s", s->value, s->file, path);
}

static int step_do(const struct cgroup_host *h, const char *path, struct step *s)
{
    int e = file_read(h, path, s->controller, s->file, &s->before);
    return e < 0 ? e : file_write(h, path, s->controller, s->file, s->value);
}

int cgroup_limits_set(const struct cgroup_host *h, const char *path,
                      const struct cgroup_limits *limits, struct error *err)
{
    _cleanup_(cleanup_plan) struct plan plan = {.n = 0};
    if (check_unified(h, limits, err) < 0 ||
        cgroup_memory_check(h, path, limits->memory, LIMIT_FIELD, err) < 0)
        return -1;
    plan_limits(&plan, h, path, limits);
    if (plan.no_memory)
        return error_errno(err, ENOMEM, "limits of cgroup %s", path);
    for (size_t i = 0; i < plan.n; i++) {
        int e = step_do(h, path, &plan.steps[i]);
        if (e == 0)
            continue;
        explain(h, path, &plan.steps[i], e, err);
        while (i-- > 0) {
            const struct step *s = &plan.steps[i];
            (void)file_write(h, path, s->controller, s->file, s->before);
        }
        return -1;
    }
    return 0;
}
