// Control groups, version 1 and 2, by cgroup path ("/k8s.io/<id>", below the mount of each
// hierarchy). Version 1 means that the memory controller sits in a v1 hierarchy.
#ifndef LINUX_CGROUP_H
#define LINUX_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// The hierarchies of this host, read once from /proc/self/mountinfo.
struct cgroup_host;

// NULL with errno on failure.
struct cgroup_host *cgroup_host_open(void);
struct cgroup_host *cgroup_host_free(struct cgroup_host *h);
bool cgroup_is_v2(const struct cgroup_host *h);

// Paths are absolute, relative to the mounts, without empty, "." and ".." components and without a
// line break; the root itself is none. Everything below answers -EINVAL to others.
bool cgroup_path_valid(const char *path);
// The path that an OCI spec's linux.cgroupsPath or a CRI cgroup_parent stands for, malloc'ed into
// *ret: "/a/b" as it is, "a/b" from the root, "a-b.slice" where systemd puts it
// ("/a.slice/a-b.slice"), "slice:prefix:name" its unit ("<slice>/prefix-name.scope"; no slice:
// system.slice). 0, -EINVAL or -ENOMEM.
int cgroup_path_from_spec(const char *cgroups_path, char **ret);

// Path of a process's cgroup (memory controller on v1), malloc'ed into *ret; "/" for the root. 0 or
// negative errno: -ESRCH without such a process, -ENOENT if its cgroup was removed, -EXDEV if it
// lies outside of what is mounted or cannot be named in the caller's cgroup namespace.
int cgroup_of_process(const struct cgroup_host *h, pid_t pid, char **ret);

// mkdir -p in every hierarchy (v2: with the controllers enabled on the way down as far as allowed;
// v1 cpuset: cpus and mems inherited). *ret_created says whether the last component was new in any
// hierarchy (then it is ours to remove). 0 or negative errno.
int cgroup_make(const struct cgroup_host *h, const char *path, bool *ret_created);
// Removes the cgroup and everything below it in every hierarchy. Absent is success; -EBUSY while
// processes are in it.
int cgroup_remove(const struct cgroup_host *h, const char *path);
// Moves a process (0: the caller).
int cgroup_attach(const struct cgroup_host *h, const char *path, pid_t pid);
// A descriptor by which a process can be moved into the caller's own cgroup (memory controller on
// v1), where "0" is the writer itself. Or a negative errno.
//
// Who moves itself to where it is changes nothing, but has the kernel ready to move others: the
// first move after a while waits for a grace period of RCU, 5 to 15 ms, which others within some
// milliseconds do not (kernel/cgroup/cgroup.c: cgroup_threadgroup_rwsem, a percpu_rw_semaphore).
// Other changes to cgroups wait as long.
int cgroup_open_own_procs(const struct cgroup_host *h);
// Signals every process in the cgroup and below (v2 with SIGKILL: cgroup.kill; frozen v1 groups are
// thawed first for SIGKILL). Bounded rounds until no new process shows up. Returns the number of
// processes seen (1 if v2 killed them uncounted), or a negative errno; an absent cgroup is 0.
int cgroup_signal_all(const struct cgroup_host *h, const char *path, int signal);
// Process ids in the cgroup and below, malloc'ed. An absent cgroup is 0 pids.
int cgroup_pids(const struct cgroup_host *h, const char *path, pid_t **ret_pids, size_t *ret_n);
// Freezes or thaws; does not wait for completion.
int cgroup_freeze(const struct cgroup_host *h, const char *path, bool frozen);
bool cgroup_exists(const struct cgroup_host *h, const char *path);

// ---- numbers ---------------------------------------------------------------------------------

#define CGROUP_UNLIMITED UINT64_MAX

// Most sizes of huge pages; no architecture has more than five.
#define CGROUP_HUGE_MAX 8
// Huge pages of one size ("2MB").
struct cgroup_huge {
    char size[16];
    uint64_t usage, failcnt;
    uint64_t max; // v1: the most that was used; v2: the limit
};

// What both versions can tell; a number that the kernel does not give stays 0. Times in
// nanoseconds, memory in bytes. `extra` fields of the protocol messages are read by name with
// cgroup_stat_value.
struct cgroup_stats {
    bool v2;
    uint64_t cpu_total, cpu_user, cpu_system;
    uint64_t cpu_periods, cpu_throttled_periods, cpu_throttled_time;
    uint64_t cpu_bursts, cpu_burst_time; // v2
    uint64_t memory_usage, memory_max_usage, memory_limit, memory_failcnt;
    uint64_t swap_usage, swap_max_usage, swap_limit,
        swap_failcnt; // v1: memory+swap; v2: swap alone
    uint64_t kernel_usage, kernel_max_usage, kernel_limit, kernel_failcnt; // v1
    uint64_t tcp_usage, tcp_max_usage, tcp_limit, tcp_failcnt;             // v1
    uint64_t pids_current, pids_limit;
    uint64_t oom_kill, oom, memory_low, memory_high, memory_max; // events
    uint64_t oom_group_kill;                                     // v2
    uint64_t oom_kill_disable, under_oom;                        // v1
    struct cgroup_huge huge[CGROUP_HUGE_MAX];
    size_t n_huge;
    char *memory_stat; // text of memory.stat, owned; NULL if unreadable
    char *io_stat;     // v2: io.stat; v1: NULL
    char *cpu_pressure, *memory_pressure, *io_pressure; // v2, where the kernel measures it
    char *cpu_percpu;                                   // v1: cpuacct.usage_percpu
    char *blkio_bytes, *blkio_ios; // v1: throttle.io_service_bytes(_recursive) / io_serviced
};

// Reads them. -ENOENT if the cgroup is gone. Free with cgroup_stats_done.
int cgroup_stats_read(const struct cgroup_host *h, const char *path, struct cgroup_stats *ret);
void cgroup_stats_done(struct cgroup_stats *s);
// Value of "key N" in a flat-keyed text; 0 if absent or text is NULL.
uint64_t cgroup_stat_value(const char *text, const char *key);

// ---- out of memory ---------------------------------------------------------------------------

// A descriptor that becomes readable when the kernel killed (or, v1, ran out of memory) in the
// cgroup: v1 an eventfd on memory.oom_control, v2 an inotify on memory.events. Drain it by reading
// up to 4096 bytes. Returns the descriptor (non-blocking) or a negative errno.
int cgroup_oom_watch(const struct cgroup_host *h, const char *path);
// Number of OOM kills so far; 0 if unknown or the cgroup is gone.
uint64_t cgroup_oom_kills(const struct cgroup_host *h, const char *path);

#endif
