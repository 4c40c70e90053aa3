// The cgroup of a pod, and below it that of the pod's own processes (an init, a virtual machine).
#ifndef SANDBOX_POD_CGROUP_H
#define SANDBOX_POD_CGROUP_H

#include <sys/types.h>

#include "sandbox/sandbox.h"

// Decides: sets r->pod.cgroup_parent, pushes undo steps for what will be made. `process`: the pod
// has processes of its own. Returns 0, or -1 with INVALID_ARGUMENT.
int pod_cgroup_plan(const struct sandbox_manager *m, struct sandbox_record *r,
                    const struct sandbox_request *q, bool process, struct error *err);
// Makes the pod's cgroup, with its limits if it is ours, and that of its own processes, and moves
// `process` (0: none) there: it is the pod's memory, and must not go when a service manager ends
// ours. Returns 0 or -1.
int pod_cgroup_make(const struct sandbox_manager *m, const struct sandbox_record *r, pid_t process,
                    struct error *err);
// The pod's cgroup gets the limits if we made it; else it is the kubelet's. INVALID_ARGUMENT for a
// size that no pod as a whole can have. Returns 0 or -1.
int pod_cgroup_resize(const struct sandbox_manager *m, const struct sandbox_record *r,
                      const struct sandbox_sizes *sizes, struct error *err);

#endif
