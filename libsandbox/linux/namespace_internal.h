// Shared by the files behind namespace.h.
#ifndef LINUX_NAMESPACE_INTERNAL_H
#define LINUX_NAMESPACE_INTERNAL_H

#include "base/error.h"
#include "linux/namespace.h"

// Opens `path` if it is a namespace file of `kind` ("net", ...). Returns a descriptor, or -1 with
// NOT_FOUND / INVALID_ARGUMENT.
int namespace_open(const char *path, const char *kind, struct error *err);

// Opens the program of an init: a private, read-only view of it. The caller must be privileged in
// the host's user namespace, unlike the process that becomes the init. Returns a descriptor or -1:
// NOT_FOUND, or FAILED_PRECONDITION if it is no executable file.
int namespace_init_open(const char *path, struct error *err);

// What the init is started with. Descriptors stay the caller's.
struct namespace_init {
    int program;      // namespace_init_open
    const char *path; // for errors
    const char *name; // argv[0]
    int sock;         // SOCK_SEQPACKET to the starter
};

// Becomes pid 1 of a pod: called by the first process of a new pid namespace, and does not return.
// An own mount namespace, an empty read-only root, /dev/null on 0 to 2, no other descriptor, and
// confine_init. Then it sends the empty error over the socket and waits for one byte: end of file
// ends it, a byte lets it give up the parent-death signal and execute the program. A failure is
// sent as a struct error; success of the exec shows as end of file.
_Noreturn void namespace_init_main(const struct namespace_init *init);

#endif
