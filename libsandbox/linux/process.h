// Processes, safely named: a pid alone may be reused, pid + start time may not.
#ifndef LINUX_PROCESS_H
#define LINUX_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process_id {
    pid_t pid;           // 0: none
    uint64_t start_time; // clock ticks since boot, field 22 of /proc/<pid>/stat
};

// Fills the start time of a living (or zombie) process. Returns 0 or -ESRCH.
int process_identify(pid_t pid, struct process_id *ret_id);
// Is exactly this process still there (zombies count as gone)?
bool process_alive(const struct process_id *id);
// A pidfd for exactly this process. Returns the descriptor, -ESRCH, or another negative errno.
int process_open(const struct process_id *id);
// Sends a signal to exactly this process. Returns 0, -ESRCH, -EINVAL (bad signal) or another.
int process_signal(const struct process_id *id, int signal);

#endif
