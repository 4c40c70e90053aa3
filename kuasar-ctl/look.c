#include "ctl/look.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "linux/cgroup.h"

// Where none is set version 2 has CGROUP_UNLIMITED, and version 1 the most whole pages that its
// kernel can count.
#define NO_LIMIT (UINT64_C(1) << 62)

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); // the name is first in it
}

static void look_at_namespaces(struct look *look, pid_t pid)
{
    char dir[64], path[128];
    snprintf(dir, sizeof dir, "/proc/%d/ns", (int)pid);
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d)) && look->n_namespaces < LOOK_NAMESPACES_MAX;) {
        char *name = look->namespaces[look->n_namespaces].name;
        char *value = look->namespaces[look->n_namespaces].value;
        if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof look->namespaces[0].name ||
            path_format(path, sizeof path, "%s/%s", dir, e->d_name) < 0)
            continue;
        ssize_t n = readlink(path, value, sizeof look->namespaces[0].value - 1);
        if (n <= 0)
            continue;
        value[n] = '\0';
        memcpy(name, e->d_name, strlen(e->d_name) + 1);
        look->n_namespaces++;
    }
    closedir(d);
    qsort(look->namespaces, look->n_namespaces, sizeof look->namespaces[0], by_name);
}

static void add(struct look *look, const char *name, uint64_t value)
{
    look->values[look->n_values].name = name;
    look->values[look->n_values++].value = value;
}

static void look_at_values(struct look *look, const struct cgroup_host *host, const char *cgroup)
{
    struct cgroup_stats s;
    if (cgroup_stats_read(host, cgroup, &s) < 0)
        return;
    add(look, "cgroup_version", s.v2 ? 2 : 1);
    add(look, "cpu_nanoseconds", s.cpu_total);
    add(look, "cpu_throttled_periods", s.cpu_throttled_periods);
    add(look, "memory_bytes", s.memory_usage);
    add(look, "memory_max_bytes", s.memory_max_usage);
    if (s.memory_limit < NO_LIMIT)
        add(look, "memory_limit_bytes", s.memory_limit);
    add(look, "memory_failures", s.v2 ? s.memory_max : s.memory_failcnt);
    add(look, "pids", s.pids_current);
    if (s.pids_limit && s.pids_limit != CGROUP_UNLIMITED)
        add(look, "pids_limit", s.pids_limit);
    add(look, "oom_kills", s.oom_kill);
    cgroup_stats_done(&s);
}

void look_at(struct look *ret, pid_t pid, const char *cgroup)
{
    *ret = (struct look){0};
    if (pid > 0)
        look_at_namespaces(ret, pid);
    struct cgroup_host *host = *cgroup ? cgroup_host_open() : NULL;
    if (!host)
        return;
    look_at_values(ret, host, cgroup);
    if (cgroup_pids(host, cgroup, &ret->pids, &ret->n_pids) < 0) {
        ret->pids = NULL;
        ret->n_pids = 0;
    }
    if (ret->n_pids > LOOK_PIDS_MAX)
        ret->n_pids = LOOK_PIDS_MAX;
    cgroup_host_free(host);
}

void look_done(struct look *look)
{
    free(look->pids);
    *look = (struct look){0};
}
