// What every kind of task whose processes are in a cgroup of their own does in the same way,
// without asking anybody: signals, process ids, numbers, memory that ran out. Works while whatever
// made the processes hangs.
#ifndef TASK_CONTAINED_H
#define TASK_CONTAINED_H

#include "api/google.pb-c.h"
#include "task/ops.h"

// Part of a kind's engine. The cgroup is task->cgroup.
struct contained {
    struct task *task;
    int oom_fd; // cgroup_oom_watch; -1: none
    ev_io oom;
    uint64_t oom_kills; // reported so far
    Google__Any last;   // stats of a container that has ended, whose cgroup is being removed
    bool ended;         // `last` is filled
};

void contained_init(struct contained *c, struct task *t);
// Stops watching and frees what is held, not the struct.
void contained_done(struct contained *c);

// Before the container is made: kills in a cgroup that is there already are not its own.
void contained_begin(struct contained *c);
// The container's cgroup is known: kills for lack of memory are reported from now on.
void contained_watch(struct contained *c);
// Reports a kill for lack of memory that has been counted. The kernel counts it before it sends it,
// so to be called before the exit of a process is reported.
void contained_look_for_oom(struct contained *c);
// The container has ended and its cgroup will go: stats are asked for until Delete all the same
// (containerd 2.3 looks for OOM there).
void contained_keep_stats(struct contained *c);

// Slots of task_ops.
void contained_kill(struct task_process *p, int signal, bool all, struct task_done done);
void contained_pids(struct task *t, struct task_pids_done done);
void contained_reap(struct task *t);
void contained_stats(const struct contained *c, struct task_stats_done done);

// Not less memory than the container uses: for Update, whose resources (JSON text of OCI
// LinuxResources) were parsed before. What is odd in them is somebody else's to say. 0, or -1 with
// FAILED_PRECONDITION.
int contained_check_memory(const struct task *t, const void *resources, size_t len,
                           struct error *err);

#endif
