// What the files of the OCI kind share.
#ifndef TASK_OCI_INTERNAL_H
#define TASK_OCI_INTERNAL_H

#include "oci/runtime.h"
#include "task/contained.h"
#include "task/internal.h"
#include "task/oci_options.h"

// Longest that a command of the runtime may take (hooks included), or a start without one.
#define OCI_COMMAND_SECONDS 120.0

struct oci_start;

// task->engine
struct oci_task {
    struct contained contained;
    struct oci_runtime rt;
    bool watched;               // init's exit will be reported
    bool hooks;                 // it may have some
    struct oci_run *run;        // command for init (create, start, ...) that runs
    struct oci_start *starting; // a start that needs no command
};

// ---- start (oci_start.c) ------------------------------------------------------------------------

// Lets the container's first process execute its program. False: the runtime is not runc, or has
// not created it; nothing has been done, and the runtime is to be asked. On true done comes, never
// from inside: FAILED_PRECONDITION if the process ends before it goes on, DEADLINE_EXCEEDED after
// OCI_COMMAND_SECONDS, CANCELLED.
bool oci_start_direct(struct task *t, struct task_done done);
// The process has ended: done comes from inside.
void oci_start_exited(struct oci_start *s);
// Gives it up: done comes from inside.
void oci_start_cancel(struct oci_start *s);

// ---- which cgroup (oci_cgroup.c) ----------------------------------------------------------------

// May the processes of this cgroup be killed with the container? Not if it is the machine's root,
// or holds ourselves: a runtime that makes no cgroups leaves its containers in ours.
bool oci_cgroup_is_containers(const struct cgroup_host *h, const char *path);
// A unit in the spec ("slice:prefix:name") is left to a runtime that asks systemd for it; for any
// other it becomes the path where systemd would put it, below the pod's cgroup. From there on
// task->cgroup is what the spec says, for a container that never gets as far as a process that
// could be asked. `pod` may be NULL. INVALID_ARGUMENT for a unit that is none. 0 or -1.
int oci_cgroup_place(struct task *t, const struct pod *pod, json_object *spec, struct error *err);
// Sets task->cgroup to the one that init is in.
void oci_cgroup_find(struct task *t);

#endif
