// Every child of the process is reaped in one place: SIGCHLD, then waitid until nothing is left.
//
// A watch is by pid. A subreaper also gets children that it did not start (a container's init,
// orphaned by `runc create`), and one of those can end before anybody knows its pid: while a hold
// is taken, exits that nobody watches are kept (at most REAPER_UNCLAIMED_MAX, the oldest is
// dropped) and given to the watch that comes for them. Without a hold they are forgotten.
#ifndef EVENT_REAPER_H
#define EVENT_REAPER_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define REAPER_UNCLAIMED_MAX 4096

struct reaper;

// How a process ended. `code` is 0..255 as a shell shows it: exit status, or 128 + signal.
struct exit_info {
    pid_t pid;
    uint32_t code;
    struct timespec at; // CLOCK_REALTIME when we noticed
};

typedef void (*reaper_fn)(const struct exit_info *info, void *arg);

// One per process. Returns NULL with errno on failure.
struct reaper *reaper_new(struct ev_loop *loop);
struct reaper *reaper_free(struct reaper *r);

// Calls fn once, from the loop, when child `pid` ends (also if it already ended and its exit is
// still unclaimed). Returns 0, -EEXIST (already watched) or -ENOMEM.
int reaper_watch(struct reaper *r, pid_t pid, reaper_fn fn, void *arg);
// Forgets a watch (the child is still reaped). Unknown pids are fine.
void reaper_unwatch(struct reaper *r, pid_t pid);

// Keep exits of unknown children from now on / until as many releases as holds.
void reaper_hold(struct reaper *r);
void reaper_release(struct reaper *r);

#endif
