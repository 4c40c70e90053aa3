// A cgroup's numbers as containerd wants them: io.containerd.cgroups.v1.Metrics or v2.Metrics.
#ifndef TASK_STATS_H
#define TASK_STATS_H

#include "api/google.pb-c.h"
#include "base/error.h"

struct cgroup_host;

// Reads cgroup `path` and packs the message of the host's version into *ret (free with any_clear).
// NOT_FOUND if the cgroup is gone. `host` may be NULL: it is then looked up for this call. Returns
// 0 or -1.
int task_stats_of_cgroup(const struct cgroup_host *host, const char *path, Google__Any *ret,
                         struct error *err);

#endif
