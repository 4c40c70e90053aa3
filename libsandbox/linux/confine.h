// Giving up what a process will not need again.
#ifndef LINUX_CONFINE_H
#define LINUX_CONFINE_H

#include "base/error.h"

// Gives up those capabilities of the calling daemon, which has one thread, that no daemon uses:
// loading modules, raw I/O, setting the clock, and the like. Nothing of it is inherited by programs
// that are executed. Capabilities that it does not have are not an error (a node may withhold
// some). Returns 0 or -1.
int confine_daemon(struct error *err);

// For the process that becomes a pod's pid 1: no capability in any set, no_new_privs, and only the
// system calls with which it talks to its starter, executes a static program, and which pod-init
// makes; the rest fails with ENOSYS. Needs CAP_SETPCAP; /proc may be absent. Returns 0 or -1.
int confine_init(struct error *err);

// For a program without rights that serves a guest, the monitor of a virtual machine or a device of
// it, before it is executed: namespaces, mounts, keys, programs for the kernel, io_uring and what
// else would give it more or reach far into the kernel fails with EPERM, for it and what it starts;
// all other calls are left to it. Sets no_new_privs. Returns 0 or -1.
int confine_server(struct error *err);

#endif
