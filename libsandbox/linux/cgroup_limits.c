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
#define STEPS_MAX 5
// Longest value of one of these files.
#define VALUE_MAX 64

// One write, and what was there before it.
struct step {
    const char *controller, *file;
    char value[VALUE_MAX], before[VALUE_MAX];
};

struct plan {
    struct step steps[STEPS_MAX];
    size_t n;
};

// ---- reading ----------------------------------------------------------------------------------

// The first line of a cgroup's file. Returns 0 or a negative errno.
static int file_read(const struct cgroup_host *h, const char *path, const char *controller,
                     const char *file, char out[VALUE_MAX])
{
    const struct cgroup_hierarchy *at = cgroup_hierarchy_find(h, controller);
    _cleanup_close_ int fd = at ? cgroup_open(at, path) : -ENOENT;
    _cleanup_free_ char *text = fd < 0 ? NULL : cgroup_read_text(fd, file);
    if (!text)
        return fd < 0 ? fd : -ENOENT;
    size_t len = strcspn(text, "\n");
    if (len >= VALUE_MAX)
        return -EMSGSIZE;
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

static int file_write(const struct cgroup_host *h, const char *path, const char *controller,
                      const char *file, const char *value)
{
    const struct cgroup_hierarchy *at = cgroup_hierarchy_find(h, controller);
    _cleanup_close_ int fd = at ? cgroup_open(at, path) : -ENOENT;
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
    struct step *s = &p->steps[p->n++];
    va_list ap;
    s->controller = controller;
    s->file = file;
    va_start(ap, fmt);
    vsnprintf(s->value, sizeof s->value, fmt, ap);
    va_end(ap);
}

static void plan_v2(struct plan *p, const struct cgroup_limits *l)
{
    if (l->memory)
        add(p, "memory", "memory.max", l->memory < 0 ? "max" : "%" PRId64, l->memory);
    if (l->cpu_shares)
        add(p, "cpu", "cpu.weight", "%u", cgroup_weight_of_shares(l->cpu_shares));
    if (l->cpu_quota < 0)
        add(p, "cpu", "cpu.max", "max");
    else if (l->cpu_quota)
        add(p, "cpu", "cpu.max", "%" PRId64 " %" PRId64, l->cpu_quota, l->cpu_period);
}

// Quota and period are two files, and the kernel checks their ratio against those of parent and
// children at each write. So where the period changes there is no quota in between.
static void plan_v1(struct plan *p, const struct cgroup_host *h, const char *path,
                    const struct cgroup_limits *l)
{
    char period[VALUE_MAX] = "";
    if (l->memory)
        add(p, "memory", "memory.limit_in_bytes", "%" PRId64, l->memory);
    if (l->cpu_shares)
        add(p, "cpu", "cpu.shares", "%" PRId64, l->cpu_shares);
    if (!l->cpu_quota)
        return;
    (void)file_read(h, path, "cpu", "cpu.cfs_period_us", period);
    if (l->cpu_quota > 0 && strtoll(period, NULL, 10) != l->cpu_period) {
        add(p, "cpu", "cpu.cfs_quota_us", "-1");
        add(p, "cpu", "cpu.cfs_period_us", "%" PRId64, l->cpu_period);
    }
    add(p, "cpu", "cpu.cfs_quota_us", "%" PRId64, l->cpu_quota);
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
    int e = file_read(h, path, s->controller, s->file, s->before);
    return e < 0 ? e : file_write(h, path, s->controller, s->file, s->value);
}

int cgroup_limits_set(const struct cgroup_host *h, const char *path,
                      const struct cgroup_limits *limits, struct error *err)
{
    struct plan plan = {.n = 0};
    if (cgroup_memory_check(h, path, limits->memory, LIMIT_FIELD, err) < 0)
        return -1;
    if (cgroup_is_v2(h))
        plan_v2(&plan, limits);
    else
        plan_v1(&plan, h, path, limits);
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
