// Namespaces that live without a process: bind mounts of /proc/<pid>/ns/<kind> on files.
#ifndef LINUX_NAMESPACE_H
#define LINUX_NAMESPACE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/id_map.h"
#include "linux/process.h"

#include <stddef.h>

// One kernel parameter, dotted ("net.ipv4.ip_forward").
struct sysctl {
    const char *name;
    const char *value;
};

// What to make. Called in a process of its own (event/job.h) with the host's namespaces, which it
// keeps: helpers are forked from it, so it must be single-threaded and must not ignore SIGCHLD.
struct namespace_plan {
    const char *dir;    // pins go here as dir/ipc, dir/uts, dir/net, ... (the directory exists)
    bool ipc, uts, pid; // make and pin a new one
    const char *netns;  // path of the pod's network namespace, "" or NULL: host network
    // The pod's user namespace, NULL: the host's. With netns it is there already: the one that owns
    // netns, which must have these mappings. Without netns a new one is made.
    const struct id_maps *users;
    const char *hostname;         // set in the new uts namespace; NULL or "" keeps
    const struct sysctl *sysctls; // applied after joining net and ipc
    size_t n_sysctls;
    const char *init_path; // pid: program that becomes pid 1 (static; executed by descriptor)
    const char *init_name; // its argv[0]
};

// Carries the plan out: joins and pins the user namespace and netns, unshares and pins ipc and uts
// (owned by the user namespace), sets hostname, writes sysctls, starts the init in a new pid
// namespace (and in the pod's others) and pins that.
// A pin that an earlier attempt left is replaced. On failure unmounts and removes the pins that it
// made and kills the init; a caller that is killed before the init runs leaves no process.
//
// *ret_init is the init as the caller's pid namespace sees it (pid 0 without one). When the caller
// ends, it becomes a child of the nearest subreaper. It runs without capabilities, with
// no_new_privs, under a system call filter, in a mount namespace of its own on an empty read-only
// root, and in the caller's cgroups: moving it is up to who knows the pod's.
// Errors: INVALID_ARGUMENT for what the pod asked for, FAILED_PRECONDITION if netns is the host's
// own or of other users than `users`, or the init program is unusable. Returns 0 or -1.
int namespace_plan_run(const struct namespace_plan *plan, struct process_id *ret_init,
                       struct error *err);

// Finds the init of a pid namespace that is pinned at `pin` by looking through /proc: for recovery,
// when the caller of namespace_plan_run was killed between the start of the init and its answer.
// Returns 0, -ENOENT if there is no such pin or no process in it, or another negative errno.
int namespace_find_init(const char *pin, struct process_id *ret_init);

// Refuses sysctls that are not in a namespace of the pod's own (net.* needs own_net; kernel.msg*,
// kernel.sem, kernel.shm*, fs.mqueue.* need own_ipc; kernel.hostname/domainname never; all else is
// refused), names with slashes or empty parts. INVALID_ARGUMENT that names the sysctl.
int namespace_sysctl_check(const char *name, bool own_net, bool own_ipc, struct error *err);
// Writes one kernel parameter, seen from the caller's namespaces. The name must have passed
// namespace_sysctl_check. Returns 0 or -1: INVALID_ARGUMENT if the kernel does not have it.
int namespace_sysctl_write(const struct sysctl *s, struct error *err);

// Is `path` a namespace file of this kind ("net", "ipc", "uts", "pid", "user")? 0 or -1 with
// NOT_FOUND / INVALID_ARGUMENT.
int namespace_check(const char *path, const char *kind, struct error *err);

#endif
