// What the files of the OCI kind share.
#ifndef TASK_OCI_INTERNAL_H
#define TASK_OCI_INTERNAL_H

#include "api/google.pb-c.h"
#include "oci/runtime.h"
#include "task/internal.h"

// task->engine
struct oci_task {
    struct task *task;
    struct oci_runtime rt;
    int oom_fd; // cgroup_oom_watch; -1: none
    ev_io oom;
    uint64_t oom_kills;  // reported so far
    bool watched;        // init's exit will be reported
    struct oci_run *run; // command for init (create, start, ...) that runs
    Google__Any last;    // stats of a container that has ended, whose cgroup is being removed
    bool ended;          // `last` is filled
};

// Reads containerd's options (any of its types, or NULL) and the server's defaults. Fills *ret, and
// the task's io_uid, io_gid. 0 or -1; *ret is empty on failure.
int oci_options_read(struct task *t, const Google__Any *options, struct oci_runtime *ret,
                     struct error *err);

#endif
