// Numbers of a cgroup. Every file may be missing (controller not enabled, older kernel, swap
// accounting off): its numbers stay 0 then.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "linux/cgroup_internal.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_US     UINT64_C(1000)

// ---- texts -------------------------------------------------------------------------------------

// Parses a number at the start of text, up to a blank or the end of the line. "max" is
// CGROUP_UNLIMITED, too large ones as well; anything else is 0.
static uint64_t number_parse(const char *text)
{
    if (strncmp(text, "max", 3) == 0 && (text[3] == '\0' || text[3] == '\n' || text[3] == ' '))
        return CGROUP_UNLIMITED;
    if (*text < '0' || *text > '9')
        return 0;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno == ERANGE)
        return CGROUP_UNLIMITED;
    return *end == '\0' || *end == '\n' || *end == ' ' ? n : 0;
}

uint64_t cgroup_stat_value(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line && *line;) {
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return number_parse(line + n + 1);
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    return 0;
}

static uint64_t times(uint64_t value, uint64_t factor)
{
    uint64_t product;
    return __builtin_mul_overflow(value, factor, &product) ? UINT64_MAX : product;
}

static uint64_t file_number(int dirfd, const char *name)
{
    _cleanup_free_ char *text = cgroup_read_text(dirfd, name);
    return text ? number_parse(text) : 0;
}

// A file that holds one number, and where the number goes.
struct number_file {
    const char *name;
    size_t offset;
};
// A key of a flat-keyed file, where it goes and what it is multiplied with.
struct keyed {
    const char *key;
    size_t offset;
    uint64_t factor;
};
#define AT(field) offsetof(struct cgroup_stats, field)

static void number_set(struct cgroup_stats *s, size_t offset, uint64_t value)
{
    *(uint64_t *)(void *)((char *)s + offset) = value;
}

static void numbers_read(int dirfd, const struct number_file *files, size_t n,
                         struct cgroup_stats *s)
{
    for (size_t i = 0; i < n; i++)
        number_set(s, files[i].offset, file_number(dirfd, files[i].name));
}

static void keyed_read(int dirfd, const char *file, const struct keyed *keys, size_t n,
                       struct cgroup_stats *s)
{
    _cleanup_free_ char *text = cgroup_read_text(dirfd, file);
    for (size_t i = 0; i < n; i++)
        number_set(s, keys[i].offset, times(cgroup_stat_value(text, keys[i].key), keys[i].factor));
}

// ---- huge pages ---------------------------------------------------------------------------------

// The size in "hugetlb.2MB<suffix>", not in "hugetlb.2MB.rsvd<suffix>". False for other files.
static bool huge_size(const char *file, const char *suffix, struct cgroup_huge *ret)
{
    int end = 0;
    *ret = (struct cgroup_huge){0};
    return sscanf(file, "hugetlb.%15[0-9KMGB]%n", ret->size, &end) == 1 &&
           strcmp(file + end, suffix) == 0;
}

static int by_size(const void *a, const void *b)
{
    return strcmp(((const struct cgroup_huge *)a)->size, ((const struct cgroup_huge *)b)->size);
}

// Which sizes the cgroup has, by the files that end so.
static void huge_sizes(int dirfd, const char *suffix, struct cgroup_stats *s)
{
    int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir)
        return;
    for (struct dirent *e; s->n_huge < CGROUP_HUGE_MAX && (e = readdir(dir));)
        s->n_huge += huge_size(e->d_name, suffix, &s->huge[s->n_huge]);
    closedir(dir);
    qsort(s->huge, s->n_huge, sizeof s->huge[0], by_size);
}

static uint64_t huge_number(int dirfd, const struct cgroup_huge *huge, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "hugetlb.%s.%s", huge->size, what);
    return file_number(dirfd, name);
}

// ---- version 1 ---------------------------------------------------------------------------------

static const struct number_file v1_memory[] = {
    {"memory.usage_in_bytes", AT(memory_usage)},
    {"memory.max_usage_in_bytes", AT(memory_max_usage)},
    {"memory.limit_in_bytes", AT(memory_limit)},
    {"memory.failcnt", AT(memory_failcnt)},
    {"memory.memsw.usage_in_bytes", AT(swap_usage)},
    {"memory.memsw.max_usage_in_bytes", AT(swap_max_usage)},
    {"memory.memsw.limit_in_bytes", AT(swap_limit)},
    {"memory.memsw.failcnt", AT(swap_failcnt)},
    {"memory.kmem.usage_in_bytes", AT(kernel_usage)},
    {"memory.kmem.max_usage_in_bytes", AT(kernel_max_usage)},
    {"memory.kmem.limit_in_bytes", AT(kernel_limit)},
    {"memory.kmem.failcnt", AT(kernel_failcnt)},
    {"memory.kmem.tcp.usage_in_bytes", AT(tcp_usage)},
    {"memory.kmem.tcp.max_usage_in_bytes", AT(tcp_max_usage)},
    {"memory.kmem.tcp.limit_in_bytes", AT(tcp_limit)},
    {"memory.kmem.tcp.failcnt", AT(tcp_failcnt)},
};
static const struct keyed v1_oom[] = {
    {"oom_kill_disable", AT(oom_kill_disable), 1},
    {"under_oom", AT(under_oom), 1},
    {"oom_kill", AT(oom_kill), 1},
};
static const struct keyed v1_cpu[] = {
    {"nr_periods", AT(cpu_periods), 1},
    {"nr_throttled", AT(cpu_throttled_periods), 1},
    {"throttled_time", AT(cpu_throttled_time), 1},
};

static void v1_memory_read(int fd, struct cgroup_stats *s)
{
    numbers_read(fd, v1_memory, ARRAY_SIZE(v1_memory), s);
    keyed_read(fd, "memory.oom_control", v1_oom, ARRAY_SIZE(v1_oom), s);
    s->memory_stat = cgroup_read_text(fd, "memory.stat");
}

static void v1_cpu_read(int fd, struct cgroup_stats *s)
{
    keyed_read(fd, "cpu.stat", v1_cpu, ARRAY_SIZE(v1_cpu), s);
}

static void v1_cpuacct_read(int fd, struct cgroup_stats *s)
{
    s->cpu_total = file_number(fd, "cpuacct.usage");
    s->cpu_percpu = cgroup_read_text(fd, "cpuacct.usage_percpu");
    // In ticks of the user interface; the finer cpuacct.usage_user counts otherwise.
    long hz = sysconf(_SC_CLK_TCK);
    uint64_t tick = NS_PER_SECOND / (uint64_t)(hz > 0 ? hz : 100);
    const struct keyed keys[] = {{"user", AT(cpu_user), tick}, {"system", AT(cpu_system), tick}};
    keyed_read(fd, "cpuacct.stat", keys, ARRAY_SIZE(keys), s);
}

static void pids_read(int fd, struct cgroup_stats *s)
{
    s->pids_current = file_number(fd, "pids.current");
    s->pids_limit = file_number(fd, "pids.max");
}

static char *first_text(int fd, const char *name, const char *otherwise)
{
    char *text = cgroup_read_text(fd, name);
    return text ? text : cgroup_read_text(fd, otherwise);
}

static void v1_blkio_read(int fd, struct cgroup_stats *s)
{
    s->blkio_bytes = first_text(fd, "blkio.throttle.io_service_bytes_recursive",
                                "blkio.throttle.io_service_bytes");
    s->blkio_ios =
        first_text(fd, "blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced");
}

static void v1_huge_read(int fd, struct cgroup_stats *s)
{
    huge_sizes(fd, ".usage_in_bytes", s);
    for (size_t i = 0; i < s->n_huge; i++) {
        s->huge[i].usage = huge_number(fd, &s->huge[i], "usage_in_bytes");
        s->huge[i].max = huge_number(fd, &s->huge[i], "max_usage_in_bytes");
        s->huge[i].failcnt = huge_number(fd, &s->huge[i], "failcnt");
    }
}

static const struct {
    const char *controller;
    void (*read)(int fd, struct cgroup_stats *s);
} v1_readers[] = {
    {"memory", v1_memory_read}, {"cpu", v1_cpu_read},     {"cpuacct", v1_cpuacct_read},
    {"pids", pids_read},        {"blkio", v1_blkio_read}, {"hugetlb", v1_huge_read},
};

static int v1_read(const struct cgroup_host *h, const char *path, struct cgroup_stats *s)
{
    bool any = false;
    for (size_t i = 0; i < ARRAY_SIZE(v1_readers); i++) {
        const struct cgroup_hierarchy *at = cgroup_hierarchy_find(h, v1_readers[i].controller);
        _cleanup_close_ int fd = at ? cgroup_open(at, path) : -ENOENT;
        if (fd == -EINVAL)
            return fd;
        if (fd < 0)
            continue;
        v1_readers[i].read(fd, s);
        any = true;
    }
    return any ? 0 : -ENOENT;
}

// ---- version 2 ---------------------------------------------------------------------------------

static const struct number_file v2_memory[] = {
    {"memory.current", AT(memory_usage)},     {"memory.peak", AT(memory_max_usage)},
    {"memory.max", AT(memory_limit)},         {"memory.swap.current", AT(swap_usage)},
    {"memory.swap.peak", AT(swap_max_usage)}, {"memory.swap.max", AT(swap_limit)},
};
static const struct keyed v2_cpu[] = {
    {"usage_usec", AT(cpu_total), NS_PER_US},
    {"user_usec", AT(cpu_user), NS_PER_US},
    {"system_usec", AT(cpu_system), NS_PER_US},
    {"nr_periods", AT(cpu_periods), 1},
    {"nr_throttled", AT(cpu_throttled_periods), 1},
    {"throttled_usec", AT(cpu_throttled_time), NS_PER_US},
    {"nr_bursts", AT(cpu_bursts), 1},
    {"burst_usec", AT(cpu_burst_time), NS_PER_US},
};
static const struct keyed v2_events[] = {
    {"low", AT(memory_low), 1},    {"high", AT(memory_high), 1},
    {"max", AT(memory_max), 1},    {"oom", AT(oom), 1},
    {"oom_kill", AT(oom_kill), 1}, {"oom_group_kill", AT(oom_group_kill), 1},
};

static void v2_huge_read(int fd, struct cgroup_stats *s)
{
    huge_sizes(fd, ".current", s);
    for (size_t i = 0; i < s->n_huge; i++) {
        char name[64];
        snprintf(name, sizeof name, "hugetlb.%s.events", s->huge[i].size);
        _cleanup_free_ char *events = cgroup_read_text(fd, name);
        s->huge[i].usage = huge_number(fd, &s->huge[i], "current");
        s->huge[i].max = huge_number(fd, &s->huge[i], "max");
        s->huge[i].failcnt = cgroup_stat_value(events, "max");
    }
}

static int v2_read(const struct cgroup_host *h, const char *path, struct cgroup_stats *s)
{
    _cleanup_close_ int fd = cgroup_open(&h->h[0], path);
    if (fd < 0)
        return fd;
    numbers_read(fd, v2_memory, ARRAY_SIZE(v2_memory), s);
    keyed_read(fd, "cpu.stat", v2_cpu, ARRAY_SIZE(v2_cpu), s);
    keyed_read(fd, "memory.events", v2_events, ARRAY_SIZE(v2_events), s);
    pids_read(fd, s);
    s->memory_stat = cgroup_read_text(fd, "memory.stat");
    s->io_stat = cgroup_read_text(fd, "io.stat");
    s->cpu_pressure = cgroup_read_text(fd, "cpu.pressure");
    s->memory_pressure = cgroup_read_text(fd, "memory.pressure");
    s->io_pressure = cgroup_read_text(fd, "io.pressure");
    v2_huge_read(fd, s);
    return 0;
}

// ---- both --------------------------------------------------------------------------------------

int cgroup_stats_read(const struct cgroup_host *h, const char *path, struct cgroup_stats *ret)
{
    struct cgroup_stats s = {.v2 = h->v2};
    int r = h->v2 ? v2_read(h, path, &s) : v1_read(h, path, &s);
    if (r < 0) {
        cgroup_stats_done(&s);
        return r;
    }
    *ret = s;
    return 0;
}

void cgroup_stats_done(struct cgroup_stats *s)
{
    free(s->memory_stat);
    free(s->io_stat);
    free(s->cpu_pressure);
    free(s->memory_pressure);
    free(s->io_pressure);
    free(s->cpu_percpu);
    free(s->blkio_bytes);
    free(s->blkio_ios);
    *s = (struct cgroup_stats){0};
}
