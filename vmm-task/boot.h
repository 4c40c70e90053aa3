// What the first process of a guest does before it can serve: the file systems that every program
// expects, control groups, the directory that the host shares.
#ifndef VMM_TASK_BOOT_H
#define VMM_TASK_BOOT_H

#include <stdbool.h>

#include "base/error.h"

// What the kernel's command line says to us. Keys of others are not looked at.
struct boot_options {
    char log_level[16]; // task.log_level=
    char share[16];     // task.sharefs_type=: "virtiofs", or "" for none
    bool probe;         // GUEST_PROBE_PARAMETER is there
};

// Reads /proc/cmdline (mounted by boot_mounts).
void boot_read_options(struct boot_options *ret);

// Mounts /proc, /sys, /dev and so on, and makes the root one that containers can leave behind
// (pivot_root(2) refuses the kernel's first). To be called once, by process 1. Returns 0 or -1.
int boot_mounts(struct error *err);
// Control groups v2 at /sys/fs/cgroup, with every controller handed down. Returns 0 or -1.
int boot_cgroups(struct error *err);
// Mounts what the host shares at `path`. Returns 0 or -1.
int boot_share(const char *type, const char *path, struct error *err);

#endif
