// Shared by the files behind cgroup.h, and for its tests.
#ifndef LINUX_CGROUP_INTERNAL_H
#define LINUX_CGROUP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linux/cgroup.h"

// Hierarchies of a host: the kernel has 14 controllers, systemd mounts two more without one.
#define CGROUP_HIERARCHIES_MAX 24
// Largest file of a cgroup that is read as a whole.
#define CGROUP_FILE_MAX (1024 * 1024)
// Deepest tree below one of our cgroups.
#define CGROUP_DEPTH_MAX 128
// Longest cgroup path.
#define CGROUP_PATH_MAX 4000

// One mounted hierarchy.
struct cgroup_hierarchy {
    int fd;            // of the mount point, O_PATH
    char *root;        // which cgroup is mounted, as in mountinfo
    char *controllers; // v1: "cpu,cpuacct" or "name=systemd"; v2: ""
};

struct cgroup_host {
    bool v2;
    size_t n;
    struct cgroup_hierarchy h[CGROUP_HIERARCHIES_MAX];
};

// For tests: a host whose hierarchies are directories below `root`: v2, `root` itself; v1, one
// directory per controller. NULL with errno.
struct cgroup_host *cgroup_host_open_at(const char *root, bool v2);

// The hierarchy that has a controller ("memory"; v2: always the only one). NULL if none has.
const struct cgroup_hierarchy *cgroup_hierarchy_find(const struct cgroup_host *h,
                                                     const char *controller);
// Is `word` one of a comma-separated list?
bool cgroup_list_has(const char *list, const char *word);

// Opens a cgroup's directory in one hierarchy, for reading its files. Returns a descriptor, -ENOENT
// or another negative errno; -EINVAL for a path that cgroup_make would refuse.
int cgroup_open(const struct cgroup_hierarchy *h, const char *path);

// "/a/b" seen from a mount whose root is `root`, both as the kernel prints them for a process in a
// cgroup namespace (which may begin with "/.."). Malloc'ed into *ret. -EXDEV if that cannot be
// told.
int cgroup_path_below_root(const char *root, const char *path, char **ret);

// Reads a file of a cgroup as text, malloc'ed. NULL if it cannot be read.
char *cgroup_read_text(int dirfd, const char *name);

#endif
