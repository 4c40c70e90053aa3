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
#include <time.h>

#define REAPER_UNCLAIMED_MAX 4096

struct reaper;

// How a process ended. `code` is 0..255 as a shell shows it: exit status, or 128 + signal.
struct exit_info {
    pid_t pid;
    uint32_t code;
    struct timespec at; // CLOCK_REALTIME when we noticed
};

typedef void (*reaper_fn)(const struct exit_info *info, void *arg);

// One per process. The loop must come from ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV): libev's default
// loop calls waitpid(-1) itself and would steal exits (EINVAL). Children that have already ended
// are reaped in the first round of the loop. Returns NULL with errno on failure.
struct reaper *reaper_new(struct ev_loop *loop);
// Accepts NULL; may be called from a callback of a watch. Watches that are left are forgotten, the
// children are reaped by nobody. Returns NULL.
struct reaper *reaper_free(struct reaper *r);

// Calls fn once, from the loop, when child `pid` ends (also if it already ended and its exit is
// still unclaimed). The watch is gone when fn is called; fn may watch, unwatch and free whatever it
// likes. Returns 0, -EEXIST (already watched), -EINVAL (no pid) or -ENOMEM.
int reaper_watch(struct reaper *r, pid_t pid, reaper_fn fn, void *arg);
// The same for a child that the caller has just forked, before it returns to the loop: an unclaimed
// exit with that number belongs to an earlier process and is dropped.
int reaper_watch_new(struct reaper *r, pid_t pid, reaper_fn fn, void *arg);
// Has a watched child already ended, with fn still to be called? If not, it is there at least as a
// zombie until the loop runs, and its number is nobody else's (if it is a child of ours).
bool reaper_is_due(const struct reaper *r, pid_t pid);
// Forgets a watch (the child is still reaped). Unknown pids are fine.
void reaper_unwatch(struct reaper *r, pid_t pid);

// Keep exits of unknown children from now on / until as many releases as holds.
void reaper_hold(struct reaper *r);
void reaper_release(struct reaper *r);

#endif
