// Readings of a cgroup whose files all hold different numbers, and every field of the message that
// is made of them.
#include "task/stats.h"

#include <inttypes.h>

#include "../linux/support.h"
#include "api/any.h"
#include "api/cgroups1.pb-c.h"
#include "api/cgroups2.pb-c.h"
#include "api/message.h"
#include "linux/cgroup_internal.h"

TestSuite(stats, .init = support_private_mounts);

// ---- a message as text: "cpu.usage.user = 2", a line for each scalar, zero or not ---------------

static void show(FILE *out, const char *prefix, const ProtobufCMessage *m);

static void show_value(FILE *out, const char *name, ProtobufCType type, const void *value)
{
    switch (type) {
    case PROTOBUF_C_TYPE_UINT64:
        fprintf(out, "%s = %" PRIu64 "\n", name, *(const uint64_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT32:
        fprintf(out, "%s = %" PRIu32 "\n", name, *(const uint32_t *)value);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        fprintf(out, "%s = %.2f\n", name, *(const double *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        fprintf(out, "%s = %s\n", name, *(char *const *)value);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        if (*(ProtobufCMessage *const *)value)
            show(out, name, *(ProtobufCMessage *const *)value);
        break;
    default:
        cr_assert_fail("%s: a type that no metric has", name);
    }
}

static size_t size_of(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_UINT32 ? sizeof(uint32_t) : sizeof(uint64_t);
}

static void show(FILE *out, const char *prefix, const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const uint8_t *at = (const uint8_t *)m + f->offset;
        char name[256];
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", f->name);
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            show_value(out, name, f->type, at);
            continue;
        }
        size_t n = *(const size_t *)(const void *)((const uint8_t *)m + f->quantifier_offset);
        const uint8_t *list = *(uint8_t *const *)(const void *)at;
        for (size_t j = 0; j < n; j++)
            show_value(out, name, f->type, list + j * size_of(f->type));
    }
}

static void expect_same(const char *got, const char *want)
{
    while (*got || *want) {
        int g = (int)strcspn(got, "\n"), w = (int)strcspn(want, "\n");
        cr_assert(g == w && strncmp(got, want, (size_t)g) == 0, "got '%.*s', want '%.*s'", g, got,
                  w, want);
        got += g + (got[g] != '\0');
        want += w + (want[w] != '\0');
    }
}

// Reads and packs cgroup /c below /mnt; the message's text, malloc'ed.
static char *message(bool v2, const char *type_url)
{
    struct cgroup_host *h = cgroup_host_open_at("/mnt", v2);
    Google__Any any;
    struct error err = {0};
    cr_assert_eq(task_stats_of_cgroup(h, "/c", &any, &err), 0, "%s", err.text);
    cgroup_host_free(h);
    ProtobufCMessage *m = any_decode(&any, type_url, any_descriptor(type_url), &err);
    cr_assert(m, "%s", err.text);
    any_clear(&any);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    show(out, "", m);
    fclose(out);
    api_message_free(m);
    return text;
}

static void expect(bool v2, const char *type_url, const char *want)
{
    char *got = message(v2, type_url);
    expect_same(got, want);
    free(got);
}

static void expect_line(bool v2, const char *type_url, const char *want)
{
    char *got = message(v2, type_url), line[128];
    snprintf(line, sizeof line, "%s\n", want);
    cr_assert(strstr(got, line), "no '%s' in\n%s", want, got);
    free(got);
}

static void huge(const char *dir, const char *size, const char *what, const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "%s/hugetlb.%s.%s", dir, size, what);
    support_write(path, text);
}

// ---- version 1 ----------------------------------------------------------------------------------

static const char *const v1_controllers[] = {"memory", "cpu",   "cpuacct",
                                             "pids",   "blkio", "hugetlb"};

static void v1_cgroup(void)
{
    for (size_t i = 0; i < sizeof v1_controllers / sizeof *v1_controllers; i++) {
        char path[64];
        snprintf(path, sizeof path, "/mnt/%s", v1_controllers[i]);
        support_mkdir(path);
        strcat(path, "/c");
        support_mkdir(path);
    }
}

static void v1_memory(const char *kind, int limit)
{
    static const char *const names[] = {"limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes",
                                        "failcnt"};
    for (int i = 0; i < 4; i++) {
        char path[96], text[16];
        snprintf(path, sizeof path, "/mnt/memory/c/memory%s.%s", kind, names[i]);
        snprintf(text, sizeof text, "%d\n", limit + i);
        support_write(path, text);
    }
}

// The machine's block devices, of which one is not listed.
static void v1_devices(void)
{
    support_write(
        "/mnt/partitions",
        "major minor  #blocks  name\n\n 251        0    1000 vda\n 251        1     900 vda1\n");
    cr_assert_eq(mount("/mnt/partitions", "/proc/partitions", NULL, MS_BIND, NULL), 0);
}

Test(stats, v1_every_field)
{
    v1_cgroup();
    v1_devices();
    support_write("/mnt/pids/c/pids.current", "11\n");
    support_write("/mnt/pids/c/pids.max", "12\n");
    support_write("/mnt/cpuacct/c/cpuacct.usage", "21\n");
    support_write("/mnt/cpuacct/c/cpuacct.stat", "user 2\nsystem 3\n"); // ticks of 10 ms
    support_write("/mnt/cpuacct/c/cpuacct.usage_percpu", "24 25 26 \n");
    support_write("/mnt/cpu/c/cpu.stat", "nr_periods 31\nnr_throttled 32\nthrottled_time 33\n"
                                         "nr_bursts 34\nburst_time 35\n");
    support_write("/mnt/memory/c/memory.stat",
                  "cache 101\nrss 102\nrss_huge 103\nshmem 1\nmapped_file 104\ndirty 105\n"
                  "writeback 106\nworkingset_refault_anon 2\nswap 3\npgpgin 107\npgpgout 108\n"
                  "pgfault 109\npgmajfault 110\ninactive_anon 111\nactive_anon 112\n"
                  "inactive_file 113\nactive_file 114\nunevictable 115\n"
                  "hierarchical_memory_limit 116\nhierarchical_memsw_limit 117\n"
                  "total_cache 118\ntotal_rss 119\ntotal_rss_huge 120\ntotal_shmem 4\n"
                  "total_mapped_file 121\ntotal_dirty 122\ntotal_writeback 123\n"
                  "total_pgpgin 124\ntotal_pgpgout 125\ntotal_pgfault 126\n"
                  "total_pgmajfault 127\ntotal_inactive_anon 128\ntotal_active_anon 129\n"
                  "total_inactive_file 130\ntotal_active_file 131\ntotal_unevictable 132\n");
    v1_memory("", 201);
    v1_memory(".memsw", 211);
    v1_memory(".kmem", 221);
    v1_memory(".kmem.tcp", 231);
    support_write("/mnt/memory/c/memory.oom_control",
                  "oom_kill_disable 301\nunder_oom 302\noom_kill 303\n");
    support_write("/mnt/blkio/c/blkio.throttle.io_service_bytes_recursive",
                  "251:1 Read 401\n251:1 Write 402\n252:2 Read 403\nTotal 1206\n");
    support_write("/mnt/blkio/c/blkio.throttle.io_serviced_recursive",
                  "251:1 Read 411\n252:2 Sync 412\nTotal 823\n");
    huge("/mnt/hugetlb/c", "1GB", "usage_in_bytes", "501\n");
    huge("/mnt/hugetlb/c", "1GB", "max_usage_in_bytes", "502\n");
    huge("/mnt/hugetlb/c", "1GB", "failcnt", "503\n");
    huge("/mnt/hugetlb/c", "2MB", "usage_in_bytes", "511\n");
    huge("/mnt/hugetlb/c", "2MB", "max_usage_in_bytes", "512\n");
    huge("/mnt/hugetlb/c", "2MB", "failcnt", "513\n");
    huge("/mnt/hugetlb/c", "2MB", "rsvd.usage_in_bytes", "1\n");
    expect(false, ANY_CGROUPS1_METRICS,
           "hugetlb.usage = 501\nhugetlb.max = 502\nhugetlb.failcnt = 503\nhugetlb.pagesize = 1GB\n"
           "hugetlb.usage = 511\nhugetlb.max = 512\nhugetlb.failcnt = 513\nhugetlb.pagesize = 2MB\n"
           "pids.current = 11\npids.limit = 12\n"
           "cpu.usage.total = 21\ncpu.usage.kernel = 30000000\ncpu.usage.user = 20000000\n"
           "cpu.usage.per_cpu = 24\ncpu.usage.per_cpu = 25\ncpu.usage.per_cpu = 26\n"
           "cpu.throttling.periods = 31\ncpu.throttling.throttled_periods = 32\n"
           "cpu.throttling.throttled_time = 33\n"
           "memory.cache = 101\nmemory.rss = 102\nmemory.rss_huge = 103\n"
           "memory.mapped_file = 104\nmemory.dirty = 105\nmemory.writeback = 106\n"
           "memory.pg_pg_in = 107\nmemory.pg_pg_out = 108\nmemory.pg_fault = 109\n"
           "memory.pg_maj_fault = 110\nmemory.inactive_anon = 111\nmemory.active_anon = 112\n"
           "memory.inactive_file = 113\nmemory.active_file = 114\nmemory.unevictable = 115\n"
           "memory.hierarchical_memory_limit = 116\nmemory.hierarchical_swap_limit = 117\n"
           "memory.total_cache = 118\nmemory.total_rss = 119\nmemory.total_rss_huge = 120\n"
           "memory.total_mapped_file = 121\nmemory.total_dirty = 122\n"
           "memory.total_writeback = 123\nmemory.total_pg_pg_in = 124\n"
           "memory.total_pg_pg_out = 125\nmemory.total_pg_fault = 126\n"
           "memory.total_pg_maj_fault = 127\nmemory.total_inactive_anon = 128\n"
           "memory.total_active_anon = 129\nmemory.total_inactive_file = 130\n"
           "memory.total_active_file = 131\nmemory.total_unevictable = 132\n"
           "memory.usage.limit = 201\nmemory.usage.usage = 202\nmemory.usage.max = 203\n"
           "memory.usage.failcnt = 204\n"
           "memory.swap.limit = 211\nmemory.swap.usage = 212\nmemory.swap.max = 213\n"
           "memory.swap.failcnt = 214\n"
           "memory.kernel.limit = 221\nmemory.kernel.usage = 222\nmemory.kernel.max = 223\n"
           "memory.kernel.failcnt = 224\n"
           "memory.kernel_tcp.limit = 231\nmemory.kernel_tcp.usage = 232\n"
           "memory.kernel_tcp.max = 233\nmemory.kernel_tcp.failcnt = 234\n"
           "blkio.io_service_bytes_recursive.op = Read\n"
           "blkio.io_service_bytes_recursive.device = /dev/vda1\n"
           "blkio.io_service_bytes_recursive.major = 251\n"
           "blkio.io_service_bytes_recursive.minor = 1\n"
           "blkio.io_service_bytes_recursive.value = 401\n"
           "blkio.io_service_bytes_recursive.op = Write\n"
           "blkio.io_service_bytes_recursive.device = /dev/vda1\n"
           "blkio.io_service_bytes_recursive.major = 251\n"
           "blkio.io_service_bytes_recursive.minor = 1\n"
           "blkio.io_service_bytes_recursive.value = 402\n"
           "blkio.io_service_bytes_recursive.op = Read\n"
           "blkio.io_service_bytes_recursive.device = \n"
           "blkio.io_service_bytes_recursive.major = 252\n"
           "blkio.io_service_bytes_recursive.minor = 2\n"
           "blkio.io_service_bytes_recursive.value = 403\n"
           "blkio.io_serviced_recursive.op = Read\n"
           "blkio.io_serviced_recursive.device = /dev/vda1\n"
           "blkio.io_serviced_recursive.major = 251\n"
           "blkio.io_serviced_recursive.minor = 1\n"
           "blkio.io_serviced_recursive.value = 411\n"
           "blkio.io_serviced_recursive.op = Sync\n"
           "blkio.io_serviced_recursive.device = \n"
           "blkio.io_serviced_recursive.major = 252\n"
           "blkio.io_serviced_recursive.minor = 2\n"
           "blkio.io_serviced_recursive.value = 412\n"
           "memory_oom_control.oom_kill_disable = 301\n"
           "memory_oom_control.under_oom = 302\nmemory_oom_control.oom_kill = 303\n");
}

Test(stats, v1_no_limit_of_processes_is_0)
{
    v1_cgroup();
    support_write("/mnt/pids/c/pids.max", "max\n");
    expect_line(false, ANY_CGROUPS1_METRICS, "pids.limit = 0");
}

// ---- version 2 ----------------------------------------------------------------------------------

static void v2_cgroup(void)
{
    support_write("/mnt/cgroup.controllers", "cpu io memory pids\n");
    support_mkdir("/mnt/c");
}

// memory.stat of kernels up to 5.8 and of newer ones differ in two names.
static void v2_memory(const char *refault, const char *activate)
{
    FILE *f = fopen("/mnt/c/memory.stat", "we");
    fprintf(f,
            "anon 101\nfile 102\nkernel 1\nkernel_stack 103\npagetables 2\nsock 105\nshmem 106\n"
            "file_mapped 107\nfile_dirty 108\nfile_writeback 109\nanon_thp 110\n"
            "inactive_anon 111\nactive_anon 112\ninactive_file 113\nactive_file 114\n"
            "unevictable 115\nslab_reclaimable 116\nslab_unreclaimable 117\nslab 104\n"
            "workingset_refault_anon 3\n%s 120\nworkingset_activate_anon 4\n%s 121\n"
            "workingset_nodereclaim 122\npgscan 124\npgsteal 125\npgscan_kswapd 5\n"
            "pgfault 118\npgmajfault 119\npgrefill 123\npgactivate 126\npgdeactivate 127\n"
            "pglazyfree 128\npglazyfreed 129\nthp_fault_alloc 130\nthp_collapse_alloc 131\n",
            refault, activate);
    fclose(f);
}

#define V2_MEMORY_WANTED                                                                           \
    "memory.anon = 101\nmemory.file = 102\nmemory.kernel_stack = 103\nmemory.slab = 104\n"         \
    "memory.sock = 105\nmemory.shmem = 106\nmemory.file_mapped = 107\nmemory.file_dirty = 108\n"   \
    "memory.file_writeback = 109\nmemory.anon_thp = 110\nmemory.inactive_anon = 111\n"             \
    "memory.active_anon = 112\nmemory.inactive_file = 113\nmemory.active_file = 114\n"             \
    "memory.unevictable = 115\nmemory.slab_reclaimable = 116\nmemory.slab_unreclaimable = 117\n"   \
    "memory.pgfault = 118\nmemory.pgmajfault = 119\nmemory.workingset_refault = 120\n"             \
    "memory.workingset_activate = 121\nmemory.workingset_nodereclaim = 122\n"                      \
    "memory.pgrefill = 123\nmemory.pgscan = 124\nmemory.pgsteal = 125\nmemory.pgactivate = 126\n"  \
    "memory.pgdeactivate = 127\nmemory.pglazyfree = 128\nmemory.pglazyfreed = 129\n"               \
    "memory.thp_fault_alloc = 130\nmemory.thp_collapse_alloc = 131\n"

static void v2_pressure(const char *what, int first)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/mnt/c/%s.pressure", what);
    snprintf(text, sizeof text,
             "some avg10=0.01 avg60=0.02 avg300=0.03 total=%d\n"
             "full avg10=0.04 avg60=0.05 avg300=0.06 total=%d\n",
             first, first + 4);
    support_write(path, text);
}

#define V2_PRESSURE(what, some, full)                                                              \
    what ".psi.some.avg10 = 0.01\n" what ".psi.some.avg60 = 0.02\n" what                           \
         ".psi.some.avg300 = 0.03\n" what ".psi.some.total = " some "\n" what                      \
         ".psi.full.avg10 = 0.04\n" what ".psi.full.avg60 = 0.05\n" what                           \
         ".psi.full.avg300 = 0.06\n" what ".psi.full.total = " full "\n"

Test(stats, v2_every_field)
{
    v2_cgroup();
    support_write("/mnt/c/pids.current", "11\n");
    support_write("/mnt/c/pids.max", "12\n");
    support_write("/mnt/c/cpu.stat",
                  "usage_usec 21\nuser_usec 22\nsystem_usec 23\nnr_periods 24\n"
                  "nr_throttled 25\nthrottled_usec 26\nnr_bursts 27\nburst_usec 28\n");
    v2_pressure("cpu", 500);
    v2_pressure("memory", 510);
    v2_pressure("io", 520);
    v2_memory("workingset_refault_file", "workingset_activate_file");
    support_write("/mnt/c/memory.current", "132\n");
    support_write("/mnt/c/memory.max", "133\n");
    support_write("/mnt/c/memory.swap.current", "134\n");
    support_write("/mnt/c/memory.swap.max", "135\n");
    support_write("/mnt/c/memory.peak", "136\n");
    support_write("/mnt/c/memory.swap.peak", "137\n");
    support_write("/mnt/c/memory.events", "low 301\nhigh 302\nmax 303\noom 304\noom_kill 305\n"
                                          "oom_group_kill 306\n");
    support_write("/mnt/c/io.stat",
                  "251:1 rbytes=401 wbytes=402 rios=403 wios=404 dbytes=1 dios=2\n"
                  "252:2 rbytes=411 wbytes=412 rios=413 wios=414\n");
    huge("/mnt/c", "1GB", "current", "601\n");
    huge("/mnt/c", "1GB", "max", "602\n");
    huge("/mnt/c", "1GB", "events", "max 603\n");
    huge("/mnt/c", "2MB", "current", "611\n");
    huge("/mnt/c", "2MB", "max", "612\n");
    huge("/mnt/c", "2MB", "events", "max 613\n");
    huge("/mnt/c", "2MB", "rsvd.current", "1\n");
    expect(
        true, ANY_CGROUPS2_METRICS,
        "pids.current = 11\npids.limit = 12\n"
        "cpu.usage_usec = 21\ncpu.user_usec = 22\ncpu.system_usec = 23\ncpu.nr_periods = 24\n"
        "cpu.nr_throttled = 25\ncpu.throttled_usec = 26\n" V2_PRESSURE(
            "cpu", "500",
            "504") "cpu.nr_bursts = 27\ncpu.burst_usec = 28\n" V2_MEMORY_WANTED
                   "memory.usage = 132\nmemory.usage_limit = 133\nmemory.swap_usage = 134\n"
                   "memory.swap_limit = 135\nmemory.max_usage = 136\nmemory.swap_max_usage = "
                   "137\n" V2_PRESSURE(
                       "memory", "510",
                       "514") "io.usage.major = 251\nio.usage.minor = 1\nio.usage.rbytes = 401\n"
                              "io.usage.wbytes = 402\nio.usage.rios = 403\nio.usage.wios = 404\n"
                              "io.usage.major = 252\nio.usage.minor = 2\nio.usage.rbytes = 411\n"
                              "io.usage.wbytes = 412\nio.usage.rios = 413\nio.usage.wios = "
                              "414\n" V2_PRESSURE(
                                  "io", "520",
                                  "524") "hugetlb.current = 601\nhugetlb.max = "
                                         "602\nhugetlb.pagesize = 1GB\nhugetlb.failcnt = 603\n"
                                         "hugetlb.current = 611\nhugetlb.max = "
                                         "612\nhugetlb.pagesize = 2MB\nhugetlb.failcnt = 613\n"
                                         "memory_events.low = 301\nmemory_events.high = "
                                         "302\nmemory_events.max = 303\n"
                                         "memory_events.oom = 304\nmemory_events.oom_kill = 305\n"
                                         "memory_events.oom_group_kill = 306\n");
}

Test(stats, v2_no_limit_is_the_largest_number)
{
    static const char *const names[] = {"pids.max", "memory.max", "memory.swap.max"};
    v2_cgroup();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "/mnt/c/%s", names[i]);
        support_write(path, "max\n");
    }
    expect_line(true, ANY_CGROUPS2_METRICS, "pids.limit = 18446744073709551615");
    expect_line(true, ANY_CGROUPS2_METRICS, "memory.usage_limit = 18446744073709551615");
    expect_line(true, ANY_CGROUPS2_METRICS, "memory.swap_limit = 18446744073709551615");
}
