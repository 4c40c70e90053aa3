// The directory on the node whose tools an exec may run in a container that has none of its own
// (debug_rootfs of the configuration; worker/debug.h has what becomes of it).
#ifndef WASM_DEBUG_ROOTFS_H
#define WASM_DEBUG_ROOTFS_H

#include "base/error.h"

// The directory in it where the container's root is shown.
#define DEBUG_CONTAINER "container"

// Opens it (O_PATH), if what lies there is root's doing: it belongs to root and is nobody else's to
// write, as is every directory above it (or that is sticky, and what is root's there stays), and
// none of them is a symbolic link. What lies below is not looked at. INVALID_ARGUMENT,
// FAILED_PRECONDITION or what the kernel says, which name key, directory and remedy. A descriptor
// or -1.
int debug_rootfs_open(const char *path, struct error *err);

#endif
