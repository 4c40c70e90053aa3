// A task: one container as containerd sees it, with its first process ("init") and the processes
// that were exec'ed into it. Shared by the modules of this layer and by the kinds of task (ops.h).
//
// Life of a process (enum process_state):
//
//   NEW ──► CREATED ──► STARTING ──► RUNNING ──► STOPPED
//    │         │            │                       ▲
//    └─────────┴────────────┴───────────────────────┘
//
//   NEW       init only: Create is under way; nothing has been reported to anybody.
//   CREATED   init: the runtime holds it before its program; exec: registered, nothing runs.
//   STARTING  Start is under way. An exit that is noticed now is held back until Start is over, so
//             that the start event comes before the exit event; but if Start does not end within
//             TASK_EXEC_END_SECONDS of the exit, it is given up.
//   RUNNING   started. An exit that is noticed is held back until the output has been handed on
//             (task_stdio_exited).
//   STOPPED   the exit is known and published (TaskExit queued, then every Wait answered).
//
// The exit of init is reported last: processes that were exec'ed are ended first (at most
// TASK_EXEC_END_SECONDS are spent on that).
//
// Lifetime: a task is counted (task_ref); the store, each operation and whoever waits for a
// completion hold it. A process lives exactly as long as its task, or until it is deleted, which is
// refused while an operation on it is pending.
#ifndef TASK_TASK_H
#define TASK_TASK_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "api/types.pb-c.h"
#include "base/error.h"
#include "base/json.h"
#include "base/stages.h"
#include "linux/process.h"
#include "rpc/call.h"

// Most tasks of one server.
#define TASK_COUNT_MAX 16384
// Most exec processes that one task remembers; finished ones are dropped to make room.
#define TASK_EXECS_MAX 1024
// Most parked Waits of one process.
#define TASK_WAITERS_MAX 1024
// Most operations of one task that run or wait for their turn.
#define TASK_OPS_MAX 2048
// Longest name of a container that is shown: as long as Kubernetes makes names.
#define TASK_NAME_MAX 253
// How long the exit of init is held back for the exits of exec'ed processes, and for its Start.
#define TASK_EXEC_END_SECONDS 2.0
// How long a killed init may take to end.
#define TASK_KILL_SECONDS 10.0
// How long after the end of their sandbox tasks hold what they have on the host, and how many are
// remembered after that.
#define TASK_RELEASE_SECONDS 60.0
#define TASK_RELEASED_MAX    256

enum process_state {
    PROCESS_NEW,
    PROCESS_CREATED,
    PROCESS_STARTING,
    PROCESS_RUNNING,
    PROCESS_STOPPED,
    PROCESS_STATE_MAX_,
};

// The operations that are timed, and their steps.
enum task_timing {
    TASK_TIMING_CREATE,
    TASK_TIMING_START,
    TASK_TIMING_EXEC,
    TASK_TIMING_REMOVE,
    TASK_TIMING_DELETE,
    TASK_TIMING_MAX_,
};
enum {
    TASK_CREATE_PREPARE,
    TASK_CREATE_RECORD,
    TASK_CREATE_MOUNT,
    TASK_CREATE_STDIO,
    TASK_CREATE_RUNTIME,
    TASK_CREATE_ANSWER,
};
enum { TASK_START_RUNTIME, TASK_START_ANSWER };
enum { TASK_EXEC_STDIO, TASK_EXEC_RUNTIME, TASK_EXEC_ANSWER };
enum { TASK_REMOVE_RUNTIME };
enum { TASK_DELETE_RUNTIME, TASK_DELETE_WAIT, TASK_DELETE_UNMOUNT, TASK_DELETE_RECORD };
extern const struct stage_plan task_timing_plans[TASK_TIMING_MAX_];

struct task;
struct task_ops;
struct task_server;
struct task_stdio;
struct task_op;

// A completion. It may come from inside the call that it was given to.
struct task_done {
    void (*fn)(void *arg, const struct error *err); // err NULL: success
    void *arg;
};

// A parked Wait.
struct task_waiter {
    struct task_process *process;
    struct rpc_call *call;
    TAILQ_ENTRY(task_waiter) link;
};

struct task_process {
    struct task *task;
    char *exec_id; // "" for init
    enum process_state state;
    // As given by containerd, returned by State word by word.
    char *stdin_url, *stdout_url, *stderr_url;
    bool terminal;
    struct process_id pid; // filled by the kind of task; stays after the exit
    json_object *spec;     // exec: the OCI process
    struct task_stdio *io;
    bool stdin_over; // CloseIO came before there was anything to close
    bool exit_seen;  // the kind of task has reported the exit
    uint32_t exit_code;
    struct timespec exited_at;
    struct stages starting; // exec: its start
    unsigned busy;          // operations that name this process
    TAILQ_HEAD(task_waiters, task_waiter) waiters;
    unsigned n_waiters;
    void *engine; // of the kind of task
    TAILQ_ENTRY(task_process) link;
};

struct task {
    struct task_server *server;
    const struct task_ops *ops; // its kind
    unsigned refs;
    bool stored;
    char *ns, *id, *bundle;
    struct timespec created_at;
    char *sandbox_id; // NULL: not in a sandbox
    char *name;       // in its pod, for people; NULL: none that can be shown
    char *cgroup;     // path for linux/cgroup.h; NULL: unknown
    bool private_pid; // the kernel ends everything with init
    bool paused;
    unsigned char looked; // ops->look's answer
    bool below;           // the server's mount points fit under its rootfs
    bool mounted;         // something may be mounted at task_rootfs_path()
    bool engaged;         // the kind of task may hold state of this task (ops->remove is due)
    bool recorded;        // a record is on disk
    // Create
    struct rpc_call *create_call; // NULL: answered or cancelled
    bool cancelled;
    Types__Mount **mounts; // of Create, borrowed from its call, valid while create_call is
    size_t n_mounts;
    uint16_t columns, rows; // initial console size; 0: the kernel's
    uid_t io_uid;           // owner of the container's stdio; (uid_t)-1: leave it
    gid_t io_gid;
    // What Waits answer if this is not -1 (the sandbox ended; the containers did not).
    int64_t forced_code;

    // Of the last Create, Start, start of an exec, and of the last time that it was taken back
    // (Delete, or a Create that failed). What waits in the queue before is not counted.
    struct stages timings[TASK_TIMING_MAX_];

    struct task_process init;
    TAILQ_HEAD(task_execs, task_process) execs;
    unsigned n_execs;
    ev_timer exec_timer; // TASK_EXEC_END_SECONDS
    bool exec_time_over;
    // Called once when init is STOPPED, or after TASK_KILL_SECONDS.
    struct task_done stopped;
    ev_timer stop_timer;
    ev_timer release_timer; // TASK_RELEASE_SECONDS, again and again
    bool releasing, released;

    STAILQ_HEAD(task_ops_queue, task_op) queue;
    unsigned n_ops, n_shared;
    bool exclusive, dispatching;

    void *engine; // of the kind of task
};

#endif
