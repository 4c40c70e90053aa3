// memory.stat has a field for nearly every field of the messages, under the same name; so the
// messages are filled by their descriptors, with a table for the names that differ.
#include "task/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/cgroups1.pb-c.h"
#include "api/cgroups2.pb-c.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "linux/cgroup.h"

// Most entries of the lists in one message (cpus, devices).
#define PER_CPU_MAX 1024
#define DEVICES_MAX 256
// Longest file name of a device, with its NUL.
#define DEVICE_NAME_MAX 64
// Largest /proc/partitions that is read.
#define PARTITIONS_MAX (256 * 1024)

struct alias {
    const char *field, *key;
};

// containerd/cgroups cgroup1/memory.go: which key of memory.stat fills which field.
static const struct alias v1_aliases[] = {
    {"pg_pg_in", "pgpgin"},
    {"pg_pg_out", "pgpgout"},
    {"pg_fault", "pgfault"},
    {"pg_maj_fault", "pgmajfault"},
    {"hierarchical_swap_limit", "hierarchical_memsw_limit"},
    {"total_pg_pg_in", "total_pgpgin"},
    {"total_pg_pg_out", "total_pgpgout"},
    {"total_pg_fault", "total_pgfault"},
    {"total_pg_maj_fault", "total_pgmajfault"},
    {NULL, NULL},
};
// cgroup2/manager.go, likewise; kernels >= 5.9 split the refault and activate counters.
static const struct alias v2_aliases[] = {
    {"workingset_refault", "workingset_refault_file"},
    {"workingset_activate", "workingset_activate_file"},
    {NULL, NULL},
};

static const char *key_of(const char *field, const struct alias *aliases, const char *text)
{
    for (; aliases->field; aliases++)
        if (strcmp(aliases->field, field) == 0)
            return cgroup_stat_value(text, field) ? field : aliases->key;
    return field;
}

// Fills every uint64 field of a message from the flat-keyed text.
static void fill(ProtobufCMessage *m, const char *text, const struct alias *aliases)
{
    for (unsigned i = 0; text && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type != PROTOBUF_C_TYPE_UINT64 || f->label == PROTOBUF_C_LABEL_REPEATED)
            continue;
        uint64_t value = cgroup_stat_value(text, key_of(f->name, aliases, text));
        memcpy((uint8_t *)m + f->offset, &value, sizeof value);
    }
}

static int pack(Google__Any *ret, const char *type, const ProtobufCMessage *m, struct error *err)
{
    if (any_pack(ret, type, m) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the stats");
    return 0;
}

// ---- v1 -----------------------------------------------------------------------------------------

static size_t parse_per_cpu(const char *text, uint64_t out[PER_CPU_MAX])
{
    size_t n = 0;
    for (char *end; text && n < PER_CPU_MAX; text = end) {
        uint64_t value = strtoull(text, &end, 10);
        if (end == text)
            break;
        out[n++] = value;
    }
    return n;
}

struct blkio_list {
    Cgroups1__BlkIOEntry entries[DEVICES_MAX], *pointers[DEVICES_MAX];
    char ops[DEVICES_MAX][16], devices[DEVICES_MAX][DEVICE_NAME_MAX];
};

// The file of a device, by /proc/partitions ("8 0 1024 sda" lines); "" if it is not there.
static void find_device(const char *partitions, unsigned long long major, unsigned long long minor,
                        char ret[DEVICE_NAME_MAX])
{
    *ret = '\0';
    for (const char *line = partitions; line && *line;) {
        unsigned long long a, b;
        char name[DEVICE_NAME_MAX - sizeof "/dev/"];
        if (sscanf(line, "%llu %llu %*u %57s", &a, &b, name) == 3 && a == major && b == minor) {
            snprintf(ret, DEVICE_NAME_MAX, "/dev/%s", name);
            return;
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
}

static bool has_device(const char *text)
{
    return text && strchr(text, ':');
}

// "8:0 Read 4096" lines; the last, "Total N", has no device.
static size_t parse_blkio(const char *text, const char *partitions, struct blkio_list *l)
{
    size_t n = 0;
    while (text && *text && n < DEVICES_MAX) {
        unsigned long long major, minor, value;
        if (sscanf(text, "%llu:%llu %15s %llu", &major, &minor, l->ops[n], &value) == 4) {
            Cgroups1__BlkIOEntry *e = l->pointers[n] = &l->entries[n];
            cgroups1__blk_ioentry__init(e);
            find_device(partitions, major, minor, l->devices[n]);
            e->device = l->devices[n];
            e->major = major;
            e->minor = minor;
            e->value = value;
            e->op = l->ops[n];
            n++;
        }
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return n;
}

static Cgroups1__MemoryEntry memory_entry(uint64_t limit, uint64_t usage, uint64_t max,
                                          uint64_t failcnt)
{
    Cgroups1__MemoryEntry e = CGROUPS1__MEMORY_ENTRY__INIT;
    e.limit = limit;
    e.usage = usage;
    e.max = max;
    e.failcnt = failcnt;
    return e;
}

// The lists of one v1 message; too big for the stack of a small function.
struct v1_lists {
    uint64_t per_cpu[PER_CPU_MAX];
    struct blkio_list bytes, ios;
};

static size_t put_huge_v1(const struct cgroup_stats *s,
                          Cgroups1__HugetlbStat entries[CGROUP_HUGE_MAX],
                          Cgroups1__HugetlbStat *pointers[CGROUP_HUGE_MAX])
{
    for (size_t i = 0; i < s->n_huge; i++) {
        cgroups1__hugetlb_stat__init(&entries[i]);
        entries[i].usage = s->huge[i].usage;
        entries[i].max = s->huge[i].max;
        entries[i].failcnt = s->huge[i].failcnt;
        entries[i].pagesize = (char *)s->huge[i].size;
        pointers[i] = &entries[i];
    }
    return s->n_huge;
}

static int pack_v1(const struct cgroup_stats *s, Google__Any *ret, struct error *err)
{
    _cleanup_free_ struct v1_lists *lists = malloc(sizeof *lists);
    _cleanup_(buf_free) struct buf partitions;
    buf_init(&partitions, PARTITIONS_MAX);
    if (has_device(s->blkio_bytes) || has_device(s->blkio_ios))
        file_read_at(AT_FDCWD, "/proc/partitions", &partitions);
    const char *devices = buf_cstr(&partitions);
    if (!lists)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the stats");
    Cgroups1__Metrics m = CGROUPS1__METRICS__INIT;
    Cgroups1__PidsStat pids = CGROUPS1__PIDS_STAT__INIT;
    Cgroups1__CPUStat cpu = CGROUPS1__CPUSTAT__INIT;
    Cgroups1__CPUUsage usage = CGROUPS1__CPUUSAGE__INIT;
    Cgroups1__Throttle throttle = CGROUPS1__THROTTLE__INIT;
    Cgroups1__MemoryStat memory = CGROUPS1__MEMORY_STAT__INIT;
    Cgroups1__MemoryOomControl oom = CGROUPS1__MEMORY_OOM_CONTROL__INIT;
    Cgroups1__BlkIOStat blkio = CGROUPS1__BLK_IOSTAT__INIT;
    Cgroups1__MemoryEntry mem =
        memory_entry(s->memory_limit, s->memory_usage, s->memory_max_usage, s->memory_failcnt);
    Cgroups1__MemoryEntry swap =
        memory_entry(s->swap_limit, s->swap_usage, s->swap_max_usage, s->swap_failcnt);
    Cgroups1__MemoryEntry kernel =
        memory_entry(s->kernel_limit, s->kernel_usage, s->kernel_max_usage, s->kernel_failcnt);
    Cgroups1__MemoryEntry tcp =
        memory_entry(s->tcp_limit, s->tcp_usage, s->tcp_max_usage, s->tcp_failcnt);
    Cgroups1__HugetlbStat huge[CGROUP_HUGE_MAX], *huge_pointers[CGROUP_HUGE_MAX];
    pids.current = s->pids_current;
    // Of this version, 0 is no limit.
    pids.limit = s->pids_limit == CGROUP_UNLIMITED ? 0 : s->pids_limit;
    usage.total = s->cpu_total;
    usage.kernel = s->cpu_system;
    usage.user = s->cpu_user;
    usage.n_per_cpu = parse_per_cpu(s->cpu_percpu, lists->per_cpu);
    usage.per_cpu = lists->per_cpu;
    throttle.periods = s->cpu_periods;
    throttle.throttled_periods = s->cpu_throttled_periods;
    throttle.throttled_time = s->cpu_throttled_time;
    cpu.usage = &usage;
    cpu.throttling = &throttle;
    fill(&memory.base, s->memory_stat, v1_aliases);
    memory.usage = &mem;
    memory.swap = &swap;
    memory.kernel = &kernel;
    memory.kernel_tcp = &tcp;
    oom.oom_kill = s->oom_kill;
    oom.oom_kill_disable = s->oom_kill_disable;
    oom.under_oom = s->under_oom;
    blkio.n_io_service_bytes_recursive = parse_blkio(s->blkio_bytes, devices, &lists->bytes);
    blkio.io_service_bytes_recursive = lists->bytes.pointers;
    blkio.n_io_serviced_recursive = parse_blkio(s->blkio_ios, devices, &lists->ios);
    blkio.io_serviced_recursive = lists->ios.pointers;
    m.n_hugetlb = put_huge_v1(s, huge, huge_pointers);
    m.hugetlb = huge_pointers;
    m.pids = &pids;
    m.cpu = &cpu;
    m.memory = &memory;
    m.memory_oom_control = &oom;
    m.blkio = &blkio;
    return pack(ret, ANY_CGROUPS1_METRICS, &m.base, err);
}

// ---- v2 -----------------------------------------------------------------------------------------

// "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" lines.
static size_t parse_io(const char *text, Cgroups2__IOEntry entries[DEVICES_MAX],
                       Cgroups2__IOEntry *pointers[DEVICES_MAX])
{
    size_t n = 0;
    while (text && *text && n < DEVICES_MAX) {
        unsigned long long major, minor, rbytes, wbytes, rios, wios;
        if (sscanf(text, "%llu:%llu rbytes=%llu wbytes=%llu rios=%llu wios=%llu", &major, &minor,
                   &rbytes, &wbytes, &rios, &wios) == 6) {
            cgroups2__ioentry__init(&entries[n]);
            entries[n].major = major;
            entries[n].minor = minor;
            entries[n].rbytes = rbytes;
            entries[n].wbytes = wbytes;
            entries[n].rios = rios;
            entries[n].wios = wios;
            pointers[n] = &entries[n];
            n++;
        }
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return n;
}

struct pressure {
    Cgroups2__PSIStats stats;
    Cgroups2__PSIData some, full;
};

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same of "full". NULL if there is no
// text.
static Cgroups2__PSIStats *parse_pressure(const char *text, struct pressure *p)
{
    cgroups2__psistats__init(&p->stats);
    for (const char *line = text; line && *line;) {
        char kind[8];
        Cgroups2__PSIData data = CGROUPS2__PSIDATA__INIT;
        if (sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%" SCNu64, kind, &data.avg10,
                   &data.avg60, &data.avg300, &data.total) == 5) {
            bool some = strcmp(kind, "some") == 0;
            *(some ? &p->some : &p->full) = data;
            *(some ? &p->stats.some : &p->stats.full) = some ? &p->some : &p->full;
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return text ? &p->stats : NULL;
}

static size_t put_huge_v2(const struct cgroup_stats *s,
                          Cgroups2__HugeTlbStat entries[CGROUP_HUGE_MAX],
                          Cgroups2__HugeTlbStat *pointers[CGROUP_HUGE_MAX])
{
    for (size_t i = 0; i < s->n_huge; i++) {
        cgroups2__huge_tlb_stat__init(&entries[i]);
        entries[i].current = s->huge[i].usage;
        entries[i].max = s->huge[i].max;
        entries[i].failcnt = s->huge[i].failcnt;
        entries[i].pagesize = (char *)s->huge[i].size;
        pointers[i] = &entries[i];
    }
    return s->n_huge;
}

static int pack_v2(const struct cgroup_stats *s, Google__Any *ret, struct error *err)
{
    Cgroups2__Metrics m = CGROUPS2__METRICS__INIT;
    Cgroups2__PidsStat pids = CGROUPS2__PIDS_STAT__INIT;
    Cgroups2__CPUStat cpu = CGROUPS2__CPUSTAT__INIT;
    Cgroups2__MemoryStat memory = CGROUPS2__MEMORY_STAT__INIT;
    Cgroups2__MemoryEvents events = CGROUPS2__MEMORY_EVENTS__INIT;
    Cgroups2__IOStat io = CGROUPS2__IOSTAT__INIT;
    Cgroups2__IOEntry entries[DEVICES_MAX], *pointers[DEVICES_MAX];
    Cgroups2__HugeTlbStat huge[CGROUP_HUGE_MAX], *huge_pointers[CGROUP_HUGE_MAX];
    struct pressure cpu_pressure, memory_pressure, io_pressure;
    pids.current = s->pids_current;
    pids.limit = s->pids_limit;
    cpu.usage_usec = s->cpu_total / 1000;
    cpu.user_usec = s->cpu_user / 1000;
    cpu.system_usec = s->cpu_system / 1000;
    cpu.nr_periods = s->cpu_periods;
    cpu.nr_throttled = s->cpu_throttled_periods;
    cpu.throttled_usec = s->cpu_throttled_time / 1000;
    cpu.nr_bursts = s->cpu_bursts;
    cpu.burst_usec = s->cpu_burst_time / 1000;
    cpu.psi = parse_pressure(s->cpu_pressure, &cpu_pressure);
    fill(&memory.base, s->memory_stat, v2_aliases);
    memory.usage = s->memory_usage;
    memory.usage_limit = s->memory_limit;
    memory.max_usage = s->memory_max_usage;
    memory.swap_usage = s->swap_usage;
    memory.swap_limit = s->swap_limit;
    memory.swap_max_usage = s->swap_max_usage;
    memory.psi = parse_pressure(s->memory_pressure, &memory_pressure);
    events.low = s->memory_low;
    events.high = s->memory_high;
    events.max = s->memory_max;
    events.oom = s->oom;
    events.oom_kill = s->oom_kill;
    events.oom_group_kill = s->oom_group_kill;
    io.n_usage = parse_io(s->io_stat, entries, pointers);
    io.usage = pointers;
    io.psi = parse_pressure(s->io_pressure, &io_pressure);
    m.n_hugetlb = put_huge_v2(s, huge, huge_pointers);
    m.hugetlb = huge_pointers;
    m.pids = &pids;
    m.cpu = &cpu;
    m.memory = &memory;
    m.memory_events = &events;
    m.io = &io;
    return pack(ret, ANY_CGROUPS2_METRICS, &m.base, err);
}

int task_stats_of_cgroup(const struct cgroup_host *host, const char *path, Google__Any *ret,
                         struct error *err)
{
    struct cgroup_host *own = host ? NULL : cgroup_host_open();
    struct cgroup_stats s = {0};
    if (!host && !own)
        return error_errno(err, errno, "cannot find the cgroup hierarchies");
    int e = cgroup_stats_read(host ? host : own, path, &s);
    cgroup_host_free(own);
    if (e < 0)
        return error_errno(err, e, "cgroup %s", path);
    int r = s.v2 ? pack_v2(&s, ret, err) : pack_v1(&s, ret, err);
    cgroup_stats_done(&s);
    return r;
}
