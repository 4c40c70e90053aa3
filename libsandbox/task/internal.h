// What the modules of this layer share. Not for other layers.
#ifndef TASK_INTERNAL_H
#define TASK_INTERNAL_H

#include "api/message.h"
#include "api/task.pb-c.h"
#include "base/map.h"
#include "inspect/service.h"
#include "linux/cgroup.h"
#include "rpc/http_server.h"
#include "rpc/ttrpc_server.h"
#include "task/departed.h"
#include "task/events.h"
#include "task/ops.h"
#include "task/server.h"
#include "task/stdio.h"
#include "task/task.h"

struct task_recovery;

struct task_server {
    struct ev_loop *loop;
    struct reaper *reaper;
    struct cgroup_host *cgroups;
    const struct task_ops *ops;
    struct rlimit files; // of runtimes and containers
    const struct mount_space *mounts;
    bool systemd; // it runs here, and makes cgroups for who asks
    char *dir, *sandboxes_dir, *runtime, *runtime_root, *engine, *shim, *program, *version;
    char *metrics_address;
    char *debug_rootfs; // "": none
    char *mountpoints;  // NULL: there are none
    bool wasmedge_plugins;
    struct map *tasks; // "<namespace>/<id>" -> struct task
    struct departed departed;
    struct task_events *events;
    struct stdio_host stdio;
    struct job *move;     // task_expect_move
    ev_tstamp move_ended; // the last one
    struct task_recovery *recovery;
    struct ttrpc_server *rpc;
    struct http_server *metrics;
    struct api_service services[3];
    struct inspect inspect;
    struct inspect_events *followed; // what happens, for kuasar-ctl
    const struct rpc_service *service_list[6];
    struct stage_histograms timings[TASK_TIMING_MAX_];
    LIST_HEAD(pods_ends, pods_end) ends;
    LIST_HEAD(guests, guest) guests; // virtual machines (guest.h)
    size_t n_released;               // tasks that only wait to be deleted
    bool draining, drain_called;
    ev_timer flush; // draining: the last events
    int flushes;
    void (*drained)(void *arg);
    void *drained_arg;
};

// ---- tasks (store.c) --------------------------------------------------------------------------

// A task that nobody knows yet, with one reference. NULL without memory.
struct task *task_new(struct task_server *s, const char *ns, const char *id, const char *bundle);
struct task *task_ref(struct task *t);
// Frees the task with the last reference. Accepts NULL. Returns NULL.
struct task *task_unref(struct task *t);
// Makes it known (the store takes a reference). ALREADY_EXISTS, RESOURCE_EXHAUSTED. 0 or -1.
int task_store(struct task *t, struct error *err);
// Forgets it: pending operations fail with NOT_FOUND, parked Waits end.
void task_drop(struct task *t);
// Borrowed; NULL if unknown.
struct task *task_find(struct task_server *s, const char *ns, const char *id);

// Stage timers of an operation; those of an exec are its own until it has started.
void task_timing_begin(struct task *t, enum task_timing timing);
void task_timing_mark(struct task *t, enum task_timing timing, unsigned stage);
// The last step of an operation that has succeeded.
void task_timing_end(struct task *t, enum task_timing timing, unsigned stage);

// ---- processes (process.c) ----------------------------------------------------------------------

void task_process_init(struct task_process *p, struct task *t);
// Ends its waits and frees what it holds, not the struct.
void task_process_done(struct task_process *p);
// Moves to a state; illegal moves are refused (false) and logged.
bool task_process_move(struct task_process *p, enum process_state to);
const char *process_state_name(enum process_state state);
Task__Status task_process_status(const struct task_process *p);
// Answers at once if the process has ended, else parks the call. Ends the call in any case.
void task_process_wait(struct task_process *p, struct rpc_call *call);
// Answers a Wait for a process that has been deleted. False: it is none that is remembered.
bool task_process_departed(struct task_server *s, const char *ns, const char *id,
                           const char *exec_id, struct rpc_call *call);
// An exit that was held back may be due now.
void task_process_settle(struct task_process *p);
// Init has waited for its execs long enough: the exits of those that have ended are published,
// whether or not somebody has read their output, and then its own.
void task_execs_give_up(struct task *t);
// The process will not run (its start failed): STOPPED with `code`, Waits end, no exit event.
void task_process_failed(struct task_process *p, uint32_t code);
// "" -> init, else the exec or NULL.
struct task_process *task_process_find(struct task *t, const char *exec_id);
// Registers an exec. ALREADY_EXISTS, RESOURCE_EXHAUSTED. NULL on error.
struct task_process *task_exec_add(struct task *t, const char *exec_id, struct error *err);
void task_exec_remove(struct task_process *p);
// Kills init (and all its container) and calls done when it is STOPPED: at once if it is, or with
// DEADLINE_EXCEEDED after `seconds`. One at a time per task.
void task_await_stop(struct task *t, double seconds, struct task_done done);

// A process will soon be moved into a cgroup: what the kernel waits for then is waited for beside
// what comes first (cgroup_open_own_procs). Costs a fork, if the kernel is not ready anyway.
void task_expect_move(struct task_server *s);

// ---- operations (queue.c) -----------------------------------------------------------------------

// Operations of a task run one after the other, except that shared ones (exec starts) may run
// together. A later operation never overtakes an earlier one.
struct task_op {
    struct task *task;            // counted
    struct task_process *process; // NULL, or kept alive
    struct rpc_call *call;        // NULL when it has been ended
    void (*run)(struct task_op *op);
    bool exclusive, running;
    void *data; // owned (free)
    size_t len;
    STAILQ_ENTRY(task_op) link;
};

// Queues an operation; run is called when its turn has come, maybe at once. On failure (no memory,
// TASK_OPS_MAX) the call is failed and NULL is returned.
struct task_op *task_op_start(struct task *t, struct task_process *p, struct rpc_call *call,
                              bool exclusive, void (*run)(struct task_op *op), void *data,
                              size_t len);
// The operation is over: fails the call if err is set and the call still open; frees op; lets the
// next one run.
void task_op_end(struct task_op *op, const struct error *err);
// Fails every operation that has not begun.
void task_ops_fail(struct task *t, const struct error *err);

// Gives a process copies of the stdio URLs. 0 or -ENOMEM.
int task_process_set_urls(struct task_process *p, const char *in, const char *out, const char *err);
// What its stdio is opened from; borrowed from p.
struct stdio_spec task_process_stdio(const struct task_process *p);

// ---- verbs --------------------------------------------------------------------------------------

// Each ends the call (now or later).
void task_create(struct task_server *s, const char *ns, const Task__CreateTaskRequest *req,
                 struct rpc_call *call);
void task_start(struct task *t, struct rpc_call *call);
void task_exec_start(struct task_process *p, struct rpc_call *call);
void task_exec(struct task *t, const Task__ExecProcessRequest *req, struct rpc_call *call);
void task_delete(struct task *t, struct rpc_call *call);
void task_exec_delete(struct task_process *p, struct rpc_call *call);
void task_update(struct task *t, const Google__Any *resources, struct rpc_call *call);
void task_pause(struct task *t, struct rpc_call *call);
void task_resume(struct task *t, struct rpc_call *call);
void task_kill(struct task_process *p, uint32_t signal, bool all, struct rpc_call *call);
// Of a process whose terminal is elsewhere.
void task_resize(struct task_process *p, uint32_t columns, uint32_t rows, struct rpc_call *call);
void task_pids(struct task *t, struct rpc_call *call);
void task_stats(struct task *t, struct rpc_call *call);

// Takes back everything that was done for a task: what its kind holds, its living init, its rootfs,
// its record. The same for Delete, a failed Create and a dead server's leftovers. On failure the
// rest has been tried and the record stays.
void task_cleanup(struct task *t, struct task_done done);

// The end of init is known: has its kind give back what it holds, beside the calls that containerd
// makes before it comes to Delete. Failure is Delete's to repeat.
void task_remove_early(struct task *t);

// The sandbox of the task has ended: gives back what it holds, in a while (release.c).
void task_release_later(struct task *t);
// The callback of task->release_timer.
void task_release_due(struct ev_loop *loop, ev_timer *w, int revents);
// Drops every task that was released.
void task_forget_released(struct task_server *s);

// Longest that mounting or unmounting a rootfs may take.
#define TASK_MOUNT_SECONDS 60.0

// Where the container's rootfs is: <bundle>/rootfs, but in a mount namespace of our own what Create
// says is mounted at <dir>/rootfs/<namespace>/<id>. (Others than root get through to it there,
// which containers with users of their own need; on the host nobody but root gets through a
// bundle.) 0 or -ENAMETOOLONG.
int task_rootfs_path(const struct task *t, char *out, size_t size);

// ---- the dispatch tables (service.c, pods.c) ----------------------------------------------------

extern const struct api_method task_methods[];
extern const struct api_method task_pods_methods[];

// What is shown of a `struct task` (inspect.c); the slot of struct inspect_source.
void task_describe(const void *task, struct inspect_entry *entry);
// Passes containerd's events on to those who follow; `followed` is a struct inspect_events.
void task_follow(const char *ns, const char *topic, const char *type, const ProtobufCMessage *event,
                 void *followed);

// Called whenever a task is gone (server.c).
void task_server_check_drained(struct task_server *s);
// Called whenever an init is STOPPED or a task is gone: an End of its sandbox may be over (pods.c).
void task_pods_stopped(struct task_server *s);
// Answers the Ends that still wait; for task_server_free.
void task_pods_done(struct task_server *s);

#endif
