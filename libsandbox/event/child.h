// A forked child that starts clean: what commands and jobs have in common.
#ifndef EVENT_CHILD_H
#define EVENT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

// Forks. In the child (0 is returned) every signal is at its default and none is blocked; with
// `mortal` it is killed when the parent ends. In the parent: the pid, or -1 with errno.
pid_t child_fork(bool mortal);

// The same, mortal, as the first process of a pid namespace of its own. For a child that executes
// another program before long and calls nothing but system calls until then: the C library is not
// told that there are two. Such a child cannot see whether the parent has ended while it forked: it
// must hold a pipe or the like of the parent's. Where clone3 is hidden (ENOSYS) it is a child as
// any other: its pid says which it is.
pid_t child_fork_first(void);

// Our environment without what a service manager put there for us alone (NOTIFY_SOCKET and the
// like; runc would even hand that one on to a container, and wait for the container's answer). The
// array is the caller's to free, the strings are borrowed. NULL without memory.
char **child_environment(void);

#endif
