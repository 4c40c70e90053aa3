// What every daemon does first: be the only one in its state directory, and take the descriptors
// that it may have.
#ifndef BASE_INSTANCE_H
#define BASE_INSTANCE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/error.h"

// How long the lock of a predecessor is waited for. The children of a job inherit it: who has it
// knows that no job of a predecessor that was killed is still at work. Those die with their parent,
// but not before it, hence the patience.
#define INSTANCE_LOCK_SECONDS 3

// Makes the state directory and takes its lock <dir>/<name>. Others than root get through it (a
// container with users of its own to its rootfs) and see nothing of it, whatever the umask. Blocks
// for at most INSTANCE_LOCK_SECONDS. Returns the descriptor that holds the lock until it is closed,
// or -1: ALREADY_EXISTS says that another `who` runs there.
int instance_lock(const char *dir, const char *name, const char *who, struct error *err);

// As many descriptors as the process may have. What it started with goes to *ret_before: that is
// for the programs that it runs.
void instance_raise_files(struct rlimit *ret_before);

// The program of this name beside our own executable (a build tree, or DESTDIR). False, and "" in
// `out`: there is none that can be run.
bool instance_find_beside(const char *name, char out[PATH_MAX]);

#endif
