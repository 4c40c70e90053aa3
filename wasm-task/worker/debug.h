// An exec of a tool of the node's (debug_rootfs.h) in a container that does not have it. The
// tools' directory is its root, read-only; the container's root, with its mounts, lies in it. In
// all else it is in the container, as any exec: namespaces, cgroup, user, no capability.
//
// The container is an enemy's. None of its paths is followed but below its own root, and nothing is
// mounted on one but on that root itself.
#ifndef WASM_WORKER_DEBUG_H
#define WASM_WORKER_DEBUG_H

#include <stdbool.h>

#include "base/error.h"
#include "plan.h"

// Whether a root (a descriptor) has the program that an exec names: found in the $PATH of its
// environment, or a path. Whether the exec's user may run it, the kernel says later. Needs /proc.
bool debug_has(int root, const struct plan *p);
// In the host's mount namespace, for an exec whose program the container does not have: a detached
// mount of the debug rootfs at `path`, which is read-only, and shows nothing that is mounted below
// it; -1 in *ret_tree if the program (in $PATH, or an absolute path) is not in it either. 0 or -1
// with errors as from debug_rootfs_open.
int debug_find(const char *path, const struct plan *p, int *ret_tree, struct error *err);
// In the container's namespaces: goes on in a mount namespace of this process's own, of which that
// mount is the root. DEBUG_CONTAINER in it is the container's root; in its directory /proc, if it
// has one, are the processes of the pid namespace, and no more of procfs, read-only. The working
// directory is the exec's, in the container's root. 0 or -1; the process is of no use then.
int debug_enter(int tree, const char *cwd, struct error *err);

#endif
