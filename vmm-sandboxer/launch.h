// Starting the processes of a machine from the job that makes it.
#ifndef VMM_SANDBOXER_LAUNCH_H
#define VMM_SANDBOXER_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "linux/process.h"

// Most descriptors that one process gets, and the number of the first.
#define LAUNCH_FDS_MAX   16
#define LAUNCH_FDS_FIRST 3

struct launch {
    const char *const *argv; // argv[0] is a path, or is looked up in $PATH
    const char *dir;         // working directory
    uid_t user;              // and group; 0: see `own_users`
    // Root in a user namespace of its own that has every id: for who serves files of all users. It
    // has no capability outside; what root owns is its own, so it must confine itself to a
    // directory.
    bool own_users;
    // A mount namespace of its own, in which /dev has nothing but the devices of a virtual machine
    // monitor, which everybody may open there, and a /dev/shm of its own.
    bool own_devices;
    bool filtered;         // system calls by which it would get more rights fail (confine_server)
    bool dies_with_caller; // else it outlives the caller
    const int *fds;        // descriptors that it gets as numbers 3, 4, ...
    size_t n_fds;          // at most LAUNCH_FDS_MAX
    int output;            // standard output and error; -1: /dev/null
};

// Starts it: no controlling terminal, signals at default, no new privileges, no other descriptor.
// When this returns the program has been executed. Returns 0 or -1:
// NOT_FOUND names the program.
int launch(const struct launch *l, struct process_id *ret, struct error *err);

#endif
