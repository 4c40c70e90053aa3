// Whole files and directory trees.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

// Reads a regular (or proc/sysfs/cgroup) file relative to dirfd (AT_FDCWD: path as it is) and
// appends it to `out`. Stops with -EFBIG when the file has more than out->max bytes. Does not
// follow a symlink in the last component. Returns 0 or a negative errno.
int file_read_at(int dirfd, const char *path, struct buf *out);

// Writes a file so that a reader sees the old contents or the new, never a part: temporary name
// (".<name>.tmp") in the same directory, then rename; no fsync. A leftover of a crash is replaced.
// The mode is subject to the umask. Returns 0 or a negative errno.
int file_write_atomic_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

// Writes a short value into an existing file (cgroup, sysctl, proc) with one write(2).
int file_write_value_at(int dirfd, const char *path, const char *value);

// Opens a path below a directory: links and ".." are resolved inside it, links of procfs lead
// nowhere (openat2(2)). What others rename or mount meanwhile is waited out, a while. `flags` are
// open(2)'s; close-on-exec. Returns a descriptor or a negative errno.
int file_open_inside(int root, const char *path, int flags);

// mkdir -p with the mode for all new components; an existing directory is fine. Last component must
// not be a symlink. Returns 0 or a negative errno.
int file_mkdir_all(const char *path, mode_t mode);

// Removes a tree below dirfd/name without crossing mount points (-EBUSY) and without following
// symlinks. Absent is success. Returns 0 or the first negative errno (it goes on after an error);
// -ENAMETOOLONG for what lies more than 128 directories deep.
int file_remove_tree_at(int dirfd, const char *name);

// Formats a path into a bounded buffer. Returns 0 or -ENAMETOOLONG.
int path_format(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
