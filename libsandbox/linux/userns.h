// User namespaces without a process.
#ifndef LINUX_USERNS_H
#define LINUX_USERNS_H

#include <sys/types.h>

#include "base/error.h"
#include "base/id_map.h"

// A new user namespace with these mappings, as a descriptor; it lives as long as that, or as what
// is made from it (a pin, an id-mapped mount, other namespaces). The process that it takes has
// ended before this returns. For callers with one thread that do not ignore SIGCHLD.
// RESOURCE_EXHAUSTED names the limit that can be raised. Returns the descriptor or -1.
int userns_new(const struct id_maps *maps, struct error *err);

// The user namespace that owns the namespace behind descriptor `ns` (ioctl_nsfs(2)). Returns a
// descriptor or -1.
int userns_of(int ns, struct error *err);

// The mappings of the user namespace that process `pid` is in, seen from ours. -ERANGE if it has
// others than one run of each; 0 or another negative errno.
int userns_maps(pid_t pid, struct id_maps *ret);

#endif
