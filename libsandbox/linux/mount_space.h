// A mount namespace for what a kind of pods has mounted: the daemons of the kind live in it.
//
// Every mount that the host has makes every start on the node slower: containerd reads the mount
// table 19 times for a pod with one container. So ours are not among them. The namespace is a copy
// of the host's: what is mounted in one appears in the other (shared propagation, as a container
// with Bidirectional mounts needs it), but for what is mounted below the daemons' directory, which
// is theirs. It is pinned there, so that it outlives them: who was killed comes back to its mounts.
//
//   host                              the daemons
//   <dir>           bound on itself,  <dir>            the same files
//                   private             sandboxes/ID/… what only they have mounted
//     mounts        the pin
//     root          a link to the root of the daemon that serves
#ifndef LINUX_MOUNT_SPACE_H
#define LINUX_MOUNT_SPACE_H

#include "base/error.h"

// Name of the pin in the directory (nsenter --mount=<dir>/mounts).
#define MOUNT_SPACE_PIN "mounts"
// Name of the link in the directory to what a daemon sees.
#define MOUNT_SPACE_ROOT "root"

// Descriptors of mount namespaces; -1: not known, or there is no own one.
struct mount_space {
    int host, own;
    const char *dir; // borrowed
};
// Most paths of mount_space_show.
#define MOUNT_SPACE_PATHS_MAX 4
#define MOUNT_SPACE_NONE      ((struct mount_space){.host = -1, .own = -1})

// Moves the calling process, which has one thread, into the namespace of `dir` (absolute, it
// exists); makes it first if there is none. Whoever comes at the same time waits, for
// INSTANCE_LOCK_SECONDS at most.
//
// It is not made where the root of the host is not shared, as systemd makes it: what the host
// mounts later, volumes for one, would not be seen; nor when something is mounted below `dir`,
// which daemons have left that had no namespace; nor while another daemon holds the lock `peer` of
// the directory, which is then in the host's (all of a directory must be in the same one). Then the
// process stays in the host's, which works just as well, and the log says why. Returns 0 or -1: it
// could not be made, or there is one, with the pods' mounts in it, which cannot be entered.
//
// *ret is for the functions below, which do nothing where there is no own namespace, or the process
// was started in it; mount_space_done.
int mount_space_enter(const char *dir, const char *peer, struct mount_space *ret,
                      struct error *err);
void mount_space_done(struct mount_space *s);

// <dir>/root is from now on the root that the calling process sees, for whoever on the host may
// look into /proc/<pid>/root. So a path through it is the same whichever daemon shows it; while
// none lives it leads nowhere. Returns 0 or negative errno.
int mount_space_link(const char *dir);
// Takes the link away.
void mount_space_unlink(const char *dir);

// To the host's namespace, to start a program there, and back. 0 or negative errno; who cannot come
// back must end.
int mount_space_leave(const struct mount_space *s);
int mount_space_return(const struct mount_space *s);

// For a child that executes a program: moves it to the host's namespace, or, if there are `paths`
// (NULL-terminated, directories below `dir`), to a copy of that which also has what is mounted at
// and below these. So the program sees no pods but one, and is not slower the more there are. 0 or
// negative errno.
int mount_space_show(const struct mount_space *s, const char *const *paths);

#endif
