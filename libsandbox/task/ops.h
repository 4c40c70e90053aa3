// What a kind of task does. Everything else (states, waiters, events, stdio, journal, order of
// operations, undo) is common.
//
// Rules: nothing blocks. Every function that takes a task_done calls it exactly once, from inside
// or later. The common part never has two of create, start, remove, update, pause, resume open for
// one task; several exec_start may be open, for different processes, together with each other only.
// kill, pids and stats come at any time after create has succeeded.
#ifndef TASK_OPS_H
#define TASK_OPS_H

#include "api/google.pb-c.h"
#include "oci/pod.h"
#include "task/task.h"

// Process ids of a task, with the exec that each belongs to (NULL: none known).
struct task_pid {
    uint32_t pid;
    const struct task_process *exec;
};

// Completions with a value; the value is only valid during the call.
struct task_pids_done {
    void (*fn)(void *arg, const struct task_pid *pids, size_t n, const struct error *err);
    void *arg;
};
struct task_stats_done {
    void (*fn)(void *arg, const Google__Any *stats, const struct error *err);
    void *arg;
};

struct task_ops {
    const char *name; // in records
    // Another task server makes the containers, and joins them to their pod: their spec stays here
    // as containerd wrote it, and there is no terminal here (resize is set).
    bool elsewhere;
    // Kinds that a task may be made into (task_become), NULL-terminated; NULL: none.
    const struct task_ops *const *others;

    // Makes task->engine from containerd's options (NULL: none) and may change the bundle's spec,
    // which has joined the pod (NULL: none) already and is stored afterwards. Sets io_uid, io_gid.
    // Touches nothing outside the process.
    int (*open)(struct task *t, const Google__Any *options, const struct pod *pod,
                json_object *spec, struct error *err);
    // What `adopt` needs, as a JSON object for the record; NULL without memory. Owned by the
    // caller.
    json_object *(*describe)(const struct task *t);
    // Makes task->engine from a record; the task is a leftover that will only be removed.
    int (*adopt)(struct task *t, json_object *described, struct error *err);
    // Frees task->engine. Called once, when nothing is open.
    void (*close)(struct task *t);

    // Looks at the rootfs, in the job that has mounted it (a child: what it changes is lost), and
    // gives a small number, 0 or more, which create finds in t->looked. NULL: nothing to look for.
    int (*look)(const struct task *t, const char *rootfs);
    // Creates the container with init's stdio and fills init.pid and cgroup. From success on the
    // end of init must be reported with task_process_exited, exactly once.
    void (*create)(struct task *t, struct task_done done);
    // Starts init.
    void (*start)(struct task *t, struct task_done done);
    // Starts an exec: fills p->pid. From success on as for init.
    void (*exec_start)(struct task_process *p, struct task_done done);
    // Give up what is open for this process (its completion still comes, soon, with an error).
    void (*cancel)(struct task_process *p);
    // Kills what is left and frees what the kind of task holds on the host. Must work for a
    // container that was half created, or is gone. Does not call task_process_exited itself, but
    // the end of a living init is still reported afterwards. Called when init has ended (stats and
    // pids still come afterwards), and once more by Delete if that failed or has not been.
    void (*remove)(struct task *t, struct task_done done);
    // Ends everything that a dead server may have left running (records only).
    void (*reap)(struct task *t);
    // Signals a process; all: every process of the container. NOT_FOUND when it is gone.
    void (*kill)(struct task_process *p, int signal, bool all, struct task_done done);
    // All processes of the task, without init's help.
    void (*pids)(struct task *t, struct task_pids_done done);
    void (*stats)(struct task *t, struct task_stats_done done);
    // resources: JSON text of OCI LinuxResources.
    void (*update)(struct task *t, const void *resources, size_t len, struct task_done done);
    void (*pause)(struct task *t, struct task_done done);
    void (*resume)(struct task *t, struct task_done done);
    // Sets the size of the terminal of a process. NULL: it is ours (task_stdio_resize).
    void (*resize)(struct task_process *p, uint32_t columns, uint32_t rows, struct task_done done);
    // Forget a process: it is being freed, no more reports.
    void (*release)(struct task_process *p);
};

// Containers by an OCI runtime's command line (runc, crun, ...).
extern const struct task_ops task_oci_ops;

// ---- what a kind of task asks for --------------------------------------------------------------

// Makes the task one of another kind, from inside `create` before anything has been made on the
// host: only then is it known what the rootfs holds. The other kind's create is to be called next.
// `engine` is that kind's (its open has made it); the caller has freed its own.
void task_become(struct task *t, const struct task_ops *other, void *engine);

// ---- what a kind of task reports --------------------------------------------------------------

// The process has ended. `code` 0..255 as a shell shows it.
void task_process_exited(struct task_process *p, uint32_t code, const struct timespec *at);
// The kernel killed in the container for lack of memory. Report it before the exit that follows.
void task_oom(struct task *t);

#endif
