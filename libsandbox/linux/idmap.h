// Mounts that show the files of one set of users as those of another (mount_setattr(2),
// MOUNT_ATTR_IDMAP), and a place where nobody sees a mount while it is assembled. Internal to this
// layer; all of it changes the calling process.
#ifndef LINUX_IDMAP_H
#define LINUX_IDMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

// Maps the ids of a detached mount (open_tree(2)) through user namespace `userns`; recursive: of
// all mounts in it. 0 or negative errno: -EINVAL for a file system that cannot, -EPERM for mounts
// that are mapped already.
int idmap_tree(int tree, int userns, bool recursive);

// Length of the first entry of a lowerdir list (a backslash escapes the next byte).
size_t lower_len(const char *list);

// Covers every lower directory of an overlay (the value of its option lowerdir=) with a mapped,
// read-only view of itself. The overlay itself cannot be mapped, what it is made of can (Linux
// 5.19). For a mount namespace of the caller's own. 0 or -1: INVALID_ARGUMENT for a list that is
// not one of absolute paths, FAILED_PRECONDITION for a file system that cannot be mapped.
int idmap_lowers(const char *list, int userns, struct error *err);

// A mount namespace of the process's own for a while. What is mounted in it is seen nowhere else,
// and is gone when the process leaves it or ends.
struct aside {
    int mounts, root, cwd; // where the process comes from
};
#define ASIDE_NONE                                                                                 \
    {                                                                                              \
        -1, -1, -1                                                                                 \
    }
// 0 or -1; after a failure the process may be inside. aside_leave or its end is due in any case.
int aside_enter(struct aside *a, struct error *err);
// Back, with the root and the working directory that the process had. After a failure it must end.
int aside_leave(struct aside *a, struct error *err);

#endif
