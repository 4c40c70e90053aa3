// /proc/self/mountinfo, line by line (proc_pid_mountinfo(5)). Internal to this layer.
#ifndef LINUX_MOUNTINFO_H
#define LINUX_MOUNTINFO_H

#include <stdbool.h>

#include "base/buf.h"

// Largest mount table that is read: some 100,000 mounts.
#define MOUNTINFO_MAX (64 * 1024 * 1024)

// One mount. Strings point into the text that was parsed; escapes are already undone.
struct mountinfo {
    char *root;          // what of the file system is mounted
    char *target;        // mount point
    char *fstype;        // "cgroup2"
    char *super_options; // per superblock, comma-separated
    bool shared;         // what is mounted in it appears elsewhere, too
};

// Reads the caller's mount table into `out`, which is initialised here and freed by the caller with
// buf_free, also on failure. Returns 0 or a negative errno.
int mountinfo_read(struct buf *out);

// Parses the line at *cursor (NUL-terminated text, which is modified) and advances *cursor. Lines
// that are not understood are skipped. False at the end.
bool mountinfo_next(char **cursor, struct mountinfo *ret);

#endif
