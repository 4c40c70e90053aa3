// A forked child that starts clean: what commands and jobs have in common.
#ifndef EVENT_CHILD_H
#define EVENT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

// Forks. In the child (0 is returned) every signal is at its default and none is blocked; with
// `mortal` it is killed when the parent ends. In the parent: the pid, or -1 with errno.
pid_t child_fork(bool mortal);

// Our environment without what a service manager put there for us alone (NOTIFY_SOCKET and the
// like; runc would even hand that one on to a container, and wait for the container's answer). The
// array is the caller's to free, the strings are borrowed. NULL without memory.
char **child_environment(void);

#endif
