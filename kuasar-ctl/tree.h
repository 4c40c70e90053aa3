// Names, modes and owners below a directory of ours, for a bug report.
#ifndef CTL_TREE_H
#define CTL_TREE_H

#include "base/buf.h"

// Directories that are entered: the directory itself is 0.
#define TREE_DEPTH_MAX 4

// Appends a line for the directory and for everything below it, ordered by name: type ("d", "-",
// "l", "s", "p", "c", "b"), mode, uid:gid, size, path. What is mounted in it is not entered: there
// others make the names. A path is as text_clean shows it, so it is one line whatever is in it.
// Returns 0, -EMSGSIZE if `out` is full (it ends with a whole line), or -errno.
int tree_list(const char *dir, struct buf *out);

#endif
