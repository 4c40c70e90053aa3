// Mounting what containerd hands out, and getting rid of mounts again.
#ifndef LINUX_MOUNT_H
#define LINUX_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

// One mount as containerd describes it (containerd.types.Mount): options are fstab words, flags and
// data mixed.
struct mount_spec {
    const char *type;
    const char *source;
    const char *const *options; // n_options strings
    size_t n_options;
    // Flags of an "rbind" hold for its uppermost mount alone, as an OCI runtime has it, and not for
    // the whole tree. (Those of recursive words, "rro", are for the whole tree in any case.)
    bool flags_on_top;
    // A directory that is to be the lowest layer of an overlay, if that costs nobody anything: the
    // overlay is writable and on the same file system (inodes would look different otherwise), maps
    // no ids, and takes one more; else it goes without. NULL: none.
    const char *below;
};

// Limit on the number of mounts of one rootfs and of options of one mount.
#define MOUNT_COUNT_MAX   64
#define MOUNT_OPTIONS_MAX 512

// Whether it shows what is there already (its type or an option says so), and makes no file system.
bool mount_is_bind(const struct mount_spec *spec);

// Mounts `spec` on `target`, an absolute path whose last component must not be a symlink. Handles
// flag words (ro, rbind, rprivate, nosuid, ...), passes all others as data; flags of an "rbind"
// hold for the whole tree, as do the OCI runtime spec's recursive words (rro, rnosuid, ...) for any
// bind. Overlay options longer than a page are shortened by working relative to
// the common parent of the lower directories: the working directory changes and is put back, so
// this belongs into a process of its own (event/job.h).
//
// "uidmap=" and "gidmap=" (base/id_map.h; both or none) show the files with other owners: the lower
// directories of an overlay are mapped, of anything else the mount itself. They never reach the
// kernel. A child comes and goes, and the process is in a mount namespace of its own for a while,
// for which it must have one thread; if it cannot come back (an error) it must end. Nothing of that
// is left behind when it is killed.
//
// Text names type, source, target and remedy. Returns 0 or -1.
int mount_apply(const struct mount_spec *spec, const char *target, struct error *err);

// The same on what a descriptor (O_PATH) is of: for targets in a tree that others have made. `name`
// is for the text. The ids of a bind are mapped through user namespace `userns` (a descriptor; -1:
// they are not), those of the mounts below it are not (as an OCI runtime does without "ridmap").
// Options that map ids or stand for an overlay's are INVALID_ARGUMENT, and of a bind those that are
// unknown, which the kernel would pass over.
int mount_apply_at(const struct mount_spec *spec, int userns, int target, const char *name,
                   struct error *err);

// Lazily unmounts everything mounted at `path` (all layers). Not mounted, or absent, is success.
// Does not follow symlinks. 0 or negative errno.
int mount_remove(const char *path);
// Unmounts everything at and below directory `path`, deepest first. A component-wise comparison:
// "/a/b" does not cover "/a/bc". Links in the directories above are resolved, the last component is
// not. 0 or the first negative errno.
int mount_remove_below(const char *path);
// Is something mounted exactly at path? From the mount table. Negative errno on failure.
int mount_is_mounted(const char *path);

#endif
