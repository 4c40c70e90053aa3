// Blocking work in a forked child: namespaces, mounts, everything that needs a process of its own
// or may take its time. The parent stays on the loop.
//
// The process must be single-threaded and small: the child is a plain fork.
#ifndef EVENT_JOB_H
#define EVENT_JOB_H

#include <ev.h>
#include <stdint.h>

#include "base/error.h"
#include "event/reaper.h"

// Largest answer of a job.
#define JOB_REPLY_MAX 4096
// Seconds that a killed job has to disappear; then it counts as ended.
#define JOB_KILL_GRACE 5.0

struct job;

// Runs in the child. May do anything; gives its answer in reply[0..*reply_len) (JOB_REPLY_MAX
// bytes). Returns 0, or -1 with *err set. The child ends with _exit afterwards, and with SIGKILL
// when the parent ends. Signals are at their defaults and not blocked. Descriptors that the parent
// holds are open in the child; a process that the work leaves behind must close what it does not
// need.
typedef int (*job_work)(void *arg, void *reply, size_t *reply_len, struct error *err);

// Called once from the loop: err == NULL on success. A child that died without an answer is
// INTERNAL, one that overran its time DEADLINE_EXCEEDED. The job is gone when this is called.
typedef void (*job_done)(const void *reply, size_t reply_len, const struct error *err, void *arg);

// Returns NULL on failure with *err set (done is then never called). `timeout` in seconds, > 0.
struct job *job_start(struct ev_loop *loop, struct reaper *reaper, job_work work, job_done done,
                      void *arg, double timeout, struct error *err);
// Kills the child and forgets it: done is not called.
void job_abandon(struct job *j);

#endif
