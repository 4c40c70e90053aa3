// Sandboxes of one kind: registry, state machine, and the operations that the Controller service
// asks for. What a kind of sandbox does itself is in its `struct sandbox_ops`.
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <ev.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "api/cri.pb-c.h"
#include "base/error.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/stages.h"
#include "event/job.h"
#include "event/reaper.h"
#include "inspect/events.h"
#include "rpc/call.h"
#include "sandbox/record.h"

// Most sandboxes of one daemon.
#define SANDBOX_COUNT_MAX 16384
// Most Waits, and most Stops and Shutdowns, parked on one sandbox (containerd parks one; a client
// that leaks them is refused).
#define SANDBOX_WAITERS_MAX 64
// Seconds that making or unmaking one sandbox may take.
#define SANDBOX_JOB_TIMEOUT 60.0
// Seconds that a task server gets to end the containers of a sandbox.
#define SANDBOX_END_TIMEOUT 20.0

// Where a sandboxer answers kuasar-ctl, in its state directory.
#define SANDBOXER_INSPECT_SOCKET "sandboxer-inspect.sock"

struct sandbox;
struct sandbox_manager;
struct task_peer;

// What Create asked for, decoded and checked by the common part. Strings are borrowed from the
// request.
struct sandbox_request {
    const char *id;
    const char *netns; // "" for the host's network
    const char *runtime_type;
    const Cri__PodSandboxConfig *config; // NULL when the client sent none
};

// Most processes of a sandbox itself.
#define SANDBOX_PROCESSES_MAX 4

// Answer of a kind's `make`, carried from the job to the daemon. With a pid of 0: none.
struct sandbox_made {
    struct process_id init;
    struct process_id helpers[SANDBOX_PROCESSES_MAX - 1];
};

// A kind of sandbox.
struct sandbox_ops {
    const char *name; // "runc"
    // Decides what the sandbox will be: checks the request, fills record->pod, pushes undo steps
    // for all that `make` will do. Changes nothing in the world. Returns 0, or -1 with an error
    // that names the field.
    int (*plan)(struct sandbox_manager *m, struct sandbox_record *record,
                const struct sandbox_request *request, struct error *err);
    // Makes it. Runs in a process of its own and may block. Returns 0, or -1 (the undo list is run
    // then).
    int (*make)(struct sandbox_manager *m, const struct sandbox_record *record,
                const struct sandbox_request *request, struct sandbox_made *made,
                struct error *err);
    // After a restart: is everything that a READY or CREATED sandbox needs still there? Returns 0,
    // or -1 with what is missing.
    int (*check)(struct sandbox_manager *m, const struct sandbox_record *record, struct error *err);
    // Gives a CREATED or READY sandbox another size: all of it or nothing. Runs in a process of its
    // own and may block. NULL: a size is only remembered. Returns 0 or -1.
    int (*resize)(struct sandbox_manager *m, const struct sandbox_record *record,
                  const struct sandbox_sizes *sizes, struct error *err);
};

// Configuration of a daemon; strings outlive the manager.
struct sandbox_config {
    const char *dir;          // state directory ("/run/kuasar-runc")
    const char *init_program; // pid 1 of pods that share a pid namespace
    bool unprivileged_ports;  // net.ipv4.ip_unprivileged_port_start=0 by default
    bool unprivileged_icmp;   // net.ipv4.ping_group_range="0 2147483647" by default
};

// The operations that are timed, and their steps.
enum sandbox_timing {
    SANDBOX_TIMING_CREATE,
    SANDBOX_TIMING_START,
    SANDBOX_TIMING_STOP,
    SANDBOX_TIMING_MAX_,
};
enum { SANDBOX_CREATE_PLAN, SANDBOX_CREATE_JOURNAL, SANDBOX_CREATE_MAKE, SANDBOX_CREATE_RECORD };
enum { SANDBOX_START_TASKS, SANDBOX_START_RECORD };
enum { SANDBOX_STOP_JOURNAL, SANDBOX_STOP_CONTAINERS, SANDBOX_STOP_UNDO, SANDBOX_STOP_RECORD };
extern const struct stage_plan sandbox_timing_plans[SANDBOX_TIMING_MAX_];

// Calls that are parked until a sandbox gets somewhere.
struct sandbox_waiters {
    TAILQ_HEAD(, sandbox_waiter) list;
    size_t n;
};

struct sandbox_waiter {
    TAILQ_ENTRY(sandbox_waiter) link;
    struct sandbox *sandbox;
    struct rpc_call *call;
    struct sandbox_waiters *in;
};

struct sandbox {
    struct sandbox_manager *manager;
    char *dir; // <state dir>/sandboxes/<id>
    struct sandbox_record record;
    time_t since;                          // CLOCK_BOOTTIME when this process got to know it
    struct job *job;                       // the one job at work
    const struct sandbox_request *request; // only while Create forks its job
    struct sandbox_resizing *resizing;     // NULL: nobody does (resize.c)
    struct rpc_call *creating;             // the Create call, until it is answered or cancelled
    struct error failure;                  // why Create failed
    bool end_asked;                        // Create's caller gave up, or a Stop came meanwhile
    uint64_t ending;                       // number of the End call at the task server, 0: none
    // Of the undo list, those that it lives with: when one ends it ends, too.
    struct sandbox_process {
        struct sandbox *sandbox;
        struct process_id id;
        ev_io exit; // its pidfd
    } processes[SANDBOX_PROCESSES_MAX];
    size_t n_processes;
    struct stages timings[SANDBOX_TIMING_MAX_]; // of the last Create, Start and stop
    struct sandbox_waiters waits;               // Wait calls
    struct sandbox_waiters stops;               // Stop and Shutdown calls
};

struct sandbox_manager {
    struct ev_loop *loop;
    struct reaper *reaper;
    const struct sandbox_ops *ops;
    const struct sandbox_config *config;
    struct task_peer *tasks;
    struct cgroup_host *cgroups; // NULL: this host has none
    char *sandboxes_dir;
    struct map *sandboxes;         // id -> struct sandbox
    struct inspect_events *events; // who follows what happens; NULL: nobody can
    struct stage_histograms timings[SANDBOX_TIMING_MAX_];
    ev_timer sweep; // calls sandbox_manager_sweep while a sandbox may need it
};

// The directory is made if it is missing. Borrowed: everything but the path. Returns 0 or -1.
int sandbox_manager_init(struct sandbox_manager *m, struct ev_loop *loop, struct reaper *reaper,
                         const struct sandbox_ops *ops, const struct sandbox_config *config,
                         struct task_peer *tasks, struct error *err);
// Ends all parked Waits as a lost connection would (UNAVAILABLE: containerd asks the successor).
void sandbox_manager_put_off(struct sandbox_manager *m);
// Frees the memory; sandboxes live on in the world.
void sandbox_manager_done(struct sandbox_manager *m);

// Reads all records and makes the world agree with them; to be called once, before listening. What
// must be ended is known as STOPPING when this returns and is ended from the loop. What cannot be
// read is put into <dir>/quarantine and reported. Returns 0, or -1 when the directory cannot be
// read or there are not enough resources to know everything that lives. (recovery.c)
int sandbox_manager_recover(struct sandbox_manager *m, struct error *err);

// Ends what nobody else will: sandboxes that containerd has forgotten, and stops that failed
// and that nobody has repeated. `now` is CLOCK_BOOTTIME in seconds. Called by a timer.
void sandbox_manager_sweep(struct sandbox_manager *m, time_t now);

// NULL with NOT_FOUND (or INVALID_ARGUMENT for an id that cannot be one).
struct sandbox *sandbox_find(struct sandbox_manager *m, const char *id, struct error *err);

// Adds a sandbox for a recovered record (takes the contents of *record). NULL without memory.
struct sandbox *sandbox_adopt(struct sandbox_manager *m, struct sandbox_record *record);
// Goes on with what a predecessor was cut off in, or with what failed before: a Create is undone, a
// stop is made again, a removal is finished. The sandbox may be gone when this returns.
void sandbox_resume(struct sandbox *s);
// Watches the processes of a living sandbox. Returns 0 or -1: one is gone.
int sandbox_watch_processes(struct sandbox *s, struct error *err);

// The operations; they end `call` themselves, now or later. `labels` and `annotations` are taken.
void sandbox_create(struct sandbox_manager *m, struct rpc_call *call,
                    const struct sandbox_request *request, json_object *labels,
                    json_object *annotations);
void sandbox_wait(struct sandbox *s, struct rpc_call *call);
// Stops it (idempotent) and then, if `remove`, forgets it. A caller that gives up changes nothing
// of that.
void sandbox_stop(struct sandbox *s, struct rpc_call *call, bool remove);
// Gives it another size; INVALID_ARGUMENT or FAILED_PRECONDITION change nothing.
void sandbox_resize(struct sandbox *s, struct rpc_call *call, const struct sandbox_sizes *sizes);
// The sandbox is forgotten: ends what sandbox_resize has begun.
void sandbox_resize_abandon(struct sandbox *s);
// May it be started? FAILED_PRECONDITION in every state but CREATED. Returns 0 or -1.
int sandbox_startable(const struct sandbox *s, struct error *err);
// Marks a created sandbox as running. Errors as above. Returns 0 or -1.
int sandbox_start(struct sandbox *s, struct error *err);
// The sandbox ended by itself: containers are ended, waits answered with `status`.
void sandbox_died(struct sandbox *s, uint32_t status);

// ---- for recovery.c -----------------------------------------------------------------------------

// What sandboxes_dir has for a directory that is being removed: this and the id. It is no id.
#define SANDBOX_REMOVED_PREFIX ".removed-"

// Removes the directory of a sandbox, in which nothing is mounted any more. It is renamed first, so
// that there is no moment at which it has lost its record and still looks like a sandbox. Absent is
// success. Returns 0 or a negative errno.
int sandbox_remove_dir(struct sandbox_manager *m, const char *id);

#endif
