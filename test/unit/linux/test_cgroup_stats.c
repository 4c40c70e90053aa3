#include "support.h"

#include <signal.h>

#include "linux/cgroup_internal.h"

#define G "/mnt/pods/c1/"

// A tree of ordinary files and directories that looks like version 2.
static void setup(void)
{
    support_private_mounts();
    support_write("/mnt/cgroup.controllers", "cpu io memory pids\n");
    support_write("/mnt/cgroup.subtree_control", "");
    support_mkdir("/mnt/pods");
    support_mkdir("/mnt/pods/c1");
}

static struct cgroup_stats read_v2(void)
{
    struct cgroup_host *h = cgroup_host_open_at("/mnt", true);
    cr_assert(h);
    cr_assert(cgroup_is_v2(h));
    struct cgroup_stats s;
    cr_assert_eq(cgroup_stats_read(h, "/pods/c1", &s), 0);
    cgroup_host_free(h);
    return s;
}

TestSuite(cgroup_stats, .init = setup);

Test(cgroup_stats, v2_numbers)
{
    support_write(G "cpu.stat", "usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 10\n"
                                "nr_throttled 4\nthrottled_usec 5\n");
    support_write(G "memory.current", "4096\n");
    support_write(G "memory.peak", "8192\n");
    support_write(G "memory.max", "max\n");
    support_write(G "memory.swap.current", "1\n");
    support_write(G "memory.swap.max", "0\n");
    support_write(G "memory.stat", "anon 1\nfile 22\nfile_mapped 3\n");
    support_write(G "memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n");
    support_write(G "pids.current", "6\n");
    support_write(G "pids.max", "max\n");
    support_write(G "io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n");
    struct cgroup_stats s = read_v2();
    cr_assert(s.v2);
    cr_assert_eq(s.cpu_total, 3000);
    cr_assert_eq(s.cpu_user, 2000);
    cr_assert_eq(s.cpu_system, 1000);
    cr_assert_eq(s.cpu_periods, 10);
    cr_assert_eq(s.cpu_throttled_periods, 4);
    cr_assert_eq(s.cpu_throttled_time, 5000);
    cr_assert_eq(s.memory_usage, 4096);
    cr_assert_eq(s.memory_max_usage, 8192);
    cr_assert_eq(s.memory_limit, CGROUP_UNLIMITED);
    cr_assert_eq(s.swap_usage, 1);
    cr_assert_eq(s.swap_limit, 0);
    cr_assert_eq(s.memory_low, 1);
    cr_assert_eq(s.oom, 4);
    cr_assert_eq(s.oom_kill, 5);
    cr_assert_eq(s.pids_current, 6);
    cr_assert_eq(s.pids_limit, CGROUP_UNLIMITED);
    cr_assert_eq(cgroup_stat_value(s.memory_stat, "file"), 22);
    cr_assert(strstr(s.io_stat, "rbytes=1"));
    cr_assert_null(s.cpu_percpu);
    cgroup_stats_done(&s);
    cr_assert_null(s.memory_stat);
}

Test(cgroup_stats, missing_files_are_zero)
{
    struct cgroup_stats s = read_v2();
    cr_assert_eq(s.cpu_total, 0);
    cr_assert_eq(s.memory_limit, 0);
    cr_assert_null(s.memory_stat);
    cr_assert_null(s.io_stat);
    cgroup_stats_done(&s);
}

Test(cgroup_stats, broken_numbers)
{
    support_write(G "memory.current", "-1\n");
    support_write(G "memory.peak", "99999999999999999999999\n");
    support_write(G "memory.max", "maximal\n");
    support_write(G "memory.swap.current", "12x\n");
    support_write(G "pids.current", "");
    support_write(G "cpu.stat", "usage_usec 18446744073709551615\nuser_usec\nsystem_usec 1");
    struct cgroup_stats s = read_v2();
    cr_assert_eq(s.memory_usage, 0);
    cr_assert_eq(s.memory_max_usage, CGROUP_UNLIMITED);
    cr_assert_eq(s.memory_limit, 0);
    cr_assert_eq(s.swap_usage, 0);
    cr_assert_eq(s.pids_current, 0);
    cr_assert_eq(s.cpu_total, UINT64_MAX); // not wrapped around
    cr_assert_eq(s.cpu_user, 0);
    cr_assert_eq(s.cpu_system, 1000);
    cgroup_stats_done(&s);
}

Test(cgroup_stats, too_large_a_file_is_left_out)
{
    FILE *f = fopen(G "memory.stat", "we");
    for (size_t i = 0; i < CGROUP_FILE_MAX / 8 + 1; i++)
        fputs("anon 12\n", f);
    fclose(f);
    struct cgroup_stats s = read_v2();
    cr_assert_null(s.memory_stat);
    cgroup_stats_done(&s);
}

Test(cgroup_stats, values_by_key)
{
    static const char text[] = "total_rss 1\nrss 2\nrss_huge 3\nmax max\nlast 4";
    cr_assert_eq(cgroup_stat_value(text, "rss"), 2);
    cr_assert_eq(cgroup_stat_value(text, "rss_huge"), 3);
    cr_assert_eq(cgroup_stat_value(text, "max"), CGROUP_UNLIMITED);
    cr_assert_eq(cgroup_stat_value(text, "last"), 4);
    cr_assert_eq(cgroup_stat_value(text, "absent"), 0);
    cr_assert_eq(cgroup_stat_value(NULL, "rss"), 0);
    cr_assert_eq(cgroup_stat_value("", "rss"), 0);
}

Test(cgroup_stats, v1_from_files)
{
    static const char *const dirs[] = {"/mnt/memory",    "/mnt/memory/c", "/mnt/cpuacct",
                                       "/mnt/cpuacct/c", "/mnt/blkio",    "/mnt/blkio/c"};
    for (size_t i = 0; i < 6; i++)
        support_mkdir(dirs[i]);
    support_write("/mnt/memory/c/memory.usage_in_bytes", "10\n");
    support_write("/mnt/memory/c/memory.oom_control",
                  "oom_kill_disable 1\nunder_oom 1\noom_kill 7\n");
    support_write("/mnt/cpuacct/c/cpuacct.usage", "123\n");
    support_write("/mnt/cpuacct/c/cpuacct.stat", "user 2\nsystem 3\n");
    support_write("/mnt/blkio/c/blkio.throttle.io_service_bytes", "Total 0\n");
    struct cgroup_host *h = cgroup_host_open_at("/mnt", false);
    cr_assert(h);
    struct cgroup_stats s;
    cr_assert_eq(cgroup_stats_read(h, "/c", &s), 0);
    cr_assert_eq(s.memory_usage, 10);
    cr_assert_eq(s.oom_kill_disable, 1);
    cr_assert_eq(s.under_oom, 1);
    cr_assert_eq(s.oom_kill, 7);
    cr_assert_eq(s.cpu_total, 123);
    cr_assert_eq(s.cpu_user, 2 * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK)));
    cr_assert_str_eq(s.blkio_bytes, "Total 0\n");
    cgroup_stats_done(&s);
    cgroup_host_free(h);
}

Test(cgroup_stats, v2_make_hands_controllers_down)
{
    struct cgroup_host *h = cgroup_host_open_at("/mnt", true);
    bool created = false;
    cr_assert_eq(cgroup_make(h, "/new/deeper", &created), 0);
    cr_assert(created);
    char text[64];
    support_read("/mnt/cgroup.subtree_control", text, sizeof(text));
    // An ordinary file keeps the last word that was written.
    cr_assert(strstr(text, "+pids"), "%s", text);
    cr_assert_eq(cgroup_remove(h, "/new"), 0);
    cr_assert_not(cgroup_exists(h, "/new"));
    cgroup_host_free(h);
}

Test(cgroup_stats, v2_freeze_and_kill_write_the_files)
{
    support_write(G "cgroup.freeze", "");
    support_write(G "cgroup.kill", "");
    support_write(G "cgroup.procs", "0\n");
    struct cgroup_host *h = cgroup_host_open_at("/mnt", true);
    char text[16];
    cr_assert_eq(cgroup_freeze(h, "/pods/c1", true), 0);
    support_read(G "cgroup.freeze", text, sizeof(text));
    cr_assert_eq(text[0], '1');
    cr_assert_eq(cgroup_signal_all(h, "/pods/c1", SIGKILL), 0);
    support_read(G "cgroup.kill", text, sizeof(text));
    cr_assert_eq(text[0], '1');
    cgroup_host_free(h);
}

Test(cgroup_stats, links_in_the_tree_are_not_followed)
{
    support_mkdir("/mnt/outside");
    cr_assert_eq(symlink("/mnt/outside", "/mnt/pods/link"), 0);
    struct cgroup_host *h = cgroup_host_open_at("/mnt", true);
    cr_assert_not(cgroup_exists(h, "/pods/link"));
    bool created = false;
    cr_assert_lt(cgroup_make(h, "/pods/link/x", &created), 0);
    cr_assert_eq(access("/mnt/outside/x", F_OK), -1);
    cgroup_host_free(h);
}
