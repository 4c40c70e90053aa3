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

struct cgroup_limits {
    int64_t cpu_shares; // 0: leave it
    int64_t cpu_quota;  // microseconds of CPU in a period; -1: no limit; 0: leave it
    int64_t cpu_period; // microseconds; goes with cpu_quota
    int64_t memory;     // bytes; -1: no limit; 0: leave it
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
