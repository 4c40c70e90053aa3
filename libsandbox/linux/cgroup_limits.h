// Limits of a cgroup, all or nothing. (OCI runtimes set those of containers; this is for the groups
// that we make ourselves.)
#ifndef LINUX_CGROUP_LIMITS_H
#define LINUX_CGROUP_LIMITS_H

#include "base/error.h"
#include "linux/cgroup.h"

// What the kernel takes: cpu.shares of version 1 (version 2 gets
// cgroup_weight_of_shares), the length of a period and the least quota in microseconds.
#define CGROUP_SHARES_MIN 2
#define CGROUP_SHARES_MAX 262144
#define CGROUP_PERIOD_MIN 1000
#define CGROUP_PERIOD_MAX 1000000
#define CGROUP_QUOTA_MIN  1000

// Most files that are set by name, and the longest of their values.
#define CGROUP_UNIFIED_MAX 64
#define CGROUP_VALUE_MAX   4096

// A file of version 2 and what is written to it.
struct cgroup_value {
    const char *file; // "memory.high"
    const char *value;
};

// Numbers: 0 leaves what is there, -1 is no limit.
struct cgroup_limits {
    int64_t cpu_shares;         // no -1
    int64_t cpu_quota;          // microseconds of CPU in a period
    int64_t cpu_period;         // microseconds; goes with cpu_quota
    int64_t memory;             // bytes
    int64_t memory_swap;        // bytes of memory and swap together
    int64_t memory_reservation; // bytes
    int64_t pids;
    const char *cpus, *mems; // cpuset lists; NULL leaves them
    // Version 2 alone; INVALID_ARGUMENT on version 1, and for what is no name of a cgroup's file.
    const struct cgroup_value *unified;
    size_t n_unified;
};

// Sets them. A memory limit that is less than what the cgroup uses (its page cache that can be
// dropped left out) is FAILED_PRECONDITION; without this check version 2 would kill. On failure
// everything that was changed is changed back. Blocks while the kernel reclaims memory: call it in
// a job. Returns 0 or -1.
int cgroup_limits_set(const struct cgroup_host *h, const char *path,
                      const struct cgroup_limits *limits, struct error *err);

// Bytes of memory in use that cannot be dropped: usage less the inactive page cache, as kubelet
// reckons it. 0 if unknown or the cgroup is gone.
uint64_t cgroup_memory_in_use(const struct cgroup_host *h, const char *path);
// Is a limit (bytes; 0 or less: none) at least that? Returns 0, or -1 with FAILED_PRECONDITION that
// begins with `field`: version 1 refuses such a limit after a while with words of its own, version
// 2 kills.
int cgroup_memory_check(const struct cgroup_host *h, const char *path, int64_t limit,
                        const char *field, struct error *err);

// cpu.weight (1..10000) for cpu.shares (2..262144): the linear map that kubelet uses for pods
// (KEP-2254).
unsigned cgroup_weight_of_shares(int64_t shares);

#endif
