// Giving up what a process will not need again.
#ifndef LINUX_CONFINE_H
#define LINUX_CONFINE_H

#include "base/error.h"

// What a daemon still has to do after its start-up.
enum confine_role {
    // Makes namespaces, mounts and cgroups, runs no foreign program. Keeps the capabilities for
    // that
    // and nothing in the bounding set beyond them; no_new_privs; system calls that neither it nor
    // its jobs need fail with EPERM. All of it is inherited by what it starts: a task server must
    // not be among that.
    CONFINE_SANDBOXER,
    // Runs OCI runtimes. Gives up capabilities of its own process only. The bounding set stays
    // whole, no_new_privs stays off and there is no system call filter: containers inherit all
    // three
    // for ever, and a privileged container, a setuid program in an image or a seccomp profile of
    // its
    // own would break.
    CONFINE_TASK,
};

// Confines the calling, single-threaded daemon. Capabilities that it does not have are not an error
// (a node may withhold some). On failure part of it may have happened: the caller should end.
// Returns 0 or -1.
int confine_daemon(enum confine_role role, struct error *err);

// For the process that becomes a pod's pid 1: no capability in any set, no_new_privs, and only the
// system calls with which it talks to its starter, executes a static program, and which pod-init
// makes; the rest fails with ENOSYS. Needs CAP_SETPCAP; /proc may be absent. Returns 0 or -1.
int confine_init(struct error *err);

#endif
