// The task server of this kind, as the sandboxer sees it: found if it runs, started if it does not,
// and never ended with us. It is another process because containerd's connections to it must
// outlive the sandboxer (containerd does not reconnect them).
#ifndef SANDBOX_TASK_PEER_H
#define SANDBOX_TASK_PEER_H

#include <ev.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/error.h"
#include "event/reaper.h"

// Seconds that a task server gets to listen after it was started (it first cleans up what a dead
// predecessor left).
#define TASK_PEER_START_TIMEOUT 30.0
// Seconds that a stop waits for a task server that does not answer.
#define TASK_PEER_END_WAIT 5.0

struct task_peer;

// How to start it. Strings are borrowed and outlive the server object.
struct task_peer_config {
    const char *const *argv; // argv[0] is a path or is looked up in $PATH
    const char *socket;      // where it listens
    struct rlimit files;     // the limit of open files that it (and so every container) starts with
    const struct mount_space *mounts; // it starts in the host's; NULL: it has ours
};

// NULL without memory. It does nothing until task_peer_ensure.
struct task_peer *task_peer_new(struct ev_loop *loop, struct reaper *reaper,
                                const struct task_peer_config *config);
// The process lives on. Accepts NULL. Returns NULL.
struct task_peer *task_peer_free(struct task_peer *t);

// Calls fn once, from the loop, when the task server answers (err NULL) or has not done so for
// TASK_PEER_START_TIMEOUT (UNAVAILABLE). From the first call on it is kept running.
typedef void (*task_peer_fn)(const struct error *err, void *arg);
// Returns a number > 0 for task_peer_forget, or 0 without memory.
uint64_t task_peer_ensure(struct task_peer *t, task_peer_fn fn, void *arg);

// Ends all containers of a sandbox; fn is called once, from the loop. While no task server answers
// it waits for one, at most TASK_PEER_END_WAIT (UNAVAILABLE): a sandboxer that has just been
// started is not connected yet. (The successor of a dead server has ended them before it answers.)
// Returns a number > 0 for task_peer_forget, or 0 without memory.
uint64_t task_peer_end(struct task_peer *t, const char *sandbox_id, uint32_t exit_status,
                       double timeout, task_peer_fn fn, void *arg);
// fn of this number will not be called.
void task_peer_forget(struct task_peer *t, uint64_t number);
// "ttrpc+unix:///run/...", borrowed.
const char *task_peer_address(const struct task_peer *t);

#endif
