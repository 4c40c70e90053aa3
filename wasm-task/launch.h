// Starting a worker, for a container or for an exec in one, and hearing whether it is ready.
#ifndef WASM_LAUNCH_H
#define WASM_LAUNCH_H

#include "task/ops.h"

// Longest that a worker may take until it is ready (it may have to compile).
#define LAUNCH_SECONDS 120.0
// Arguments behind the program's name, with the NULL.
#define LAUNCH_ARGS_MAX 9

struct launch;

struct launch_spec {
    const char *args[LAUNCH_ARGS_MAX];
    bool first;   // it is to be the first process of a pid namespace of its own
    int extra[2]; // descriptors that it has as WORKER_EXTRA and the next; -1: none
    const char *engine, *cache;
};

// Starts it for process p, with p's stdio, as a process that is reported to `exited` once it has
// been named in p->pid (which is before done, if that brings success). done comes once, from the
// loop. NULL on failure with *err set, without done.
struct launch *launch_start(struct task_process *p, const struct launch_spec *spec,
                            void (*exited)(struct task_process *p, uint32_t code,
                                           const struct timespec *at),
                            struct task_done done, struct error *err);
// Lets it run. FAILED_PRECONDITION if it has ended. 0 or -1.
int launch_go(struct launch *l, struct error *err);
// Kills a worker that is not ready yet; done comes from inside. One that is ready stays.
void launch_cancel(struct launch *l);
// Accepts NULL. The process is not reported any more. Returns NULL.
struct launch *launch_free(struct launch *l);

#endif
