// containerd's options of a container (of any of its types, or NULL): what the table of its handler
// says. Both set the task's io_uid and io_gid, too.
#ifndef TASK_OCI_OPTIONS_H
#define TASK_OCI_OPTIONS_H

#include "api/any.h"
#include "base/error.h"
#include "oci/runtime.h"

struct task;

// Where a runtime of the node makes it: with the server's defaults. 0 or -1; *ret is empty on
// failure.
int oci_options_read(struct task *t, const Google__Any *options, struct oci_runtime *ret,
                     struct error *err);
// Where a guest makes it, by the runtime that it has: INVALID_ARGUMENT if another is asked for. 0
// or -1.
int oci_options_read_guest(struct task *t, const Google__Any *options, struct error *err);

#endif
