#include "support.h"

#include <signal.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "linux/cgroup_internal.h"
#include "linux/cgroup_limits.h"

static void expect_file(const char *path, const char *text)
{
    char found[128];
    support_read(path, found, sizeof found);
    found[strcspn(found, "\n")] = '\0';
    cr_expect_str_eq(found, text, "%s: \"%s\", not \"%s\"", path, found, text);
}

// Trees of ordinary files that look like the two versions.
static struct cgroup_host *fake(bool v2)
{
    support_private_mounts();
    if (v2) {
        support_mkdir("/mnt/p");
        support_write("/mnt/p/memory.max", "max\n");
        support_write("/mnt/p/memory.current", "5000\n");
        support_write("/mnt/p/memory.stat", "anon 1000\ninactive_file 1000\n");
        support_write("/mnt/p/cpu.weight", "100\n");
        support_write("/mnt/p/cpu.max", "max 100000\n");
        support_write("/mnt/p/memory.swap.max", "max\n");
        support_write("/mnt/p/memory.low", "0\n");
        support_write("/mnt/p/memory.high", "max\n");
        support_write("/mnt/p/pids.max", "max\n");
        support_write("/mnt/p/cpuset.cpus", "\n");
        support_write("/mnt/p/cpuset.mems", "\n");
    } else {
        static const char *const dirs[] = {"/mnt/memory", "/mnt/memory/p", "/mnt/cpu",
                                           "/mnt/cpu/p",  "/mnt/pids",     "/mnt/pids/p",
                                           "/mnt/cpuset", "/mnt/cpuset/p"};
        for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
            support_mkdir(dirs[i]);
        support_write("/mnt/memory/p/memory.memsw.limit_in_bytes", "9223372036854771712\n");
        support_write("/mnt/memory/p/memory.soft_limit_in_bytes", "9223372036854771712\n");
        support_write("/mnt/pids/p/pids.max", "max\n");
        support_write("/mnt/cpuset/p/cpuset.cpus", "0-1\n");
        support_write("/mnt/cpuset/p/cpuset.mems", "0\n");
        support_write("/mnt/memory/p/memory.limit_in_bytes", "9223372036854771712\n");
        support_write("/mnt/memory/p/memory.usage_in_bytes", "5000\n");
        support_write("/mnt/memory/p/memory.stat", "cache 2000\ntotal_inactive_file 1000\n");
        support_write("/mnt/cpu/p/cpu.shares", "1024\n");
        support_write("/mnt/cpu/p/cpu.cfs_quota_us", "-1\n");
        support_write("/mnt/cpu/p/cpu.cfs_period_us", "100000\n");
    }
    struct cgroup_host *h = cgroup_host_open_at("/mnt", v2);
    cr_assert(h);
    return h;
}

static const struct cgroup_limits all = {
    .cpu_shares = 512, .cpu_quota = 25000, .cpu_period = 50000, .memory = 4096};

Test(cgroup_limits, v2_files)
{
    struct cgroup_host *h = fake(true);
    struct error err = {0};
    cr_assert_eq(cgroup_limits_set(h, "/p", &all, &err), 0, "%s", err.text);
    expect_file("/mnt/p/memory.max", "4096");
    expect_file("/mnt/p/cpu.weight", "20");
    expect_file("/mnt/p/cpu.max", "25000 50000");
    const struct cgroup_limits none = {.cpu_quota = -1, .memory = -1};
    cr_assert_eq(cgroup_limits_set(h, "/p", &none, &err), 0, "%s", err.text);
    expect_file("/mnt/p/memory.max", "max");
    expect_file("/mnt/p/cpu.max", "max");
    expect_file("/mnt/p/cpu.weight", "20");
    cgroup_host_free(h);
}

Test(cgroup_limits, v1_files)
{
    struct cgroup_host *h = fake(false);
    struct error err = {0};
    cr_assert_eq(cgroup_limits_set(h, "/p", &all, &err), 0, "%s", err.text);
    expect_file("/mnt/memory/p/memory.limit_in_bytes", "4096");
    expect_file("/mnt/cpu/p/cpu.shares", "512");
    expect_file("/mnt/cpu/p/cpu.cfs_quota_us", "25000");
    expect_file("/mnt/cpu/p/cpu.cfs_period_us", "50000");
    const struct cgroup_limits nothing = {0};
    cr_assert_eq(cgroup_limits_set(h, "/p", &nothing, &err), 0, "%s", err.text);
    expect_file("/mnt/cpu/p/cpu.shares", "512");
    cgroup_host_free(h);
}

static const struct cgroup_limits container = {.memory = 8192,
                                               .memory_swap = 12288,
                                               .memory_reservation = 6000,
                                               .pids = 7,
                                               .cpus = "1",
                                               .mems = "0"};

Test(cgroup_limits, of_a_container_v2)
{
    struct cgroup_host *h = fake(true);
    struct error err = {0};
    const struct cgroup_value high = {"memory.high", "7000"};
    struct cgroup_limits l = container;
    l.unified = &high;
    l.n_unified = 1;
    cr_assert_eq(cgroup_limits_set(h, "/p", &l, &err), 0, "%s", err.text);
    expect_file("/mnt/p/memory.max", "8192");
    expect_file("/mnt/p/memory.swap.max", "4096");
    expect_file("/mnt/p/memory.low", "6000");
    expect_file("/mnt/p/memory.high", "7000");
    expect_file("/mnt/p/pids.max", "7");
    expect_file("/mnt/p/cpuset.cpus", "1");
    const struct cgroup_limits none = {.memory = -1, .memory_swap = -1, .pids = -1};
    cr_assert_eq(cgroup_limits_set(h, "/p", &none, &err), 0, "%s", err.text);
    expect_file("/mnt/p/memory.swap.max", "max");
    expect_file("/mnt/p/pids.max", "max");
    static const char *const bad[] = {"cgroup.procs", "../p/memory.max", "memory", ".max"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct cgroup_value value = {bad[i], "1"};
        const struct cgroup_limits u = {.pids = 9, .unified = &value, .n_unified = 1};
        cr_expect_eq(cgroup_limits_set(h, "/p", &u, &err), -1);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(err.text, bad[i]), "%s", err.text);
    }
    expect_file("/mnt/p/pids.max", "max");
    cgroup_host_free(h);
}

Test(cgroup_limits, of_a_container_v1)
{
    struct cgroup_host *h = fake(false);
    struct error err = {0};
    cr_assert_eq(cgroup_limits_set(h, "/p", &container, &err), 0, "%s", err.text);
    expect_file("/mnt/memory/p/memory.limit_in_bytes", "8192");
    expect_file("/mnt/memory/p/memory.memsw.limit_in_bytes", "12288");
    expect_file("/mnt/memory/p/memory.soft_limit_in_bytes", "6000");
    expect_file("/mnt/pids/p/pids.max", "7");
    expect_file("/mnt/cpuset/p/cpuset.cpus", "1");
    const struct cgroup_value high = {"memory.high", "7000"};
    const struct cgroup_limits l = {.unified = &high, .n_unified = 1};
    cr_expect_eq(cgroup_limits_set(h, "/p", &l, &err), -1);
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    cgroup_host_free(h);
}

Test(cgroup_limits, less_memory_than_is_used_changes_nothing)
{
    struct cgroup_limits l = all;
    l.memory = 3999; // 5000 less 1000 of cache that can be dropped are in use
    for (int v2 = 0; v2 < 2; v2++) {
        struct cgroup_host *h = fake(v2);
        struct error err = {0};
        cr_assert_eq(cgroup_memory_in_use(h, "/p"), 4000);
        cr_assert_eq(cgroup_limits_set(h, "/p", &l, &err), -1);
        cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION);
        cr_expect(strstr(err.text, "3999") && strstr(err.text, "4000"), "%s", err.text);
        expect_file(v2 ? "/mnt/p/cpu.weight" : "/mnt/cpu/p/cpu.shares", v2 ? "100" : "1024");
        l.memory = 4000;
        cr_assert_eq(cgroup_limits_set(h, "/p", &l, &err), 0, "%s", err.text);
        l.memory = 3999;
        cgroup_host_free(h);
    }
}

Test(cgroup_limits, what_was_changed_before_a_failure_is_changed_back)
{
    struct cgroup_host *h = fake(false);
    struct error err = {0};
    unlink("/mnt/cpu/p/cpu.cfs_period_us");
    support_mkdir("/mnt/cpu/p/cpu.cfs_period_us");
    cr_assert_eq(cgroup_limits_set(h, "/p", &all, &err), -1);
    cr_expect(strstr(err.text, "cpu.cfs_period_us"), "%s", err.text);
    expect_file("/mnt/memory/p/memory.limit_in_bytes", "9223372036854771712");
    expect_file("/mnt/cpu/p/cpu.shares", "1024");
    expect_file("/mnt/cpu/p/cpu.cfs_quota_us", "-1");
    cgroup_host_free(h);
    h = fake(true);
    unlink("/mnt/p/cpu.max");
    cr_assert_eq(cgroup_limits_set(h, "/p", &all, &err), -1);
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION);
    cr_expect(strstr(err.text, "has no cpu.max"), "%s", err.text);
    expect_file("/mnt/p/memory.max", "max");
    expect_file("/mnt/p/cpu.weight", "100");
    cgroup_host_free(h);
}

Test(cgroup_limits, weights)
{
    cr_expect_eq(cgroup_weight_of_shares(0), 1);
    cr_expect_eq(cgroup_weight_of_shares(2), 1);
    cr_expect_eq(cgroup_weight_of_shares(1024), 39);
    cr_expect_eq(cgroup_weight_of_shares(262144), 10000);
    cr_expect_eq(cgroup_weight_of_shares(INT64_MAX), 10000);
}

// ---- the machine's own --------------------------------------------------------------------------

static pid_t eater(const struct cgroup_host *h, const char *path, size_t bytes)
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        if (cgroup_attach(h, path, 0) < 0)
            _exit(1);
        char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(p, 1, bytes);
        (void)!write(ready[1], "x", 1);
        pause();
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1, "it did not get its memory");
    close(ready[0]);
    return pid;
}

Test(cgroup_limits, the_kernel_takes_them)
{
    struct cgroup_host *h = cgroup_host_open();
    struct error err = {0};
    char path[64];
    bool created;
    cr_assert(h);
    snprintf(path, sizeof path, "/kuasar-limits-%d", (int)getpid());
    cr_assert_eq(cgroup_make(h, path, &created), 0);
    struct cgroup_limits l = {
        .cpu_shares = 700, .cpu_quota = 30000, .cpu_period = 60000, .memory = 64 << 20};
    cr_expect_eq(cgroup_limits_set(h, path, &l, &err), 0, "%s", err.text);
    struct cgroup_stats s;
    cr_assert_eq(cgroup_stats_read(h, path, &s), 0);
    cr_expect_eq(s.memory_limit, 64 << 20);
    cgroup_stats_done(&s);
    // Another ratio with another period, both ways.
    l.cpu_quota = 200000;
    l.cpu_period = 20000;
    cr_expect_eq(cgroup_limits_set(h, path, &l, &err), 0, "%s", err.text);
    l.cpu_quota = 10000;
    l.cpu_period = 100000;
    cr_expect_eq(cgroup_limits_set(h, path, &l, &err), 0, "%s", err.text);

    pid_t pid = eater(h, path, 24 << 20);
    cr_expect_geq(cgroup_memory_in_use(h, path), 24 << 20);
    l.memory = 8 << 20;
    l.cpu_shares = 100;
    cr_expect_eq(cgroup_limits_set(h, path, &l, &err), -1);
    cr_expect_eq(err.status, STATUS_FAILED_PRECONDITION, "%s", err.text);
    cr_assert_eq(cgroup_stats_read(h, path, &s), 0);
    cr_expect_eq(s.memory_limit, 64 << 20);
    cr_expect_eq(s.oom_kill, 0);
    cgroup_stats_done(&s);
    cr_expect_eq(kill(pid, 0), 0, "it lives");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 200 && cgroup_remove(h, path) == -EBUSY; i++)
        support_pause_ms(10);
    cr_expect_not(cgroup_exists(h, path));
    cgroup_host_free(h);
}
